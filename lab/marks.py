"""Published scores that the milestone table prints beside ours, each with its source: the one place where they stand.

All of them were trained on the whole corpus; the milestone table says in its column `data` how much of it we had.
"""

from typing import NamedTuple


class Mark(NamedTuple):
    """A score that somebody published: `score` in the words of the table, `source` as author and year."""

    model: str
    score: str
    source: str
    url: str


BAG_OF_TRICKS = ("Joulin et al. 2016", "https://arxiv.org/abs/1607.01759")
CHARACTERS = ("Zhang et al. 2015", "https://arxiv.org/abs/1509.01626")
NANOGPT = ("Karpathy 2022", "https://github.com/karpathy/nanoGPT")
FINE_TUNED_BERT = ("Sun et al. 2019", "https://arxiv.org/abs/1905.05583")

# `case` of a milestone -> the marks of the same task on the same test set.
MARKS: dict[str, tuple[Mark, ...]] = {
    "ag_news": (
        Mark("fastText", "91.5 %", *BAG_OF_TRICKS),
        Mark("fastText, bigrams", "92.5 %", *BAG_OF_TRICKS),
        Mark("char-CNN", "90.5 %", *CHARACTERS),
        Mark("BERT", "95.2 %", *FINE_TUNED_BERT),
    ),
    "tiny_shakespeare": (
        Mark("GPT, 0.8M parameters", "1.88 nats", *NANOGPT),
        Mark("GPT, 10.6M parameters", "1.4697 nats", *NANOGPT),
    ),
    "conll2002": (
        Mark("AdaBoost, features by hand", "81.39 %", "Carreras et al. 2002", "https://aclanthology.org/W02-2004"),
        Mark("BiLSTM-CRF, pretrained words", "85.75 %", "Lample et al. 2016", "https://arxiv.org/abs/1603.01360"),
    ),
    "imdb": (
        Mark("NB-SVM", "91.2 %", "Wang & Manning 2012", "https://aclanthology.org/P12-2018"),
        Mark("BERT", "95.6 %", *FINE_TUNED_BERT),
    ),
}


def marks_cell(case: str) -> str:
    """The marks of a milestone as one Markdown cell; – where nothing is published."""
    cells = [f"{mark.model} {mark.score} ([{mark.source}]({mark.url}))" for mark in MARKS.get(case, ())]
    return "<br>".join(cells) or "–"
