"""Language modelling with a state that is carried along: the loss, and the training of this stage's models.

What is the same for every stage, such as the score of a whole text, stands in my_llm/language/.
"""

import time
from collections.abc import Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.data.catalog import LanguageText
from my_llm.language.batches import tokenizer_for, tokens_of
from my_llm.language.scoring import nats_of, predicted_bytes, scores_of
from my_llm.language.writer import write_after
from my_llm.tasks import Prepared
from my_llm.training import Loss
from stage2_rnn_lstm.data import Streams, Window
from stage2_rnn_lstm.models import NGramModel, detached
from stage2_rnn_lstm.writer import KIND, NGRAM_KIND, Model, build, parts_of, step_of

__all__ = ["KIND", "NGRAM_KIND", "CarriedLoss", "count_ngrams", "loss_of", "prepare"]


class CarriedLoss:
    """The loss of a window; the state after it is where the next window begins.

    The state belongs to the training, not to the model: `state_dict` gives it to the checkpoint for exact resume.
    """

    def __init__(self) -> None:
        self.state: Any = None

    def __call__(self, model: nn.Module, window: Window) -> Loss:
        device = next(model.parameters()).device
        before = None if window.fresh else self.state
        before = before and detached(before, device)  # a loaded one is on the CPU
        logits, state = model(window.inputs.to(device), before)
        self.state = detached(state)
        members = len(logits) // len(window.targets)  # an ensemble answers once for each
        targets = window.targets.to(device).repeat(members, 1)
        total = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return Loss(total / members, window.targets.numel())

    def state_dict(self) -> dict[str, Any]:
        """The carried state, tensors in nested tuples."""
        return {"state": self.state}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.state = content["state"]


def loss_of(model: Model, tokens: Int[Tensor, "N"]) -> Loss:
    """The loss over a whole text of any language model, counts or network."""
    if isinstance(model, NGramModel):
        return Loss(model.score(tokens)[1:].sum(), len(tokens) - 1)
    return nats_of(model, tokens)


def model_config_of(config: Any, vocab_size: int) -> dict[str, Any]:
    """The fields of the model's config, from the flags of train.py."""
    shared = {"vocab_size": vocab_size, "dropout": config.dropout}
    if config.model_type == "wavenet":
        return {**shared, "channels": config.hidden, "blocks": config.layers}
    sizes = {name: getattr(config, name) for name in ("embedding", "hidden", "layers", "tied", "members")}
    return {**shared, **sizes, "cell": config.model_type}


def prepare(corpus: LanguageText, config: Any, order: Mapping[str, int]) -> Prepared:
    """A new language model for this corpus, and everything to train it with.

    Args:
        corpus: Running text.
        config: The flags of train.py.
        order: batch_size, seed, rank, world, as Streams takes them.
    """
    tokenizer = tokenizer_for(corpus, config.vocab_type, config.max_words)
    tokens, held_out = (tokens_of(tokenizer, getattr(corpus, part), part) for part in ("train", "validation"))
    model = build(config.model_type, model_config_of(config, tokenizer.vocab_size))
    streams = Streams(tokens, length=config.length, **order)
    loss = CarriedLoss()
    n_bytes = predicted_bytes(tokenizer, corpus.validation)
    return Prepared(
        model,
        streams,
        streams.per_epoch,
        loss,
        lambda: scores_of(nats_of(model, held_out), n_bytes, held_out),
        parts_of(model, config.model_type, tokenizer),
        size=f"{len(tokens):,} {config.vocab_type}s to learn from, {tokenizer.vocab_size:,} different ones",
        carried=loss,
        sample=lambda: write_after(corpus.validation, model, tokenizer, config.seed, step_of),
    )


def count_ngrams(corpus: LanguageText, config: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Count the training part: the content of a checkpoint, and the scores on the validation part."""
    tokenizer = tokenizer_for(corpus, config.vocab_type, config.max_words)
    tokens, held_out = (tokens_of(tokenizer, getattr(corpus, part), part) for part in ("train", "validation"))
    started = time.perf_counter()
    model = NGramModel.fit(tokens, tokenizer.vocab_size, config.order)
    seconds = time.perf_counter() - started
    scores = scores_of(loss_of(model, held_out), predicted_bytes(tokenizer, corpus.validation), held_out)
    data = {"name": corpus.name, "sha256": corpus.sha256, "source": corpus.source}
    progress = {"step": 0, "best": {"step": 0, "scores": scores}, "seconds": seconds}
    return {"kind": NGRAM_KIND, "data": data, "progress": progress, **parts_of(model, "ngram", tokenizer)}, scores
