"""Train stage 2's models: `python train.py --model_type lstm --vocab_type char --epochs 15`.

Three tasks share this script, because what differs between them is one function each: writing text (language_model),
sorting texts (classify) and naming things in sentences (tag). Writes a run directory (see my_llm/run.py) and refreshes
checkpoints/best_lstm_char.pt or the like, which evaluate.py and generate.py read. The n-gram model only counts: it has
no steps, and is done in seconds.
"""

import dataclasses
import math
from typing import ClassVar, Literal

from my_llm.cli import TrainingConfig, command_line, main, to_plain

DEFAULTS = {  # what None stands for
    "language_model": {
        "epochs": 15, "batch_size": 32, "embedding": 64, "hidden": 512, "layers": 1, "dropout": 0.1, "lr": 4e-3,
        "warmup": 0.02,
    },
    "classify": {
        "epochs": 6, "batch_size": 32, "embedding": 100, "hidden": 64, "layers": 1, "dropout": 0.5, "lr": 3e-3,
        "warmup": 0.0,
    },
    "tag": {
        "epochs": 12, "batch_size": 32, "embedding": 100, "hidden": 128, "layers": 1, "dropout": 0.5, "lr": 3e-3,
        "warmup": 0.0,
    },
}  # fmt: skip

WAVENET = {"hidden": 128, "layers": 2}  # 128 channels, two blocks of six layers
OF_STEPS = ("epochs", "batch_size", "length", "embedding", "hidden", "layers", "dropout", "members", "lr",
            "weight_decay", "schedule", "warmup", "clip", "accumulate", "eval_every")  # fmt: skip
UNUSED = {  # settings that a training does not have; giving one is a mistake that would go unnoticed
    "ngram": OF_STEPS, "wavenet": ("embedding", "members", "order"),
    "classify": ("vocab_type", "length", "max_words", "members", "order"),
    "tag": ("vocab_type", "length", "max_words", "members", "order"),
    "rnn": ("order",), "lstm": ("order",), "gru": ("order",), "char": ("max_words",),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Train a recurrent network: to write, to sort texts, or to tag words."""

    task: Literal["language_model", "classify", "tag"] = "language_model"
    """what to learn: the next token of a text, the class of a text, or a tag for every word"""
    model_type: Literal["rnn", "lstm", "gru", "wavenet", "ngram"] = "lstm"
    """the cell; wavenet and ngram, which have none, are language models only"""
    vocab_type: Literal["char", "word"] = "char"
    """units of a language model; the other tasks read words"""
    dataset: str = "auto"
    """corpus: tiny_shakespeare, shakespeare, three_kingdoms, python_library, a .txt file of yours to write; those of
    stage 1 to sort; conll2002, conll2002_nl, python_names to tag; auto: the best that is reachable"""
    epochs: int | None = None
    """passes over the training part; None, here and below: what suits the task"""
    batch_size: int | None = None
    """streams, texts or sentences of a micro-batch"""
    length: int = 64
    """tokens of a stream per step: so far back reaches a gradient"""
    max_words: int = 10_000
    """of a vocabulary of words, the most frequent; the others are read, predicted and counted as <unk>"""
    embedding: int | None = None
    """width of the embedding"""
    hidden: int | None = None
    """units of each layer and direction; channels of a wavenet"""
    layers: int | None = None
    """recurrent layers; blocks of a wavenet"""
    dropout: float | None = None
    """share of the values before, between and after the layers that a training step leaves out"""
    tied: bool = False
    """let the embedding be the output weights as well"""
    members: int = 1
    """language models that learn side by side and are asked together: an ensemble"""
    order: int = 6
    """tokens of an n-gram, the predicted one included"""
    lr: float | None = None
    """learning rate at its peak"""
    weight_decay: float = 0.0
    """by how much lr times this shrinks matrices in every step"""
    schedule: Literal["constant", "cosine", "linear", "step", "inverse_sqrt"] = "cosine"
    """course of the learning rate, from my_llm/schedules.py"""
    warmup: float | None = None
    """share of the steps over which the learning rate rises from 0"""
    clip: float = 1.0
    """largest gradient norm; 0: no limit"""
    accumulate: int = 1
    """micro-batches per optimiser step"""
    eval_every: int = 0
    """steps from one validation, sample and save to the next; 0: an epoch"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **TrainingConfig.ranges, "epochs": (1, math.inf), "batch_size": (1, math.inf), "length": (1, math.inf),
        "max_words": (5, 2**20), "embedding": (1, math.inf), "hidden": (1, math.inf), "layers": (1, 100),
        "dropout": (0, 0.999), "members": (1, 100), "order": (1, 20), "lr": (1e-12, 1e12),
        "weight_decay": (0, math.inf), "warmup": (0, 1), "clip": (0, math.inf), "accumulate": (1, math.inf),
        "eval_every": (0, math.inf),
    }  # fmt: skip


def published_name(config: TrainConfig) -> str:
    """The file below checkpoints/ that holds the best model of the newest run of this kind."""
    last = {"language_model": config.vocab_type, "classify": "classifier", "tag": "tagger"}[config.task]
    return f"best_{config.model_type}_{last}.pt"


def with_defaults(config: TrainConfig) -> TrainConfig:
    """Put the task's numbers where nothing was given.

    Raises:
        ConfigError: a model for language only, asked to do something else; a setting that the model or task has not.
    """
    from my_llm.errors import ConfigError

    if config.task != "language_model" and config.model_type in ("wavenet", "ngram"):
        raise ConfigError(
            f"--model_type {config.model_type} is a language model", got=config.task, valid="rnn, lstm or gru"
        )
    if config.tied and (config.task != "language_model" or config.model_type in ("wavenet", "ngram")):
        raise ConfigError("--tied is for recurrent language models", got=f"{config.task}, {config.model_type}")
    unused = {}
    for kind in (config.model_type, config.task, config.vocab_type):
        for name in UNUSED.get(kind, ()):
            unused[name] = getattr(TrainConfig, name)
            if (value := getattr(config, name)) != unused[name]:
                raise ConfigError(f"--{name} means nothing to {kind}", got=value, next_step="leave it out")
    given = {name: value for name, value in vars(config).items() if value is not None}
    special = WAVENET if config.model_type == "wavenet" else {}
    return dataclasses.replace(config, **{**DEFAULTS[config.task], **special, **given, **unused})


def run(config: TrainConfig) -> None:
    """Load, encode, train, keep the best."""
    config = config if config.resume else with_defaults(config)
    if config.model_type == "ngram" and not config.resume:
        count(config)
    else:
        train(config)


def train(config: TrainConfig) -> None:
    """Take the steps; what depends on the task is in `prepared`."""
    import torch

    from my_llm.device import first_process_first, rank, resolve_precision, set_up
    from my_llm.run import Run
    from my_llm.schedules import SCHEDULES
    from my_llm.training import train_steps
    from stage2_rnn_lstm.tasks import TASKS

    with Run.open("stage2_rnn_lstm", config, publish=published_name) as run:
        config = run.config
        assert config.lr is not None and config.warmup is not None and config.epochs is not None  # with_defaults
        device = set_up(config.device, config.threads, config.seed)
        task = TASKS[config.task]
        with first_process_first():
            corpus = task.load(config.dataset)
        prepared = task.prepare(corpus, config)
        model = prepared.model.to(device)
        matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=True)
        per_epoch = max(prepared.per_epoch // config.accumulate, 1)
        max_steps = config.max_steps or config.epochs * per_epoch
        parameters = sum(parameter.numel() for parameter in model.parameters())
        run.say(f"{corpus.source}: {prepared.size}")
        members = f"{config.members} × " if config.members > 1 else ""
        run.say(f"{members}{config.model_type}, {parameters:,} parameters")

        start = run.attach(
            model, optimizer, kind=task.kind, max_steps=max_steps,
            data={"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source},
            carried=prepared.carried, settings=to_plain(config), **prepared.parts,
        )  # fmt: skip
        steps = train_steps(
            model, prepared.batches, prepared.loss_fn, optimizer, max_steps=max_steps, start=start,
            schedule=SCHEDULES[config.schedule](max_steps, round(config.warmup * max_steps)),
            accumulate=config.accumulate, clip=config.clip or None,
            precision=resolve_precision(config.precision, device),
        )  # fmt: skip
        if start == 0 and prepared.sample:
            run.log_sample(-1, prepared.sample())
        for step in steps:
            run.log(step)
            if run.due(step, every=config.eval_every or per_epoch):
                run.log_scores(
                    step, prepared.validate(), best=task.best, lower_is_better=task.best == "validation_loss"
                )
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


def count(config: TrainConfig) -> None:
    """Count n-grams, and say what they are worth on the validation part."""
    from my_llm import checkpoint
    from my_llm.data.catalog import load_text
    from my_llm.language.writer import publish_vocabulary
    from my_llm.run import home
    from stage2_rnn_lstm.language import count_ngrams

    corpus = load_text(config.dataset)
    print(f"{corpus.source}: {len(corpus.train):,} characters to learn from")
    content, scores = count_ngrams(corpus, config)
    path = home() / "stage2_rnn_lstm" / "checkpoints" / published_name(config)
    checkpoint.save(path, {**content, "settings": to_plain(config)})
    publish_vocabulary(path, content)
    print("  ".join(f"{name} {value:.4g}" for name, value in scores.items()))
    print(f"model       {path}")
    print("next        " + command_line(["python", "evaluate.py", "--model_path", path]))


if __name__ == "__main__":
    main(TrainConfig, run)
