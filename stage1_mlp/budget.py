"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import Rule, Size, Text

HIDDEN, SHARE = 16, 0.005  # more units learn nothing more (the study `depth_width`)
FEATURES, BATCH = 30_000, 64
TO_SORT = (Text("python_docs", 3_301, FEATURES), Text("ag_news", 12_155, FEATURES))


def rule() -> Rule:
    """Texts to sort. A step moves every weight, and looks up those of the words that are there: the first is what
    costs, 12 operations a weight. Twenty passes are what the texts bear, whatever the time.
    """

    def sizes(vocabulary: int) -> list[Size]:
        weights = vocabulary * HIDDEN
        return [Size({"hidden": HIDDEN}, weights, 12 * weights / BATCH, SHARE)]

    return Rule("text classification", sizes, TO_SORT, BATCH, passes=(10, 20), per_parameter=0, unit="texts")
