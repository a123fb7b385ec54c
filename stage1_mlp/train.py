"""Train the text classifier: `python train.py --dataset ag_news --epochs 20`.

Writes a run directory (see my_llm/run.py) and refreshes checkpoints/best_model.pt, which evaluate.py and predict.py read.
The best model is the one with the highest accuracy on validation texts; the test texts are left to evaluate.py.
"""

import dataclasses
from typing import Literal

from my_llm.cli import TrainingConfig, main


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Train stage 1's text classifier: an MLP on a bag of words and word pairs."""

    dataset: str = "auto"
    """corpus: ag_news, imdb, bbc_news, movie_reviews, python_docs (always there); auto: bbc_news or python_docs"""
    split_seed: int = 0
    """which 80/20 split, for corpora that come without a test set of their own"""
    epochs: int = 20
    """passes over the training texts"""
    batch_size: int = 128
    """texts per optimiser step"""
    lr: float = 0.005
    """learning rate at its peak"""
    optimizer: Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw"] = "adamw"
    """update rule, from models/optimizers.py"""
    schedule: Literal["constant", "cosine", "linear", "step", "inverse_sqrt"] = "linear"
    """how the learning rate changes, from my_llm/schedules.py"""
    warmup: float = 0.05
    """share of the steps over which the learning rate rises from 0"""
    clip: float = 0.0
    """largest gradient norm; 0: no limit"""
    accumulate: int = 1
    """micro-batches per optimiser step"""
    hidden: tuple[int, ...] = (32,)
    """units of each hidden layer; the first is the width of the embeddings"""
    activation: Literal["relu", "sigmoid", "tanh", "gelu", "silu"] = "relu"
    """bend between layers, from models/activations.py"""
    dropout: float = 0.3
    """share of units that each training step leaves out"""
    label_smoothing: float = 0.0
    """share of the target's probability that is spread over all classes"""
