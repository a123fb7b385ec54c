"""What the studies share: sentences and a small translator, a text and a small language model, their scores (and the
way out, my_llm/studies.py).

    text = load_sentences(config)
    found = trained(text, Setting(steps=600, seed=0, layers=2))        # a Transformer
    print(found.translator.scores(text.validation), found.seconds)
    found = train_translator(any_translation_model, text, Recipe(steps=600, seed=0))

    text = load_characters(config)
    model = new_language_model(text, seed=0, layers=2)                 # a Transformer
    found = train_on_text(any_language_model, text, Recipe(steps=300, seed=0))
    print(found.loss, nats_per_character(model, text.validation), found.seconds)

Two studies of one call that ask for the same Transformer get the same one: that is why nobody may change what `trained`
returns.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from my_llm import studies
from my_llm.data.catalog import LanguageText, Pair, Translation, load_pairs, load_text
from my_llm.evaluation import parameters_of
from my_llm.language.batches import Windows
from my_llm.language.scoring import nats_in_windows, next_token_loss
from my_llm.plots import PALETTE
from my_llm.studies import check, finish, lines, mean_and_spread, sheet
from my_llm.text import BPETokenizer, CharTokenizer
from my_llm.translation.batches import PairBatches, train_tokenizer
from my_llm.translation.loss import TranslationLoss
from my_llm.translation.translator import TranslationModel, Translator
from stage4_transformer.models import Transformer, TransformerConfig, TransformerLM, TransformerLMConfig
from stage4_transformer.studies import StudyConfig, seeds_of, steps_of
from stage4_transformer.studies.learning import RATE, WARM_UP, Learnt, Recipe, learn

__all__ = [
    "COLORS", "LENGTH", "LONGEST", "SHAPE", "Characters", "Learnt", "Moment", "Recipe", "Row", "Sentences", "Setting",
    "StudyConfig", "TrainedTranslator", "check", "finish", "learn", "lines", "load_characters", "load_sentences",
    "mean_and_spread", "nats_per_character", "new_language_model", "parameters_of", "save", "scored", "seeds_of",
    "sheet", "steps_of", "train_on_text", "train_translator", "trained",
]  # fmt: skip

Row = dict[str, Any]
COLORS = PALETTE[:6]
SHAPE: dict[str, Any] = {"model": 128, "heads": 4, "layers": 2, "hidden": 256}  # of a small Transformer
VOCABULARY, LARGE_VOCABULARY = 600, 4000  # byte pairs of numbers, of any other corpus
BATCH = 64  # sentences
LONGEST = 60  # tokens of a sentence to learn from
SCORED, ON_THE_WAY = 500, 200  # sentences that a score is measured on, in the end and during a training
WINDOWS, LENGTH = 16, 128  # of a language model: windows in a batch, characters of one
HELD_OUT = 50_000  # characters that a language model is judged by
save = partial(studies.save, stage=StudyConfig.stage)


# --- translation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)  # equal is only what is the same: a key of the trainings that are remembered
class Sentences:
    """Pairs to learn from and pairs to be judged by, and the byte pairs of both."""

    corpus: Translation
    tokenizer: BPETokenizer
    train: Sequence[Pair]
    validation: Sequence[Pair]


def load_sentences(config: StudyConfig, dataset: str = "") -> Sentences:
    """The corpus that the command line names, or that the study insists on."""
    check(config)
    return _load_sentences(dataset or config.dataset)


@lru_cache(maxsize=2)
def _load_sentences(dataset: str) -> Sentences:
    corpus = load_pairs(dataset)
    size = VOCABULARY if corpus.name == "numbers_en_fr" else LARGE_VOCABULARY
    return Sentences(corpus, train_tokenizer(corpus.train, size), corpus.train, corpus.validation[:SCORED])


Model = TypeVar("Model", bound=TranslationModel)


class Moment(NamedTuple):
    """A translator on its way."""

    step: int
    seconds: float  # of processor time, without that of the scores
    bleu: float
    exact: float  # share of translations that are exactly right


@dataclass(frozen=True)
class TrainedTranslator(Generic[Model]):
    """A translator, the processor time of its training, its last loss a token (smoothed), its scores on the way."""

    translator: Translator[Model]
    seconds: float
    loss: float
    curve: Sequence[Moment] = ()

    @property
    def parameters(self) -> int:
        """How many numbers it has learnt."""
        return parameters_of(cast(nn.Module, self.translator.model))


def train_translator(model: Model, text: Sentences, recipe: Recipe, points: int = 0) -> TrainedTranslator[Model]:
    """Teach a new model of any kind, stage 3's or a Transformer, with so many scores on the way.

    Raises:
        NotFiniteError: the training diverged.
    """
    batches = PairBatches(text.tokenizer, text.train, max_length=LONGEST, batch_size=BATCH, seed=recipe.seed)
    translator, curve = Translator(model, text.tokenizer, facts={}), []

    def watch(step: int, seconds: float) -> None:
        if points and step % max(recipe.steps // points, 1) == 0:
            curve.append(Moment(step, seconds, **translator.scores(text.validation[:ON_THE_WAY])))

    learnt = learn(cast(nn.Module, model), batches, TranslationLoss(0.1), recipe, watch)
    return TrainedTranslator(translator, *learnt, curve)


class Setting(NamedTuple):
    """What makes a Transformer and its training: equal settings, equal trainings."""

    steps: int
    seed: int
    model: int = SHAPE["model"]
    heads: int = SHAPE["heads"]
    layers: int = SHAPE["layers"]  # of encoder and decoder each
    hidden: int = SHAPE["hidden"]
    positions: str = "sinusoidal"
    order: str = "pre"
    dropout: float = 0.1
    max_length: int = 2 * LONGEST + 10  # positions that learned ones have; as far as a translation may go
    rate: float = RATE
    warmup: float = WARM_UP
    points: int = 0  # scores on the way


@lru_cache(maxsize=64)
def trained(text: Sentences, setting: Setting) -> TrainedTranslator[Transformer]:
    """A small Transformer that translates; the same setting, the same object."""
    torch.manual_seed(setting.seed)
    names = ("model", "heads", "layers", "hidden", "positions", "order", "dropout", "max_length")
    shape = {name: getattr(setting, name) for name in names}
    model = Transformer(TransformerConfig(vocab_size=text.tokenizer.vocab_size, **shape))
    return train_translator(
        model, text, Recipe(setting.steps, setting.seed, setting.rate, setting.warmup), setting.points
    )


def scored(found: Sequence[TrainedTranslator[Any]], pairs: Sequence[Pair]) -> Row:
    """Of several seeds: share of exact translations (%) and BLEU, greedy; loss; what training took; parameters."""
    scores = [each.translator.scores(pairs) for each in found]
    return {
        **mean_and_spread("exact", [100 * score["exact"] for score in scores], 1),
        **mean_and_spread("bleu", [score["bleu"] for score in scores], 1),
        **mean_and_spread("loss", [each.loss for each in found], 3),
        "seconds": round(statistics.fmean(each.seconds for each in found), 2),
        "parameters": found[0].parameters,
    }


# --- language models --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Characters:
    """A text as numbers; the vocabulary is that of the training part, an unknown character is one token."""

    corpus: LanguageText
    tokenizer: CharTokenizer
    train: Int[Tensor, "N"]
    validation: Int[Tensor, "M"]


def load_characters(config: StudyConfig) -> Characters:
    """The text that the command line names."""
    check(config)
    return _load_characters(config.text)


@lru_cache(maxsize=2)
def _load_characters(name: str) -> Characters:
    corpus = load_text(name)
    tokenizer = CharTokenizer.train([corpus.train])
    train, validation = (torch.tensor(tokenizer.encode(part)) for part in (corpus.train, corpus.validation))
    return Characters(corpus, tokenizer, train, validation[:HELD_OUT])


def new_language_model(text: Characters, seed: int, **shape: Any) -> TransformerLM:
    """A fresh Transformer of this text's characters; `shape` takes the other fields of `TransformerLMConfig`."""
    torch.manual_seed(seed)
    fields = {**SHAPE, "max_length": LENGTH, **shape}
    return TransformerLM(TransformerLMConfig(vocab_size=text.tokenizer.vocab_size, **fields))


def train_on_text(model: nn.Module, text: Characters, recipe: Recipe, length: int = LENGTH) -> Learnt:
    """Teach a language model of any kind (stage 2's as well) on windows of a length, each read from its beginning.

    Raises:
        NotFiniteError: the training diverged.
    """
    return learn(model, Windows(text.train, WINDOWS, length, seed=recipe.seed), next_token_loss, recipe)


def nats_per_character(model: nn.Module, tokens: Int[Tensor, "N"], length: int = LENGTH) -> float:
    """Mean loss over a text, read in windows that overlap by half: see my_llm.language.scoring.nats_in_windows."""
    loss = nats_in_windows(model, tokens, length)
    return float(loss.total) / loss.count
