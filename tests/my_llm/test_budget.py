"""One dial: more time never buys less, and what it buys is what train.py then builds."""

import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from my_llm.budget import PER_PARAMETER, Rule, Size, Text, flags_within, plan, plan_here, round_down, seconds_of, told
from my_llm.cli import parse
from my_llm.data import catalog
from my_llm.data.catalog import load, load_pairs, load_text
from my_llm.errors import ConfigError, DataError
from my_llm.text import SPECIALS

STAGES = ("stage1_mlp", "stage2_rnn_lstm", "stage3_attention_seq2seq", "stage4_transformer", "stage5_gpt")
RATE = 1e11
TIMES = (10.0, 60.0, 600.0, 3600.0, 36_000.0)
RULE = Rule(
    "language modelling",
    lambda vocabulary: [Size({"model": 1}, 1000, 6000, 0.5), Size({"model": 2}, 10_000, 60_000, 0.5)],
    [Text("small", 100_000, 5), Text("large", 10_000_000, 9, flags={"vocab_size": 9})],
    batch=100,
    passes=(2, 10),
)


@pytest.mark.parametrize(("budget", "seconds"), [("90s", 90), ("1.5m", 90), ("1h", 3600)])
def test_a_time_is_read(budget: str, seconds: float):
    assert seconds_of(budget) == seconds


@pytest.mark.parametrize("budget", ["", "10", "m", "-1m", "0s", "1 m", "1d"])
def test_what_is_no_time_is_one_line(budget: str):
    with pytest.raises(ConfigError, match=r"--budget is a time.*1m, 10m, 1h"):
        seconds_of(budget)


def test_the_largest_size_that_reads_enough():
    """Operations for both numbers by hand: 20 tokens for each of 10,000 parameters are 1.2e10, at half of the rate and
    in 85 % of the time."""
    enough = 20 * 10_000 * 60_000 / (0.5 * RATE * 0.85)
    assert plan(RULE, 1.01 * enough, RATE).size.parameters == 10_000
    assert plan(RULE, 0.99 * enough, RATE).size.parameters == 1000
    assert plan(RULE, 1e-6, RATE).size.parameters == 1000  # none reads enough: the smallest


def test_the_largest_text_that_is_read_often_enough_and_not_too_often():
    assert plan(RULE, 0.1, RATE).text.dataset == "small"
    short = plan(RULE, 0.01, RATE)
    assert (
        short.steps * 100 * short.size.operations
        == short.operations
        == pytest.approx(0.85 * 0.5 * RATE * 0.01, rel=0.1)
    )
    long = plan(RULE, 1000.0, RATE)
    assert long.text.dataset == "large" and long.steps * 100 == 10 * 10_000_000
    assert long.seconds < 0.2 * 1000 and "by heart" in told(long, RULE, "1000s", RATE)
    assert long.flags() == {"model": 2, "dataset": "large", "vocab_size": 9, "max_steps": 1_000_000}
    assert "by heart" not in told(short, RULE, "10s", RATE)


def test_the_same_budget_is_the_same_training_though_the_rate_wavers():
    assert {round_down(number) for number in (1500.0, 1549.0, 1599.9)} == {1500}
    assert [round_down(number) for number in (0.2, 9.9, 123.0)] == [1, 9, 120]


@pytest.mark.parametrize("stage", STAGES)
def test_more_time_never_buys_less(stage: str):
    rule = importlib.import_module(f"{stage}.budget").rule()
    plans = [plan(rule, seconds, RATE) for seconds in TIMES]
    for one, other in itertools.pairwise(plans):
        assert one.operations <= other.operations and one.text.tokens <= other.text.tokens
    for one, seconds in zip(plans, TIMES):
        sizes = rule.sizes(one.text.vocabulary)
        assert one.seconds <= seconds and one.tokens(rule) <= rule.passes[1] * one.text.tokens
        enough = min(rule.per_parameter * one.size.parameters, rule.passes[1] * one.text.tokens)
        assert one.size == sizes[0] or one.tokens(rule) >= 0.9 * enough
    assert rule.per_parameter <= PER_PARAMETER


@pytest.mark.parametrize("stage", STAGES)
def test_the_sizes_are_those_that_train_builds(stage: str):
    """Parameters within three hundredths; the flags are flags."""
    train = importlib.import_module(f"{stage}.train")
    rule = importlib.import_module(f"{stage}.budget").rule()
    for text in rule.texts:
        sizes = rule.sizes(text.vocabulary)
        assert list(sizes) == sorted(sizes, key=lambda size: size.parameters)
        for size in sizes:
            flags = {**size.flags, **text.flags}
            config = parse(train.TrainConfig, [word for name, one in flags.items() for word in (f"--{name}", str(one))])
            assert built(stage, config, text.vocabulary) == pytest.approx(size.parameters, rel=0.03)


def built(stage: str, config: Any, vocabulary: int) -> int:
    """Parameters of the model that train.py would build, without numbers in them."""
    import torch

    from my_llm.evaluation import parameters_of

    with torch.device("meta"):
        match stage:
            case "stage1_mlp":
                from stage1_mlp.models import TextClassifier, TextClassifierConfig

                model = TextClassifier(TextClassifierConfig(vocabulary, 4, config.hidden, "relu", 0.0))
            case "stage2_rnn_lstm":
                from stage2_rnn_lstm.models import LanguageModel, LanguageModelConfig
                from stage2_rnn_lstm.train import with_defaults

                given = with_defaults(config)
                shape = {"embedding": given.embedding, "hidden": given.hidden, "layers": given.layers}
                model = LanguageModel(LanguageModelConfig(vocabulary, cell="lstm", **shape))
            case "stage3_attention_seq2seq":
                from stage3_attention_seq2seq.models import Seq2Seq, Seq2SeqConfig

                shape = {name: getattr(config, name) for name in ("cell", "embedding", "hidden", "layers")}
                kind = {"attention": config.attention_type, "input_feeding": config.input_feeding, "shared": True}
                model = Seq2Seq(Seq2SeqConfig(vocabulary, vocabulary, **kind, **shape))
            case "stage4_transformer":
                from stage4_transformer.models import Transformer, TransformerConfig

                shape = {name: getattr(config, name) for name in ("model", "heads", "layers", "hidden", "positions")}
                model = Transformer(TransformerConfig(**shape, vocab_size=vocabulary))
            case _:
                from stage5_gpt.models import GPT, GPTConfig
                from stage5_gpt.train import shape_of

                model = GPT(GPTConfig(**shape_of(config), vocab_size=vocabulary))
    return parameters_of(model)


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("stage", ["stage1_mlp", "stage4_transformer", "stage5_gpt"])  # stages 2 and 3 have the same
def test_the_texts_have_as_many_tokens(stage: str):
    rule = importlib.import_module(f"{stage}.budget").rule()
    for text in rule.texts:
        try:
            if rule.task == "translation":
                pairs = load_pairs(text.dataset).train
                assert len(pairs) == pytest.approx(text.tokens / text.per_example, rel=0.01)
            else:
                found = load(text.dataset) if rule.task == "text classification" else load_text(text.dataset)
                assert len(found.train) == pytest.approx(text.tokens, rel=0.05)
                if rule.task == "language modelling":
                    assert len(set(found.train) | set(SPECIALS)) == text.vocabulary
        except DataError:
            continue  # not to be had here


def test_what_cannot_be_had_is_left_out(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def locate(name: str, task: str) -> None:
        asked.append(name)
        if name in missing:
            raise DataError("not here", got=name)

    monkeypatch.setattr(catalog, "locate", locate)
    missing: set[str] = {"large"}
    assert plan_here(RULE, 0.01, RATE).text.dataset == "small" and asked == ["small"], "nothing else is fetched"
    assert plan_here(RULE, 1000.0, RATE).text.dataset == "small"
    missing = {"large", "small"}
    with pytest.raises(DataError, match="not here"):
        plan_here(RULE, 1000.0, RATE)
    assert plan_here(RULE._replace(instead=Text("python", 5, 5)), 1000.0, RATE).text.dataset == "python"


# --- as a flag --------------------------------------------------------------------------------------------------------


def train(*flags: str, home: Path, stage: str = "stage5_gpt") -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    line = [sys.executable, "train.py", *flags]
    import os

    env = {**os.environ, "MY_LLM_HOME": str(home), "MY_LLM_DATA": str(home), "MY_LLM_OFFLINE": "1"}
    return subprocess.run(line, cwd=root / stage, env=env, capture_output=True, text=True, timeout=120)


def test_a_budget_is_trained_and_forgotten(tmp_path: Path):
    (tmp_path / "tiny_shakespeare.txt").write_text("a red dog sees an old cat.\n" * 400, "utf-8")
    done = train("--budget", "0.01s", "--threads", "1", home=tmp_path)
    assert done.returncode == 0 and "budget 0.01s" in done.stdout, done.stderr
    (settings,) = tmp_path.glob("runs/stage5_gpt/*/config.toml")
    written = settings.read_text("utf-8")
    assert "max_steps = 1\n" in written and "model = 64\n" in written and "budget" not in written
    resumed = train("--resume", str(settings.parent), home=tmp_path)
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.parametrize(
    ("stage", "flags", "message"),
    [
        ("stage5_gpt", ["--budget", "10"], "--budget is a time; got '10'"),
        ("stage5_gpt", ["--budget", "1m", "--model=32"], "few flags go with --budget; got '--model'; valid: --seed"),
        ("stage5_gpt", ["--budget", "1m", "--preset", "speedrun"], "few flags go with --budget; got '--preset'"),
        ("stage5_gpt", ["--budget", "1m", "--device", "cuda"], "--budget measures the processor; got 'cuda'"),
        ("stage5_gpt", ["--config", "{home}/b.toml"], "cannot name a budget; got '1m'; next: --budget 1m"),
        ("stage2_rnn_lstm", ["--budget", "1m", "--task", "tag"], "few flags go with --budget; got '--task'"),
    ],
)
def test_a_budget_that_cannot_be_is_one_line(stage: str, flags: list[str], message: str, tmp_path: Path):
    (tmp_path / "b.toml").write_text('budget = "1m"\n')
    done = train(*(flag.format(home=tmp_path) for flag in flags), home=tmp_path, stage=stage)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_script_without_a_rule_says_so():
    from stage5_gpt import finetune

    with pytest.raises(ConfigError, match="no rule for a budget"):
        flags_within("1m", sys.modules[finetune.__name__], ["--budget", "1m"])
