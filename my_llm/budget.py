"""One dial: `train.py --budget 10m` sets size, data and steps by rule; every other flag keeps its default.

    operations   C = seconds · rate of the machine's products · the share of it that this stage's trainings reach
    size         the largest that reads at least 20 tokens for each parameter with C; the smallest, if none does
    data         the largest text that it reads often enough to learn it
    steps        what C allows, but no text is read so often that it is learned by heart

20 tokens for each parameter is where a language model of a given C is best (Hoffmann et al. 2022, Chinchilla, table 3).
What a stage needs to know for this stands in its budget.py.
"""

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from my_llm.device import prepare_matrix_path, world
from my_llm.errors import ConfigError, DataError
from my_llm.ledger import read, results_folder

PER_PARAMETER = 20
STEPPING = 0.85  # share of the time that is for the steps; the rest is for loading, validation and samples
ALIKE = 1.5  # a recorded training with so many times more or fewer operations says what to expect
TOLERANCE = 0.03  # of its score, if two seeds differ by less
UNITS = {"s": 1, "m": 60, "h": 3600}
MAY_STAND_BESIDE = ("budget", "seed", "device", "precision", "threads", "run_name", "help")


class Size(NamedTuple):
    """A size of the model.

    Attributes:
        flags: Of train.py.
        parameters: How many it has.
        operations: Of a token in training: six for each weight of a product.
        share: Of the machine's rate for products that its training reached, measured.
    """

    flags: Mapping[str, object]
    parameters: int
    operations: float
    share: float


class Text(NamedTuple):
    """A corpus: its name, the tokens of its training part, and flags that belong to it."""

    dataset: str
    tokens: int
    flags: Mapping[str, object] = {}


# Characters to write like, and pairs of sentences to translate, in tokens of both languages.
TO_WRITE = (Text("auto", 1_003_854), Text("shakespeare", 3_871_369))
TO_TRANSLATE = (
    Text("numbers_en_fr", 20_000 * 24, {"vocab_size": 600}), Text("multi30k_en_fr", 28_999 * 33),
    Text("tatoeba_en_fr", 158_293 * 20),
)  # fmt: skip


class Rule(NamedTuple):
    """What a stage knows.

    Attributes:
        task: Of the corpora, as the catalog calls it.
        sizes: From small to large.
        texts: From small to large.
        tokens_per_step: Of a batch.
        passes: How often a text is read, at least and at most.
        per_parameter: Tokens for each parameter.
        unit: What a token is, for people.
    """

    task: str
    sizes: Sequence[Size]
    texts: Sequence[Text]
    tokens_per_step: int
    passes: tuple[int, int]
    per_parameter: float = PER_PARAMETER
    unit: str = "tokens"


class Plan(NamedTuple):
    """What a budget buys."""

    size: Size
    text: Text
    steps: int
    operations: float
    seconds: float  # of the steps

    def flags(self) -> dict[str, object]:
        """For train.py."""
        return {**self.size.flags, "dataset": self.text.dataset, **self.text.flags, "max_steps": self.steps}


def seconds_of(budget: str) -> float:
    """The time that was written as 90s, 10m or 1h.

    Raises:
        ConfigError: anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if not found or float(found[1]) == 0:
        raise ConfigError("--budget is a time", got=budget, valid="a number and s, m or h: 1m, 10m, 1h")
    return float(found[1]) * UNITS[found[2]]


def plan(rule: Rule, seconds: float, rate: float) -> Plan:
    """The rule.

    Args:
        rate: Operations a second of the machine's products.
    """

    def readable(size: Size) -> float:
        return STEPPING * seconds * rate * size.share / size.operations

    fitting = [size for size in rule.sizes if readable(size) >= rule.per_parameter * size.parameters]
    size = (fitting or rule.sizes[:1])[-1]
    least, most = rule.passes
    text = ([text for text in rule.texts if readable(size) >= least * text.tokens] or rule.texts[:1])[-1]
    tokens = min(readable(size), most * text.tokens)
    steps = round_down(tokens / rule.tokens_per_step)
    operations = steps * rule.tokens_per_step * size.operations
    return Plan(size, text, steps, operations, operations / (rate * size.share))


def round_down(number: float) -> int:
    """Two digits are enough: the same budget shall be the same training, though the measured rate wavers."""
    unit = 10 ** max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return max(int(number // unit) * unit, 1)


def reachable(rule: Rule) -> Rule:
    """The rule without the texts that cannot be had here."""
    from my_llm.data.catalog import locate

    texts = []
    for text in rule.texts:
        try:
            locate(text.dataset, rule.task)
        except DataError:
            continue
        texts.append(text)
    return rule._replace(texts=texts or rule.texts[:1])


def flags_within(budget: str, script: ModuleType, arguments: Sequence[str]) -> list[str]:
    """The flags for a budget, which are said to the user: a preset that is computed.

    Raises:
        ConfigError: no time, a script without a rule, a flag that the budget sets, or several processes.
    """
    if "--help" in arguments:
        return []
    seconds, path = seconds_of(budget), Path(str(script.__file__)).resolve()
    if path.name != "train.py" or not path.with_name("budget.py").is_file():
        raise ConfigError("this script has no rule for a budget", got=path.name, next_step="leave out --budget")
    for name in (word.split("=")[0] for word in arguments if word.startswith("--")):
        if name[2:].replace("-", "_").removeprefix("no_") not in MAY_STAND_BESIDE:
            raise ConfigError("--budget sets this", got=name, next_step="leave out one of the two")
    if world() > 1:
        raise ConfigError("--budget is for one process", got=f"{world()} processes", next_step="give the flags")
    prepare_matrix_path()  # before torch is imported
    import torch

    from my_llm.machine import measure_matmul

    rule = reachable(importlib.import_module(f"{path.parent.name}.budget").rule())
    rate = 1e9 * measure_matmul(torch.float32)
    made = plan(rule, seconds, rate)
    print(told(made, rule, budget, rate) + expected(path.parent.name, made), flush=True)
    return [word for name, value in made.flags().items() for word in (f"--{name}", str(value))]


def expected(stage: str, made: Plan) -> str:
    """A line with the score of the recorded training that took about as many operations; nothing if there is none."""
    path = results_folder() / "compare" / "budget.json"
    rows = read(path)["rows"] if path.exists() else []
    near = [row for row in rows if row["case"].startswith(f"{stage}, ")
            and abs(math.log(row["operations"] / made.operations)) < math.log(ALIKE)]  # fmt: skip
    if not near:
        return ""
    row = min(near, key=lambda row: abs(math.log(row["operations"] / made.operations)))
    band = max(2 * row["score_sd"], TOLERANCE * row["score"])
    low, high = row["score"] - band, row["score"] + band
    return f"\nexpect  {row['metric'].replace('_', ' ')} {low:.3g} to {high:.3g}, measured with {row['operations']:.1e}"


def told(made: Plan, rule: Rule, budget: str, rate: float) -> str:
    """The plan for a person."""
    tokens = made.steps * rule.tokens_per_step
    flags = " ".join(f"--{name} {value}" for name, value in made.flags().items())
    lines = [
        f"budget {budget}: {made.operations:.2g} operations at {made.size.share:.0%} of this machine's "
        f"{rate / 1e9:,.0f} GFLOP/s, about {made.seconds:,.0f} s of steps",
        f"plan    {flags}",
        f"        {made.size.parameters:,} parameters; {tokens:,} {rule.unit}, {tokens / made.size.parameters:.1f} for "
        f"each parameter; the text is read {tokens / made.text.tokens:.1f} times",
    ]
    if tokens >= 0.9 * rule.passes[1] * made.text.tokens:
        lines.append("        more time would only teach this text by heart")
    return "\n".join(lines)
