"""A trained language model put to use: checkpoint in, text out. Every train.py, evaluate.py and generate.py shares it.

A model says how likely every token is to come next; one is drawn and read in turn, and so on. What the model remembers
is its state: of a fixed size in a recurrent network, growing with every token in a Transformer.
"""

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from my_llm import checkpoint
from my_llm.decoding import Step, generate
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.errors import CheckpointError, UserError
from my_llm.language.filtering import Banned, generate_without, until
from my_llm.sampling import filtered, sample, shares
from my_llm.text import UNK, Tokenizer, save_vocabulary, special_ids, tokenizer_from_state
from my_llm.text.word import split

SAMPLE = 200  # tokens that the model writes on the way
PROMPT = 500  # characters that it reads before, of the text held out
CUT: dict[str, Callable[[str], Iterable[str]]] = {"char": list, "word": split, "wordpiece": split}  # a text in units


@runtime_checkable
class TextModel(Protocol):
    """What predicts the next token: a network, or a table of counts."""

    def __call__(self, tokens: Tensor, state: Any = None, /) -> tuple[Tensor, Any]:
        """New tokens (B, T), and the state after the older ones → logits (B, T, V), and the state after these."""
        ...


StepOf = Callable[[Any], Step]  # a model → the model one token at a time
Watch = Callable[[Float[Tensor, "V"], int], None]  # told the probabilities of every choice, and the token drawn


# --- one token --------------------------------------------------------------------------------------------------------


def plain_step(model: TextModel) -> Step:
    """The model as my_llm.decoding wants it: new tokens and state → logits of the next token, and state."""

    def step(tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        logits, state = model(tokens, state)
        return logits[:, -1], state

    return step


def sliding_step(model: TextModel, context: int) -> Step:
    """`plain_step` of a model that reads at most `context` tokens.

    When they are full, it begins anew with the newer half of them: so a token costs hardly two, however long the text.
    """

    def step(tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        read, memory = state or (tokens[:, :0], None)
        read = torch.cat([read, tokens], dim=1)
        if read.shape[1] > context:
            tokens = read = read[:, -max(context // 2, 1) :]
            memory = None
        logits, memory = model(tokens, memory)
        return logits[:, -1], (read, memory)

    return step


# --- many tokens ------------------------------------------------------------------------------------------------------


class Writer:
    """Model and tokenizer together: everything between a prompt and the text that follows it.

    It never writes a special token such as <pad> or <eos>: they are no text. Explained in docs/en/stage2_rnn_lstm.md.

    Args:
        model: Predicts the next token; a network goes into evaluation mode.
        tokenizer: Of characters, words or byte pairs.
        facts: data, settings and progress of the checkpoint; empty for a new model.
        precision: Of the matrix products.
        step: The model one token at a time; None: `plain_step`.
    """

    def __init__(
        self,
        model: TextModel,
        tokenizer: Tokenizer,
        facts: Mapping[str, Any],
        precision: Precision = "auto",
        step: Step | None = None,
    ):
        self.model = model.eval() if isinstance(model, nn.Module) else model
        self.tokenizer, self.facts = tokenizer, facts
        self.kind = str(tokenizer.to_state()["kind"])
        self.device = next(model.parameters()).device if isinstance(model, nn.Module) else torch.device("cpu")
        self.precision: Literal["fp32", "bf16"] = resolve_precision(precision, self.device)
        self._step = step or plain_step(model)
        self.forbidden = torch.zeros(tokenizer.vocab_size, device=self.device)
        self.forbidden[special_ids(tokenizer)] = -torch.inf  # (V,)
        self.end: int | None = None  # the token that ends the text, where it is not forbidden
        self._bytes: Sequence[bytes] | None = getattr(tokenizer, "bytes", None)  # of each token, if that is its text

    def unknown(self, prompt: str) -> list[str]:
        """The characters or words of the prompt that are not in the vocabulary, each once; <unk> is read for them."""
        if self.kind not in CUT:
            return []  # byte pairs know everything
        beginnings = getattr(self.tokenizer, "beginnings", list)  # a word of word pieces is many tokens
        pairs = zip(CUT[self.kind](prompt), beginnings(self.encode(prompt)), strict=True)
        return list(dict.fromkeys(piece for piece, number in pairs if number == UNK))

    def as_read(self, prompt: str) -> str:
        """The prompt as the model reads it: unknown characters as �; unknown words as <unk>, white space normalised."""
        return self.tokenizer.decode(self.encode(prompt))

    def encode(self, prompt: str) -> list[int]:
        """The prompt's tokens. Where words are cut, a mark and the space after it are one token, also at the end."""
        if self.kind in ("word", "wordpiece") and prompt.endswith(" "):
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
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        banned: Banned | None = None,
        watch: Watch | None = None,
    ) -> Iterator[str]:
        """Yield the text after the prompt piece by piece, each as soon as it is known to stay.

        `as_read(prompt)` and all pieces, joined, are the tokenizer's decoding of prompt and text together. After an
        empty prompt the model writes what follows a line end.

        Args:
            length: How many characters, words or byte pairs at most, the tokenizer's units.
            temperature: Below 1 bolder, above 1 more varied; 0 takes the likeliest token each time.
            top_k: Choose among the k likeliest tokens only.
            top_p: Choose among the likeliest tokens that together have this probability.
            min_p, repetition_penalty, presence_penalty: See my_llm.sampling.
            seed: The same seed, the same text.
            stop: The text ends before the first of these strings, which are not empty.
            banned: Words that are not written; it counts how often they were tried.
            watch: Told of every choice, also of those that are taken back.

        Raises:
            ConfigError: a setting out of its range; or no way on without a banned word.
        """
        settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        settings |= {"repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty}
        generator = torch.Generator(self.device).manual_seed(seed)

        def choose(logits: Tensor, *, previous: Tensor) -> Tensor:
            token = sample(logits, generator=generator, previous=previous, **settings)
            if watch is not None:
                watch(shares(*filtered(logits, previous=previous, **settings))[0], int(token))
            return token

        numbers = self.numbers_of(prompt)
        tokens = torch.tensor([numbers], device=self.device)  # (1, T)
        if banned is None:
            said = map(int, generate(self.step, tokens, max_new_tokens=length, choose=choose))
        else:
            said = generate_without(
                banned, self.spell, self.step, tokens, max_new_tokens=length, choose=choose,
                spelling=self.spelt(numbers[-1]), reading=banned.after(self.as_read(prompt)), stop=self.end,
            )  # fmt: skip
        pieces = self.pieces(numbers[-1], said)
        return until(pieces, stop) if stop else pieces

    def numbers_of(self, prompt: str) -> list[int]:
        """What the model reads before it writes: the prompt's tokens, or a line end."""
        return self.encode(prompt) or self.tokenizer.encode("\n")

    def pieces(self, before: int, numbers: Iterable[int]) -> Iterator[str]:
        """The text of each token, `before` being the one in front of them; of byte pairs, as soon as it is whole."""
        left = self.spelt(before)
        for number in iter(iter(numbers).__next__, self.end):  # up to the end
            piece, left = self.spell(number, left)
            yield piece
        if isinstance(left, bytes):
            yield left.decode("utf-8", "replace")

    def spelt(self, before: int) -> Any:
        """What a whole character's last token leaves for `spell`."""
        return before if self._bytes is None else b""

    def spell(self, number: int, left: Any) -> tuple[str, Any]:
        """The text of a token, and what matters for the next one.

        Of byte pairs that is the part of a character that is not whole yet, as a character of many bytes may be many
        tokens; else the token itself, as a space between two tokens depends on both.
        """
        if self._bytes is not None:
            utf8 = getincrementaldecoder("utf-8")("replace")
            utf8.setstate((left, 0))
            return utf8.decode(self._bytes[number]), utf8.getstate()[0]
        decode = self.tokenizer.decode
        return decode([left, number])[len(decode([left])) :], number

    @torch.inference_mode()
    def step(self, tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        """One step of generation: logits of the next token, the special ones forbidden, and the state."""
        with autocast(self.precision, self.device):
            logits, state = self._step(tokens, state)
        return logits.float() + self.forbidden, state


def write_after(text: str, model: nn.Module, tokenizer: Tokenizer, seed: int, step_of: StepOf = plain_step) -> str:
    """For train.py: what the model writes as it is now, after the first lines of a text that it does not learn."""
    training = model.training
    opening = text[:PROMPT].rpartition("\n")[0] + "\n"  # a state as reading leaves it, at a line's start
    writer = Writer(model, tokenizer, facts={}, step=step_of(model))
    written = "".join(writer.write(opening, length=SAMPLE, temperature=0.8, seed=seed))
    model.train(training)
    return written


# --- checkpoints ------------------------------------------------------------------------------------------------------


def parts_of(model: nn.Module, model_type: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a checkpoint needs besides kind and weights, as plain data; a stage's builder reads it back."""
    config = asdict(cast(Any, model).config)
    return {"model_type": model_type, "model_config": config, "tokenizer": tokenizer.to_state()}


def load_writer(
    path: Path,
    device: torch.device,
    precision: Precision = "auto",
    *,
    builders: Mapping[str, Callable[[checkpoint.Content], TextModel]],
    step_of: StepOf = plain_step,
) -> Writer:
    """Read a checkpoint that train.py wrote; a model that is no network stays on the CPU.

    Args:
        builders: For each kind of checkpoint, its content → the model; the weights of a network are loaded afterwards.
        step_of: The model → its quickest step.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    content = checkpoint.load(path)
    if content["kind"] not in builders:
        raise CheckpointError(f"{path} holds no language model of this stage", got=content["kind"], valid=[*builders])
    with checkpoint.parts_of(path):
        try:
            tokenizer, model = tokenizer_from_state(content["tokenizer"]), builders[content["kind"]](content)
        except UserError as error:  # no flag is wrong here, but the file
            raise ValueError(error.what) from None
        size = getattr(model, "config", cast(Any, model)).vocab_size
        if tokenizer.vocab_size != size or size <= len(special_ids(tokenizer)):
            raise ValueError(f"{tokenizer.vocab_size} symbols for a model of {size}")
        if isinstance(model, nn.Module):
            checkpoint.load_weights(model, content["model"], path)
            model.to(device)
        facts = {key: content[key] for key in ("data", "settings", "progress")}
        return Writer(model, tokenizer, facts, precision, step_of(model))


def publish_vocabulary(checkpoint: Path, parts: Mapping[str, Any]) -> None:
    """Put <char, word or bpe>_vocabulary.pkl, and its JSON, beside a published checkpoint."""
    state = parts["tokenizer"]
    save_vocabulary(checkpoint.with_name(f"{state['kind']}_vocabulary.pkl"), state)
