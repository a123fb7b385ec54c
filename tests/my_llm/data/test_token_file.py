"""Token files: what is written comes back, in windows too; damaged and foreign files are one line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from my_llm.data.token_file import HEADER, MAGIC, open_tokens, packed, write_tokens
from my_llm.errors import DataError
from my_llm.language.batches import Windows
from my_llm.text import EOS, BPETokenizer, CharTokenizer, GPT2Tokenizer
from my_llm.text.gpt2 import END
from my_llm.text.merging import ALPHABET


class Large(CharTokenizer):
    """A tokenizer that says to have many ids."""

    def __init__(self, size: int):
        super().__init__(CharTokenizer.train(["ab"]).vocabulary)
        self.size = size

    @property
    def vocab_size(self) -> int:
        return self.size


CHARS = CharTokenizer.train(["abcdefgh"])
IDS = [list(range(12)), [], [11, 0, 5]]
CHANGES = [
    {"count": 0}, {"count": True}, {"count": -3}, {"count": "15"}, {"dtype": "object"}, {"dtype": "int32"}, {"more": 1},
    {"vocab_size": 0}, {"sha256": None}, {"tokenizer": "x"}, {"path": "/etc/passwd"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "dtype", "tensor"),
    [
        (12, "uint16", torch.int16),
        (2**15, "uint16", torch.int16),
        (2**15 + 1, "uint16", torch.uint16),
        (2**16, "uint16", torch.uint16),
        (2**16 + 1, "int32", torch.int32),
    ],
)
def test_numbers_come_back_in_the_smallest_dtype_and_in_windows(tmp_path, size, dtype, tensor):
    numbers, tokenizer = [0, size - 1, size // 2, 1, 2, 3, size - 1, 4, 5], Large(size)
    made = write_tokens(tmp_path / "new" / "a.tokens", [numbers[:4], np.array(numbers[4:])], tokenizer)
    found = open_tokens(tmp_path / "new" / "a.tokens", tokenizer, thorough=True)
    assert found == made and (found.dtype, found.count, found.vocab_size) == (dtype, 9, size)
    assert found.array().tolist() == numbers
    assert found.tensor().dtype == tensor and found.tensor().long().tolist() == numbers
    mapped, plain = (Windows(tokens, 2, 2) for tokens in (found.tensor(), torch.tensor(numbers)))
    for index in range(4):
        assert all(torch.equal(a, b) for a, b in zip(mapped(index), plain(index), strict=True))
    assert os.listdir(tmp_path / "new") == ["a.tokens"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), max_size=9), min_size=1, max_size=9).filter(any))
def test_the_portions_do_not_matter(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("tokens")
    whole = [number for piece in pieces for number in piece]
    parts, one = write_tokens(folder / "parts", pieces, CHARS), write_tokens(folder / "one", [whole], CHARS)
    assert parts.sha256 == one.sha256 and (folder / "parts").read_bytes() == (folder / "one").read_bytes()


def test_documents_are_joined_with_an_end_token():
    documents = ["ab", "", "c" * 7, "h"]
    expected = [4, 5, EOS, EOS, *[6] * 7, EOS, 11, EOS]
    assert [number for piece in packed(documents, CHARS) for number in piece] == expected
    foreign = GPT2Tokenizer([], [END, *ALPHABET])
    assert [number for piece in packed(["!", '"'], foreign) for number in piece] == [1, 0, 2, 0]
    bpe = BPETokenizer.train(documents * 2, 300)
    assert [number for piece in packed(documents, bpe) for number in piece].count(EOS) == 4


def test_a_corpus_is_never_in_memory_as_a_whole(tmp_path):
    """16 million tokens, written and looked into, within 24 MB of Python's memory."""
    import tracemalloc

    piece = np.arange(2**18) % 12
    tracemalloc.start()
    write_tokens(tmp_path / "a.tokens", (piece for _ in range(64)), CHARS)
    tokens = open_tokens(tmp_path / "a.tokens", CHARS).tensor()
    assert tokens[-3:].tolist() == [1, 2, 3] and len(tokens) == 2**24  # 262,143 = 3 modulo 12
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6


def refused(path, words, tokenizer=None, thorough=False):
    with pytest.raises(DataError) as error:
        open_tokens(path, tokenizer, thorough=thorough)
    assert words in str(error.value) and path.name in str(error.value) and "\n" not in str(error.value)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.tokens"
    write_tokens(path, IDS, CHARS)
    whole = path.read_bytes()
    facts = json.loads(whole[len(MAGIC) : HEADER])
    refused(tmp_path / "absent.tokens", "No such file")
    refused(tmp_path, "cannot open")
    refused(path, "made by another tokenizer", CharTokenizer.train(["abcdefgi"]))
    for content in (b"", b"x", bytes(9000), b"\x89PNG" * 3000, whole[:HEADER], whole[:-1], whole + b"x"):
        path.write_bytes(content)
        refused(path, "token file" if len(content) < HEADER or content[:4] != MAGIC[:4] else "bytes instead of")
    for change in CHANGES:
        path.write_bytes((MAGIC + json.dumps({**facts, **change}).encode()).ljust(HEADER - 1) + b"\n" + whole[HEADER:])
        refused(path, "header is damaged")
    for content in (b"[]", b"null", b"[" * 3000, b"{", b"\xff", json.dumps(facts, indent=1).encode()):
        path.write_bytes((MAGIC + content).ljust(HEADER) + whole[HEADER:])
        refused(path, "header is damaged")
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    path.write_bytes(flipped)
    assert open_tokens(path).count == 15
    refused(path, "not those that were written", thorough=True)
    path.write_bytes(whole)
    assert open_tokens(path, CHARS, thorough=True).count == 15


@pytest.mark.parametrize("act", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, act):
    path = tmp_path / "a.tokens"
    old = write_tokens(path, IDS, CHARS)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, act, full_disk)
    with pytest.raises(DataError, match="cannot write tokens.*No space left"):
        write_tokens(path, [[1]], CHARS)
    monkeypatch.undo()
    for wrong in ([12], [-1]):
        with pytest.raises(DataError, match="does not have; got '(12|-1)'; valid: 0 to 11"):
            write_tokens(path, [[1], wrong], CHARS)
    with pytest.raises(DataError, match="no tokens"):
        write_tokens(path, [], CHARS)
    assert open_tokens(path, CHARS, thorough=True) == old and os.listdir(tmp_path) == ["a.tokens"]


def test_what_a_reader_writes_does_not_reach_the_file(tmp_path):
    file = write_tokens(tmp_path / "a.tokens", IDS, CHARS)
    file.tensor()[0] = 7
    assert open_tokens(file.path, thorough=True).tensor()[0] == 0


def test_token_files_need_no_torch():
    code = "import sys, my_llm.data.token_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
