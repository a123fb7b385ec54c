"""What the studies share: pairs of sentences, a small translator trained on them, its scores (and the way out,
my_llm/studies.py).

    text = load_sentences(config)
    found = trained(text, Setting("bahdanau", steps=1000, seed=0))
    print(found.translator.scores(text.validation), found.seconds)

Two studies of one call that ask for the same training get the same one: that is why nobody may change what `trained`
returns.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from my_llm import studies
from my_llm.data.batches import chunks_by_length, pad
from my_llm.data.catalog import Pair, Translation, load_pairs
from my_llm.plots import PALETTE
from my_llm.schedules import cosine
from my_llm.studies import check, finish, lines, mean_and_spread, sheet
from my_llm.text import BOS, PAD, BPETokenizer
from my_llm.training import train_steps
from my_llm.translation.batches import PairBatches, train_tokenizer
from my_llm.translation.loss import TranslationLoss
from my_llm.translation.translator import Translator
from stage3_attention_seq2seq.data import READING
from stage3_attention_seq2seq.models import Seq2Seq, Seq2SeqConfig
from stage3_attention_seq2seq.studies import StudyConfig, seeds_of, steps_of

__all__ = [
    "COLORS", "Row", "Sentences", "Setting", "StudyConfig", "Trained", "check", "finish", "lines", "load_sentences",
    "mean_and_spread", "nats_of", "save", "scored", "seeds_of", "sheet", "steps_of", "trained",
]  # fmt: skip

Row = dict[str, Any]
COLORS = PALETTE[:6]
VOCABULARY, LARGE_VOCABULARY = 600, 4000  # of numbers, of any other corpus
EMBEDDING, HIDDEN, DROPOUT, RATE, BATCH = 128, 128, 0.1, 0.004, 64
LONGEST = 60  # tokens of a sentence to learn from
SCORED, ON_THE_WAY = 500, 200  # sentences that a score is measured on, in the end and during a training
save = partial(studies.save, stage=StudyConfig.stage)


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


class Trained(NamedTuple):
    """A translator, the processor time of its training, and on the way (step, share of exact translations)."""

    translator: Translator[Seq2Seq]
    seconds: float
    curve: Sequence[tuple[int, float]] = ()

    @property
    def parameters(self) -> int:
        """How many numbers it has learnt."""
        return sum(parameter.numel() for parameter in self.translator.model.parameters())


@cache
def warm_up() -> None:
    """A step of Adam before the clock starts: the first one loads more of torch, for about a second."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight], fused=True).step()


class Setting(NamedTuple):
    """What makes a training: equal settings, equal trainings."""

    attention: str
    steps: int  # of Adam
    seed: int
    hidden: int = HIDDEN
    reverse: bool = False  # sources are read from their end
    teacher_forcing: float = 1.0  # share of target words that the decoder reads as they should be
    change: Callable[[Seq2Seq], None] | None = None  # alters the new model before it learns
    points: int = 0  # scores on the way


@lru_cache(maxsize=64)
def trained(text: Sentences, setting: Setting) -> Trained:
    """A small translator; the same setting, the same object."""
    warm_up()
    torch.manual_seed(setting.seed)
    size = text.tokenizer.vocab_size
    shape = {"embedding": EMBEDDING, "hidden": setting.hidden, "dropout": DROPOUT}
    model = Seq2Seq(Seq2SeqConfig(size, size, attention=setting.attention, shared=True, **shape))
    if setting.change is not None:
        setting.change(model)
    order = {"batch_size": BATCH, "seed": setting.seed}
    encode = READING[setting.reverse]
    batches = PairBatches(text.tokenizer, text.train, max_length=LONGEST, encode=encode, **order)
    optimizer = torch.optim.Adam(model.parameters(), RATE, betas=(0.9, 0.98), fused=True)
    loss_fn, schedule = TranslationLoss(0.1, setting.teacher_forcing), cosine(setting.steps, setting.steps // 20)
    translator = Translator(model, text.tokenizer, facts={}, encode=encode)
    curve, seconds, since = [], 0.0, time.process_time()
    for step in train_steps(model, batches, loss_fn, optimizer, max_steps=setting.steps, schedule=schedule, clip=1.0):
        if setting.points and (step.index + 1) % max(setting.steps // setting.points, 1) == 0:
            seconds += time.process_time() - since  # scores do not count
            curve.append((step.index + 1, translator.scores(text.validation[:ON_THE_WAY])["exact"]))
            since = time.process_time()
    seconds += time.process_time() - since
    model.eval()
    return Trained(translator, seconds, curve)


def scored(found: Sequence[Trained], pairs: Sequence[Pair]) -> Row:
    """Of several seeds: share of exact translations and BLEU, greedy; what training took; parameters."""
    scores = [each.translator.scores(pairs) for each in found]
    return {
        **mean_and_spread("exact", [100 * score["exact"] for score in scores], 1),
        **mean_and_spread("bleu", [score["bleu"] for score in scores], 1),
        "seconds": round(sum(each.seconds for each in found) / len(found), 2),
        "parameters": found[0].parameters,
    }


@torch.inference_mode()
def nats_of(translator: Translator[Seq2Seq], texts: Sequence[str], said: Sequence[Sequence[int]]) -> list[float]:
    """−log p of a translation of each sentence, read with teacher forcing; its tokens end with <eos> if it ended."""
    sources = [torch.tensor(ids) for ids in translator.encode(translator.tokenizer, texts)]
    nats = [0.0] * len(texts)
    for rows in chunks_by_length([len(source) for source in sources]):
        source, lengths = pad([sources[row] for row in rows])
        target_in, _ = pad([torch.tensor([BOS, *said[row][:-1]]) for row in rows])
        target_out, _ = pad([torch.tensor(said[row]) for row in rows])
        logits, _ = translator.model(source, lengths, target_in)
        logits[:, :, [PAD, BOS]] = -torch.inf  # as in Translator: no text
        each = cross_entropy(logits.transpose(1, 2), target_out, ignore_index=PAD, reduction="none")  # (B, T)
        for row, total in zip(rows, each.sum(dim=1).tolist(), strict=True):
            nats[row] = total
    return nats
