"""The same translator out of torch.nn: nn.LSTM or nn.GRU, packed sentences, nn.Linear, scaled_dot_product_attention.

torch has no attention of Bahdanau or Luong; these are the nearest compositions. Where they differ from ours:

    dot, general    F.scaled_dot_product_attention with scale = 1; asked again with the identity in place of the values
                    it says its weights, which it otherwise keeps to itself.
    additive        three nn.Linear, a mask of -inf, F.softmax: NaN for a sentence without a token, where ours gives 0.
    decoder         nn.GRU or nn.LSTM, one step at a time; nothing is computed for all steps at once.

"Proved equal" means: copy the weights, compare values and gradients. Explained in docs/en/stage3_attention_seq2seq.md.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, softmax

from stage2_rnn_lstm.models import official, official_forward, official_gradients
from stage3_attention_seq2seq.models.attention import LocalAttention, Memory
from stage3_attention_seq2seq.models.by_hand import NumpyDecoder
from stage3_attention_seq2seq.models.decoder import BahdanauDecoder, LuongDecoder
from stage3_attention_seq2seq.models.seq2seq import Seq2Seq

Looked = tuple[Tensor, Tensor | None]  # context (B, T, K), weights (B, T, S)


def bare(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer without bias."""
    return nn.Linear(inputs, outputs, bias=False)


# --- attention: (query (B, T, H), memory) → context, weights ------------------------------------------------------


class OfficialFixed(nn.Module):
    """`attention.FixedContext`."""

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__()

    def forward(self, query: Float[Tensor, "B T H"], memory: Memory) -> Looked:
        return memory.summary[:, None].expand(-1, query.shape[1], -1), None


class OfficialDot(OfficialFixed):
    """`attention.DotAttention`."""

    def keys(self, memory: Memory) -> Float[Tensor, "B S H"]:
        """What the query is compared with."""
        return memory.keys

    def forward(self, query: Float[Tensor, "B T H"], memory: Memory) -> Looked:
        keys, mask = self.keys(memory), memory.real[:, None]  # (B, S, H), (B, 1, S)
        each = torch.eye(keys.shape[1]).to(keys).expand(len(keys), -1, -1)  # (B, S, S)
        context, weights = (
            scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=1.0)
            for values in (memory.keys, each)
        )
        return context, weights


class OfficialGeneral(OfficialDot):
    """`attention.GeneralAttention`."""

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__(queries, keys, hidden)
        self.weight = bare(keys, queries)

    def keys(self, memory: Memory) -> Float[Tensor, "B S H"]:
        return self.weight(memory.keys)


class OfficialAdditive(OfficialFixed):
    """`attention.AdditiveAttention`, and `ConcatAttention`."""

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__(queries, keys, hidden)
        self.weight_query, self.weight_key, self.score = bare(queries, hidden), bare(keys, hidden), bare(hidden, 1)

    def forward(self, query: Float[Tensor, "B T H"], memory: Memory) -> Looked:
        together = self.weight_query(query)[:, :, None] + self.weight_key(memory.keys)[:, None]  # (B, T, S, F)
        scores = self.score(together.tanh())[..., 0].masked_fill(~memory.real[:, None], -torch.inf)
        weights = softmax(scores, dim=2)
        return torch.bmm(weights, memory.keys), weights


class OfficialLocal(OfficialGeneral):
    """`attention.LocalAttention`."""

    def __init__(self, queries: int, keys: int, hidden: int):
        super().__init__(queries, keys, hidden)
        self.weight_position, self.position = bare(queries, hidden), bare(hidden, 1)

    def forward(self, query: Float[Tensor, "B T H"], memory: Memory) -> Looked:
        place = torch.sigmoid(self.position(torch.tanh(self.weight_position(query))))  # (B, T, 1)
        away = torch.arange(memory.keys.shape[1]).to(query) - memory.real.sum(1)[:, None, None] * place  # (B, T, S)
        far = ~memory.real[:, None] | (away.abs() > LocalAttention.window)
        scores = torch.bmm(query, self.keys(memory).mT).masked_fill(far, -torch.inf)
        weights = softmax(scores, dim=2) * torch.exp(-away.pow(2) / (2 * (LocalAttention.window / 2) ** 2))
        return torch.bmm(weights, memory.keys), weights


OFFICIAL_ATTENTIONS: dict[str, type[OfficialFixed]] = {
    "none": OfficialFixed,
    "bahdanau": OfficialAdditive,
    "luong_dot": OfficialDot,
    "luong_general": OfficialGeneral,
    "luong": OfficialGeneral,
    "luong_concat": OfficialAdditive,
    "local": OfficialLocal,
}

# --- encoder, decoder, translator -------------------------------------------------------------------------------------
# The parts have the names that ours have, so that weights find their way.


class OfficialEncoder(nn.Module):
    """`encoder.Encoder`."""

    def __init__(self, ours: Seq2Seq):
        super().__init__()
        self.embedding = nn.Embedding(ours.config.source_vocab, ours.config.embedding)
        self.recurrent = official(ours.encoder.recurrent)
        self.dropout = nn.Dropout(ours.config.dropout)

    def forward(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]) -> tuple[Tensor, Tensor]:
        outputs, states = official_forward(self.recurrent, self.dropout(self.embedding(source.t())), None, lengths)
        final = torch.cat((states[-2][0], states[-1][0]), dim=1)
        return self.dropout(outputs).transpose(0, 1), self.dropout(final)


class OfficialDecoder(nn.Module):
    """`decoder.BahdanauDecoder`, or `decoder.LuongDecoder` with or without input feeding."""

    def __init__(self, ours: Seq2Seq):
        super().__init__()
        config = ours.config
        self.embedding = nn.Embedding(config.target_vocab, config.embedding)
        self.attention = OFFICIAL_ATTENTIONS[config.attention](config.hidden, config.hidden, config.hidden)
        self.recurrent = official(ours.decoder.recurrent)
        self.dropout = nn.Dropout(config.dropout)
        self.initial = bare(config.hidden, len(ours.decoder.initial))
        self.looks_first, self.feeds = isinstance(ours.decoder, BahdanauDecoder), config.input_feeding
        if self.looks_first:
            self.readout = bare(2 * config.hidden + config.embedding, 2 * config.embedding)
            self.pool = nn.MaxPool1d(2)
        else:
            self.combine = bare(2 * config.hidden, config.embedding)

    def forward(self, tokens: Int[Tensor, "B T"], memory: Memory) -> tuple[Tensor, Tensor | None]:
        """Features (B, T, D) and weights (B, T, S), from the start."""
        x = self.dropout(self.embedding(tokens))  # (B, T, D)
        parts = torch.tanh(self.initial(memory.summary)).split(self.recurrent.hidden_size, dim=1)
        memories = 2 if isinstance(self.recurrent, nn.LSTM) else 1
        states = tuple(parts[first : first + memories] for first in range(0, len(parts), memories))
        feature, features, weights = torch.zeros_like(x[:, 0]), [], []
        for x_t in x.unbind(1):
            h = states[-1][0]
            if self.looks_first:
                context, alpha = self.attention(h[:, None], memory)
                _, states = official_forward(self.recurrent, torch.cat((x_t, context[:, 0]), 1)[None], states)
                feature = self.pool(self.readout(torch.cat((h, x_t, context[:, 0]), dim=1)))
            else:
                read = torch.cat((x_t, feature), dim=1) if self.feeds else x_t
                h, states = official_forward(self.recurrent, read[None], states)  # (1, B, H)
                context, alpha = self.attention(h.transpose(0, 1), memory)
                feature = torch.tanh(self.combine(torch.cat((context[:, 0], h[0]), dim=1)))
            features.append(feature)
            weights.append(alpha)
        return torch.stack(features, dim=1), None if weights[0] is None else torch.cat(weights, dim=1)


class OfficialSeq2Seq(nn.Module):
    """`seq2seq.Seq2Seq`, for training: the shapes of ours and a copy of its weights."""

    def __init__(self, ours: Seq2Seq):
        super().__init__()
        config = ours.config
        self.encoder, self.decoder = OfficialEncoder(ours), OfficialDecoder(ours)
        self.bridge = bare(2 * config.hidden, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.embedding, config.target_vocab)
        if config.shared:
            self.decoder.embedding.weight = self.encoder.embedding.weight
        if config.tied:
            self.head.weight = self.decoder.embedding.weight

    def forward(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"], target_in: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T S"] | None]:
        outputs, final = self.encoder(source, lengths)
        real: Bool[Tensor, "B S"] = torch.arange(source.shape[1], device=source.device) < lengths[:, None]
        features, weights = self.decoder(target_in, Memory(self.bridge(outputs), None, real, self.bridge(final)))
        return self.head(self.dropout(features)), weights


# --- weights and gradients --------------------------------------------------------------------------------------------


def our_name(name: str) -> str:
    """Ours has plain matrices where torch has a Linear around them: their name ends one word earlier."""
    plain = ("decoder.initial.", "decoder.readout.", "decoder.combine.", "decoder.attention.")
    return name.removesuffix(".weight") if name.startswith(plain) else name


def to_official(model: Seq2Seq) -> OfficialSeq2Seq:
    """The official translator with a copy of our weights, in the same mode, precision and place."""
    copy, ours = OfficialSeq2Seq(model).to(model.head.bias), dict(model.named_parameters())
    for name, parameter in copy.named_parameters():
        if ".recurrent." not in name:  # `official` has copied those
            parameter.data.copy_(ours[our_name(name)].detach().view_as(parameter))
    return copy.train(model.training)


def seq2seq_gradients(model: Seq2Seq | OfficialSeq2Seq) -> dict[str, Tensor]:
    """∂L/∂parameters after `backward()`, by our names and in our shapes."""
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    if isinstance(model, OfficialSeq2Seq):
        gradients = {our_name(name): value for name, value in gradients.items() if ".recurrent." not in name}
        for name in ("decoder.attention.score", "decoder.attention.position"):  # (1, F): a vector of ours
            gradients |= {name: gradients[name][0]} if name in gradients else {}
        for side in ("encoder", "decoder"):
            ours = official_gradients(getattr(model, side).recurrent)
            gradients |= {f"{side}.recurrent.{name}": value for name, value in ours.items()}
    return gradients


def to_numpy(decoder: BahdanauDecoder | LuongDecoder, cell: str, attention: str) -> NumpyDecoder:
    """A copy of a decoder's weights for `by_hand`."""
    return NumpyDecoder(cell, attention, {name: value.numpy().copy() for name, value in decoder.state_dict().items()})
