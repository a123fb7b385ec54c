"""A source may be read from its end; nothing else changes."""

from hypothesis import given
from hypothesis import strategies as st

from my_llm.text import EOS, BPETokenizer
from my_llm.text.bpe import BYTE_IDS
from my_llm.translation.batches import encode_sources
from stage3_attention_seq2seq.data import READING, encode_reversed

BYTES = BPETokenizer([])  # no merges: a token is a byte
A, B, C = (BYTE_IDS[byte] for byte in b"abc")


def test_a_source_ends_with_eos_whichever_way_it_is_read():
    assert encode_reversed(BYTES, ["abc", "ab", "a", ""]) == [[C, B, A, EOS], [B, A, EOS], [A, EOS], [EOS]]
    assert READING[True] is encode_reversed and READING[False] is encode_sources


@given(st.lists(st.text(max_size=9), max_size=4))
def test_read_backwards_it_is_the_other_one(texts: list[str]):
    forwards, backwards = encode_sources(BYTES, texts), encode_reversed(BYTES, texts)
    assert [ids[:-1][::-1] for ids in backwards] == [ids[:-1] for ids in forwards]
