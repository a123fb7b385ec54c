"""generate.py with a GPT: the text, what is kept, and the vocabularies that only it has."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stage5_world import ADJECTIVES, NOUNS, SIZES, VERBS, Call, Trained

from my_llm import checkpoint
from my_llm.decoding import generate as decode
from my_llm.decoding import recompute
from my_llm.text import save_vocabulary
from stage5_gpt import generate
from stage5_gpt.language import load_writer

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def write(call: Call, trained: Trained):
    """Exit code, standard output, lines of standard error of a call on the trained model."""

    def written(*flags: object, path: Path | None = None, **typed: str) -> tuple[int, str, list[str]]:
        return call(generate, "--checkpoint", path or trained(), "--threads", 1, *flags, **typed)

    return written


def test_standard_output_is_the_text_alone_and_the_seed_decides(write):
    texts = [write("--prompt", "a ", "--length", 60, "--seed", seed) for seed in (1, 1, 2)]
    for code, out, errors in texts:
        assert code == 0 and out.startswith("a ") and out.endswith("\n") and len(out) == 2 + 60 + 1
        assert len(errors) == 1 and re.fullmatch(r"60 characters, [\d,]+ a second; seed [12]", errors[0])
    assert texts[0][1] == texts[1][1] != texts[2][1]


def test_it_has_learnt_to_spell(write):
    """Many of the longer words that it writes are words of its text; of letters at random hardly one would be."""
    _, out, _ = write("--length", 300, "--temperature", 0.3)
    words = re.findall(r"\w{3,}", out)
    assert sum(word in {*ADJECTIVES, *NOUNS, *VERBS} for word in words) > 0.3 * len(words) > 5


def test_keys_and_values_that_are_kept_change_nothing(trained: Trained):
    """Until the context of 16 is full; beyond it the text goes on."""
    writer = load_writer(trained(), CPU)
    prompt = torch.tensor([writer.encode("a ")])
    kept = [int(token) for token in decode(writer.step, prompt, max_new_tokens=40)]
    read = recompute(lambda tokens: writer.model(tokens)[0])

    def careful(tokens: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            logits, state = read(tokens, state)
        return logits + writer.forbidden, state

    anew = [int(token) for token in decode(careful, prompt, max_new_tokens=14)]
    assert kept[:14] == anew and len(kept) == 40


@pytest.mark.parametrize("vocab_type", ["word", "bpe", "gpt2", "wordpiece"])
def test_every_vocabulary_is_written(vocab_type: str, write, trained: Trained):
    path = trained("--vocab_type", vocab_type, *SIZES[vocab_type], "--max_steps", 3)
    code, out, _ = write("--prompt", "a red", "--length", 20, path=path)
    assert code == 0 and out.startswith("a red") and len(out) > 20
    known = vocab_type in ("bpe", "gpt2")
    code, _, errors = write("--prompt", "a zebra", "--length", 2, path=path)
    assert code == 0 and known != any("does not know these words" in line and "'zebra'" in line for line in errors)


def test_beam_search_and_filters_work_with_its_cache(write):
    flags = ["--prompt", "a red ", "--length", 30]
    beams = [write(*flags, "--beam_size", size) for size in (1, 3)]
    assert all(code == 0 and out.startswith("a red ") for code, out, _ in beams)
    plain = write(*flags, "--temperature", 0)[1]
    word = re.findall(r"\w{3,}", plain.removeprefix("a red"))[0]
    code, out, errors = write(*flags, "--temperature", 0, "--banned", word)
    assert code == 0 and word not in re.findall(r"\w+", out) and any(word in line for line in errors)


def test_its_vocabulary_belongs_to_it(write, home: Path, trained: Trained):
    save_vocabulary(home / "own.pkl", checkpoint.load(trained())["tokenizer"])
    vocabulary = home / "own.json"
    assert write("--vocab", vocabulary, "--length", 5)[0] == 0
    other = trained("--vocab_type", "bpe", *SIZES["bpe"], "--max_steps", 3)
    code, out, errors = write("--vocab", vocabulary, path=other)
    assert (code, out) == (2, "") and len(errors) == 1 and "does not belong to the checkpoint" in errors[0]


def test_a_conversation(write):
    code, out, errors = write("--interactive", typed="a \n/length 7\n/temperature hot\na \n/quit\nnever\n")
    assert code == 0 and out.startswith("a ") and len(out.splitlines()[-1]) <= 9
    assert any("--temperature: could not convert" in line for line in errors)


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--checkpoint", "absent.pt"], "cannot open checkpoint"), (["--length", "0"], "--length"),
     (["--beam_size", "2", "--top_k", "3"], "beam search draws nothing")],
)  # fmt: skip
def test_mistakes_cost_one_line(flags: list[str], words: str, write):
    code, out, errors = write(*flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]


def test_as_a_program_it_writes(trained: Trained):
    script = ROOT / "stage5_gpt" / "generate.py"
    line = [sys.executable, script.name, "--checkpoint", str(trained()), "--length", "9", "--threads", "1"]
    answer = subprocess.run(line, cwd=script.parent, capture_output=True, text=True)
    assert answer.returncode == 0 and len(answer.stdout) == 10 and "9 characters" in answer.stderr
