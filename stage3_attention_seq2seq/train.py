"""Train stage 3's translator: `python train.py --attention_type bahdanau --epochs 30`.

Writes a run directory (see my_llm/run.py) and refreshes checkpoints/best_attention_model.pt, which evaluate.py and
translate.py read. After every epoch it translates a part of the validation sentences; the epoch with the best BLEU is
kept.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar, Literal

from my_llm.cli import TrainingConfig, command_line, main, to_plain

if TYPE_CHECKING:
    from my_llm.data.catalog import Translation
    from my_llm.translation.batches import PairBatches
    from my_llm.translation.translator import Translator
    from stage3_attention_seq2seq.models import Seq2Seq


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Train a network that translates, with or without attention."""

    attention_type: Literal["bahdanau", "luong", "luong_dot", "luong_general", "luong_concat", "local", "none"] = (
        "bahdanau"
    )
    """how the decoder looks back at the source; luong is luong_general, none is one vector for the whole sentence"""
    dataset: str = "auto"
    """corpus: multi30k_en_fr, tatoeba_en_fr, bible_en_fr, numbers_en_fr; auto: the best that is reachable"""
    epochs: int = 30
    """passes over the training part"""
    batch_size: int = 128
    """sentence pairs of a micro-batch"""
    vocab_size: int = 4000
    """byte-pair tokens, of both languages together"""
    max_length: int = 60
    """tokens of the longest sentence to learn from"""
    cell: Literal["rnn", "lstm", "gru"] = "gru"
    """the recurrent cell of encoder and decoder"""
    embedding: int = 256
    """width of the embeddings"""
    hidden: int = 256
    """units of each layer, and of each direction of the encoder"""
    layers: int = 1
    """recurrent layers of the encoder and of the decoder"""
    dropout: float = 0.3
    """share of embeddings, values between layers and features that a training step leaves out"""
    input_feeding: bool = True
    """let the decoder's cell read where it looked a step before; Bahdanau's always does"""
    reverse_source: bool = False
    """read the source from its end (Sutskever et al. 2014)"""
    teacher_forcing: float = 1.0
    """share of target words that the decoder reads as they should be; the others as it would say them itself"""
    label_smoothing: float = 0.1
    """probability that the target spreads evenly over all tokens"""
    lr: float = 2e-3
    """learning rate at its peak"""
    weight_decay: float = 0.0
    """by how much lr times this shrinks matrices in every step"""
    schedule: Literal["constant", "cosine", "linear", "step", "inverse_sqrt"] = "cosine"
    """course of the learning rate, from my_llm/schedules.py"""
    warmup: float = 0.05
    """share of the steps over which the learning rate rises from 0"""
    clip: float = 1.0
    """largest gradient norm; 0: no limit"""
    accumulate: int = 1
    """micro-batches per optimiser step"""
    eval_every: int = 0
    """steps from one validation and save to the next; 0: an epoch"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **TrainingConfig.ranges, "epochs": (1, math.inf), "batch_size": (1, math.inf), "vocab_size": (260, 2**20),
        "max_length": (2, 10_000), "embedding": (1, math.inf), "hidden": (1, math.inf), "layers": (1, 100),
        "dropout": (0, 0.999), "teacher_forcing": (0, 1), "label_smoothing": (0, 0.999), "lr": (1e-12, 1e12),
        "weight_decay": (0, math.inf), "warmup": (0, 1), "clip": (0, math.inf), "accumulate": (1, math.inf),
        "eval_every": (0, math.inf),
    }  # fmt: skip


def run(config: TrainConfig) -> None:
    """Load, encode, train, keep the best."""
    import torch

    from my_llm.data.catalog import load_pairs
    from my_llm.device import first_process_first, rank, resolve_precision, set_up
    from my_llm.run import Run
    from my_llm.schedules import SCHEDULES
    from my_llm.training import train_steps
    from my_llm.translation.loss import TranslationLoss
    from stage3_attention_seq2seq.translator import KIND

    with Run.open("stage3_attention_seq2seq", config, publish=lambda config: "best_attention_model.pt") as run:
        config = run.config
        device = set_up(config.device, config.threads, config.seed)
        with first_process_first():
            corpus = load_pairs(config.dataset)
        translator, batches = prepare(config, corpus)
        model = translator.model.to(device)
        translator.precision = resolve_precision(config.precision, device)
        matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)
        per_epoch = max(batches.per_epoch // config.accumulate, 1)
        max_steps = config.max_steps or config.epochs * per_epoch
        parameters = sum(parameter.numel() for parameter in model.parameters())
        size = f"{len(batches.pairs):,} pairs to learn from, {translator.tokenizer.vocab_size:,} tokens"
        run.say(f"{corpus.source}: {size}" + (f"; {batches.left_out:,} are too long" if batches.left_out else ""))
        run.say(f"{config.attention_type}, {parameters:,} parameters")

        start = run.attach(
            model, optimizer, kind=KIND, max_steps=max_steps,
            data={"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source},
            settings=to_plain(config), reverse=config.reverse_source, **translator.parts(),
        )  # fmt: skip
        steps = train_steps(
            model, batches, TranslationLoss(config.label_smoothing, config.teacher_forcing), optimizer,
            max_steps=max_steps, start=start,
            schedule=SCHEDULES[config.schedule](max_steps, round(config.warmup * max_steps)),
            accumulate=config.accumulate, clip=config.clip or None, precision=translator.precision,
        )  # fmt: skip
        sentence = corpus.validation[0].source
        for step in steps:
            run.log(step)
            if run.due(step, every=config.eval_every or per_epoch):
                run.log_scores(step, translator.scores(corpus.validation), best="bleu")
                run.log_sample(step.index, f"{sentence}\n→ {translator.translate([sentence])[0].text}")
                run.save(step)
            run.stop_if_asked(step)
        run.finish({"parameters": parameters, "size": size, "examples": len(batches.pairs)})
        if rank() == 0:
            print(f"best model  {run.published}\nrun         {run.folder}")
            print("next        " + command_line(["python", "evaluate.py", "--model_path", run.published]))


def prepare(config: TrainConfig, corpus: "Translation") -> "tuple[Translator[Seq2Seq], PairBatches]":
    """A tokenizer of this corpus, a new model, and the batches to train it with."""
    from my_llm.device import rank, world
    from my_llm.translation.batches import PairBatches, train_tokenizer
    from my_llm.translation.translator import Translator
    from stage3_attention_seq2seq.data import READING
    from stage3_attention_seq2seq.models import Seq2Seq, Seq2SeqConfig

    tokenizer, encode = train_tokenizer(corpus.train, config.vocab_size), READING[config.reverse_source]
    batches = PairBatches(
        tokenizer, corpus.train, max_length=config.max_length, encode=encode,
        batch_size=config.batch_size, seed=config.seed, rank=rank(), world=world(),
    )  # fmt: skip
    shape = {name: getattr(config, name) for name in ("cell", "embedding", "hidden", "layers", "dropout")}
    model = Seq2Seq(Seq2SeqConfig(
        tokenizer.vocab_size, tokenizer.vocab_size, attention=config.attention_type, shared=True,
        input_feeding=config.input_feeding, **shape,
    ))  # fmt: skip
    return Translator(model, tokenizer, facts={}, encode=encode), batches


if __name__ == "__main__":
    main(TrainConfig, run)
