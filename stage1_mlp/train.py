"""Train the text classifier: `python train.py --dataset ag_news --epochs 20`.

Writes a run directory (see my_llm/run.py) and refreshes checkpoints/best_model.pt, which evaluate.py and predict.py
read. The best model is the one with the lowest loss on validation texts; the test texts are left to evaluate.py.
"""

import dataclasses
import math
from functools import partial
from typing import ClassVar, Literal

from my_llm.cli import TrainingConfig, command_line, main, to_plain


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Train stage 1's text classifier: an MLP on a bag of words and word pairs."""

    threads: int = 1
    """CPU threads: more help so small a network little, and hurt it on a busy machine; 0: one per core"""
    dataset: str = "auto"
    """corpus: ag_news, imdb, bbc_news, movie_reviews, python_docs (always there); auto: bbc_news, else python_docs"""
    split_seed: int = 0
    """which 80/20 split, for corpora that come without a test set of their own"""
    epochs: int = 20
    """passes over the training texts"""
    batch_size: int = 64
    """texts of a micro-batch"""
    lr: float = 0.005
    """learning rate at its peak"""
    optimizer: Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw"] = "adamw"
    """update rule, from models/optimizers.py"""
    schedule: Literal["constant", "cosine", "linear", "step", "inverse_sqrt"] = "linear"
    """course of the learning rate, from my_llm/schedules.py"""
    warmup: float = 0.0
    """share of the steps over which the learning rate rises from 0"""
    clip: float = 0.0
    """largest gradient norm; 0: no limit"""
    accumulate: int = 1
    """micro-batches per optimiser step"""
    hidden: tuple[int, ...] = (16,)
    """units of each hidden layer; the first is the width of the embeddings"""
    activation: Literal["relu", "sigmoid", "tanh", "gelu", "silu"] = "relu"
    """bend between layers, from models/activations.py"""
    dropout: float = 0.5
    """share of units that a training step leaves out"""
    label_smoothing: float = 0.1
    """share of the target's probability that is spread over all classes"""
    final: bool = False
    """after all choices are made: learn from the validation texts, too, and keep the last weights"""
    max_features: int = 30_000
    """how many words and word pairs are known, the most frequent ones first"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **TrainingConfig.ranges, "split_seed": (0, 2**31), "epochs": (1, math.inf), "batch_size": (1, math.inf),
        "lr": (1e-12, 1e12), "warmup": (0, 1), "clip": (0, math.inf), "accumulate": (1, math.inf),
        "dropout": (0, 0.999), "label_smoothing": (0, 1), "max_features": (1, math.inf),
    }  # fmt: skip


def run(config: TrainConfig) -> None:
    """Load, encode, train, keep the best."""
    from my_llm.data.batches import batches_per_epoch
    from my_llm.data.catalog import load
    from my_llm.device import first_process_first, rank, resolve_precision, set_up, world
    from my_llm.run import Run
    from my_llm.schedules import SCHEDULES
    from my_llm.training import train_steps
    from stage1_mlp.classify import KIND, classification_loss, encode, fit_features, logits_of, parts_of, scores
    from stage1_mlp.data import TextBatches
    from stage1_mlp.models import OPTIMIZERS, TextClassifier, TextClassifierConfig

    with Run.open("stage1_mlp", config, publish=lambda config: "best_model.pt") as run:
        config = run.config
        device = set_up(config.device, config.threads, config.seed)
        with first_process_first():
            corpus = load(config.dataset, split_seed=config.split_seed)
        examples = corpus.train + (corpus.validation if config.final else [])
        features = fit_features(examples, config.max_features)
        bags, labels = encode(features, examples)
        order = {"batch_size": config.batch_size, "seed": config.seed, "rank": rank(), "world": world()}
        batches = TextBatches(bags, labels, **order)
        validation, truth = encode(features, corpus.validation)
        shape = (len(features), len(corpus.labels), config.hidden, config.activation, config.dropout)
        model = TextClassifier(TextClassifierConfig(*shape)).to(device)
        optimizer = OPTIMIZERS[config.optimizer](model.parameters(), lr=config.lr)
        per_epoch = max(batches_per_epoch(len(examples), config.batch_size) // config.accumulate, 1)
        max_steps = config.max_steps or config.epochs * per_epoch
        parameters = sum(parameter.numel() for parameter in model.parameters())
        run.say(f"{corpus.source}: {len(examples):,} texts to learn from")
        run.say(f"{len(features):,} n-grams, {parameters:,} parameters")

        loss_fn = partial(classification_loss, label_smoothing=config.label_smoothing)
        start = run.attach(
            model, optimizer, kind=KIND, max_steps=max_steps,
            data={"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source},
            settings=to_plain(config), **parts_of(model, features, corpus.labels),
        )  # fmt: skip
        steps = train_steps(
            model, batches, loss_fn, optimizer, max_steps=max_steps, start=start,
            schedule=SCHEDULES[config.schedule](max_steps, round(config.warmup * max_steps)),
            accumulate=config.accumulate, clip=config.clip or None,
            precision=resolve_precision(config.precision, device),
        )  # fmt: skip
        for step in steps:
            run.log(step)
            if run.due(step, every=per_epoch):
                seen = scores(logits_of(model, validation), truth, "seen" if config.final else "validation")
                run.log_scores(step, seen, best=None if config.final else "validation_loss", lower_is_better=True)
                run.save(step)
            run.stop_if_asked(step)
        run.finish({"parameters": parameters, "examples": len(examples)})
    if rank() == 0:
        print(f"best model  {run.published}\nrun         {run.folder}")
        print("next        " + command_line(["python", "evaluate.py", "--model_path", run.published]))


if __name__ == "__main__":
    main(TrainConfig, run)
