"""The door of stage 5: what its scripts and other rooms may use."""

from stage5_gpt.models.attention import Cache, CausalSelfAttention
from stage5_gpt.models.classifier import GPTClassifier, GPTClassifierConfig, classifier_from, freeze
from stage5_gpt.models.gpt import GPT, NOT_ASKED, Block, GPTConfig
from stage5_gpt.models.layers import ACTIVATIONS, NORMS, FeedForward, LayerNorm, Linear, PlainRMSNorm, gelu_tanh, relu2
from stage5_gpt.models.muon import Muon, orthogonalized
from stage5_gpt.models.sizes import PUBLISHED, SIZES, Cost, config_of, cost_of

__all__ = [
    "ACTIVATIONS",
    "GPT",
    "NORMS",
    "NOT_ASKED",
    "PUBLISHED",
    "SIZES",
    "Block",
    "Cache",
    "CausalSelfAttention",
    "Cost",
    "FeedForward",
    "GPTClassifier",
    "GPTClassifierConfig",
    "GPTConfig",
    "LayerNorm",
    "Linear",
    "Muon",
    "PlainRMSNorm",
    "classifier_from",
    "config_of",
    "cost_of",
    "freeze",
    "gelu_tanh",
    "orthogonalized",
    "relu2",
]
