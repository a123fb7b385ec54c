"""The door of stage 1: what other rooms may use.

Read in this order: perceptron, by_hand, autograd, activations, losses, optimizers, layers, mlp, official; then
language_model, baselines, genetic and text_classifier, which use them.
"""

from stage1_mlp.models.activations import ACTIVATIONS, gelu, relu, sigmoid, silu, tanh
from stage1_mlp.models.autograd import Value, ValueMLP, draw
from stage1_mlp.models.baselines import (
    BASELINES,
    Bags,
    Classifier,
    decision_tree,
    linear_svm,
    logistic_regression,
    naive_bayes,
)
from stage1_mlp.models.by_hand import NumpyMLP, softmax_cross_entropy
from stage1_mlp.models.genetic import Generation, evolve
from stage1_mlp.models.language_model import (
    MLPLanguageModel,
    MLPLanguageModelConfig,
    continue_text,
    next_token_examples,
)
from stage1_mlp.models.layers import INITIALIZERS, BatchNorm1d, Dropout, Linear, draw_mask
from stage1_mlp.models.losses import (
    LOSSES,
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge,
    log_softmax,
    squared_error,
)
from stage1_mlp.models.mlp import MLP, NORMALIZATIONS, MLPConfig
from stage1_mlp.models.official import OfficialMLP, copy_weights, official_name, to_numpy, to_official
from stage1_mlp.models.optimizers import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSProp
from stage1_mlp.models.perceptron import Perceptron
from stage1_mlp.models.text_classifier import TextClassifier, TextClassifierConfig

__all__ = [
    "ACTIVATIONS",
    "BASELINES",
    "INITIALIZERS",
    "LOSSES",
    "MLP",
    "NORMALIZATIONS",
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Bags",
    "BatchNorm1d",
    "Classifier",
    "Dropout",
    "Generation",
    "Linear",
    "MLPConfig",
    "MLPLanguageModel",
    "MLPLanguageModelConfig",
    "Momentum",
    "Nesterov",
    "NumpyMLP",
    "OfficialMLP",
    "Perceptron",
    "RMSProp",
    "TextClassifier",
    "TextClassifierConfig",
    "Value",
    "ValueMLP",
    "binary_cross_entropy_with_logits",
    "continue_text",
    "copy_weights",
    "cross_entropy",
    "decision_tree",
    "draw",
    "draw_mask",
    "evolve",
    "gelu",
    "hinge",
    "linear_svm",
    "log_softmax",
    "logistic_regression",
    "naive_bayes",
    "next_token_examples",
    "official_name",
    "relu",
    "sigmoid",
    "silu",
    "softmax_cross_entropy",
    "squared_error",
    "tanh",
    "to_numpy",
    "to_official",
]
