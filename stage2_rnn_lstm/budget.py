"""What `train.py --budget` needs to know: sizes, texts, and the share of the machine's rate that was measured here."""

from my_llm.budget import TO_WRITE, Rule, Size

SHARES = {64: 0.1, 128: 0.2, 256: 0.3, 512: 0.45, 1024: 0.6}  # by hidden units
EMBEDDING, CHARACTERS, STREAMS, LENGTH = 64, 65, 32, 64


def rule() -> Rule:
    """Streams of characters, read by one LSTM."""
    sizes = []
    for hidden, share in SHARES.items():
        products = 4 * hidden * (EMBEDDING + hidden) + hidden * CHARACTERS
        others = 8 * hidden + CHARACTERS * (EMBEDDING + 1)  # biases, and the table of embeddings
        sizes.append(Size({"hidden": hidden}, products + others, 6 * products, share))
    return Rule("language modelling", sizes, TO_WRITE, STREAMS * LENGTH, passes=(2, 20), unit="characters")
