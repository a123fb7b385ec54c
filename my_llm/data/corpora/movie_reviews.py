"""Movie reviews: 1,000 positive and 1,000 negative full reviews, about 650 words each, lower case and tokenised.

Pang & Lee, "A Sentimental Education" (2004), polarity data set v2.0. No official test part: a fifth is held out by
`split_seed`.
"""

import re
import zipfile
from pathlib import Path

from my_llm.data.corpora.classification import Example

LABELS = ("negative", "positive")
REVIEW = re.compile(r"movie_reviews/(neg|pos)/[^/]+\.txt")


def read(files: tuple[Path, ...]) -> tuple[list[Example], list[Example]]:
    """Read movie_reviews.zip."""
    examples = []
    with zipfile.ZipFile(files[0]) as archive:
        for name in sorted(archive.namelist()):
            if match := REVIEW.fullmatch(name):
                text = archive.read(name).decode("utf-8", errors="replace")
                examples.append(Example(" ".join(text.split()), int(match[1] == "pos")))
    return examples, []
