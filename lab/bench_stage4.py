"""The speed of stage 4: training beside nn.Transformer, translating with cached keys and without, three attentions.

Everything is made here, so that it runs anywhere: a language of invented words with a translation for each word, as
frequent as real words are and in sentences about as long as Multi30k's. All cores, as a training has them.
"""

import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from lab.bench import Row, finish, take_turns
from lab.bench_stage4_attention import BATCH as SEQUENCES
from lab.bench_stage4_attention import HEAD, HEADS, attentions
from lab.bench_stage4_translating import translating
from my_llm.data.batches import pad
from my_llm.data.catalog import Pair
from my_llm.device import set_threads
from my_llm.text import PAD, BPETokenizer
from my_llm.training import Loss, train_steps
from my_llm.translation.batches import Batch, PairBatches, train_tokenizer
from my_llm.translation.loss import TranslationLoss
from stage4_transformer.models import Transformer, TransformerConfig
from stage4_transformer.models.official import OfficialTransformer, to_official

COMMAND = "my-llm bench --stage stage4_transformer"
VOCABULARY, PAIRS, WORDS = 4000, 6000, 8000
# As train.py has them, but with sinusoidal positions: nn.Transformer gets embeddings, and no say in its scores.
SHAPE: dict[str, Any] = {"model": 256, "heads": 4, "layers": 3, "hidden": 512, "dropout": 0.2}
BATCH, RATE, SMOOTHING, BETAS = 128, 2e-3, 0.1, (0.9, 0.98)
SENTENCES = 1000  # translated in one turn


def bench(rounds: int) -> None:
    """Measure, print and record results/bench/stage4_training, stage4_translating and stage4_attention.json."""
    set_threads(os.cpu_count() or 1)
    pairs = invented_pairs(PAIRS)
    tokenizer = train_tokenizer(pairs, VOCABULARY)
    config = TransformerConfig(vocab_size=tokenizer.vocab_size, **SHAPE)
    measured(
        "stage4_training",
        f"Training a translator, {config.model} wide, {config.layers} layers, {BATCH} sentences a step",
        {"target_tokens_per_second": "1/s", "speed_of_official": "", "loss": "nats"},
        partial(training, config, tokenizer, pairs, max(rounds // 4, 3)),
    )
    texts = [pair.source for pair in pairs[:SENTENCES]]
    measured(
        "stage4_translating",
        f"Translating {len(texts)} sentences with the same model, text in, text out",
        {"sentences_per_second": "1/s", "ratio": "×"},
        partial(translating, config, tokenizer, texts, max(rounds // 30, 2)),
    )
    columns = {
        "forward_ms": "ms", "forward_speed": "", "with_backward_ms": "ms", "with_backward_speed": "",
        "memory_mib": "MiB",
    }  # fmt: skip
    measured(
        "stage4_attention",
        f"Causal attention, {SEQUENCES} sequences, {HEADS} heads of {HEAD}; speed: the fused kernel's is 1",
        columns,
        partial(attentions, rounds),
    )


def measured(name: str, title: str, columns: dict[str, str], rows: Callable[[], list[Row]]) -> None:
    """One table."""
    started = time.perf_counter()
    finish(name, title, rows(), columns, COMMAND, started)


def invented_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Sentences of two languages, word for word; word number n is as frequent as 1/n (Zipf)."""
    rng = random.Random(seed)
    syllables = [a + b for a in "bcdfghjklmnprstvwz" for b in "aeiou"]
    languages = [
        [*dict.fromkeys("".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(2 * WORDS))][:WORDS]
        for _ in range(2)
    ]
    frequent = [*itertools.accumulate(1 / n for n in range(1, WORDS + 1))]
    pairs = []
    for _ in range(count):
        words = rng.choices(range(WORDS), cum_weights=frequent, k=max(round(rng.lognormvariate(2.5, 0.3)), 3))
        source, target = (" ".join(language[word] for word in words) for language in languages)
        pairs.append(Pair(source, target))
    return pairs


# --- training ---------------------------------------------------------------------------------------------------------


def training(config: TransformerConfig, tokenizer: BPETokenizer, pairs: Sequence[Pair], rounds: int) -> list[Row]:
    """Target tokens a second, twice: each as it comes, and both in fp32 with the same batches.

    As ours comes: sentences of similar length together, and a loss that skips padding, in fp32 and with `--precision
    bf16`. As one writes it around nn.Transformer: fp32, sentences in the order of the corpus, all logits. The loss is
    that of the same held-out sentences after as many steps.
    """
    held_out, *_ = in_order(batches_of(tokenizer, pairs[:BATCH]))
    batches = batches_of(tokenizer, pairs[BATCH:])
    usual, alike = itertools.cycle(in_order(batches)), map(batches, itertools.count())
    ways: list[tuple[str, Iterator[Batch], list[tuple[str, Literal["fp32", "bf16"]]]]] = [
        ("the obvious loop", usual, [("as train.py does", "fp32"), ("as train.py does", "bf16")]),
        ("same batches", alike, [("same batches", "fp32")]),
    ]
    rows: list[Row] = []
    for their_way, theirs, our_ways in ways:
        torch.manual_seed(0)
        models = [Transformer(config) for _ in our_ways]
        for model in models[1:]:
            model.load_state_dict(models[0].state_dict())
        official = to_official(models[0])
        steps = {f"nn.Transformer, {their_way}, fp32": obvious_step(official, theirs)}
        for model, (our_way, form) in zip(models, our_ways, strict=True):
            steps[f"ours, {our_way}, {form}"] = our_step(model, batches, form)
        speeds = {name: statistics.median(found) for name, found in rates(steps, rounds).items()}
        base = next(iter(speeds.values()))
        rows += [
            {
                "case": name,
                "target_tokens_per_second": round(speed),
                "speed_of_official": round(speed / base, 3),
                "loss": round(loss_on(held_out, learner), 3),
            }
            for (name, speed), learner in zip(speeds.items(), (official, *models), strict=True)
        ]
    return rows


def batches_of(tokenizer: BPETokenizer, pairs: Sequence[Pair]) -> PairBatches:
    """Batches of similar length."""
    return PairBatches(tokenizer, pairs, max_length=1000, batch_size=BATCH, seed=0)


def in_order(batches: PairBatches) -> list[Batch]:
    """The same pairs as they stand in the corpus, every batch padded to its longest sentence."""
    found = []
    for start in range(0, len(batches.pairs), BATCH):
        rows = batches.pairs[start : start + BATCH]
        (source, lengths), (target, _) = pad([source for source, _ in rows]), pad([target for _, target in rows])
        found.append(Batch(source, lengths, target[:, :-1], target[:, 1:]))
    return found


def our_step(model: Transformer, batches: PairBatches, precision: Literal["fp32", "bf16"]) -> Callable[[], int]:
    """A step as train.py takes it; says how many target tokens it learnt from."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0, fused=True)
    learn = TranslationLoss(SMOOTHING)
    counts: list[int] = []

    def counted(model: nn.Module, batch: Batch) -> Loss:
        loss = learn(model, batch)
        counts.append(loss.count)
        return loss

    steps = train_steps(model, batches, counted, optimizer, max_steps=10**9, clip=1.0, precision=precision)

    def step() -> int:
        next(steps)
        return counts[-1]

    return step


def obvious_step(model: OfficialTransformer, batches: Iterator[Batch]) -> Callable[[], int]:
    """A step as one writes it; says how many target tokens it learnt from."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=BETAS)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=SMOOTHING)
    model.train()

    def step() -> int:
        source, lengths, target_in, target_out = next(batches)
        optimizer.zero_grad()
        criterion(model(source, lengths, target_in).flatten(0, 1), target_out.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return int((target_out != PAD).sum())

    return step


def rates(candidates: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """What each candidate says that it did, a second, turn by turn."""
    counts: dict[str, list[int]] = {name: [] for name in candidates}
    turns = {name: lambda name=name: counts[name].append(candidates[name]()) for name in candidates}
    times = take_turns(turns, rounds)
    return {name: [n / s for n, s in zip(counts[name][-rounds:], times[name], strict=True)] for name in candidates}


@torch.no_grad()
def loss_on(batch: Batch, model: nn.Module) -> float:
    """Nats for each target token, with nothing dropped out and nothing blurred."""
    source, lengths, target_in, target_out = batch
    logits = model.eval()(source, lengths, target_in)
    return nn.functional.cross_entropy(logits.flatten(0, 1), target_out.flatten(), ignore_index=PAD).item()
