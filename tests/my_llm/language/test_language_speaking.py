"""The flags of every generate.py, on a small model: the old ones as they were, the new ones as they say."""

import io
import re
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from my_llm.cli import execute
from my_llm.decoding import generate
from my_llm.language import speaking
from my_llm.language.candidates import Listing, spelled, width
from my_llm.language.speaking import GenerateConfig
from my_llm.language.writer import Writer
from my_llm.sampling import largest, top_k_filter, top_p_filter
from my_llm.text import BPETokenizer, CharTokenizer

LETTERS = CharTokenizer.train(["the cat sat on a mat.\n"])


def writer_of(tokenizer: Any = LETTERS) -> Writer:
    """A model whose next token depends on the last two."""
    size = tokenizer.vocab_size
    table = 2 * torch.randn(2, size, size, generator=torch.Generator().manual_seed(1))

    def step(tokens: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        known = tokens if before is None else torch.cat([before, tokens], dim=1)
        known = known[:, -2:]
        return table[0, known[:, 0]] + table[1, known[:, -1]], known

    return Writer(lambda tokens, state=None: (tokens, state), tokenizer, {}, step=step)  # type: ignore[arg-type]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Exit code, standard output, standard error of a call with these flags and this standard input."""

    def called(*flags: object, typed: str = "", tokenizer: Any = LETTERS) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["generate.py"])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        run = partial(speaking.run, load=lambda path, device, precision: writer_of(tokenizer))
        code = execute(GenerateConfig, run, ["--threads", "1", *map(str, flags)])
        out, err = capsys.readouterr()
        return code, out, err

    return called


# --- what was there ---------------------------------------------------------------------------------------------------


def draw_of_old(
    logits: Tensor, *, temperature: float, top_k: int | None, top_p: float | None, generator: Any, **_: Any
):
    """How a token was drawn before there were more settings."""
    logits = logits.float()
    if temperature == 0:
        return largest(logits)
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None:
        logits = (logits - logits.amax(-1, keepdim=True)) / max(temperature, 1e-30)
        logits, temperature = top_p_filter(logits, top_p), 1.0
    wait = torch.empty_like(logits).exponential_(generator=generator)
    return largest(torch.sub(logits, wait.log_(), alpha=temperature))


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.8, 0, 1.0), (0.0, 0, 1.0), (1.5, 5, 1.0), (0.7, 0, 0.9), (1.0, 6, 0.6)]
)
def test_old_flags_and_seeds_give_the_old_text(temperature: float, top_k: int, top_p: float, seed: int, call):
    writer = writer_of()
    draw = partial(
        draw_of_old, temperature=temperature, top_k=top_k or None, top_p=top_p,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    prompt = torch.tensor([LETTERS.encode("the ")])
    numbers = [int(token) for token in generate(writer.step, prompt, max_new_tokens=60, choose=draw)]
    flags = ("--temperature", temperature, "--top_k", top_k, "--top_p", top_p, "--seed", seed)
    code, out, err = call("--prompt", "the ", "--length", 60, *flags)
    assert (code, out) == (0, f"the {LETTERS.decode(numbers)}\n")
    assert re.fullmatch(rf"60 characters, [\d,]+ a second; seed {seed}\n", err)


# --- what is new ------------------------------------------------------------------------------------------------------


def test_new_settings_reach_the_draw(call):
    def text(*flags: object) -> str:
        code, out, _ = call("--length", 40, "--seed", 3, "--temperature", 1.5, *flags)
        assert code == 0
        return out

    greedy = call("--length", 40, "--temperature", 0)[1]
    assert text("--min_p", 1) == greedy
    texts = {text(), text("--min_p", 0.3), text("--repetition_penalty", 3), text("--presence_penalty", 3), greedy}
    assert len(texts) == 5
    assert text("--min_p", 0, "--repetition_penalty", 1, "--presence_penalty", 0) == text()


def test_the_text_ends_before_a_stop_string(call):
    whole = call("--length", 60)[1]
    code, out, err = call("--length", 60, "--stop", whole[20:23], "\\n", "")
    cut = min(place for stop in (whole[20:23], "\n") if (place := whole.find(stop)) >= 0)
    assert (code, out) == (0, whole[:cut] + "\n") and err.startswith(f"{cut} characters")


def test_banned_words_are_not_written_and_it_is_said(call, tmp_path):
    plain = call("--length", 300)[1]
    (tmp_path / "words.txt").write_text("t\n")
    code, out, err = call("--length", 300, "--banned", "A", tmp_path / "words.txt")
    assert re.search(r"\b[at]\b", plain) and not re.search(r"\b[at]\b", out) and (code, len(out)) == (0, 301)
    assert re.fullmatch(r"filtered \d+ times: '[At]' \d+(, '[At]' \d+)?", err.splitlines()[1])
    code, out, err = call("--length", 300, "--banned", "zebra")
    assert out == plain and err.splitlines()[1] == "nothing had to be filtered"


def test_several_texts_have_the_next_seeds(call):
    alone = [call("--length", 30, "--prompt", "a ", "--seed", seed)[1] for seed in (5, 6, 7)]
    code, out, err = call("--length", 30, "--prompt", "a ", "--seed", 5, "--num_samples", 3)
    assert (code, out) == (0, "".join(alone))
    headings = [line for line in err.splitlines() if line.startswith("---")]
    assert headings == [f"--- text {n} of 3, seed {n + 4} ---" for n in (1, 2, 3)]


def test_beam_search(call):
    texts = [call("--length", 20, *flags) for flags in (("--beam_size", 5), ("--beam_size", 5, "--seed", 9))]
    assert texts[0][:2] == texts[1][:2] and texts[0][0] == 0 and len(texts[0][1]) == 21
    assert texts[0][2].endswith("a second; beam of 5\n")
    short, long = (
        call("--beam_size", 20, "--length", 30, "--stop", ".", "--length_penalty", penalty)[1] for penalty in (0, 9)
    )
    assert len(short) < len(long)
    out = call("--length", 30, "--beam_size", 3, "--banned", "a", "t", "s")[1]
    assert not re.search(r"\b[ats]\b", out)


def test_candidates_are_listed_with_their_shares(call):
    plain = call("--length", 9, "--top_k", 3)[1]
    code, out, err = call("--length", 9, "--top_k", 3, "--show_probabilities", 5)
    *rows, last = err.splitlines()
    assert (code, out) == (0, plain) and last.startswith("9 characters") and len(rows) == 9
    for row, character in zip(rows, plain):
        cells = re.findall(r"([→ ])('.{1,2}'|\"'\") ([\d.]+) %", row)
        assert len(cells) == 3, "three have been left by top-k"
        assert sum(float(share) for *_, share in cells) == pytest.approx(100, abs=0.2)
        assert [eval_of(token) for arrow, token, _ in cells if arrow == "→"] == [character]


def eval_of(quoted: str) -> str:
    return quoted[1:-1].replace("\\n", "\n")


def test_the_listing_keeps_to_80_columns_and_marks_what_is_not_among_the_best():
    said: list[str] = []
    signs = CharTokenizer.train(["中文 坏人是你我他她它们的了在有和这"])
    listing = Listing(signs, 12, said.append)
    rising = torch.arange(signs.vocab_size) / sum(range(signs.vocab_size))
    listing(rising, 4)
    listing(torch.eye(signs.vocab_size)[5], 5)
    assert len(said) > 2 and max(map(width, said)) <= 80 and "…" in said[-2]
    assert sum(line.count("→") for line in said[:-1]) == 1
    assert said[-1] == f"    2  →{spelled(signs, 5)} 100.0 %", "what cannot be drawn is no candidate"
    pairs = BPETokenizer([])
    assert spelled(pairs, pairs.encode("中")[0]) == "'\\xe4'" and spelled(pairs, pairs.encode(" ")[0]) == "' '"


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--min_p", "1.5"], "--min_p"),
        (["--min_p", "nan"], "--min_p"),
        (["--repetition_penalty", "0"], "--repetition_penalty"),
        (["--presence_penalty", "inf"], "--presence_penalty"),
        (["--beam_size", "0"], "--beam_size"),
        (["--num_samples", "0"], "--num_samples"),
        (["--show_probabilities", "-1"], "--show_probabilities"),
        (["--length_penalty", "1"], "--length_penalty belongs to beam search"),
        (["--beam_size", "2", "--top_k", "5", "--min_p", "0.1"], "--beam_size 2 goes without --top_k and --min_p"),
        (["--beam_size", "2", "--num_samples", "2"], "goes without --num_samples"),
        (["--beam_size", "2", "--temperature", "0"], "goes without --temperature"),
        (["--banned", "absent.txt"], "cannot read banned words"),
        (["--banned", " "], "no word to ban"),
        (["--interactive", "--prompt", "the"], "--interactive asks for beginnings; got '--prompt the'"),
    ],
)
def test_mistakes_cost_one_line(flags: list[str], words: str, call):
    code, out, err = call(*flags)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and words in err


def test_commands_change_the_new_settings(call):
    typed = """/stop "t a" \\n
/banned 'a mat' cat
/min_p 0.2
the
/beam_size 3
/min_p 0
/temperature 0.8
/beam_size 3
/banned ""
/stop ""
a
/stop "t
/banned absent.txt
/min_p 3
/length_penalty 0.5
/num_samples 2
"""
    code, out, err = call("--interactive", "--length", 20, "--temperature", 0.8, typed=typed)
    lines = err.splitlines()
    usual = "length 20   temperature 0.8   top_k 0   top_p 1.0   seed"
    assert code == 0 and out.startswith("the") and len(out.splitlines()) >= 2
    assert f"{usual} 0   stop 't a' '\\\\n'" in lines
    assert f"{usual} 0   min_p 0.2   stop 't a' '\\\\n'   banned 'a mat' 'cat'" in lines
    assert "beam search draws nothing: --beam_size 3 goes without --min_p; next: /help" in lines
    assert f"{usual} 1   beam_size 3" in lines
    assert any(line.endswith("a second; beam of 3") for line in lines)
    assert any(line.startswith("a quotation mark without its other half") for line in lines)
    assert any(line.startswith("cannot read banned words; got 'absent.txt'") for line in lines)
    assert any(line.startswith("--min_p is out of range") for line in lines)
    assert f"{usual} 2   beam_size 3   length_penalty 0.5" in lines
    assert any("goes without --num_samples" in line for line in lines)


def test_after_several_texts_the_seeds_go_on(call):
    _, _, err = call("--interactive", "--length", 5, "--num_samples", 3, typed="a\na\n")
    assert re.findall(r"second; seed (\d)", err) == ["0", "1", "2", "3", "4", "5"]


# --- special tokens ---------------------------------------------------------------------------------------------------


def test_what_a_tokenizer_calls_special_is_not_written():
    import json
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from my_llm.text import read_gpt2
    from my_llm.text.bpe import ALPHABET

    with TemporaryDirectory() as folder:
        symbols = {symbol: number for number, symbol in enumerate([*ALPHABET, "<|endoftext|>"])}
        (Path(folder) / "vocab.json").write_text(json.dumps(symbols))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        tokenizer = read_gpt2(Path(folder))

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, None]:
        logits = torch.zeros(1, 257)
        logits[:, 256], logits[:, 2] = 9.0, 5.0  # <|endoftext|>, then the third byte, which is text
        return logits, None

    writer = Writer(lambda tokens, state=None: (tokens, state), tokenizer, {}, step=step)  # type: ignore[arg-type]
    assert "".join(writer.write("a", length=3, temperature=0.0)) == "###"
