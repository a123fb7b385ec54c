"""The line that tells how far the training is: overwritten on a terminal, written every ten seconds in a log."""

import sys
import time

from my_llm.training import Step


class Progress:
    """Shows steps on standard error, at most 79 characters wide."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = self._started = 0.0
        self._first: int | None = None

    def show(self, step: Step, max_steps: int) -> None:
        """Show the step if the last one shown is old enough."""
        now = time.perf_counter()
        if self._first is None:  # the clock starts after the first step: loading the text is not training
            self._first, self._shown, self._started = step.index, now, now
        if now - self._shown < (0.2 if self._terminal else 10):
            return
        self._shown, done = now, step.index + 1
        left = (now - self._started) / (done - self._first) * (max_steps - done)
        text = f"step {done}/{max_steps}  loss {step.loss:.4f}  lr {step.lr:.2g}  "
        self.line(text + f"{step.tokens_per_second:,.0f} targets/s  {clock(left)} left", passing=self._terminal)

    def line(self, text: str, *, passing: bool = False) -> None:
        """Print a line; on a terminal a passing one is overwritten by the next."""
        print(f"{text:<79}" if self._terminal else text, end="\r" if passing else "\n", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """h:mm:ss."""
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
