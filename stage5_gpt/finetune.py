"""Tune a GPT that can already write: to sort texts, to write another text, or to answer prompts.

    python finetune.py --task classify --dataset bbc_news              what it knows helps to sort
    python finetune.py --task classify --dataset bbc_news --scratch    the same without what it knows
    python finetune.py --task classify --dataset bbc_news --freeze 4   only the head (and blocks above 4) learns
    python finetune.py --task questions --scratch --vocab_size 400     to answer questions on little stories
    python finetune.py --task several --scratch --vocab_size 3000      that, headlines, keywords and French, in one

It begins with `--init_from`, of which shape and vocabulary come, too. Writes a run directory (see my_llm/run.py) and
refreshes checkpoints/best_gpt_classifier.pt, best_gpt_answers.pt or best_gpt_tuned.pt, which evaluate.py reads.
"""

import dataclasses
import math
from pathlib import Path
from typing import ClassVar, Literal

from my_llm.cli import TrainingConfig, command_line, main, to_plain


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(TrainingConfig):
    """Tune a GPT: to sort texts, to write another text, or to answer prompts."""

    task: Literal["classify", "language_model", "questions", "summaries", "keywords", "translate", "several"] = (
        "classify"
    )
    """what to learn: the class of a text; the next token of another text; answers to questions on little stories;
    headlines or keywords of news; French for English; or all these answers at once"""
    model_type: Literal["gpt"] = "gpt"
    """the model"""
    init_from: Path = Path("checkpoints/best_gpt_char.pt")
    """language model to begin with: a checkpoint of this stage, or a folder with GPT-2's files"""
    scratch: bool = False
    """take its shape and vocabulary alone, and new weights: to see what beginning with it is worth"""
    vocab_size: int = 0
    """with --scratch and a task of answers: take its shape alone, longer if need be, and so many byte pairs of
    the examples"""
    freeze: int = 0
    """so many of the lowest blocks stay as they are, and all below them; all blocks: only the head learns"""
    dataset: str = "auto"
    """corpus: those of stage 1 to sort and for headlines, of stage 2 or a .txt file of yours to write, of stage 3 to
    translate; auto: the best that is reachable; questions, or several tasks, have one of their own"""
    epochs: int = 3
    """passes over the training part"""
    batch_size: int = 16
    """texts or windows of a micro-batch"""
    accumulate: int = 1
    """micro-batches per optimiser step"""
    dropout: float = 0.1
    """share of the embeddings and of what a block adds that a training step leaves out"""
    lr: float = 3e-4
    """learning rate at its peak: lower than from scratch, so that what it knows is not lost"""
    weight_decay: float = 0.01
    """by how much lr times this shrinks matrices in every step"""
    schedule: Literal["constant", "cosine", "linear", "step", "inverse_sqrt"] = "linear"
    """course of the learning rate, from my_llm/schedules.py"""
    warmup: float = 0.1
    """share of the steps over which the learning rate rises from 0"""
    clip: float = 1.0
    """largest gradient norm; 0: no limit"""
    eval_every: int = 0
    """steps from one validation and save to the next; 0: an epoch"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **TrainingConfig.ranges, "freeze": (0, 1000), "vocab_size": (0, 100_000), "epochs": (1, math.inf),
        "batch_size": (1, math.inf), "accumulate": (1, math.inf), "dropout": (0, 0.999), "lr": (1e-12, 1e12),
        "weight_decay": (0, math.inf), "warmup": (0, 1), "clip": (0, math.inf), "eval_every": (0, math.inf),
    }  # fmt: skip


NAMES = {"classify": "classifier", "language_model": "tuned"}  # all others answer


def published_name(config: FinetuneConfig) -> str:
    """The file below checkpoints/ that holds the best model of the newest run of this kind."""
    return f"best_{config.model_type}_{NAMES.get(config.task, 'answers')}.pt"


def run(config: FinetuneConfig) -> None:
    """Load, encode, tune, keep the best; what depends on the task is in `prepared`."""
    import torch

    from my_llm.device import autocast, first_process_first, rank, resolve_precision, set_up
    from my_llm.run import Run
    from my_llm.schedules import SCHEDULES
    from my_llm.training import train_steps
    from stage5_gpt.tasks import TASKS

    with Run.open("stage5_gpt", config, publish=published_name) as run:
        config = run.config
        device = set_up(config.device, config.threads, config.seed)
        precision = resolve_precision(config.precision, device)
        task = TASKS[config.task]
        with first_process_first():
            corpus = task.load(config.dataset)
        prepared = task.prepare(corpus, config)
        model = prepared.model.to(device)
        learning = [weight for weight in model.parameters() if weight.requires_grad]
        groups = [
            {"params": [weight for weight in learning if weight.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [weight for weight in learning if weight.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
        per_epoch = max(prepared.per_epoch // config.accumulate, 1)
        max_steps = config.max_steps or config.epochs * per_epoch
        counts = [sum(weight.numel() for weight in weights) for weights in (model.parameters(), learning)]
        run.say(f"{corpus.source}: {prepared.size}\ngpt, {counts[0]:,} parameters, {counts[1]:,} of them learn")

        start = run.attach(
            model, optimizer, kind=task.kind, max_steps=max_steps,
            data={"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source},
            settings=to_plain(config), **prepared.parts,
        )  # fmt: skip
        steps = train_steps(
            model, prepared.batches, prepared.loss_fn, optimizer, max_steps=max_steps, start=start,
            schedule=SCHEDULES[config.schedule](max_steps, round(config.warmup * max_steps)),
            accumulate=config.accumulate, clip=config.clip or None, precision=precision,
        )  # fmt: skip
        for step in steps:
            run.log(step)
            if run.due(step, every=config.eval_every or per_epoch):
                with autocast(precision, device):
                    run.log_scores(step, prepared.validate(), best=task.best, lower_is_better=True)
                if prepared.sample:
                    run.log_sample(step.index, prepared.sample())
                run.save(step)
                if rank() == 0:
                    task.publish(run.published, prepared.parts)
            run.stop_if_asked(step)
        run.finish({"parameters": counts[0], "learning": counts[1], "size": prepared.size})
        if rank() == 0:
            task.publish(run.published, prepared.parts)  # a run that was killed may not have come to it
            print(f"best model  {run.published}\nrun         {run.folder}")
            print("next        " + command_line(["python", "evaluate.py", "--model_path", run.published]))


if __name__ == "__main__":
    main(FinetuneConfig, run)
