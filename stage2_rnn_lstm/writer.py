"""A trained language model put to use: checkpoint in, text out. train.py, evaluate.py and generate.py share it.

A model says how likely every token is to come next; one is drawn and read in turn, and so on. The state carries all
that the model remembers, so a token costs the same however long the text has become.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm import checkpoint
from my_llm.decoding import Step, generate, sample
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.errors import CheckpointError, UserError, choose
from my_llm.text import SPECIALS, UNK, Tokenizer, tokenizer_from_state
from my_llm.text.word import split
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
CUT: dict[str, Callable[[str], Iterable[str]]] = {"char": list, "word": split}  # a text in the tokenizer's units
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
    """What a checkpoint needs besides kind and weights, as plain data; `Writer.load` reads it back."""
    if isinstance(model, NGramModel):
        return {"ngram": model.to_state(), "tokenizer": tokenizer.to_state()}
    return {"model_type": model_type, "model_config": asdict(model.config), "tokenizer": tokenizer.to_state()}


# --- one token --------------------------------------------------------------------------------------------------------


def step_of(model: Model) -> Step:
    """The model as my_llm.decoding wants it: new tokens and state → logits of the next token, and state."""
    if isinstance(model, Ensemble):
        return together(model)

    def step(tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        logits, state = model(tokens, state)
        return logits[:, -1], state

    return quick_step(model, step) if isinstance(model, LanguageModel) else step


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


# --- many tokens ------------------------------------------------------------------------------------------------------


class Writer:
    """Model and tokenizer together: everything between a prompt and the text that follows it.

    It never writes <pad>, <unk>, <bos> or <eos>: they are no text. Explained in docs/en/stage2_rnn_lstm.md.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, facts: Mapping[str, Any], precision: Precision = "auto"):
        self.model = model.eval() if isinstance(model, nn.Module) else model
        self.tokenizer, self.facts = tokenizer, facts
        self.kind = str(tokenizer.to_state()["kind"])
        self.device = next(model.parameters()).device if isinstance(model, nn.Module) else torch.device("cpu")
        self.precision: Literal["fp32", "bf16"] = resolve_precision(precision, self.device)
        self._step = step_of(model)
        self._forbidden = torch.zeros(tokenizer.vocab_size, device=self.device)
        self._forbidden[: len(SPECIALS)] = -torch.inf  # (V,)

    @classmethod
    def load(cls, path: Path, device: torch.device, precision: Precision = "auto") -> "Writer":
        """Read a checkpoint that train.py wrote; an n-gram model stays on the CPU.

        Raises:
            CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
        """
        content = checkpoint.load(path)
        if content["kind"] not in (KIND, NGRAM_KIND):
            raise CheckpointError(f"{path} holds no language model of stage 2", got=content["kind"], valid=KIND)
        with checkpoint.parts_of(path):
            try:
                tokenizer = tokenizer_from_state(content["tokenizer"])
                if content["kind"] == NGRAM_KIND:
                    model = NGramModel.from_state(content["ngram"])
                else:
                    model = build(content["model_type"], content["model_config"])
            except UserError as error:  # no flag is wrong here, but the file
                raise ValueError(error.what) from None
            size = model.vocab_size if isinstance(model, NGramModel) else model.config.vocab_size
            if tokenizer.vocab_size != size or size <= len(SPECIALS):
                raise ValueError(f"{tokenizer.vocab_size} symbols for a model of {size}")
            if isinstance(model, nn.Module):
                checkpoint.load_weights(model, content["model"], path)
                model.to(device)
            return cls(model, tokenizer, {k: content[k] for k in ("data", "settings", "progress")}, precision)

    def unknown(self, prompt: str) -> list[str]:
        """The characters or words of the prompt that are not in the vocabulary, each once; <unk> is read for them."""
        pairs = zip(CUT[self.kind](prompt), self.encode(prompt), strict=True)
        return list(dict.fromkeys(piece for piece, number in pairs if number == UNK))

    def as_read(self, prompt: str) -> str:
        """The prompt as the model reads it: unknown characters as �; unknown words as <unk>, white space normalised."""
        return self.tokenizer.decode(self.encode(prompt))

    def encode(self, prompt: str) -> list[int]:
        """The prompt's tokens. Of a word model a mark and the space after it are one token, also at the end."""
        if self.kind == "word" and prompt.endswith(" "):
            return self.tokenizer.encode(f"{prompt}a")[:-1]
        return self.tokenizer.encode(prompt)

    def write(
        self,
        prompt: str,
        *,
        length: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield the text after the prompt piece by piece, each as soon as it is known.

        `as_read(prompt)` and all pieces, joined, are the tokenizer's decoding of prompt and text together. After an
        empty prompt the model writes what follows a line end.

        Args:
            length: How many characters or words, the tokenizer's units.
            temperature: Below 1 bolder, above 1 more varied; 0 takes the likeliest token each time.
            top_k: Choose among the k likeliest tokens only.
            top_p: Choose among the likeliest tokens that together have this probability.
            seed: The same seed, the same text.

        Raises:
            ConfigError: a setting out of its range; see my_llm.decoding.sample.
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        pick = partial(sample, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        numbers = self.encode(prompt) or self.tokenizer.encode("\n")
        tokens = torch.tensor([numbers], device=self.device)  # (1, T)
        decode, before = self.tokenizer.decode, numbers[-1]
        for token in generate(self.step, tokens, max_new_tokens=length, choose=pick):
            number = int(token)
            yield decode([before, number])[len(decode([before])) :]  # a space between two tokens depends on both
            before = number

    @torch.inference_mode()
    def step(self, tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        """One step of generation: logits of the next token, the special ones forbidden, and the state."""
        with autocast(self.precision, self.device):
            logits, state = self._step(tokens, state)
        return logits.float() + self._forbidden, state
