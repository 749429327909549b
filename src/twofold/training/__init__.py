"""One training loop; budgets, checkpoints and exact resumption, validation, logs, several processes."""

from twofold.training.history import History
from twofold.training.logs import CsvLog, Log, TensorBoardLog
from twofold.training.loop import train
from twofold.training.recipe import Recipe
from twofold.training.validation import Validation, evaluating

__all__ = ["CsvLog", "History", "Log", "Recipe", "TensorBoardLog", "Validation", "evaluating", "train"]
