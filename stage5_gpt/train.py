"""Train a GPT: `python train.py`, or `--preset speedrun`, or many at once with torchrun.

Before it starts it says what the run will cost: operations, memory, time on this machine. Writes a run directory (see
my_llm/run.py) and refreshes checkpoints/best_gpt_char.pt or the like, which evaluate.py, generate.py and finetune.py
read.
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from my_llm.cli import TrainingConfig, command_line, main, to_plain, typed_flags

if TYPE_CHECKING:
    import torch

    from my_llm.schedules import Schedule
    from stage5_gpt.models import GPT

SHAPE = ("layers", "heads", "groups", "model", "hidden", "context")
PARTS = (
    "dropout",
    "bias",
    "positions",
    "norm",
    "activation",
    "query_key_norm",
    "tied",
    "quiet",
    "ngrams",
    "ngram_rows",
)
DEFAULT_SIZE = "3m"


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Train a GPT to say the next token."""

    dataset: str = "auto"
    """corpus: tiny_shakespeare, shakespeare, three_kingdoms, python_library, a file of yours that ends in .txt, or in
    .tokens (write_tokens.py); auto: the best that is reachable"""
    model_type: Literal["gpt"] = "gpt"
    """the model"""
    vocab_type: Literal["char", "word", "bpe", "gpt2", "wordpiece"] = "char"
    """units: characters, words, or pieces of words that a tokenizer learns from the training part"""
    vocab_size: int = 2000
    """how many of them; characters: all"""
    size: str = DEFAULT_SIZE
    """layers, heads, width and context at once: 0.1m, 0.8m, 3m, 11m, 25m, gpt2, …; the flags below go before"""
    layers: int | None = None
    """blocks, one upon the other"""
    heads: int | None = None
    """looks at once, which share the width"""
    groups: int | None = None
    """heads of keys and values, each shared by several of the queries; 0: as many"""
    model: int | None = None
    """width D of a token all the way through"""
    hidden: int | None = None
    """width of the feed-forward networks; 0: four times the model's"""
    context: int | None = None
    """tokens of a window: so far back it can look"""
    init_from: Path | None = None
    """begin with this model: a checkpoint of this stage, or a folder with GPT-2's files; it settles size and units"""
    dropout: float = 0.0
    """share of the embeddings and of what a block adds that a training step leaves out"""
    bias: bool = True
    """whether products and LayerNorm have one"""
    positions: Literal["none", "sinusoidal", "learned", "rotary", "alibi"] = "rotary"
    """how a token knows where it stands; GPT-2: learned"""
    norm: Literal["layer", "rms", "rms_plain"] = "layer"
    """LayerNorm, RMSNorm, or RMSNorm with nothing to learn"""
    activation: Literal["gelu", "gelu_tanh", "relu2", "swiglu"] = "gelu"
    """of the feed-forward networks; GPT-2: gelu_tanh"""
    query_key_norm: bool = False
    """set queries and keys to one length"""
    tied: bool = True
    """one matrix is embedding and head"""
    quiet: bool = False
    """what a block adds begins as zero"""
    ngrams: int = 1
    """tokens of the longest runs that have embeddings of their own; 1: none but single tokens"""
    ngram_rows: int = 8192
    """rows of the table for each length of a run"""
    epochs: int = 10
    """passes over the training part"""
    batch_size: int = 32
    """windows of a micro-batch"""
    accumulate: int = 1
    """micro-batches per optimiser step"""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """of the blocks' matrices; embeddings, head and vectors always take AdamW"""
    lr: float = 1e-3
    """learning rate of AdamW at its peak"""
    matrix_lr: float = 0.02
    """learning rate of Muon at its peak"""
    table_lr: float = 0.1
    """beside Muon, learning rate of the embeddings of n-grams at its peak"""
    beta2: float = 0.99
    """how slowly AdamW forgets the size of a gradient"""
    weight_decay: float = 0.1
    """by how much lr times this shrinks matrices in every step"""
    schedule: Literal["constant", "cosine", "linear", "step", "inverse_sqrt"] = "cosine"
    """course of the learning rate, from my_llm/schedules.py"""
    warmup: float = 0.05
    """share of the steps over which the learning rate rises from 0"""
    final: float = 0.1
    """share of the peak below which the learning rate does not fall"""
    clip: float = 1.0
    """largest gradient norm; 0: no limit"""
    checkpointing: bool = False
    """compute every block a second time instead of keeping it: less memory, a third more time"""
    compile: bool = False
    """write C++ for the blocks first (torch.compile): half a minute, which long trainings win back"""
    mark: float = 0.0
    """validation loss to reach: in the end it is said whether that was, and after how long; 0: none"""
    eval_every: int = 0
    """steps from one validation, sample and save to the next; 0: an epoch"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **TrainingConfig.ranges, "vocab_size": (5, 2**20), "layers": (1, 1000), "heads": (1, math.inf),
        "groups": (0, math.inf), "model": (1, math.inf), "hidden": (0, math.inf), "context": (1, 1_000_000),
        "dropout": (0, 0.999), "ngrams": (1, 8), "ngram_rows": (1, 2**24),
        "epochs": (1, math.inf), "batch_size": (1, math.inf), "accumulate": (1, math.inf),
        "lr": (1e-12, 1e12), "matrix_lr": (1e-12, 1e12), "table_lr": (1e-12, 1e12),
        "beta2": (0, 0.999999), "weight_decay": (0, math.inf),
        "warmup": (0, 1), "final": (0, 1), "clip": (0, math.inf), "mark": (0, math.inf), "eval_every": (0, math.inf),
    }  # fmt: skip


def published_name(config: TrainConfig) -> str:
    """The file below checkpoints/ that holds the best model of the newest run of this kind."""
    return f"best_{config.model_type}_{config.vocab_type}.pt"


def shape_of(config: TrainConfig) -> dict[str, Any]:
    """Fields of GPTConfig besides the vocabulary: the size's, and what was given."""
    from my_llm.errors import choose
    from stage5_gpt.models import SIZES

    usual = {name: value for name, value in choose(config.size, SIZES, "size").items() if name in SHAPE}
    given = {name: getattr(config, name) for name in SHAPE if getattr(config, name) is not None}
    return {**usual, **given, **{name: getattr(config, name) for name in PARTS}}


def with_start(config: TrainConfig) -> TrainConfig:
    """Put sizes, parts and units of the model that --init_from names where nothing was given.

    Raises:
        ConfigError: a flag that says otherwise.
    """
    from my_llm.errors import ConfigError
    from stage5_gpt.starting import read_start

    if config.init_from is None:
        return config
    model, tokenizer = read_start(config.init_from)
    own = {name: getattr(model.config, name) for name in (*SHAPE, *PARTS) if name not in ("dropout", "quiet")}
    own |= {"vocab_type": tokenizer.to_state()["kind"], "vocab_size": tokenizer.vocab_size, "size": DEFAULT_SIZE}
    typed = typed_flags()
    for name, value in own.items():
        same = (value,) if name in typed else (value, getattr(TrainConfig, name))
        if (given := getattr(config, name)) not in same:
            raise ConfigError(f"--{name} is settled by --init_from", got=given, next_step="leave it out")
    return dataclasses.replace(config, **own)


def optimizer_of(model: "GPT", config: TrainConfig) -> "torch.optim.Optimizer":
    """AdamW, or Muon for the matrices of the blocks; vectors never shrink.

    Raises:
        ConfigError: a rate of Muon's for AdamW.
    """
    import torch

    from my_llm.errors import ConfigError
    from stage5_gpt.models import Muon

    inner = [weight for weight in model.blocks.parameters() if weight.ndim > 1]
    inside = {id(weight) for weight in inner}
    others = [weight for weight in model.parameters() if id(weight) not in inside]
    tables = {"params": [weight for weight in others if weight.ndim > 1]}
    vectors = {"params": [weight for weight in others if weight.ndim < 2], "weight_decay": 0.0}
    betas, decay = (0.9, config.beta2), config.weight_decay
    if config.optimizer == "muon":
        matrices = {"params": inner, "orthogonal": True, "lr": config.matrix_lr}
        runs = {"params": [*model.runs.parameters()], "rows": True, "lr": config.table_lr, "weight_decay": 0.0}
        tables["params"] = [weight for weight in tables["params"] if not any(weight is run for run in runs["params"])]
        groups = [group for group in (tables, vectors, matrices, runs) if group["params"]]
        return Muon(groups, lr=config.lr, betas=betas, weight_decay=decay)
    for name in ("matrix_lr", "table_lr"):
        if (value := getattr(config, name)) != getattr(TrainConfig, name):
            raise ConfigError(f"--{name} belongs to Muon", got=value, next_step="--optimizer muon, or leave it out")
    return torch.optim.AdamW(
        [{"params": [*inner, *tables["params"]]}, vectors], lr=config.lr, betas=betas, weight_decay=decay, fused=True
    )


def course(config: TrainConfig, max_steps: int) -> "Schedule":
    """Of the learning rates."""
    from my_llm.schedules import SCHEDULES, not_below

    warmup = round(config.warmup * max_steps)
    return not_below(SCHEDULES[config.schedule](max_steps, warmup), config.final, warmup)


def run(config: TrainConfig) -> None:
    """Load, encode, train, keep the best."""
    config = config if config.resume else with_start(config)
    from my_llm.compiling import compiled
    from my_llm.device import autocast, first_process_first, rank, resolve_precision, set_up
    from my_llm.language.writer import publish_vocabulary
    from my_llm.run import Run
    from my_llm.tasks import order_of
    from my_llm.training import train_steps
    from stage5_gpt.language import KIND, prepare
    from stage5_gpt.large_text import load_text
    from stage5_gpt.planning import estimate
    from stage5_gpt.starting import read_start

    with Run.open("stage5_gpt", config, publish=published_name) as run:
        config = run.config
        device = set_up(config.device, config.threads, config.seed)
        precision = resolve_precision(config.precision, device)
        with first_process_first():
            corpus = load_text(config.dataset)
        prepared = prepare(
            corpus, vocab_type=config.vocab_type, vocab_size=config.vocab_size, shape=shape_of(config),
            order=order_of(config), start=read_start(config.init_from) if config.init_from else None,
        )  # fmt: skip
        model = cast("GPT", prepared.model.to(device))
        model.checkpointing = config.checkpointing
        if config.compile:  # random masks cannot be: with them each block by itself, all in the form of the first
            prepared = compiled(prepared, model.blocks if config.dropout else [model.blocks], device)
        optimizer = optimizer_of(model, config)
        max_steps = config.max_steps or config.epochs * max(prepared.per_epoch // config.accumulate, 1)
        plan = estimate(model, max_steps, config.batch_size, config.accumulate, precision)
        run.say(f"{corpus.source}: {prepared.size}\n{plan.told()}")

        start = run.attach(
            model, optimizer, kind=KIND, max_steps=max_steps,
            data={"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source},
            settings=to_plain(config), **prepared.parts,
        )  # fmt: skip
        steps = train_steps(
            model, prepared.batches, prepared.loss_fn, optimizer, max_steps=max_steps, start=start,
            schedule=course(config, max_steps),
            accumulate=config.accumulate, clip=config.clip or None, precision=precision,
        )  # fmt: skip
        if start == 0 and prepared.sample:
            run.log_sample(-1, prepared.sample())
        for step in steps:
            run.log(step)
            if run.due(step, every=config.eval_every or max(prepared.per_epoch // config.accumulate, 1)):
                with autocast(precision, device):
                    run.log_scores(step, prepared.validate(), best="validation_loss", lower_is_better=True)
                if prepared.sample:
                    run.log_sample(step.index, prepared.sample())
                run.save(step)
                if rank() == 0:
                    publish_vocabulary(run.published, prepared.parts)
            run.stop_if_asked(step)
        run.finish({**plan.facts(), "size": prepared.size})
        if rank() == 0:
            publish_vocabulary(run.published, prepared.parts)  # a run that was killed may not have come to it
            print(farewell(run.folder, run.published, config.mark, plan.tokens_per_step))


def farewell(folder: Path, published: Path, mark: float, tokens_per_step: int) -> str:
    """Whether the mark was reached, where everything is, and what to do next."""
    from stage5_gpt.planning import reached

    lines = [f"mark        {reached(folder, mark, tokens_per_step)}"] if mark else []
    lines += [f"best model  {published}", f"run         {folder}"]
    return "\n".join([*lines, "next        " + command_line(["python", "generate.py", "--checkpoint", published])])


if __name__ == "__main__":
    main(TrainConfig, run)
