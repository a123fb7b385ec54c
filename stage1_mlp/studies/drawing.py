"""Figures that mix kinds of chart, in the look of `my_llm.plots`: a row of empty charts, and the way they are saved."""

from functools import partial

from my_llm import studies
from my_llm.plots import PALETTE
from my_llm.studies import sheet
from stage1_mlp.studies import StudyConfig

__all__ = ["COLORS", "save", "sheet"]

COLORS = PALETTE[:6]
save = partial(studies.save, stage=StudyConfig.stage)
