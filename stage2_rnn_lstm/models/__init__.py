"""The door of stage 2: what its scripts and other rooms may use."""

from stage2_rnn_lstm.models.by_hand import NUMPY_CELLS, stack, stack_backward
from stage2_rnn_lstm.models.by_hand_language_model import NumpyLanguageModel, clip, token_cross_entropy
from stage2_rnn_lstm.models.cells import CELLS, GRULayer, LSTMLayer, RNNLayer, gru_step, lstm_step, rnn_step
from stage2_rnn_lstm.models.classifier import (
    SequenceClassifier,
    SequenceClassifierConfig,
    forget_words,
    mean_over_time,
)
from stage2_rnn_lstm.models.crf import best_sequence, log_partition, sequence_score
from stage2_rnn_lstm.models.ensemble import Ensemble, mean_of
from stage2_rnn_lstm.models.language_model import LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.models.ngram import NGramModel
from stage2_rnn_lstm.models.official import (
    OfficialLanguageModel,
    language_model_gradients,
    load_official,
    official,
    official_forward,
    official_gradients,
    still_second_biases,
    to_levels,
    to_numpy,
    to_official,
)
from stage2_rnn_lstm.models.recurrent import Recurrent, detached
from stage2_rnn_lstm.models.tagger import Tagger, TaggerConfig
from stage2_rnn_lstm.models.through_time import LSTMThroughTime
from stage2_rnn_lstm.models.wavenet import WaveNet, WaveNetConfig

__all__ = [
    "CELLS",
    "NUMPY_CELLS",
    "Ensemble",
    "GRULayer",
    "LSTMLayer",
    "LSTMThroughTime",
    "LanguageModel",
    "LanguageModelConfig",
    "NGramModel",
    "NumpyLanguageModel",
    "OfficialLanguageModel",
    "RNNLayer",
    "Recurrent",
    "SequenceClassifier",
    "SequenceClassifierConfig",
    "Tagger",
    "TaggerConfig",
    "WaveNet",
    "WaveNetConfig",
    "best_sequence",
    "clip",
    "detached",
    "forget_words",
    "gru_step",
    "language_model_gradients",
    "load_official",
    "log_partition",
    "lstm_step",
    "mean_of",
    "mean_over_time",
    "official",
    "official_forward",
    "official_gradients",
    "rnn_step",
    "sequence_score",
    "stack",
    "stack_backward",
    "still_second_biases",
    "to_levels",
    "to_numpy",
    "to_official",
    "token_cross_entropy",
]
