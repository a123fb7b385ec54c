"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import TO_TRANSLATE, Rule, Size

SHARES = {64: 0.1, 128: 0.2, 256: 0.35, 512: 0.5}  # by width
LAYERS, VOCABULARY = 3, 4000
PAIRS = 128  # of a batch


def rule() -> Rule:
    """Pairs of sentences; a token is one of either language. An encoder's layer has 12 D² weights with a feed-forward
    network four times as wide, a decoder's 16 D².
    """
    sizes = []
    for width, share in SHARES.items():
        layers, head = 28 * LAYERS * width * width, VOCABULARY * width
        flags = {"model": width, "heads": max(width // 64, 2), "layers": LAYERS, "hidden": 4 * width}
        sizes.append(Size(flags, layers + head, 6 * (layers + head) / 2, share))  # a token passes one of the two stacks
    return Rule("translation", sizes, TO_TRANSLATE, PAIRS * 30, passes=(5, 30), per_parameter=5)
