"""News: what is said in few words. The beginning of an article and its headline; or the keywords of the headline.

    Quarterly profits at US media giant TimeWarner jumped 76% to …
    Headline: Ad sales boost Time Warner profit

A headline is the summary that came with the article, the shortest there is. Keywords are its words without those that
say nothing by themselves. Both have rivals that learn nothing: the first words of the article, which journalists make
as telling as they can, and the words that are frequent here and rare elsewhere (TF-IDF, Spärck Jones 1972).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from my_llm.data.catalog import load as load_corpus
from my_llm.overlap import words_of
from stage5_gpt.answering import Example, Exercise, exercise_of

READ = 30  # words of an article
HEADLINE, KEYWORDS = "Headline:", "Keywords:"
EMPTY = """
    a about after again against all an and are as at back be been but by could did do down for from get gets go goes
    had has have he her his how if in into is it its may more new no not of off on or out over s set she so t than
    that the their them they this to under up us was were what when who why will with would you
"""
NOTHING = frozenset(EMPTY.split())


def told(article: str) -> tuple[str, str]:
    """The first words of an article, and its headline."""
    headline, _, body = article.partition("\n")
    return " ".join(body.split()[:READ]), " ".join(headline.split())


def summary(article: str) -> Example:
    """The headline is the answer."""
    text, headline = told(article)
    return Example(f"{text}\n{HEADLINE}", f" {headline}")


def keywords_of(text: str) -> list[str]:
    """The words that say something by themselves, each once, in the order of the text."""
    return [word for word in dict.fromkeys(words_of(text)) if word not in NOTHING and len(word) > 1]


def listed(article: str) -> Example:
    """The keywords of the headline are the answer."""
    text, headline = told(article)
    return Example(f"{text}\n{KEYWORDS}", " " + ", ".join(keywords_of(headline)))


def made(name: str, corpus: str, form: Callable[[str], Example], score: str) -> Exercise:
    """Every article that has a headline and something below it."""
    news = load_corpus("bbc_news" if corpus == "auto" else corpus)
    parts, read = {}, set[str]()
    for part in ("train", "validation", "test"):
        articles = [one.text for one in getattr(news, part)]
        found = [form(text) for text in articles if all(told(text)) and keywords_of(told(text)[1])]
        parts[part] = [one for one in found if one.prompt not in read]  # some articles were published twice
        read |= {one.prompt for one in found}
    return exercise_of(news.name, parts, source=f"{news.source}: {name}", score=score)


def summaries(corpus: str) -> Exercise:
    """Articles and their headlines, scored by ROUGE.

    Raises:
        ConfigError: no such corpus; DataError: its source is out of reach.
    """
    return made("summaries", corpus, summary, "rouge")


def keywords(corpus: str) -> Exercise:
    """Articles and the keywords of their headlines, scored by the F1 of sets of words.

    Raises:
        ConfigError: no such corpus; DataError: its source is out of reach.
    """
    return made("keywords", corpus, listed, "words")


# --- rivals that learn nothing ----------------------------------------------------------------------------------------


def article_of(example: Example) -> str:
    """The prompt without the line that says what is asked."""
    return example.prompt.rpartition("\n")[0]


def first_words(examples: Sequence[Example], count: int) -> list[str]:
    """As a summary so many words of the beginning."""
    return [" ".join(article_of(one).split()[:count]) for one in examples]


def frequent_here(learnt: Sequence[Example], examples: Sequence[Example], count: int) -> list[str]:
    """So many keywords of the highest TF-IDF: how often one stands here × log(articles / articles that have it)."""
    holders = Counter(word for one in learnt for word in set(words_of(article_of(one))))
    said = []
    for one in examples:
        here = Counter(words_of(article_of(one)))
        weight = {word: here[word] * math.log((1 + len(learnt)) / (1 + holders[word]))
                  for word in keywords_of(article_of(one))}  # fmt: skip
        said.append(", ".join(sorted(weight, key=lambda word: -weight[word])[:count]))
    return said
