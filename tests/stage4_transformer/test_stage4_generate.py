"""generate.py with a language model that looks back through a window."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stage4_world import ADJECTIVES, NOUNS, VERBS, Call, Trained, published

from my_llm.decoding import generate as decode
from my_llm.decoding import recompute
from my_llm.sampling import greedy
from stage4_transformer import generate
from stage4_transformer.language import load_writer

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def write(call: Call, trained: Trained):
    """Exit code, standard output, lines of standard error of a call on the trained model."""

    def written(*flags: object, path: Path | None = None, **typed: str) -> tuple[int, str, list[str]]:
        return call(generate, "--checkpoint", path or trained("language_model"), *flags, **typed)

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


@pytest.mark.parametrize("length", [14, 60])
def test_keys_and_values_that_are_kept_change_nothing(length: int, trained: Trained):
    """Within the window; beyond it the text goes on, and every token has at least half a window to look at."""
    writer = load_writer(trained("language_model"), CPU)
    context = writer.model.config.max_length  # type: ignore[attr-defined]
    prompt = torch.tensor([writer.encode("a ")])
    kept = [int(token) for token in decode(writer.step, prompt, max_new_tokens=length)]
    read = recompute(lambda tokens: writer.model(tokens)[0], context)
    anew = [int(token) for token in decode(forbidding(read, writer), prompt, max_new_tokens=length, choose=greedy)]
    assert context == 16 and len(kept) == length and kept[:14] == anew[:14]
    sizes = [len(seen) for seen in windows(writer, length)]
    assert sizes[:14] == list(range(2, 16)) and all(8 <= size <= 16 for size in sizes[14:])


def forbidding(step, writer):
    def careful(tokens, state):
        with torch.inference_mode():
            logits, state = step(tokens, state)
        return logits + writer.forbidden, state

    return careful


def windows(writer, length: int) -> list[torch.Tensor]:
    """What the model has before its eyes at every token."""
    seen, step, state = [], writer._step, None
    token = torch.tensor([writer.encode("a ")])
    for _ in range(length):
        with torch.inference_mode():
            logits, state = step(token, state)
        seen.append(state[0][0])
        token = logits.argmax(dim=1)[:, None]
    return seen


def test_the_published_vocabulary_belongs_to_it(write, home: Path, trained: Trained):
    path = trained("language_model")
    vocabulary = published(home).with_name("char_vocabulary.json")
    assert write("--vocab", vocabulary, "--length", 5)[0] == 0
    other = trained("language_model", "--vocab_type", "bpe", "--vocab_size", 280, "--max_steps", 3)
    code, out, errors = write("--vocab", vocabulary, path=other)
    assert (code, out) == (2, "") and len(errors) == 1 and "does not belong to the checkpoint" in errors[0]
    assert path != other


def test_byte_pairs_and_words_are_written(write, trained: Trained):
    for vocab_type, size in {"word": 20, "bpe": 280}.items():
        path = trained("language_model", "--vocab_type", vocab_type, "--vocab_size", size, "--max_steps", 3)
        code, out, _ = write("--prompt", "a red", "--length", 20, path=path)
        assert code == 0 and out.startswith("a red") and len(out) > 20


def test_a_conversation(write):
    code, out, errors = write("--interactive", typed="a \n/length 7\n/temperature hot\na \n/quit\nnever\n")
    assert code == 0 and out.startswith("a ") and out.endswith("\n") and len(out.splitlines()[-1]) <= 9
    assert any("--temperature: could not convert" in line for line in errors)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--checkpoint", "absent.pt"], "cannot open checkpoint"),
        (["--length", "0"], "--length"),
        (["--top_p", "0"], "--top_p"),
        (["--interactive", "--prompt", "the"], "--interactive asks for beginnings; got '--prompt the'"),
    ],
)
def test_mistakes_cost_one_line(flags: list[str], words: str, write):
    code, out, errors = write(*flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]


def test_a_translator_writes_no_text(write, trained: Trained):
    code, out, errors = write(path=trained())
    assert (code, out) == (2, "") and len(errors) == 1 and "holds no language model of this stage" in errors[0]


def test_as_a_program_it_writes(trained: Trained):
    script = ROOT / "stage4_transformer" / "generate.py"
    line = [
        sys.executable,
        script.name,
        "--checkpoint",
        str(trained("language_model")),
        "--length",
        "9",
        "--threads",
        "1",
    ]
    answer = subprocess.run(line, cwd=script.parent, capture_output=True, text=True)
    assert answer.returncode == 0 and len(answer.stdout) == 10 and "9 characters" in answer.stderr
