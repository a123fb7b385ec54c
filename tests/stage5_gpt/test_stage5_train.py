"""train.py does a whole job: from a text to a published checkpoint, in every variant; stopped and resumed, the same."""

import math
import signal
import tomllib
from pathlib import Path

import pytest
import torch
from kill_driver import same_end
from stage5_world import CHARACTERS, SIZES, SMALL, Call, Trained, newest, published

from my_llm import checkpoint
from my_llm.cli import parse
from my_llm.data.catalog import load_text
from my_llm.journal import read_metrics
from my_llm.language.batches import tokenizer_for
from my_llm.run import Run
from my_llm.schedules import SCHEDULES
from my_llm.text import TOKENIZERS, load_vocabulary
from my_llm.training import Step
from stage4_transformer.models import POSITIONS
from stage5_gpt import train
from stage5_gpt.language import KIND, UNITS
from stage5_gpt.models import ACTIVATIONS, GPT, NORMS, GPTConfig, cost_of
from stage5_gpt.models import SIZES as MODEL_SIZES

PRESETS = sorted(Path(train.__file__).with_name("presets").glob("*.toml"))


@pytest.mark.parametrize(
    ("flag", "table"),
    [("vocab_type", TOKENIZERS), ("vocab_type", UNITS), ("positions", POSITIONS), ("norm", NORMS),
     ("activation", ACTIVATIONS), ("schedule", SCHEDULES), ("optimizer", {"adamw": 0, "muon": 0})],
)  # fmt: skip
def test_a_switch_offers_everything_and_every_name_is_something(flag: str, table: dict):
    assert set(train.TrainConfig.__annotations__[flag].__args__) == set(table)


def losses_of(home: Path, name: str) -> list[float]:
    return [line["loss"] for line in read_metrics(newest(home, name)) if "loss" in line]


def short(call: Call, home: Path, name: str, *flags: object, steps: int = 3) -> list[float]:
    code, _, errors = call(train, *SMALL, "--max_steps", steps, "--run_name", name, *flags)
    assert code == 0, errors
    return losses_of(home, name)


# --- learning ---------------------------------------------------------------------------------------------------------


def test_it_learns_and_is_published(trained: Trained, home: Path):
    path = trained()
    content, lines = checkpoint.load(path), read_metrics(newest(home, "gpt"))
    assert content["kind"] == KIND and content["model_type"] == "gpt"
    seen = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert content["progress"]["best"]["scores"]["validation_loss"] == min(seen) and len(seen) == 3
    losses = [line["loss"] for line in lines if "loss" in line]
    assert abs(losses[0] - math.log(CHARACTERS)) < 0.3 and losses[-1] < 0.6 * losses[0]
    assert [line["step"] for line in lines if "sample" in line] == [-1, 19, 39, 59]
    assert path.read_bytes() == (newest(home, "gpt") / "best.pt").read_bytes()


@pytest.mark.parametrize("vocab_type", TOKENIZERS)
def test_a_vocabulary_of_every_kind_is_learnt_and_published(vocab_type: str, call: Call, home: Path):
    short(call, home, vocab_type, "--vocab_type", vocab_type, *SIZES[vocab_type], steps=2)
    content = checkpoint.load(published(home, vocab_type))
    for suffix in (".pkl", ".json"):
        beside = published(home).with_name(f"{vocab_type}_vocabulary{suffix}")
        assert load_vocabulary(beside) == content["tokenizer"]
    sizes = {"char": CHARACTERS, "word": 15, "bpe": 280, "gpt2": 290, "wordpiece": 56}
    assert content["model_config"]["vocab_size"] == sizes[vocab_type]
    unknown = "unknown" in content["progress"]["best"]["scores"]
    assert unknown == (vocab_type == "word")  # a vocabulary that is too small for all words


VARIANTS = {
    "gpt2": ["--positions", "learned", "--activation", "gelu_tanh"],
    "none": ["--positions", "none", "--norm", "rms", "--activation", "swiglu", "--groups", 1],
    "sinusoidal": ["--positions", "sinusoidal", "--no_tied", "--no_bias", "--hidden", 48],
    "rotary": ["--norm", "rms_plain", "--activation", "relu2", "--query_key_norm", "--quiet"],
    "alibi": ["--positions", "alibi", "--dropout", 0.2, "--schedule", "linear"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_takes_two_steps(variant: str, call: Call, home: Path):
    one, two = short(call, home, f"two_{variant}", *VARIANTS[variant], steps=2)
    assert abs(one - math.log(CHARACTERS)) < 0.5 and two != one  # the first guess knows nothing
    content = checkpoint.load(published(home))
    for flag, value in zip(VARIANTS[variant], VARIANTS[variant][1:]):
        name = str(flag).lstrip("-")
        if name in content["model_config"] and not str(value).startswith("--"):
            assert content["model_config"][name] == value
    assert content["model_config"]["tied"] == ("--no_tied" not in VARIANTS[variant])


def test_bf16_trains(call: Call, home: Path):
    exact, rough = (short(call, home, name, "--precision", name) for name in ("fp32", "bf16"))
    assert exact != rough == pytest.approx(exact, rel=0.05)


def test_two_micro_batches_are_one_batch_of_both(call: Call, home: Path):
    """The windows of a step are the same ones; only the weights of the sum come in another order."""
    whole = short(call, home, "whole", "--batch_size", 4)
    halves = short(call, home, "halves", "--batch_size", 2, "--accumulate", 2)
    assert halves == pytest.approx(whole, rel=1e-5) and len(set(whole)) == 3


@pytest.mark.parametrize("dropout", [0, 0.3])
def test_blocks_computed_twice_change_nothing(dropout: float, call: Call, home: Path):
    """The second time they leave out the same numbers."""
    kept, again = (
        short(call, home, f"checkpointing{len(flags)}", "--dropout", dropout, *flags)
        for flags in ([], ["--checkpointing"])
    )
    assert again == pytest.approx(kept, rel=1e-6)


def test_muon_moves_the_blocks_and_adamw_the_rest(call: Call, home: Path):
    """Nothing learns where its rate is next to nothing."""
    ends = {}
    for name, rates in {"none": (1e-12, 1e-12), "matrices": (1e-12, 0.02), "tables": (0.01, 1e-12)}.items():
        flags = ["--optimizer", "muon", "--lr", rates[0], "--matrix_lr", rates[1], "--weight_decay", 0]
        short(call, home, name, *flags)
        ends[name] = checkpoint.load(newest(home, name) / "last.pt")["model"]
    for weight, still in ends["none"].items():
        in_blocks = weight.startswith("blocks") and still.ndim > 1
        for name, moves in (("matrices", in_blocks), ("tables", not in_blocks)):
            if "positions" not in weight:
                assert torch.allclose(ends[name][weight], still, atol=1e-8) != moves, (name, weight)


def test_muon_learns(trained: Trained, home: Path):
    trained("--optimizer", "muon")
    losses = losses_of(home, "gpt_optimizer_muon")
    assert losses[-1] < 0.6 * losses[0]


def test_matrices_shrink_and_vectors_do_not():
    """A gradient of 0: only the decay acts, by lr times its rate."""
    model = GPT(GPTConfig(vocab_size=7, context=4, layers=1, heads=1, model=4))
    for name in ("adamw", "muon"):
        config = train.TrainConfig(optimizer=name, lr=0.1, weight_decay=0.5, matrix_lr=0.1 if name == "muon" else 0.02)  # type: ignore[arg-type]
        optimizer, before = train.optimizer_of(model, config), [p.detach().clone() for p in model.parameters()]
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        for old, new in zip(before, model.parameters(), strict=True):
            torch.testing.assert_close(new.detach(), old * (0.95 if old.ndim > 1 else 1))


def test_the_learning_rate_falls_to_its_floor_and_no_further(call: Call, home: Path):
    """Warm-up of 3 of 10 steps; then a line from 1 to a tenth, whose last step is 1/7 before its end."""
    short(call, home, "floor", "--lr", 0.01, "--warmup", 0.3, "--schedule", "linear", "--final", 0.1, steps=10)
    rates = [line["lr"] for line in read_metrics(newest(home, "floor")) if "lr" in line]
    expected = [0.01 / 3, 0.02 / 3, 0.01, *(0.01 * (0.1 + 0.9 * (7 - i) / 7) for i in range(7))]
    assert rates == pytest.approx(expected)


# --- sizes and presets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", MODEL_SIZES)
def test_every_size_is_a_shape_and_flags_go_before(size: str):
    shape = train.shape_of(train.TrainConfig(size=size))
    assert {"layers", "heads", "model", "context"} <= set(shape) and "vocab_size" not in shape
    for name in ("layers", "heads", "model", "context"):
        assert shape[name] == MODEL_SIZES[size][name]
    assert train.shape_of(train.TrainConfig(size=size, layers=5, context=9))["layers"] == 5
    GPTConfig(vocab_size=9, **shape)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_names_flags_and_can_be_built(path: Path):
    config = parse(train.TrainConfig, ["--config", str(path)])
    for name, value in tomllib.loads(path.read_text(encoding="utf-8")).items():
        assert getattr(config, name) == value
    assert cost_of(GPTConfig(vocab_size=69, **train.shape_of(config))).parameters > 0


def test_the_preset_nanogpt_is_its_model():
    """65 characters of Tiny Shakespeare and four special tokens; all but 4 · 128 of it stands in nanoGPT, too."""
    (path,) = (path for path in PRESETS if path.stem == "nanogpt")
    config = parse(train.TrainConfig, ["--config", str(path)])
    model = GPT(GPTConfig(vocab_size=69, **train.shape_of(config)))
    tables, blocks, norms = (69 + 64) * 128, 4 * 12 * 128**2, 9 * 128
    assert sum(weight.numel() for weight in model.parameters()) == tables + blocks + norms == 804_608
    assert (config.batch_size, config.max_steps, config.lr, config.beta2, config.final) == (12, 2000, 1e-3, 0.99, 0.1)
    assert (model.config.positions, model.config.bias, model.config.context) == ("learned", False, 64)


# --- stopping and going on --------------------------------------------------------------------------------------------

RUNS = {
    "adamw": ["--dropout", "0.3", "--positions", "alibi"],
    "muon": ["--optimizer", "muon", "--accumulate", "2", "--precision", "bf16", "--ngrams", "3", "--vocab_type", "gpt2",
             "--vocab_size", "290"],
}  # fmt: skip


@pytest.mark.parametrize("kind", RUNS)
def test_ctrl_c_and_resume_end_as_an_undisturbed_run(
    kind: str, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    flags = [*SMALL, *RUNS[kind], "--eval_every", 4, "--max_steps", 11]
    assert call(train, *flags, "--run_name", f"whole_{kind}")[0] == 0
    vocab_type, log = {"adamw": "char", "muon": "gpt2"}[kind], Run.log
    best = published(home, vocab_type)
    expected = {best.name, f"{vocab_type}_vocabulary.pkl", f"{vocab_type}_vocabulary.json"}

    def press(run: Run, step: Step) -> None:
        log(run, step)
        if step.index == 5:  # two steps after a save
            signal.raise_signal(signal.SIGINT)

    for path in best.parent.iterdir():
        path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", press)
        code, _, errors = call(train, *flags, "--run_name", f"stopped_{kind}")
    whole, folder = newest(home, f"whole_{kind}"), newest(home, f"stopped_{kind}")
    assert code == 130 and "stopped after step 6 of 11" in errors[-1] and f"--resume {folder}" in errors[-1]
    for resumes in range(3):  # stopped, then finished, then resumed with no step left to take: each publishes all
        if resumes:
            for path in best.parent.iterdir():
                path.unlink()
            assert call(train, "--resume", folder)[0] == 0
        assert {path.name for path in best.parent.iterdir()} == expected
        assert best.read_bytes() == (folder / "best.pt").read_bytes()
    assert same_end(whole, folder)
    assert [line["step"] for line in read_metrics(folder) if "sample" in line] == [-1, 3, 7, 10]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--size", "3mm"], "unknown size; got '3mm'"),
        (["--heads", "5"], "heads share the width equally"),
        (["--groups", "3"], "groups the heads"),
        (["--context", "100000"], "too short for one batch"),
        (["--vocab_type", "bpe", "--vocab_size", "20"], "vocab"),
        (["--final", "2"], "--final is out of range"),
        (["--table_lr", "0.03"], "--table_lr belongs to Muon"),
        (["--dataset", "nothing"], "nothing"),
        (["--resume", "nowhere"], "nothing to resume"),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_nothing(flags: list[str], words: str, call: Call, home: Path):
    before = set((home / "runs" / "stage5_gpt").glob("*"))
    code, out, errors = call(train, *SMALL, "--max_steps", 1, *flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]
    assert set((home / "runs" / "stage5_gpt").glob("*")) == before


def test_the_tokenizer_learns_from_the_training_part_alone(trained: Trained, home: Path):
    corpus = load_text("tiny_shakespeare")
    state = checkpoint.load(trained("--vocab_type", "bpe", *SIZES["bpe"], "--max_steps", 3))["tokenizer"]
    assert state == tokenizer_for(corpus, "bpe", 280).to_state()
