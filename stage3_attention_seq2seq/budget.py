"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import TO_TRANSLATE, Rule, Size

SHARES = {64: 0.1, 128: 0.15, 256: 0.25, 512: 0.4}  # by hidden units
PAIRS = 128  # of a batch


def rule() -> Rule:
    """Pairs of sentences. A token is one of either language; a translator learns from fewer of them for each parameter
    than a language model, since its texts are read many times.
    """
    sizes = []
    for hidden, share in SHARES.items():
        encoder = 2 * 3 * hidden * (hidden + hidden)  # two directions, three gates
        decoder = 3 * hidden * (hidden + 2 * hidden + hidden) + 4 * hidden * hidden
        head = 4000 * hidden
        operations = 6 * (encoder + decoder + head) / 2  # a token passes through one of the two
        sizes.append(Size({"hidden": hidden, "embedding": hidden}, encoder + decoder + head, operations, share))
    return Rule("translation", sizes, TO_TRANSLATE, PAIRS * 30, passes=(5, 30), per_parameter=5)
