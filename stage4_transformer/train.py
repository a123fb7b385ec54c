"""Train stage 4's Transformers: `python train.py --task translate`, or classify, or language_model.

Three tasks share this script, because what differs between them is one function each: translating sentences, sorting
texts, and writing. Writes a run directory (see my_llm/run.py) and refreshes checkpoints/best_transformer_model.pt or
the like, which evaluate.py, translate.py and generate.py read.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from my_llm.cli import TrainingConfig, command_line, main, to_plain

if TYPE_CHECKING:
    from torch import nn

DEFAULTS = {  # what None stands for
    "translate": {
        "epochs": 20, "batch_size": 128, "vocab_size": 4000, "model": 256, "heads": 4, "layers": 3, "hidden": 512,
        "dropout": 0.2, "lr": 2e-3, "average": 5,
    },
    "classify": {
        "epochs": 5, "batch_size": 32, "model": 64, "heads": 4, "layers": 2, "hidden": 128, "dropout": 0.3,
        "lr": 2e-3, "average": 1,
    },
    "language_model": {
        "epochs": 10, "batch_size": 32, "model": 128, "heads": 4, "layers": 4, "hidden": 512, "dropout": 0.1,
        "lr": 2e-3, "average": 1,
    },
}  # fmt: skip
VOCABULARY = {"word": 10_000, "bpe": 2_000}  # vocab_size of a language model
UNUSED = {  # settings that a training does not have; giving one is a mistake that would go unnoticed
    "translate": ("vocab_type", "length"),
    "classify": ("vocab_type", "vocab_size", "length", "max_length", "max_tokens", "label_smoothing"),
    "language_model": ("max_length", "max_tokens", "label_smoothing"),
    "char": ("vocab_size",),
}


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Train a Transformer: to translate, to sort texts, or to write."""

    task: Literal["translate", "classify", "language_model"] = "translate"
    """what to learn: a sentence in another language, the class of a text, or the next token of a text"""
    model_type: Literal["transformer"] = "transformer"
    """the model"""
    dataset: str = "auto"
    """corpus: multi30k_en_fr, tatoeba_en_fr, bible_en_fr, numbers_en_fr to translate; those of stage 1 to sort;
    those of stage 2, a .txt file of yours to write; auto: the best that is reachable"""
    epochs: int | None = None
    """passes over the training part; None, here and below: what suits the task"""
    batch_size: int | None = None
    """sentence pairs, texts or windows of a micro-batch"""
    max_tokens: int = 0
    """tokens of both languages of a micro-batch, in place of --batch_size; 0: count sentences"""
    max_length: int = 60
    """tokens of the longest sentence to learn to translate from"""
    length: int = 128
    """tokens of a language model's window: so far back it can look"""
    vocab_type: Literal["char", "word", "bpe"] = "char"
    """units of a language model; a translator reads byte pairs, a classifier words"""
    vocab_size: int | None = None
    """byte pairs (of both languages together), or the most frequent words of a language model"""
    model: int | None = None
    """width D of a token all the way through"""
    heads: int | None = None
    """looks at once, which share the width"""
    layers: int | None = None
    """layers of the encoder, and as many of the decoder"""
    hidden: int | None = None
    """width of the feed-forward networks"""
    dropout: float | None = None
    """share of the embeddings and of what a sublayer says that a training step leaves out"""
    positions: Literal["none", "sinusoidal", "learned", "rotary", "alibi"] = "rotary"
    """how a token knows where it stands"""
    order: Literal["pre", "post"] = "pre"
    """where the norms stand: before each sublayer, or after it (Vaswani et al. 2017)"""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm or RMSNorm"""
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """of the feed-forward networks"""
    label_smoothing: float = 0.1
    """probability that a translator's target spreads evenly over all tokens"""
    average: int | None = None
    """validate and keep the mean of the weights at the last so many validations; 1: the weights themselves"""
    lr: float | None = None
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
    """steps from one validation, sample and save to the next; 0: an epoch"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **TrainingConfig.ranges, "epochs": (1, math.inf), "batch_size": (1, math.inf), "max_tokens": (0, math.inf),
        "max_length": (2, 10_000), "length": (1, 100_000), "vocab_size": (5, 2**20), "model": (1, math.inf),
        "heads": (1, math.inf), "layers": (1, 100), "hidden": (1, math.inf), "dropout": (0, 0.999),
        "label_smoothing": (0, 0.999), "average": (1, 100), "lr": (1e-12, 1e12), "weight_decay": (0, math.inf),
        "warmup": (0, 1), "clip": (0, math.inf), "accumulate": (1, math.inf), "eval_every": (0, math.inf),
    }  # fmt: skip


def published_name(config: TrainConfig) -> str:
    """The file below checkpoints/ that holds the best model of the newest run of this kind."""
    last = {"translate": "model", "classify": "classifier", "language_model": config.vocab_type}[config.task]
    return f"best_{config.model_type}_{last}.pt"


def with_defaults(config: TrainConfig) -> TrainConfig:
    """Put the task's numbers where nothing was given.

    Raises:
        ConfigError: a setting that the task has not.
    """
    from my_llm.errors import ConfigError

    writes = config.task == "language_model"
    for kind in (config.task, *([config.vocab_type] if writes else [])):
        for name in UNUSED.get(kind, ()):
            if (value := getattr(config, name)) != getattr(TrainConfig, name):
                raise ConfigError(f"--{name} means nothing to {kind}", got=value, next_step="leave it out")
    usual = dict(DEFAULTS[config.task])
    if writes:
        usual["vocab_size"] = VOCABULARY.get(config.vocab_type)
    if config.max_tokens:
        if config.batch_size is not None:
            raise ConfigError(
                "--max_tokens counts tokens, --batch_size sentences",
                got=f"--max_tokens {config.max_tokens} --batch_size {config.batch_size}",
                next_step="leave one of them out",
            )
        del usual["batch_size"]
    given = {name: value for name, value in vars(config).items() if value is not None}
    return dataclasses.replace(config, **{**usual, **given})


def parameter_groups(model: "nn.Module", weight_decay: float) -> list[dict[str, Any]]:
    """Matrices shrink; biases and the weights of norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def run(config: TrainConfig) -> None:
    """Load, encode, train, keep the best; what depends on the task is in `prepared`."""
    config = config if config.resume else with_defaults(config)
    import torch

    from my_llm.averaging import MeanOfLast
    from my_llm.device import autocast, first_process_first, rank, resolve_precision, set_up
    from my_llm.run import Run
    from my_llm.schedules import SCHEDULES
    from my_llm.training import train_steps
    from stage4_transformer.tasks import TASKS

    with Run.open("stage4_transformer", config, publish=published_name) as run:
        config = run.config
        assert config.lr is not None and config.epochs is not None and config.average is not None  # with_defaults
        device = set_up(config.device, config.threads, config.seed)
        precision = resolve_precision(config.precision, device)
        task = TASKS[config.task]
        with first_process_first():
            corpus = task.load(config.dataset)
        prepared = task.prepare(corpus, config)
        model, mean = prepared.model.to(device), MeanOfLast(config.average)
        groups = parameter_groups(model, config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)
        per_epoch = max(prepared.per_epoch // config.accumulate, 1)
        max_steps = config.max_steps or config.epochs * per_epoch
        parameters = sum(parameter.numel() for parameter in model.parameters())
        run.say(f"{corpus.source}: {prepared.size}\n{config.model_type}, {parameters:,} parameters")

        start = run.attach(
            model, optimizer, kind=task.kind, max_steps=max_steps,
            data={"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source},
            carried=mean, use=mean.weights, settings=to_plain(config), **prepared.parts,
        )  # fmt: skip
        steps = train_steps(
            model, prepared.batches, prepared.loss_fn, optimizer, max_steps=max_steps, start=start,
            schedule=SCHEDULES[config.schedule](max_steps, round(config.warmup * max_steps)),
            accumulate=config.accumulate, clip=config.clip or None, precision=precision,
        )  # fmt: skip
        if start == 0 and prepared.sample:
            run.log_sample(-1, prepared.sample())
        for step in steps:
            run.log(step)
            if run.due(step, every=config.eval_every or per_epoch):
                mean.update(model)
                with mean.in_place(model), autocast(precision, device):
                    lower = task.best == "validation_loss"
                    run.log_scores(step, prepared.validate(), best=task.best, lower_is_better=lower)
                    if prepared.sample:
                        run.log_sample(step.index, prepared.sample())
                run.save(step)
                if rank() == 0:
                    task.publish(run.published, prepared.parts)  # now, as a stopped run's best model is published, too
            run.stop_if_asked(step)
        run.finish({"parameters": parameters, "size": prepared.size, "examples": prepared.examples})
        if rank() == 0:
            task.publish(run.published, prepared.parts)  # a run that was killed may not have come to it
            print(f"best model  {run.published}\nrun         {run.folder}")
            print("next        " + command_line(["python", "evaluate.py", "--model_path", run.published]))


if __name__ == "__main__":
    main(TrainConfig, run)
