"""Tokenizer and model together: everything between a sentence and its translation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from my_llm import checkpoint, metrics
from my_llm.data.batches import chunks_by_length, pad
from my_llm.data.catalog import Pair
from my_llm.decoding import Choose, beam_search, generate, greedy
from my_llm.device import Precision, autocast, resolve_precision
from my_llm.errors import DataError
from my_llm.text import BOS, EOS, PAD, BPETokenizer, tokenizer_from_state
from my_llm.training import Loss
from stage3_attention_seq2seq.data import Batch, encode_sources
from stage3_attention_seq2seq.models import Seq2Seq, Seq2SeqConfig, reorder

KIND = "stage3_attention_seq2seq/seq2seq"
VALIDATED = 500  # sentences that are translated after every epoch
LONGEST = 2_000  # tokens of a source: what stands in longer ones is no sentence, and would take minutes


class Translated(NamedTuple):
    """A translation with its tokens, <eos> included where the model came to an end, and its log-probability."""

    text: str
    tokens: list[int]
    log_probability: float | None = None  # of beam search


class Translator:
    """Translate, and say where the model looked. Explained in docs/en/stage3_attention_seq2seq.md.

    Args:
        model: Encoder, attention and decoder.
        tokenizer: Of both languages.
        reverse: Sources are read from their end.
        facts: Where the model comes from: data, settings, progress.
    """

    def __init__(self, model: Seq2Seq, tokenizer: BPETokenizer, *, reverse: bool, facts: Mapping[str, Any]):
        self.model, self.tokenizer, self.reverse, self.facts = model, tokenizer, reverse, facts
        self.precision: Literal["fp32", "bf16"] = "fp32"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.head.weight.device

    @torch.inference_mode()
    def translate(
        self, texts: Sequence[str], *, beam_size: int = 1, length_penalty: float = 0.6, choose: Choose = greedy
    ) -> list[Translated]:
        """The translation of each sentence; sentences of similar length are translated together.

        Args:
            texts: Sentences; an empty one is an empty sentence, and has a translation, too.
            beam_size: Beginnings that are kept; 1 takes the likeliest token at each step, or what `choose` picks.
            length_penalty: Of beam search, see my_llm.decoding.length_penalty.
            choose: Picks a token, such as my_llm.decoding.sample.

        Raises:
            DataError: a source of more than `LONGEST` tokens.
        """
        sources = [torch.tensor(ids) for ids in encode_sources(self.tokenizer, texts, self.reverse)]
        for text, source in zip(texts, sources, strict=True):
            if len(source) > LONGEST:
                got = f"{len(source):,} tokens, {text[:30]} …"
                raise DataError("too long for a sentence", got=got, valid=f"at most {LONGEST:,}")
        found: list[Translated | None] = [None] * len(texts)
        training = self.model.training
        self.model.eval()
        chunks = chunks_by_length([len(source) for source in sources])
        if beam_size > 1:  # all beginnings of a batch get the same room, and nobody's should depend on the others
            chunks = [list(alike) for rows in chunks for _, alike in groupby(rows, key=lambda row: len(sources[row]))]
        for rows in chunks:
            source, lengths = pad([sources[row] for row in rows])
            with autocast(self.precision, self.device):
                state = self.model.encode(source.to(self.device), lengths.to(self.device))
                begin = torch.full((len(rows), 1), BOS, device=self.device)
                room = (2 * lengths + 10).tolist()  # a translation that is longer will never end
                if beam_size == 1:
                    tokens = generate(self._step, begin, max_new_tokens=max(room), choose=choose, stop=EOS, state=state)
                    said = torch.stack(list(tokens), dim=1).tolist()
                    answers = [self._answer(ids[:most]) for ids, most in zip(said, room, strict=True)]
                else:
                    best = beam_search(
                        self._step, begin, width=beam_size, max_new_tokens=max(room), stop=EOS, alpha=length_penalty,
                        state=state, reorder=reorder,
                    )  # fmt: skip
                    answers = [self._answer(h[0].tokens, h[0].log_probability) for h in best]
            for row, answer in zip(rows, answers, strict=True):
                found[row] = answer
        self.model.train(training)
        return [answer for answer in found if answer is not None]

    def _step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = self.model.step(tokens, state)
        logits = logits.float()
        logits[:, [PAD, BOS]] = -torch.inf  # no text
        return logits, state

    def _answer(self, tokens: list[int], log_probability: float | None = None) -> Translated:
        end = tokens.index(EOS) + 1 if EOS in tokens else len(tokens)
        return Translated(self.tokenizer.decode(tokens[:end]).strip(), tokens[:end], log_probability)

    @torch.inference_mode()
    def look(self, text: str, tokens: Sequence[int]) -> tuple[Float[Tensor, "T S"], list[int]] | None:
        """Where the model looks while it says the tokens: weights, and the source's tokens in reading order.

        None where there is no attention.
        """
        (ids,) = encode_sources(self.tokenizer, [text], self.reverse)
        source = torch.tensor([ids], device=self.device)
        target = torch.tensor([[BOS, *tokens[:-1]]], device=self.device)
        training = self.model.training
        self.model.eval()
        _, weights = self.model(source, torch.tensor([len(ids)], device=self.device), target)
        self.model.train(training)
        if weights is None:
            return None
        forwards = [*range(len(ids) - 2, -1, -1), len(ids) - 1] if self.reverse else list(range(len(ids)))
        return weights[0].float().cpu()[:, forwards], [ids[place] for place in forwards]

    def scores(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """BLEU and share of exact translations of the first sentences, by greedy decoding."""
        pairs = pairs[:VALIDATED]
        said = [answer.text for answer in self.translate([pair.source for pair in pairs])]
        references = [(pair.target, *pair.more) for pair in pairs]
        exact = sum(text in right for text, right in zip(said, references, strict=True))
        return {"bleu": metrics.bleu(said, references), "exact": exact / len(pairs)}

    def parts(self) -> dict[str, Any]:
        """What a checkpoint needs besides the weights, as plain data; `load_translator` reads it back."""
        config = asdict(self.model.config)
        return {"model_config": config, "tokenizer": self.tokenizer.to_state(), "reverse": self.reverse}


def load_translator(path: Path, device: torch.device, precision: Precision = "auto") -> Translator:
    """Read a checkpoint that train.py wrote.

    Raises:
        CheckpointError: missing, damaged, of another kind, or with parts that do not fit together.
    """
    content = checkpoint.load(path, KIND)
    with checkpoint.parts_of(path):
        tokenizer, config = tokenizer_from_state(content["tokenizer"]), Seq2SeqConfig(**content["model_config"])
        sizes = {config.source_vocab, config.target_vocab}
        if not isinstance(tokenizer, BPETokenizer) or sizes != {tokenizer.vocab_size}:
            raise ValueError("tokenizer and model have vocabularies of different sizes")
        model = Seq2Seq(config)
        checkpoint.load_weights(model, content["model"], path)
        facts = {name: content[name] for name in ("data", "settings", "progress")}
        check_origin(facts)
        if not isinstance(content["reverse"], bool):
            raise ValueError("reverse")
        translator = Translator(model.to(device), tokenizer, reverse=content["reverse"], facts=facts)
    translator.precision = resolve_precision(precision, device)
    return translator


def check_origin(facts: Mapping[str, Any]) -> None:
    """Raises ValueError or the like unless the facts say what was trained, on what, and for how long."""
    names = facts["data"]["name"], facts["data"]["sha256"], facts["settings"]["attention_type"]
    if not all(isinstance(name, str) for name in names) or not math.isfinite(facts["progress"]["seconds"]):
        raise ValueError("data, settings or progress")


class TranslationLoss:
    """Cross-entropy of every target token, at labels that are a little blurred.

    With `teacher_forcing` below 1 the decoder sometimes reads what it would have said itself (scheduled sampling,
    Bengio et al. 2015): a first pass guesses every token, a second one learns with some of the guesses in the truth's
    place.
    """

    def __init__(self, label_smoothing: float, teacher_forcing: float = 1.0):
        self.label_smoothing, self.teacher_forcing = label_smoothing, teacher_forcing

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        device = next(model.parameters()).device
        source, lengths, target_in, target_out = (tensor.to(device) for tensor in batch)
        if self.teacher_forcing < 1 and model.training:
            target_in = self.mixed(model, source, lengths, target_in)
        total, _ = model(source, lengths, target_in, target_out, self.label_smoothing)
        return Loss(total, int((target_out != PAD).sum()))

    @torch.no_grad()
    def mixed(self, model: nn.Module, source: Tensor, lengths: Tensor, target_in: Tensor) -> Tensor:
        """The target with some tokens replaced by what the model says there; <bos> stays."""
        said = model(source, lengths, target_in)[0].argmax(dim=-1)[:, :-1]  # (B, T - 1)
        forced = torch.rand(said.shape) < self.teacher_forcing
        right = target_in[:, 1:]
        return torch.cat([target_in[:, :1], torch.where(forced.to(said.device) | (right == PAD), right, said)], dim=1)
