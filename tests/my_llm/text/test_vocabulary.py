"""The vocabulary and its file: what is written comes back, and nothing in a hostile file is executed."""

import copyreg
import json
import os
import pickle
import pickletools
import struct
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my_llm.errors import CheckpointError, ConfigError
from my_llm.text import vocabulary as module
from my_llm.text.vocabulary import SPECIALS, UNK, Vocabulary, load_vocabulary, save_vocabulary

GOOD = {"kind": "char", "symbols": [*SPECIALS, "a", "b"]}


# ---------------------------------------------------------------- building


def test_order_is_by_count_then_by_code_point():
    vocabulary = Vocabulary.from_counts({"b": 2, "é": 3, "a": 2, "<unk>": 9, "rare": 1}, min_count=2)
    assert vocabulary.symbols == ("<pad>", "<unk>", "<bos>", "<eos>", "é", "a", "b")
    assert Vocabulary.from_counts({"b": 2, "é": 3, "a": 2}, max_size=6).symbols[4:] == ("é", "a")
    assert vocabulary.encode(["a", "rare", "é", "<pad>"]) == [5, UNK, 4, 0]
    assert vocabulary.decode([2, 5, 1, 4, 3, 0]) == ["a", "<unk>", "é"]
    assert len(vocabulary) == 7


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 3), max_size=9), st.randoms())
def test_the_order_of_counting_does_not_matter(counts, random):
    items = list(counts.items())
    random.shuffle(items)
    vocabulary = Vocabulary.from_counts(counts)
    assert Vocabulary.from_counts(dict(items)).symbols == vocabulary.symbols
    assert [vocabulary.ids[symbol] for symbol in vocabulary.symbols] == list(range(len(vocabulary))), "contiguous"


def test_too_small_is_refused():
    with pytest.raises(ConfigError, match="too small"):
        Vocabulary.from_counts({"a": 1}, max_size=3)


# ---------------------------------------------------------------- the file


@given(st.lists(st.text(max_size=5), unique=True, max_size=9).filter(lambda symbols: not set(symbols) & set(SPECIALS)))
def test_both_files_give_the_state_back(tmp_path_factory, symbols):
    path = tmp_path_factory.mktemp("vocabulary") / "new folder" / "char_vocabulary.pkl"
    state = {"kind": "char", "symbols": [*SPECIALS, *symbols, "\ud800", "\x00", "'\n"], "merges": ["a b"]}
    save_vocabulary(path, state)
    assert load_vocabulary(path) == state
    assert load_vocabulary(path.with_suffix(".json")) == state
    assert pickle.loads(path.read_bytes()) == json.loads(path.with_suffix(".json").read_bytes()) == state
    assert {file.name for file in path.parent.iterdir()} == {"char_vocabulary.pkl", "char_vocabulary.json"}


def test_a_large_real_vocabulary_loads(tmp_path):
    state = {"kind": "word", "symbols": [*SPECIALS, *(f"word{i}" for i in range(60_000))]}
    save_vocabulary(tmp_path / "v.pkl", state)
    assert load_vocabulary(tmp_path / "v.pkl") == state


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_plain_dump_of_the_state_is_welcome(tmp_path, protocol):
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(GOOD, protocol=protocol))
    assert load_vocabulary(tmp_path / "v.pkl") == GOOD


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot save"):
        save_vocabulary(tmp_path / "v.pkl", GOOD)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(("place", "act"), [(os, "fsync"), (os, "replace")])
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, place, act):
    path = tmp_path / "v.pkl"
    save_vocabulary(path, GOOD)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place, act, full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_vocabulary(path, {**GOOD, "kind": "word"})
    assert load_vocabulary(path) == GOOD
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["v.txt", "v", "v.pkl.exe"])
def test_other_names_are_refused(tmp_path, name):
    for act in (lambda path: save_vocabulary(path, GOOD), load_vocabulary):
        with pytest.raises(CheckpointError, match="unknown kind of vocabulary file"):
            act(tmp_path / name)


# ---------------------------------------------------------------- content that is no vocabulary

WRONG = {
    "a list": ["<pad>"],
    "no kind": {"symbols": GOOD["symbols"]},
    "no symbols": {"kind": "char"},
    "symbols are a string": {"kind": "char", "symbols": "abc"},
    "symbols are a dict": {"kind": "char", "symbols": {"<pad>": "0"}},
    "no special tokens": {"kind": "char", "symbols": ["a", "b"]},
    "special tokens elsewhere": {"kind": "char", "symbols": ["a", *SPECIALS]},
    "repeated symbol": {"kind": "char", "symbols": [*SPECIALS, "a", "a"]},
    "repeated special token": {"kind": "char", "symbols": [*SPECIALS, "<pad>"]},
    "a number": {"kind": "char", "symbols": [*SPECIALS, 5]},
    "null": {"kind": "char", "symbols": [*SPECIALS, None]},
    "a nested list": {"kind": "char", "symbols": [*SPECIALS, ["a"]]},
    "another value": {**GOOD, "size": 3},
    "a nested value": {**GOOD, "merges": [["a", "b"]]},
}


def assert_refused(path: Path) -> str:
    """Loading gives one line that names the file."""
    with pytest.raises(CheckpointError) as error:
        load_vocabulary(path)
    line = str(error.value)
    assert path.name in line and "\n" not in line and line.isprintable() and len(line) < 500 + len(str(path))
    return line


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_a_vocabulary_is_refused(tmp_path, name, suffix):
    path = tmp_path / f"v{suffix}"
    path.write_bytes(pickle.dumps(WRONG[name], protocol=4) if suffix == ".pkl" else json.dumps(WRONG[name]).encode())
    assert_refused(path)
    if isinstance(WRONG[name], dict):
        with pytest.raises(CheckpointError):
            save_vocabulary(tmp_path / "new.pkl", WRONG[name])
        assert not (tmp_path / "new.pkl").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 200_000,
        b"\xff\xfe\x00",
        b'{"kind": NaN}',
        b'{"kind": ' + b"9" * 9000 + b"}",
        b"null",
        b'"\x1b[2J',
    ],
)
def test_damaged_json_is_refused(tmp_path, content):
    (tmp_path / "v.json").write_bytes(content)
    assert_refused(tmp_path / "v.json")


def test_too_large_missing_and_not_a_file_are_refused(tmp_path, monkeypatch):
    assert "no such file" in assert_refused(tmp_path / "absent.pkl")
    (tmp_path / "folder.pkl").mkdir()
    assert_refused(tmp_path / "folder.pkl")
    save_vocabulary(tmp_path / "v.pkl", GOOD)
    monkeypatch.setattr(module, "MAX_BYTES", (tmp_path / "v.pkl").stat().st_size - 1)
    assert "too large" in assert_refused(tmp_path / "v.pkl")
    with pytest.raises(CheckpointError, match="too large"):
        save_vocabulary(tmp_path / "new.pkl", GOOD)
    monkeypatch.setattr(module, "MAX_SYMBOLS", 5)
    assert "too large" in assert_refused(tmp_path / "v.json")


# ---------------------------------------------------------------- hostile pickles

CANARY = Path(tempfile.gettempdir(), f"my_llm_canary_{os.getpid()}")
COMMAND = f"echo x > {CANARY}"  # for every shell
CODE = f"open({str(CANARY)!r}, 'w').close()"
EXTENSION = 240


class Calls:
    """Pickles as the call function(*arguments)."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def text(value: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(value.encode())]) + value.encode() + pickle.MEMOIZE


def nested_call() -> bytes:
    """getattr(__import__("os"), "system")(command), out of builtins alone."""
    importing = pickle.GLOBAL + b"builtins\n__import__\n" + text("os") + pickle.TUPLE1 + pickle.REDUCE
    system = pickle.GLOBAL + b"builtins\ngetattr\n" + importing + text("system") + pickle.TUPLE2 + pickle.REDUCE
    return b"\x80\x04" + system + text(COMMAND) + pickle.TUPLE1 + pickle.REDUCE + b"."


def by_extension() -> bytes:
    """os.system from copyreg's registry of numbered extensions: no name in the file at all."""
    return b"\x80\x04" + pickle.EXT1 + bytes([EXTENSION]) + text(COMMAND) + pickle.TUPLE1 + pickle.REDUCE + b"."


def inside_a_vocabulary(value) -> bytes:
    return pickle.dumps({"kind": "char", "symbols": [*SPECIALS, value]}, protocol=4)


LIVE = {  # each one runs code in an ordinary pickle.loads; a test below proves it
    "os.system, protocol 0": pickle.dumps(Calls(os.system, COMMAND), protocol=0),
    "os.system, protocol 2": pickle.dumps(Calls(os.system, COMMAND), protocol=2),
    "os.system, protocol 5": pickle.dumps(Calls(os.system, COMMAND), protocol=5),
    "os.popen": pickle.dumps(Calls(os.popen, COMMAND), protocol=4),
    "builtins.exec": pickle.dumps(Calls(exec, CODE), protocol=4),
    "builtins.eval": pickle.dumps(Calls(eval, CODE), protocol=4),
    "open for writing": pickle.dumps(Calls(open, str(CANARY), "w"), protocol=4),
    "getattr chain": nested_call(),
    "INST": b"(S" + repr(COMMAND).encode() + b"\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS" + repr(COMMAND).encode() + b"\no.",
    "extension registry": by_extension(),
    "posixpath dotted name": b"\x80\x04" + text("posixpath") + text("os.system") + pickle.STACK_GLOBAL
    + text(COMMAND) + pickle.TUPLE1 + pickle.REDUCE + b".",
    "before the vocabulary": b"\x80\x04" + pickle.dumps(Calls(os.system, COMMAND), 4)[2:-1] + b"0"
    + pickle.dumps(GOOD, 4)[2:],
    "hidden in the symbols": inside_a_vocabulary(Calls(os.system, COMMAND)),
    "hidden in the kind": pickle.dumps({**GOOD, "kind": Calls(os.system, COMMAND)}, protocol=4),
    "hidden in a key": pickle.dumps({**GOOD, Calls(os.system, COMMAND): "x"}, protocol=4),
    "map that is drawn": pickle.dumps(Calls(list, Calls(map, exec, [CODE])), protocol=4),
    "subprocess": pickle.dumps(Calls(subprocess.getoutput, COMMAND), protocol=4),
}  # fmt: skip

whole = pickle.dumps(GOOD, protocol=4)
head, tail = b"\x80\x04", b"."
INERT = {  # what aims at memory, time, the stack, or at a loader that trusts
    "persistent id": b"Pos.system\n.",
    "binary persistent id": head + text("os.system") + pickle.BINPERSID + tail,
    "a class of the standard library": pickle.dumps(Path("x"), protocol=4),
    "NEWOBJ": b"\x80\x04cbuiltins\nobject\n)\x81.",
    "NEWOBJ_EX": head + text("builtins") + text("object") + pickle.STACK_GLOBAL + b")}\x92.",
    "BUILD with a state": head + b"}" + text("__setstate__") + b"}" + b"sb" + tail,
    "unknown extension": b"\x80\x04\x82\xf9.",
    "wide extension": b"\x80\x04\x84\xff\xff\xff\x7f.",
    "memo index of two billion": head + b"}" + pickle.LONG_BINPUT + struct.pack("<I", 2**31 - 1) + tail,
    "memo that was never set": head + pickle.LONG_BINGET + struct.pack("<I", 2**31 - 1) + tail,
    "string of four gigabytes": head + pickle.BINUNICODE + struct.pack("<I", 2**32 - 1) + b"a" + tail,
    "string of an exabyte": head + pickle.BINUNICODE8 + struct.pack("<Q", 2**60) + b"a" + tail,
    "bytes of an exabyte": b"\x80\x05" + pickle.BINBYTES8 + struct.pack("<Q", 2**60) + b"a" + tail,
    "bytearray of sixteen gigabytes": b"\x80\x05" + pickle.BYTEARRAY8 + struct.pack("<Q", 2**34) + b"a" + tail,
    "integer of two gigabytes": b"\x80\x04" + pickle.LONG4 + struct.pack("<i", 2**31 - 1) + b"a" + tail,
    "integer of negative size": b"\x80\x04" + pickle.LONG4 + struct.pack("<i", -1) + tail,
    "decimal integer of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "frame of an exabyte": head + pickle.FRAME + struct.pack("<Q", 2**60) + whole[11:],
    "two to the sixtieth, hashed": head + b"}" + text("a") + b"2\x86" * 60 + b"Ns" + tail,
    "tuple nested a million deep as a key": head + b"}" + b")" + pickle.TUPLE1 * 1_000_000 + b"Ns" + tail,
    "list nested 300,000 deep": head + b"]" * 300_000 + b"a" * 299_999 + tail,
    "lists that double": head + b"]\x94" + b"".join(b"](h%ch%ce\x94" % (i, i) for i in range(60)) + tail,
    "a dict that holds itself": head + b"}\x94" + text("kind") + b"h\x00s" + tail,
    "a list as a key": head + b"}]" + text("x") + b"s" + tail,
    "marks only": head + b"(" * 300_000 + tail,
    "pop from an empty stack": head + b"0" + tail,
    "append to a string": head + text("x") + text("y") + b"a" + tail,
    "next buffer": b"\x80\x05\x97.",
    "protocol 99": b"\x80\x63" + whole[2:],
    "set": pickle.dumps({"kind": "char", "symbols": set(SPECIALS)}, protocol=4),
    "tuple": pickle.dumps({"kind": "char", "symbols": SPECIALS}, protocol=4),
    "an integer among the symbols": inside_a_vocabulary(7),
    "bytes among the symbols": inside_a_vocabulary(b"a"),
    "something behind the end": whole + b"x",
    "two vocabularies": whole + whole,
    "empty": b"",
    "no end": whole[:-1],
    "zeros": bytes(1000),
    "terminal codes": b"c\x1b[2J\n\x1b[31m\n.",
    "not a pickle": b"\x89PNG\r\n\x1a\n",
}  # fmt: skip


@pytest.fixture(autouse=True)
def canary():
    CANARY.unlink(missing_ok=True)
    copyreg.add_extension("posix" if os.name != "nt" else "nt", "system", EXTENSION)
    yield CANARY
    copyreg.remove_extension("posix" if os.name != "nt" else "nt", "system", EXTENSION)
    CANARY.unlink(missing_ok=True)


@pytest.fixture
def little_memory():
    """Two gigabytes above what is in use: a loader that believes a size in the file fails here."""
    if not Path("/proc/self/statm").exists():  # only Linux counts and limits the address space
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.reliability
@pytest.mark.parametrize("name", LIVE)
def test_the_weapons_are_loaded(name, canary):
    result = None
    with suppress(TypeError, AttributeError):  # after the call, the list or dict around it may not fit
        result = pickle.loads(LIVE[name])
    if hasattr(result, "close"):
        result.close()  # the pipe of popen, the opened file
    assert canary.exists(), "an attack that does nothing tests nothing"


@pytest.mark.reliability
@pytest.mark.parametrize("name", LIVE)
@pytest.mark.parametrize("layers", ["all", "unpickler alone"])
def test_no_code_in_a_vocabulary_runs(tmp_path, monkeypatch, name, layers, canary):
    if layers == "unpickler alone":
        monkeypatch.setattr(module, "HARMLESS", {opcode.name for opcode in pickletools.opcodes})
    path = tmp_path / "char_vocabulary.pkl"
    path.write_bytes(LIVE[name])
    assert_refused(path)
    assert not canary.exists()
    assert_refused(path.rename(tmp_path / "char_vocabulary.json"))
    assert not canary.exists()


@pytest.mark.reliability
@pytest.mark.parametrize("name", INERT)
def test_hostile_files_are_refused(tmp_path, name, canary, little_memory):
    (tmp_path / "v.pkl").write_bytes(INERT[name])
    line = assert_refused(tmp_path / "v.pkl")
    assert "MemoryError" not in line, "a size in the file was believed"
    assert not canary.exists()


@pytest.mark.reliability
def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "v.pkl"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert_refused(path)


@given(st.integers(0, len(whole) - 1), st.integers(0, 7))
def test_a_flipped_bit_never_does_more_than_change_a_symbol(tmp_path_factory, place, bit):
    damaged = bytearray(whole)
    damaged[place] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / "v.pkl"
    path.write_bytes(damaged)
    try:
        state = load_vocabulary(path)
    except CheckpointError:
        return
    assert module.check_state(state) is state
