"""Tokenizer and model together: everything between a sentence and its translation, whatever the model.

A model is known here by what `TranslationModel` lists: it reads a source, says the logits of the next token, and can be
asked where it looked. Stage 3 brings an RNN with attention, stage 4 a Transformer.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from my_llm import checkpoint, metrics
from my_llm.data.batches import chunks_by_length, pad
from my_llm.data.catalog import Pair
from my_llm.decoding import Choose, State, Step, beam_search, generate
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.errors import DataError
from my_llm.packing import settle
from my_llm.sampling import greedy
from my_llm.text import BOS, EOS, PAD, BPETokenizer, tokenizer_from_state
from my_llm.translation.batches import Encode, encode_sources

VALIDATED = 500  # sentences that are translated after every epoch
LONGEST = 2_000  # tokens of a source: what stands in longer ones is no sentence, and would take minutes


@runtime_checkable
class TranslationModel(Protocol):
    """What a translator knows of its nn.Module."""

    config: Any  # the frozen dataclass that it was built from; sizes of vocabularies have "vocab" in their name
    training: bool

    def encode(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]) -> State:
        """Read the source: the state from which `step` begins."""
        ...

    def step(self, tokens: Int[Tensor, "B T"], state: State) -> tuple[Tensor, State]:
        """The logits (B, V) after the newest target tokens, and the state, as my_llm.decoding wants them."""
        ...

    def reorder(self, state: State, rows: Int[Tensor, "N"]) -> State:
        """The given rows of the state: beam search."""
        ...

    def look(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"], target_in: Int[Tensor, "B T"]) -> Any:
        """Where it looks while it says the target: weights in the model's own form."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def train(self, mode: bool = True) -> Any: ...


Model = TypeVar("Model", bound=TranslationModel)


@contextmanager
def at_rest(model: TranslationModel) -> Iterator[None]:
    """Inside, nothing is dropped out; afterwards the model is as it was."""
    training = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(training)


def room_for(length: int) -> int:
    """Tokens for the translation of so many; one that is longer will never end."""
    return 2 * length + 10


class Translated(NamedTuple):
    """A translation with its tokens, <eos> included where the model came to an end, and its log-probability."""

    text: str
    tokens: list[int]
    log_probability: float | None = None  # of beam search


class Translator(Generic[Model]):
    """Translate, and say where the model looked. Explained in docs/en/stage3_attention_seq2seq.md.

    Args:
        model: Reads and writes tokens.
        tokenizer: Of both languages.
        facts: Where the model comes from: data, settings, progress.
        encode: What the model reads of a source, the same as in training.
    """

    def __init__(
        self, model: Model, tokenizer: BPETokenizer, *, facts: Mapping[str, Any], encode: Encode = encode_sources
    ):
        self.model, self.tokenizer, self.facts, self.encode = model, tokenizer, facts, encode
        self.precision: Literal["fp32", "bf16"] = "fp32"
        self.longest = LONGEST  # tokens of a source; fewer where the model has a last position

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.model.parameters())).device

    @torch.inference_mode()
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam_size: int = 1,
        length_penalty: float = 0.6,
        choose: Choose = greedy,
        stop_if: Callable[[], bool] = lambda: False,
    ) -> list[Translated]:
        """The translation of each sentence; sentences of similar length are translated together.

        Args:
            texts: Sentences; an empty one is an empty sentence, and has a translation, too.
            beam_size: Beginnings that are kept; 1 takes the likeliest token at each step, or what `choose` picks.
            length_penalty: Of beam search, see my_llm.decoding.length_penalty.
            choose: Picks a token, such as my_llm.sampling.sample.
            stop_if: Asked before every token; see my_llm.terminal.stoppable.

        Raises:
            DataError: a source of more than `longest` tokens.
            KeyboardInterrupt: `stop_if` said so.
        """
        sources = [torch.tensor(ids) for ids in self.encode(self.tokenizer, texts)]
        for text, source in zip(texts, sources, strict=True):
            if len(source) > self.longest:
                got = f"{len(source):,} tokens, {text[:30]} …"
                raise DataError("too long for this model", got=got, valid=f"at most {self.longest:,}")

        def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            if stop_if():
                raise KeyboardInterrupt
            return self._step(tokens, state)

        chunks = chunks_by_length([len(source) for source in sources])
        if beam_size > 1:  # all beginnings of a batch get the same room, and nobody's should depend on the others
            chunks = [list(alike) for rows in chunks for _, alike in groupby(rows, key=lambda row: len(sources[row]))]
        found: dict[int, Translated] = {}
        with at_rest(self.model), autocast(self.precision, self.device):
            for rows in chunks:
                source, lengths = pad([sources[row] for row in rows])
                state = self.model.encode(source.to(self.device), lengths.to(self.device))
                room = [room_for(length) for length in lengths.tolist()]
                if beam_size == 1:
                    answers = self._one_beginning(step, state, room, choose)
                else:
                    answers = self._many_beginnings(step, state, room, beam_size, length_penalty)
                found.update(zip(rows, answers, strict=True))
        return [found[place] for place in range(len(texts))]

    def _one_beginning(self, step: Step, state: State, room: list[int], choose: Choose) -> list[Translated]:
        tokens = generate(
            step, self._begin(room), max_new_tokens=max(room), choose=choose, stop=EOS, state=state,
            reorder=self.model.reorder,
        )  # fmt: skip
        said = torch.stack(list(tokens), dim=1).tolist()
        return [self._answer(ids[:most]) for ids, most in zip(said, room, strict=True)]

    def _many_beginnings(self, step: Step, state: State, room: list[int], width: int, alpha: float) -> list[Translated]:
        best = beam_search(
            step, self._begin(room), width=width, max_new_tokens=max(room), stop=EOS, alpha=alpha, state=state,
            reorder=self.model.reorder,
        )  # fmt: skip
        return [self._answer(first.tokens, first.log_probability) for first, *_ in best]

    def _begin(self, sentences: Sequence[Any]) -> Int[Tensor, "B 1"]:
        return torch.full((len(sentences), 1), BOS, device=self.device)

    def _step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self.model.step(tokens, state)
        logits = logits.float()
        logits[:, [PAD, BOS]] = -torch.inf  # no text
        return logits, state

    def _answer(self, tokens: list[int], log_probability: float | None = None) -> Translated:
        end = tokens.index(EOS) + 1 if EOS in tokens else len(tokens)
        return Translated(self.tokenizer.decode(tokens[:end]).strip(), tokens[:end], log_probability)

    @torch.inference_mode()
    def look(self, text: str, tokens: Sequence[int]) -> tuple[Any, list[int]]:
        """Where the model looks while it says the tokens: what its `look` answers, and the source as it was read."""
        (ids,) = self.encode(self.tokenizer, [text])
        target = torch.tensor([[BOS, *tokens[:-1]]], device=self.device)
        with at_rest(self.model), autocast(self.precision, self.device):
            source, lengths = (torch.tensor(value, device=self.device) for value in ([ids], [len(ids)]))
            return self.model.look(source, lengths, target), ids

    def scores(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """BLEU and share of exact translations of the first sentences, by greedy decoding."""
        pairs = pairs[:VALIDATED]
        said = [answer.text for answer in self.translate([pair.source for pair in pairs])]
        references = [(pair.target, *pair.more) for pair in pairs]
        exact = sum(text in right for text, right in zip(said, references, strict=True))
        return {"bleu": metrics.bleu(said, references), "exact": exact / len(pairs)}

    def parts(self) -> dict[str, Any]:
        """What a checkpoint needs besides the weights, as plain data; `restore` reads it back."""
        return {"model_config": asdict(self.model.config), "tokenizer": self.tokenizer.to_state()}


# --- from a checkpoint ------------------------------------------------------------------------------------------------


def restore(
    path: Path,
    kind: str,
    config_class: Callable[..., Any],
    model_class: Callable[[Any], Model],
    device: torch.device,
    precision: Precision = "auto",
) -> tuple[Translator[Model], checkpoint.Content]:
    """Read a checkpoint that train.py wrote: the translator, and the content, for what else the stage saved.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    content = checkpoint.load(path, kind)
    with checkpoint.parts_of(path):
        tokenizer, config = tokenizer_from_state(content["tokenizer"]), config_class(**content["model_config"])
        sizes = {size for name, size in content["model_config"].items() if "vocab" in name}
        if not isinstance(tokenizer, BPETokenizer) or sizes != {tokenizer.vocab_size}:
            raise ValueError("tokenizer and model have vocabularies of different sizes")
        model = model_class(config)
        assert isinstance(model, nn.Module)
        checkpoint.load_weights(model, content["model"], path)
        facts = {name: content[name] for name in ("data", "settings", "progress")}
        names = facts["data"]["name"], facts["data"]["sha256"]
        if not all(isinstance(name, str) for name in names) or not math.isfinite(facts["progress"]["seconds"]):
            raise ValueError("data or progress")
        translator = Translator(model.to(device), tokenizer, facts=facts)
    translator.precision = resolve_precision(precision, device)
    settle(model, translator.precision)
    return translator, content
