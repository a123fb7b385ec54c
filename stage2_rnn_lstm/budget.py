"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import PYTHON, TO_WRITE, Rule, Size

SHARES = {64: 0.1, 128: 0.19, 256: 0.36, 512: 0.46, 1024: 0.61}  # by hidden units
EMBEDDING, STREAMS, LENGTH = 64, 32, 64


def size(hidden: int, vocabulary: int, share: float) -> Size:
    """One LSTM: its two products and the head cost; the embedding is looked up."""
    products = 4 * hidden * (EMBEDDING + hidden) + hidden * vocabulary
    others = 4 * hidden + vocabulary * (EMBEDDING + 1)  # biases, and the table of embeddings
    return Size({"hidden": hidden}, products + others, 6 * products, share)


def rule() -> Rule:
    """Streams of characters."""

    def sizes(vocabulary: int) -> list[Size]:
        return [size(hidden, vocabulary, share) for hidden, share in SHARES.items()]

    return Rule(
        "language modelling", sizes, TO_WRITE, STREAMS * LENGTH, passes=(3, 20), unit="characters", instead=PYTHON
    )
