"""Several continuations of one beginning at once: to draw many and keep the best one.

A batch costs little more than one text, as the weights are read once for all of its rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from my_llm.decoding import generate
from my_llm.language.writer import Writer
from my_llm.sampling import sample

LOOK = 8  # tokens from one look at what is written to the next


def drawn(
    writer: Writer,
    prompt: str,
    count: int,
    *,
    length: int,
    temperature: float = 0.8,
    top_p: float = 1.0,
    seed: int = 0,
    enough: Callable[[str], bool] = lambda text: False,
    forbidden: Callable[[int], Tensor] | None = None,
) -> list[str]:
    """What the model writes after the prompt, `count` times, each drawn for itself.

    Args:
        length: Tokens at most.
        enough: Whether a text needs no more; when all have enough, the rest is not computed. Texts are not cut.
        forbidden: For each step what is added to the logits, (V,): 0, or -inf where a form forbids a token.
    """
    numbers = writer.numbers_of(prompt)
    start = torch.tensor([numbers] * count, device=writer.device)  # (B, T)
    generator = torch.Generator(writer.device).manual_seed(seed)
    before, said = len(writer.tokenizer.decode(numbers)), []

    def choose(logits: Tensor, *, previous: Tensor) -> Tensor:
        if forbidden is not None:
            logits = logits + forbidden(len(said))
        return sample(logits, temperature=temperature, top_p=top_p, generator=generator, previous=previous)

    texts = [""] * count
    for token in generate(writer.step, start, max_new_tokens=length, choose=choose):
        said.append(token)
        if len(said) % LOOK == 0 or len(said) == length:
            rows = torch.stack(said, dim=1).tolist()
            texts = [writer.tokenizer.decode([*numbers, *row])[before:] for row in rows]
            if all(map(enough, texts)):
                break
    return texts
