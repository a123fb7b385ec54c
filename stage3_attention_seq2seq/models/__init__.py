"""The door of stage 3: what its scripts and other rooms may use."""

from stage3_attention_seq2seq.models.attention import (
    ATTENTIONS,
    AdditiveAttention,
    Attention,
    ConcatAttention,
    DotAttention,
    FixedContext,
    GeneralAttention,
    LocalAttention,
    Memory,
    additive_scores,
    masked_softmax,
    multiplicative_scores,
)
from stage3_attention_seq2seq.models.by_hand import (
    NUMPY_ATTENTIONS,
    NumpyDecoder,
    attend,
    attend_backward,
    bahdanau_step,
    bahdanau_step_backward,
    luong_step,
    luong_step_backward,
)
from stage3_attention_seq2seq.models.decoder import DECODERS, BahdanauDecoder, DecoderState, LuongDecoder, maxout
from stage3_attention_seq2seq.models.encoder import Encoder
from stage3_attention_seq2seq.models.official import (
    OFFICIAL_ATTENTIONS,
    OfficialSeq2Seq,
    seq2seq_gradients,
    to_numpy,
    to_official,
)
from stage3_attention_seq2seq.models.seq2seq import Seq2Seq, Seq2SeqConfig, Seq2SeqState

__all__ = [
    "ATTENTIONS",
    "DECODERS",
    "NUMPY_ATTENTIONS",
    "OFFICIAL_ATTENTIONS",
    "AdditiveAttention",
    "Attention",
    "BahdanauDecoder",
    "ConcatAttention",
    "DecoderState",
    "DotAttention",
    "Encoder",
    "FixedContext",
    "GeneralAttention",
    "LocalAttention",
    "LuongDecoder",
    "Memory",
    "NumpyDecoder",
    "OfficialSeq2Seq",
    "Seq2Seq",
    "Seq2SeqConfig",
    "Seq2SeqState",
    "additive_scores",
    "attend",
    "attend_backward",
    "bahdanau_step",
    "bahdanau_step_backward",
    "luong_step",
    "luong_step_backward",
    "masked_softmax",
    "maxout",
    "multiplicative_scores",
    "seq2seq_gradients",
    "to_numpy",
    "to_official",
]
