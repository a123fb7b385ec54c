"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import Rule, Size, Text

SHARES = {16: 0.05}  # by hidden units; more of them learn nothing more (the study `depth_width`)
FEATURES, BATCH = 30_000, 64


def rule() -> Rule:
    """Texts to sort. A step moves every weight, and looks up those of the words that are there: the first is what
    costs, 12 operations a weight. Twenty passes are what the texts bear, whatever the time.
    """
    sizes = [
        Size({"hidden": hidden}, FEATURES * hidden, 12 * FEATURES * hidden / BATCH, share)
        for hidden, share in SHARES.items()
    ]
    texts = [Text("python_docs", 3_301), Text("auto", 12_155)]
    return Rule("text classification", sizes, texts, BATCH, passes=(10, 20), per_parameter=0, unit="texts")
