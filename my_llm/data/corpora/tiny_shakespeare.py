"""Tiny Shakespeare: 1,115,394 characters out of the plays, the text that small language models are compared on.

Put together by Andrej Karpathy for char-rnn (2015). The usual split, and therefore ours: the first nine tenths of the
characters train, the rest validates (nanoGPT, data/shakespeare_char/prepare.py). There is no third part: a validation
loss that chose the moment to stop is a little too good.
"""

from pathlib import Path

from my_llm.data.corpora.language import Texts


def read(files: tuple[Path, ...]) -> Texts:
    """Read the one file."""
    text = files[0].read_text("utf-8")
    cut = int(0.9 * len(text))
    return Texts(text[:cut], text[cut:], "")
