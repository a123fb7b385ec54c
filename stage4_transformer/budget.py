"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import TO_TRANSLATE, Rule, Size

SHARES = {64: 0.2, 128: 0.34, 256: 0.43, 512: 0.56}  # by width
LAYERS, PAIRS = 3, 128  # of each stack; of a batch


def size(width: int, vocabulary: int, share: float) -> Size:
    """An encoder's layer has 12 D² weights with a feed-forward network four times as wide, a decoder's 16 D²."""
    weights = 28 * LAYERS * width**2 + vocabulary * width
    flags = {"model": width, "heads": max(width // 64, 2), "layers": LAYERS, "hidden": 4 * width}
    return Size(flags, weights, 6 * weights / 2, share)  # a token passes one of the two stacks


def rule() -> Rule:
    """Pairs of sentences; a token is one of either language."""

    def sizes(vocabulary: int) -> list[Size]:
        return [size(width, vocabulary, share) for width, share in SHARES.items()]

    return Rule("translation", sizes, TO_TRANSLATE, PAIRS, passes=(5, 30), per_parameter=5)
