"""From pairs of sentences to tensors: what only this stage does, reading a source from its end.

All else, subwords, batches and the shift by one, lives in my_llm/translation/batches.py, because later stages translate
from the same batches.
"""

from collections.abc import Sequence

from my_llm.text import BPETokenizer
from my_llm.translation.batches import Encode, encode_sources


def encode_reversed(tokenizer: BPETokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The sentence turned around, then <eos>, as Sutskever et al. 2014 did without attention (§3.3)."""
    return [[*ids[-2::-1], ids[-1]] for ids in encode_sources(tokenizer, texts)]


READING: dict[bool, Encode] = {False: encode_sources, True: encode_reversed}  # --reverse_source
