"""The task `solve`: problems with known answers, at lengths seen in training and beyond."""

from twofold.tasks.solve.data import Packed, SolveBatch, SolveData
from twofold.tasks.solve.labelled import EncoderLabelModel, LabelBatch, LabelData, LabelModel
from twofold.tasks.solve.made import MadeData, MadeModel
from twofold.tasks.solve.model import Scores, SolveModel, solve_loss
from twofold.tasks.solve.numbers import NumberBatch, NumberData, NumberModel
from twofold.tasks.solve.system import RecurrentSystem, SolveSystem
from twofold.tasks.solve.task import SolveTask

__all__ = [
    "EncoderLabelModel",
    "LabelBatch",
    "LabelData",
    "LabelModel",
    "MadeData",
    "MadeModel",
    "NumberBatch",
    "NumberData",
    "NumberModel",
    "Packed",
    "RecurrentSystem",
    "Scores",
    "SolveBatch",
    "SolveData",
    "SolveModel",
    "SolveSystem",
    "SolveTask",
    "solve_loss",
]
