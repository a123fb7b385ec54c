"""Multi30k: what people wrote under 31,014 photographs, in English, and translated into French.

Elliott, Frank, Sima'an & Specia, "Multi30K: Multilingual English-German Image Descriptions" (2016); the French is of
Elliott et al., "Findings of the Second Shared Task on Multimodal Machine Translation" (2017). The official parts of
task 1: 29,000 pairs to learn from, 1,014 for validation, and the 1,000 of test 2016 (Flickr). One English sentence
stands in train and in validation; the catalog takes it out of train. Short sentences about what is seen, in the present
tense: the smallest corpus on which a translation score means something.
"""

import gzip
from pathlib import Path

from my_llm.data.corpora.translation import Pair, Pairs, clean

FILES = tuple(f"{part}.{language}.gz" for part in ("train", "val", "test_2016_flickr") for language in ("en", "fr"))


def read(files: tuple[Path, ...]) -> Pairs:
    """Read the six gzipped files of `FILES`, one sentence a line.

    Raises:
        ValueError: Two files of a part have different numbers of lines.
    """
    train, validation, test = (parallel(*files[first : first + 2]) for first in (0, 2, 4))
    return Pairs(train, validation, test)


def parallel(english: Path, french: Path) -> list[Pair]:
    """The pairs of two files, line by line."""
    sources, targets = (gzip.decompress(file.read_bytes()).splitlines() for file in (english, french))  # of bytes
    if len(sources) != len(targets):
        raise ValueError(f"{english.name} has {len(sources)} lines, {french.name} {len(targets)}")
    return [
        Pair(clean(source.decode()), clean(target.decode())) for source, target in zip(sources, targets, strict=True)
    ]
