"""The language models of this stage made ready to write: built from a checkpoint, each with its quickest step.

What is the same for every stage stands in my_llm/language/writer.py. Here a state has a fixed size, so a token costs
the same however long the text has become; and a recurrent network can take a short cut, `quick_step`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from my_llm.checkpoint import Content
from my_llm.decoding import Step
from my_llm.device import Precision
from my_llm.errors import choose
from my_llm.language import writer
from my_llm.language.writer import Writer, plain_step
from my_llm.text import Tokenizer
from stage2_rnn_lstm.models import (
    Ensemble,
    LanguageModel,
    LanguageModelConfig,
    NGramModel,
    RNNLayer,
    WaveNet,
    WaveNetConfig,
    mean_of,
)

KIND = "stage2_rnn_lstm/language_model"
NGRAM_KIND = "stage2_rnn_lstm/ngram"
Model = LanguageModel | Ensemble | WaveNet | NGramModel

RECURRENT = (LanguageModelConfig, LanguageModel)
MODELS: dict[str, tuple[Any, Any]] = {
    "rnn": RECURRENT, "lstm": RECURRENT, "gru": RECURRENT, "wavenet": (WaveNetConfig, WaveNet)
}  # fmt: skip
TABLE = 2**24  # numbers in a table that `quick_step` may make: 64 MiB


# --- model and checkpoint ---------------------------------------------------------------------------------------------


def build(model_type: str, model_config: Mapping[str, Any]) -> LanguageModel | Ensemble | WaveNet:
    """A new network: one of MODELS, with the fields of its config.

    Raises:
        ConfigError: an unknown type, or sizes that cannot work.
        ValueError: a config of another recurrent cell.
    """
    config_class, model_class = choose(model_type, MODELS, "model type")
    config = config_class(**model_config)
    if isinstance(config, LanguageModelConfig) and config.cell != model_type:
        raise ValueError(f"a {model_type} whose cell is {config.cell}")
    if isinstance(config, LanguageModelConfig) and config.members > 1:
        return Ensemble(config)
    return model_class(config)


def parts_of(model: Model, model_type: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a checkpoint needs besides kind and weights, as plain data; BUILDERS read it back."""
    if isinstance(model, NGramModel):
        return {"ngram": model.to_state(), "tokenizer": tokenizer.to_state()}
    return writer.parts_of(model, model_type, tokenizer)


BUILDERS: dict[str, Callable[[Content], Model]] = {
    KIND: lambda content: build(content["model_type"], content["model_config"]),
    NGRAM_KIND: lambda content: NGramModel.from_state(content["ngram"]),
}


def writer_of(model: Model, tokenizer: Tokenizer, facts: Mapping[str, Any], precision: Precision = "auto") -> Writer:
    """The model with its quickest step."""
    return Writer(model, tokenizer, facts, precision, step_of(model))


def load_writer(path: Path, device: torch.device, precision: Precision = "auto") -> Writer:
    """Read a checkpoint that train.py wrote; an n-gram model stays on the CPU.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    return writer.load_writer(path, device, precision, builders=BUILDERS, step_of=step_of)


# --- one token --------------------------------------------------------------------------------------------------------


def step_of(model: Model) -> Step:
    """The model as my_llm.decoding wants it: new tokens and state → logits of the next token, and state."""
    if isinstance(model, Ensemble):
        return together(model)
    return quick_step(model, plain_step(model)) if isinstance(model, LanguageModel) else plain_step(model)


def together(ensemble: Ensemble) -> Step:
    """`step_of` an ensemble: its members' quick steps, and the mean of what they say."""
    steps = [step_of(cast(LanguageModel, member)) for member in ensemble.members]

    def step(tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        before = state or (None,) * len(steps)
        answers = [each(tokens, own) for each, own in zip(steps, before, strict=True)]
        return mean_of([logits for logits, _ in answers]), tuple(own for _, own in answers)

    return step


def quick_step(model: LanguageModel, any_step: Step) -> Step:
    """`step_of` a recurrent model, with the shortest way for a single token; `any_step` reads the prompt.

    W_ih x + b of the first layer depends on the token alone, so a table can hold it for every token; and without other
    time steps there is nothing to stack. A quarter of the time goes. What is left is mostly the product with W_hh, all
    of which must be fetched from memory for each token.
    """
    first, *others = cast(list[RNNLayer], list(model.recurrent.layers))

    def project(tokens: Int[Tensor, "N"]) -> Float[Tensor, "N G"]:
        return first.project(model.embedding(tokens)[None])[0]

    table = None
    if model.config.vocab_size * len(first.bias) <= TABLE:
        with torch.inference_mode():
            table = project(torch.arange(model.config.vocab_size, device=first.bias.device))  # (V, G)

    def step(tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        if state is None or tokens.shape[1] != 1:
            return any_step(tokens, state)
        token = tokens[:, 0]
        memory = first.step(project(token) if table is None else table.index_select(0, token), state[0])
        memories = [memory]
        for layer, before in zip(others, state[1:], strict=True):
            memory = layer.step(layer.project(memory[0][None])[0], before)
            memories.append(memory)
        return model.head(memory[0]), tuple(memories)

    return step
