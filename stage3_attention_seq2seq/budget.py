"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import TO_TRANSLATE, Rule, Size

SHARES = {64: 0.13, 128: 0.27, 256: 0.37, 512: 0.48}  # by hidden units
PAIRS = 128  # of a batch


def size(hidden: int, vocabulary: int, share: float) -> Size:
    """Encoder: two directions, three gates. Decoder: three gates over embedding, context and state; the bridge to the
    attention, the first state, the attention, and what reads them all out.
    """
    encoder, decoder = 12 * hidden**2, 9 * hidden**2 + (2 + 1 + 2 + 6) * hidden**2
    weights = encoder + decoder + vocabulary * hidden
    return Size({"hidden": hidden, "embedding": hidden}, weights, 6 * weights / 2, share)  # a token passes one of both


def rule() -> Rule:
    """Pairs of sentences. A token is one of either language; a translator learns from fewer of them for each parameter
    than a language model, since its texts are read many times.
    """

    def sizes(vocabulary: int) -> list[Size]:
        return [size(hidden, vocabulary, share) for hidden, share in SHARES.items()]

    return Rule("translation", sizes, TO_TRANSLATE, PAIRS, passes=(5, 30), per_parameter=5)
