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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from my_llm.cli import value_of
from my_llm.device import prepare_matrix_path, world
from my_llm.errors import ConfigError, DataError
from my_llm.ledger import read, results_folder

PER_PARAMETER = 20
STEPPING = 0.85  # share of the time that is for the steps; the rest is for loading, validation and samples
ALIKE = 1.5  # a recorded training with so many times more or fewer operations says what to expect
TOLERANCE = 0.03  # of its score, if two seeds differ by less
UNITS = {"s": 1, "m": 60, "h": 3600}
BESIDE = ("seed", "device", "precision", "threads", "run_name")  # flags that go with it


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
    """A corpus.

    Attributes:
        dataset: Its name.
        tokens: Of the training part.
        vocabulary: Different tokens.
        per_example: Tokens of an example, where batches are counted in examples, such as pairs of sentences.
        flags: That belong to it.
    """

    dataset: str
    tokens: int
    vocabulary: int
    per_example: int = 1
    flags: Mapping[str, object] = {}


# To write like, in characters, the four marks among the vocabulary; pairs of sentences, in tokens of both languages.
TO_WRITE = (Text("tiny_shakespeare", 1_003_854, 69), Text("shakespeare", 3_871_369, 79))
PYTHON = Text("python_library", 2_977_227, 214)
TO_TRANSLATE = (
    Text("numbers_en_fr", 20_000 * 24, 600, 24, {"vocab_size": 600}),
    Text("multi30k_en_fr", 28_999 * 33, 4000, 33),
    Text("tatoeba_en_fr", 158_293 * 20, 4000, 20),
)


class Rule(NamedTuple):
    """What a stage knows.

    Attributes:
        task: Of the corpora, as the catalog calls it.
        sizes: For a vocabulary: the sizes of the model, from small to large.
        texts: From small to large.
        batch: Examples of a step.
        passes: How often a text is read, at least and at most.
        per_parameter: Tokens for each parameter.
        unit: What a token is, for people.
        instead: Where none of the texts can be had.
    """

    task: str
    sizes: Callable[[int], Sequence[Size]]
    texts: Sequence[Text]
    batch: int
    passes: tuple[int, int]
    per_parameter: float = PER_PARAMETER
    unit: str = "tokens"
    instead: Text | None = None


class Plan(NamedTuple):
    """What a budget buys."""

    size: Size
    text: Text
    steps: int
    operations: float
    seconds: float  # of the steps

    def tokens(self, rule: Rule) -> int:
        """That are read."""
        return self.steps * rule.batch * self.text.per_example

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

    def largest(text: Text) -> Size:
        sizes = rule.sizes(text.vocabulary)
        return ([size for size in sizes if readable(size) >= rule.per_parameter * size.parameters] or sizes[:1])[-1]

    least, most = rule.passes
    enough = [text for text in rule.texts if readable(largest(text)) >= least * text.tokens]
    text = (enough or rule.texts[:1])[-1]
    size = largest(text)
    per_step = rule.batch * text.per_example
    steps = round_down(min(readable(size), most * text.tokens) / per_step)
    operations = steps * per_step * size.operations
    return Plan(size, text, steps, operations, operations / (rate * size.share))


def round_down(number: float) -> int:
    """Two digits are enough: the same budget shall be the same training, though the measured rate wavers."""
    unit = 10 ** max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return max(int(number // unit) * unit, 1)


def plan_here(rule: Rule, seconds: float, rate: float) -> Plan:
    """The plan, of the texts that can be had here; nothing is fetched that is not needed.

    Raises:
        DataError: none can be had.
    """
    from my_llm.data.catalog import locate

    while True:
        made = plan(rule, seconds, rate)
        try:
            locate(made.text.dataset, rule.task)
            return made
        except DataError:
            left = [text for text in rule.texts if text != made.text]
            if not left and made.text == rule.instead:
                raise
        rule = rule._replace(texts=left or [rule.instead or made.text], instead=rule.instead or made.text)


def flags_within(budget: str, script: ModuleType, arguments: Sequence[str]) -> list[str]:
    """The flags for a budget, which are said to the user: a preset that is computed.

    Raises:
        ConfigError: no time, a script without a rule, a flag that does not go with it, a GPU, or several processes.
    """
    if "--help" in arguments:
        return []
    seconds, path = seconds_of(budget), Path(str(script.__file__)).resolve()
    if path.name != "train.py" or not path.with_name("budget.py").is_file():
        raise ConfigError("this script has no rule for a budget", got=path.name, valid="train.py of a stage")
    valid = [f"--{name}" for name in BESIDE]
    for name in (word.split("=")[0] for word in arguments if word.startswith("--")):
        if name.replace("-", "_").replace("__", "--", 1) not in ("--budget", *valid):
            step = "leave one of the two out; with --resume the run knows its flags"
            raise ConfigError("few flags go with --budget", got=name, valid=", ".join(valid), next_step=step)
    prepare_matrix_path()  # before torch is imported
    rate = measured_rate(value_of("--device", arguments) or "auto",
                         int(value_of("--threads", arguments) or script.TrainConfig.threads))  # fmt: skip
    rule = importlib.import_module(f"{path.parent.name}.budget").rule()
    made = plan_here(rule, seconds, rate)
    print(told(made, rule, budget, rate) + expected(path.parent.name, made), flush=True)
    return [word for name, value in made.flags().items() for word in (f"--{name}", str(value))]


def measured_rate(device: str, threads: int) -> float:
    """Operations a second of the processor's products, on so many threads.

    Raises:
        ConfigError: the training would run somewhere else.
    """
    import torch

    from my_llm.machine import measure_matmul

    if world() > 1:
        raise ConfigError("--budget is for one process", got=f"{world()} processes", next_step="give the flags")
    if device not in ("auto", "cpu") or (device == "auto" and torch.cuda.is_available()):
        raise ConfigError("--budget measures the processor", got=device, next_step="--device cpu, or give the flags")
    if threads:
        torch.set_num_threads(threads)
    return 1e9 * max(measure_matmul(torch.float32) for _ in range(3))  # others may be at work for a moment


def expected(stage: str, made: Plan) -> str:
    """A line with the score of the recorded training that took about as many operations, or of one that took fewer;
    nothing if there is none."""
    path = results_folder() / "compare" / "budget.json"
    rows = read(path)["rows"] if path.exists() else []
    begins = stage.split("_")[0]
    times = [
        (1e12 * row["tera_operations"] / made.operations, row)
        for row in rows
        if row["case"].startswith(begins) and row["data"] == made.text.dataset
    ]
    below = [one for one in times if one[0] < ALIKE]
    if not below:
        return ""
    nearest, row = min(below, key=lambda one: abs(math.log(one[0])))
    metric, score = row["metric"].replace("_", " "), row["score"]
    operations = f"{1e12 * row['tera_operations']:.2g} operations"
    band = max(2 * row["score_sd"], TOLERANCE * score)
    high = min(score + band, 100.0) if metric in ("accuracy", "bleu") else score + band
    if nearest <= 1 / ALIKE and score < 99.5:  # little is better than all
        return f"\nexpect  {metric} better than {score:.3g}, measured with {operations}"
    return f"\nexpect  {metric} {score - band:.3g} to {high:.3g}, measured with {operations}"


def told(made: Plan, rule: Rule, budget: str, rate: float) -> str:
    """The plan for a person."""
    tokens = made.tokens(rule)
    flags = " ".join(f"--{name} {value}" for name, value in made.flags().items())
    lines = [
        f"budget {budget}: {made.operations:.2g} operations at {100 * made.size.share:.2g}% of this machine's "
        f"{rate / 1e9:,.0f} GFLOP/s, about {made.seconds:,.0f} s of steps",
        f"plan    {flags}",
        f"        {made.size.parameters:,} parameters; {tokens:,} {rule.unit}, {tokens / made.size.parameters:.1f} for "
        f"each parameter; the text is read {tokens / made.text.tokens:.1f} times",
    ]
    if tokens >= 0.9 * rule.passes[1] * made.text.tokens:
        lines.append("        more time would only teach this text by heart")
    return "\n".join(lines)
