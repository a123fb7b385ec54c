"""The code assistant: what it runs can do nothing, what it sees is so, what it shows is the best."""

import json
import textwrap
from pathlib import Path

import pytest
import torch
from stage5_world import SIZES, Trained

from my_llm.cli import execute
from my_llm.data.corpora.language import LanguageText
from my_llm.data.corpus import standard_library
from my_llm.language.writer import Writer
from my_llm.text import GPT2Tokenizer, Tokenizer
from stage5_gpt import assistant, scoring_code, write_code
from stage5_gpt.assistant import answers, check, look, passes, shares, solved
from stage5_gpt.code_style import (
    RULES,
    broken_rules,
    last_function,
    parsed,
    style,
    unknown_attributes,
    unknown_names,
    uses_arguments,
)
from stage5_gpt.code_tasks import TASKS, Asked, cut, ended, held_out_functions, of_comment
from stage5_gpt.sandbox import Tried, can_run, read, tried

LIMITED = pytest.mark.skipif(not can_run(), reason="no limits for a process on this system")
ADD = Asked("add", 'def add(a, b):\n    """Add."""\n', "    return a + b\n", examples=">>> add(1, 2)\n3\n")

HOSTILE = {
    "a file of somebody else": "open('/etc/hostname').read()",
    "a file, past open": "import os; os.open('/etc/hostname', 0)",
    "a file, past both": "import io; io.FileIO('/etc/hostname')",
    "a new file": "open('new.txt', 'w')",
    "its own file": "open('candidate.py', 'a')",
    "removing": "import os; os.remove('examples.txt')",
    "another program": "import subprocess; subprocess.run(['true'])",
    "a shell": "import os; os.system('true')",
    "a child": "import os; os.fork()",
    "its parent": "import os; os.kill(os.getppid(), 0)",
    "the network": "import socket; socket.socket()",
    "the network, below": "import _socket",
    "the kernel": "import ctypes; ctypes.CDLL(None)",
    "memory": "'a' * 10**10",
    "the limits": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (100, 100))",
}


# --- running what nobody has read -------------------------------------------------------------------------------------


@LIMITED
def test_what_runs_can_do_nothing_but_compute():
    """All attempts in one process; those that succeed are counted, and reading what may be imported is one of them."""
    attempts = [
        f"try:\n    {line}\n    done.append({name!r})\nexcept BaseException:\n    pass"
        for name, line in HOSTILE.items()
    ]
    source = "done = []\n" + "\n".join([*attempts, "import json; done.append(json.loads('[1]'))"])
    limits = (
        ">>> import resource\n>>> resource.getrlimit(resource.RLIMIT_CPU), resource.getrlimit(resource.RLIMIT_CORE)\n"
    )
    assert tried(source, f">>> done\n[[1]]\n{limits}((2, 2), (0, 0))\n") == Tried(True, 3, 0)


@LIMITED
def test_right_wrong_endless_and_hasty():
    assert tried("def f(x):\n    return 2 * x\n", ">>> f(2)\n4\n>>> f('a')\n'aa'\n") == Tried(True, 2, 0)
    assert tried("def f(x):\n    return x\n", ">>> f(2)\n4\n").passed is False
    assert tried("while True:\n    pass\n", seconds=0.7) == Tried(False)
    assert tried("import os\nprint('word 3 0')\nos._exit(0)\n") == Tried(False), "an early end proves nothing"
    assert tried("raise ValueError\n") == Tried(False)


def test_only_the_secret_word_is_believed():
    assert read("noise\nsecret 3 1\n", "secret") == Tried(True, 3, 1)
    assert read("secret 3 0\nguess 3 0", "secret") == read("", "secret") == Tried(False)
    assert Tried(True, 0, 0).passed is False, "no examples are no proof"


# --- looking at it ----------------------------------------------------------------------------------------------------

FINE = "def f(items):\n    return [item for item in items if item is not None]\n"


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("lines of at most 79 characters", f"x = '{'a' * 90}'\nprint(x)\n"),
        ("no blanks at the ends of lines", "def f(x): \n    return x\n"),
        ("indented by fours, no tabs", "def f(x):\n  return x\n"),
        ("names in snake_case", "def doIt(x):\n    return x\n"),
        ("no variable that nobody reads", "def f(x):\n    y = 1\n    return x\n"),
        ("at most 40 lines", "def f(x):\n" + "    print(x)\n" * 40),
        ("None, True and False compared by is", "def f(x):\n    return x == None\n"),
        ("no line that cannot be reached", "def f(x):\n    return x\n    print(x)\n"),
    ],
)
def test_each_rule_of_style_catches_what_breaks_it_and_nothing_else(rule: str, source: str):
    assert broken_rules(source) == [rule] and style(source) == 1 - 1 / len(RULES)


def test_style_of_what_is_fine_and_of_what_is_no_python():
    assert style(FINE) == 1 and broken_rules("def f(x):\n    return x == 1 or x == 0\n") == []
    assert style("def f(:\n") == 0 and parsed("(" * 5000) is None and parsed("x = '\0'") is None


def test_names_from_nowhere_are_found():
    tree = parsed(
        "import os as system\ndef f(a, *b):\n    for c in b:\n        d = len(c) + g\n    return d, system, E\n"
    )
    assert tree and unknown_names(tree, {"g"}) == {"E"} and unknown_names(tree, set()) == {"g", "E"}


def test_attributes_from_nowhere_and_arguments_that_nobody_reads_are_found():
    method = (
        "class A:\n    def __init__(self, x):\n        self.x = x\n\n    def f(self, y):\n        return self.{} + {}\n"
    )
    tree, other = parsed(method.format("x", "y")), parsed(method.format("z", "1"))
    assert tree and other and (unknown_attributes(tree), unknown_attributes(other)) == (set(), {"z"})
    functions = [last_function(tree), last_function(other)]
    assert [function is not None and uses_arguments(function) for function in functions] == [True, False]
    assert not check(ADD, "    # a comment is no body\n", run=False).compiles


def test_a_function_ends_where_the_next_line_is_not_indented():
    body = "    return a + b\n\n    x\n"
    assert cut(ADD, body + "def f(): pass\n") == body and ended(ADD, body + "d") and not ended(ADD, body + "    ")
    assert cut(ADD, "    return a\n    retu") == "    return a\n", "half a line is none"
    method = next(task for task in TASKS if task.indent == 4)
    assert cut(method, "        return 1\n    def g(self): pass\n") == "        return 1\n"
    asked = of_comment("add two numbers")
    assert asked.prompt == "# add two numbers\ndef " and cut(asked, "f(a):\n    return a\nx") == "f(a):\n    return a\n"
    assert of_comment("def f(x):\\n    ").prompt == "def f(x):\n"


def test_functions_of_the_library_are_cut_behind_their_docstring():
    found = list(held_out_functions(standard_library()))
    assert len(found) > 40
    for asked in found:
        tree = parsed(asked.prompt + asked.answer)
        assert tree and asked.prompt.rstrip().endswith(("'", '"')) and asked.answer.strip()
    assert sum(not unknown_names(parsed(a.prompt + a.answer) or ADD, set(a.known)) for a in found) > 0.8 * len(found)  # pyright: ignore[reportArgumentType]


@LIMITED
def test_every_task_has_an_answer_that_its_examples_accept_and_they_refuse_nothing():
    """All answers in one process; of one that does nothing, none is accepted."""
    names = [f"{task.name}".replace(".", "_") for task in TASKS]
    right = "".join(textwrap.dedent(task.prompt + task.answer) + "\n\n" for task in TASKS[-3:])
    assert tried(right, "".join(task.examples for task in TASKS[-3:])).passed and len({*names}) == len(TASKS)
    nothing = check(TASKS[0], "        return None\n", run=False)
    assert not passes(TASKS[0], nothing) and passes(TASKS[0], check(TASKS[0], TASKS[0].answer, run=False))


# --- choosing and scoring ---------------------------------------------------------------------------------------------


@LIMITED
def test_the_best_comes_first():
    bodies = ["    return a +\n", "    return c\n", "    return a\n", "    return b + a\n", "    return b + a\n", ""]
    found = look(ADD, bodies)
    assert [one.body for one in found[:3]] == ["    return b + a\n", "    return a\n", "    return c\n"]
    assert [one.compiles for one in found] == [True, True, True, False, False]
    assert found[0].runs and found[0].known and not found[2].known
    own = Asked("add", 'def add(a, b):\n    """>>> add(1, 2)\n    3\n    """\n', "")
    assert look(own, ["    return a\n", "    return a + b\n"])[0].body == "    return a + b\n"


def test_shares_count_what_was_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        assistant, "tried", lambda source, examples: Tried("return" in source, 1, int("a + b" not in source))
    )
    asked = [ADD, ADD._replace(name="other")]
    found = shares(asked, lambda one: ["    return a + b\n" if one is ADD else "    c = ("], "x = 1\nreturn a + b\n")
    assert found == (2, 50.0, 50.0, 50.0, 50.0, 50.0, 50.0)
    assert solved(asked, lambda one: ["    x = a\n", "    return a + b\n"]) == (2, 0.0, 100.0, 100.0)


class Parrot:
    """A model that always goes on with the same text."""

    def __init__(self, tokenizer: Tokenizer, text: str):
        self.vocab_size, self.numbers = tokenizer.vocab_size, tokenizer.encode(text)

    def __call__(self, tokens: torch.Tensor, state: int | None = None, /) -> tuple[torch.Tensor, int]:
        said = 0 if state is None else state
        logits = torch.zeros(*tokens.shape, self.vocab_size)
        logits[:, -1, self.numbers[said % len(self.numbers)]] = 100.0
        return logits, said + 1


def test_the_blanks_in_front_of_a_body_are_the_models_own():
    tokenizer = GPT2Tokenizer.train(["def f(a, b):\n    return a + b\n" * 20], 300)
    for said, expected in (("\n    return a\nx\n", "    return a\n"), (" # no\n", "\n")):
        writer = Writer(Parrot(tokenizer, said), tokenizer, facts={})
        assert answers(writer, ADD, 2, length=40) == [expected] * 2


# --- the script -------------------------------------------------------------------------------------------------------


@pytest.fixture
def write(capsys: pytest.CaptureFixture[str], trained: Trained):
    model = trained("--vocab_type", "gpt2", *SIZES["gpt2"], "--max_steps", 3)

    def written(*flags: object) -> tuple[int, str, list[str]]:
        line = ["--checkpoint", str(model), "--threads", "1", "--length", "20", *map(str, flags)]
        code = execute(write_code.WriteCodeConfig, write_code.run, line)
        out, err = capsys.readouterr()
        return code, out, err.strip().splitlines()

    return written


def test_it_writes_a_function(write):
    code, out, errors = write("--prompt", "# add", "--candidates", 3, "--no_execute", "--show", 2)
    assert code == 0 and out.startswith("# add\ndef") and "3 written" in errors[-1] and len(errors) <= 3


@LIMITED
def test_it_is_scored_beside_those_who_know_and_those_who_do_not(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scoring_code, "held_out_functions", lambda folder: iter([ADD]))
    monkeypatch.setattr(scoring_code, "ngram_writer", lambda writer, text: writer)
    monkeypatch.setattr(scoring_code, "TASKS", TASKS[-1:])
    corpus = LanguageText("library", "python", "return a + b", "", "", "made here", "0" * 64)
    monkeypatch.setattr("my_llm.data.catalog.load_text", lambda name: corpus)
    code, out, errors = write("--evaluate", 1, "--candidates", 1, "--report", tmp_path / "code.json")
    rows = json.loads((tmp_path / "code.json").read_text())["rows"]
    assert (code, errors) == (0, []) and "the library itself" in out and len(rows) == 5
    assert rows[0]["compiles"] == rows[0]["solved"] == rows[0]["lines_seen"] == 100.0


@pytest.mark.parametrize(
    ("flags", "words"),
    [([], "either a --prompt"), (["--prompt", "x", "--evaluate", "3"], "either a --prompt"),
     (["--prompt", "x", "--report", "a.json"], "--report needs scores"), (["--evaluate", "3", "--no_execute"], "tasks"),
     (["--prompt", "x", "--checkpoint", "absent.pt"], "cannot open checkpoint"), 
     (["--candidates", "0"], "out of range")],
)  # fmt: skip
def test_mistakes_cost_one_line(flags: list[str], words: str, write):
    code, out, errors = write(*flags)
    assert (code, out) == (2, "") and len(errors) == 1 and words in errors[0]
