"""A run directory: everything that one training leaves behind, and the promise that it can be stopped and continued.

    runs/<stage>/<time>-<name>/
        config.toml         the flags, complete: `--config` of the same script repeats the run
        environment.json    command, hardware, versions, data and its digest
        metrics.jsonl       one line per step and one per evaluation
        best.pt  last.pt    what use needs; and with it optimiser and random state, for exact resume
        curves.png  summary.json  samples.txt (what a language model wrote on the way)
        not_finite.pt       after a NaN only: the weights before the bad step, and the report

The first Ctrl-C (or SIGTERM) ends at the next step boundary with a save and the command that resumes; a second one
stops at once. A killed run resumes from last.pt: the lines of metrics.jsonl after it are dropped and written again, so
the resumed run has no gap and no double line. The directory of an earlier run is never overwritten.
"""

import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from my_llm import checkpoint
from my_llm.cli import TrainingConfig, command_line, printable, resumed_config, settings_of
from my_llm.device import rank, world
from my_llm.errors import CheckpointError, ConfigError, NotFiniteError
from my_llm.files import write_atomically
from my_llm.journal import Journal, draw_curves, write_samples
from my_llm.machine import environment
from my_llm.progress import Progress
from my_llm.training import Step

C = TypeVar("C", bound=TrainingConfig)


class Stopped(KeyboardInterrupt):
    """Stopped by hand at a step boundary, after saving; its message holds the command that resumes."""


def home() -> Path:
    """Where runs/ and each stage's checkpoints/ live: $MY_LLM_HOME, or the repository."""
    return Path(os.environ.get("MY_LLM_HOME", Path(__file__).resolve().parents[1]))


class Run(Generic[C]):
    """One training run; use as a context manager, from `Run.open`."""

    def __init__(self, folder: Path, config: C, published: Path, *, resuming: bool = False):
        self.folder, self.config, self.published, self.resuming = folder, config, published, resuming
        self.progress = Progress()
        self.best: dict[str, Any] | None = None
        self.max_steps = 0
        self._content: checkpoint.Content = {}
        self._better = False
        self._signals, self._handlers = 0, {}
        self._journal: Journal | None = None
        self._earlier_seconds, self._started = 0.0, time.perf_counter()

    @classmethod
    def open(cls, stage: str, config: C, *, publish: Callable[[C], str]) -> "Run[C]":
        """A new run, or the one that `--resume` names, with the configuration it was started with.

        The directory of a new run appears with `attach`: a mistake found before leaves nothing behind.

        Args:
            publish: The name under <stage>/checkpoints/ that holds the best model of the newest run with such settings.

        Raises:
            CheckpointError: `--resume` names no run directory. ConfigError: it comes with flags that differ from its.
        """
        published = home() / stage / "checkpoints"
        if config.resume is not None:
            folder = config.resume if config.resume.is_dir() else config.resume.parent
            if not (folder / "config.toml").exists():
                raise CheckpointError("nothing to resume", got=config.resume, valid="a run directory with config.toml")
            config = resumed_config(folder, config)
            return cls(folder, config, published / publish(config), resuming=True)
        name = config.run_name or Path(getattr(config, "dataset", "")).stem or publish(config).removesuffix(".pt")
        if Path(name).name != name or name in (".", "..") or not name.isprintable():
            raise ConfigError("--run_name must be a plain name", got=name, valid="no slashes, not . or .., printable")
        folder = home() / "runs" / stage / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        forgetful = dataclasses.replace(config, config=None, preset="", budget="")  # as it will be when it is resumed
        return cls(folder, forgetful, published / publish(config))

    def __enter__(self) -> "Run[C]":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, NotFiniteError) and rank() == 0:  # the weights are those before the bad step: keep them
            report = {"report": str(error), "model": self._model.state_dict(), "progress": {"seconds": self.seconds()}}
            checkpoint.save(self.folder / "not_finite.pt", {**self._content, **report})
            self.say(f"weights before the bad step: {self.folder / 'not_finite.pt'}")
        if self._journal is not None:
            self._journal.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        kind: str,
        max_steps: int,
        data: Mapping[str, str],
        carried: checkpoint.Carried | None = None,
        use: Callable[[], Mapping[str, Tensor]] | None = None,
        **parts: Any,
    ) -> int:
        """Say what a checkpoint of this run consists of, restore it when resuming, and return the first step to take.

        Args:
            kind: What the model is, such as "stage1_mlp/text_classifier"; a checkpoint of another kind is refused.
            data: Name and sha256 of the corpus; resuming with another text is refused.
            carried: What else a step leaves to the next one, each process its own, such as the state of an LSTM.
            use: The weights that best.pt gets, where they are not the model's own: see my_llm/averaging.py.
            parts: Plain data that use needs besides the weights: model configuration, tokenizer state, labels.
        """
        self._model, self._optimizer, self._carried, self.max_steps = model, optimizer, carried, max_steps
        self._use = use or model.state_dict
        self._content = {"kind": kind, "data": dict(data), **parts}
        last = self.folder / "last.pt"
        start = self._restore(last, kind, data) if self.resuming and last.exists() else 0
        if self.resuming:
            self.say(f"continuing after step {start} of {max_steps}")
        if rank() == 0:
            if not self.resuming:
                self._create_folder()
            for litter in self.folder.glob(".*.tmp"):  # half-written files of a run that was killed
                litter.unlink(missing_ok=True)
            self._journal = Journal(self.folder, start)
            facts = {**environment(), "command": command_line(sys.argv), "data": dict(data), "processes": world()}
            write_atomically(self.folder / "environment.json", json.dumps(facts, indent=2).encode())
        with contextlib.suppress(ValueError):  # signals reach the main thread only
            self._handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        return start

    def _restore(self, last: Path, kind: str, data: Mapping[str, str]) -> int:
        """Continue from last.pt; a run that was killed before its first save has none and starts again."""
        content = checkpoint.load(last, kind)
        with checkpoint.parts_of(last):
            if content["data"]["sha256"] != data["sha256"]:
                got, known = (f"{one['name']}, digest {one['sha256'][:8]}" for one in (data, content["data"]))
                raise CheckpointError(f"{last} was trained on another text", got=got, valid=known)
            if content.get("tokenizer") != self._content.get("tokenizer"):
                raise CheckpointError(f"{last} has another vocabulary", next_step="put back what --init_from held")
            if len(content["random"]) != world():
                raise CheckpointError("number of processes differs", got=world(), valid=str(len(content["random"])))
            checkpoint.load_weights(self._model, content["model"], last)
            self._optimizer.load_state_dict(content["optimizer"])
            checkpoint.restore_random_state(content["random"][rank()])
            if self._carried is not None:
                self._carried.load_state_dict(content["carried"][rank()])
            self.best, self._earlier_seconds = content["progress"]["best"], content["progress"]["seconds"]
            step = content["progress"]["step"]
            if not 0 <= step <= self.max_steps:
                raise ValueError("step")
            return step

    def log(self, step: Step) -> None:
        """Write the step's line and show progress."""
        self._write({"step": step.index, "loss": step.loss, "lr": step.lr, "grad_norm": step.grad_norm,
                     "tokens_per_second": round(step.tokens_per_second)})  # fmt: skip
        if rank() == 0:
            self.progress.show(step, self.max_steps)

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        if rank() == 0:
            self.progress.line(text)

    def log_sample(self, index: int, text: str) -> None:
        """Keep and show what the model wrote after step `index`; -1: before the first one."""
        self._write({"step": index, "sample": text})
        self.say(f"after {index + 1} steps it writes:\n{printable(text)}\n")

    def due(self, step: Step, every: int) -> bool:
        """True after every `every` steps and after the last one."""
        return (step.index + 1) % every == 0 or step.index + 1 == self.max_steps

    def log_scores(
        self, step: Step, scores: Mapping[str, float], *, best: str | None, lower_is_better: bool = False
    ) -> None:
        """Write an evaluation's line; remember whether its score `best` is the best so far (None: the newest is).

        Raises:
            NotFiniteError: the score is NaN or infinite.
        """
        self._write({"step": step.index, **scores})
        before, now = (self.best or {"scores": {}})["scores"].get(best), scores.get(best or "")
        if now is not None and not math.isfinite(now):  # as the best it would be published and never be beaten
            raise NotFiniteError(f"{best} is not finite after step {step.index + 1}: {now}; the last save stands")
        if before is None or now is None or (now < before if lower_is_better else now > before):
            self.best = {"step": step.index, "scores": dict(scores)}
            self._better = True
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        mark = "  best" if self._better and best else ""
        self.say(f"step {step.index + 1}/{self.max_steps}  {shown}{mark}")

    def save(self, step: Step) -> None:
        """Write last.pt, and best.pt and the published copy if the newest evaluation was the best."""
        random = checkpoint.of_all_processes(checkpoint.random_state())  # so all of them come here
        carried = checkpoint.of_all_processes(self._carried.state_dict() if self._carried else None)
        if rank() != 0:
            return
        content = {**self._content, "model": self._model.state_dict()}
        content["progress"] = {"step": step.index + 1, "best": self.best, "seconds": self.seconds()}
        if self._better:
            checkpoint.save(self.folder / "best.pt", {**content, "model": dict(self._use())})
            self._publish()
            self._better = False
        resume = {"optimizer": self._optimizer.state_dict(), "random": random, "carried": carried}
        checkpoint.save(self.folder / "last.pt", {**content, **resume})

    def stop_if_asked(self, step: Step) -> None:
        """The last line of the loop's body: after a Ctrl-C or SIGTERM, save and raise Stopped."""
        if self._asked_to_stop() and step.index + 1 < self.max_steps:
            self.save(step)
            many = ["torchrun", "--standalone", f"--nproc_per_node={world()}"]
            command = command_line([*(["python"] if world() == 1 else many), sys.argv[0], "--resume", self.folder])
            done = f"stopped after step {step.index + 1} of {self.max_steps}, all saved"
            raise Stopped(f"{done}; continue with: {command}" if rank() == 0 else done)  # the folder is process 0's

    def _publish(self) -> None:
        """Make this run's best model the one that the commands use."""
        write_atomically(self.published, (self.folder / "best.pt").read_bytes())

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Draw curves.png, write summary.json, and publish the best model, as the newest run to end."""
        if rank() != 0:
            return
        self._publish()
        draw_curves(self.folder)
        write_samples(self.folder)
        facts = {**summary, "seconds": round(self.seconds(), 2), "steps": self.max_steps, "best": self.best}
        write_atomically(self.folder / "summary.json", json.dumps(facts, indent=2).encode())

    def seconds(self) -> float:
        """Time spent on this run, earlier parts of a resumed one included."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def _create_folder(self) -> None:
        wish, number = self.folder, 2
        while True:
            try:
                self.folder.mkdir(parents=True)
                break
            except FileExistsError:  # two runs in the same second
                self.folder, number = wish.with_name(f"{wish.name}-{number}"), number + 1
            except OSError as error:
                raise CheckpointError(
                    "cannot create the run directory", got=self.folder, next_step=str(error)
                ) from None
        write_atomically(self.folder / "config.toml", settings_of(self.config).encode())

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._journal is not None:
            self._journal.write(line)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt("stopped at once; the last save is whole")
        print("\nstopping after this step; once more stops at once", file=sys.stderr)

    def _asked_to_stop(self) -> bool:
        """Under torchrun all processes must stop at the same step."""
        if world() == 1:
            return self._signals > 0
        flag = torch.tensor(float(self._signals))
        torch.distributed.all_reduce(flag)
        return bool(flag > 0)
