"""Tasks: what a person wants done, and the models and systems that do it."""

from twofold.tasks.model import Model
from twofold.tasks.registry import load, task
from twofold.tasks.system import (
    Analysis,
    Change,
    Fitted,
    HeatMap,
    ModelSystem,
    Plot,
    Report,
    StudySystem,
    System,
    Table,
    TrainedSystem,
    TransformSystem,
)
from twofold.tasks.task import Evaluation, Task

__all__ = [
    "Analysis",
    "Change",
    "Evaluation",
    "Fitted",
    "HeatMap",
    "Model",
    "ModelSystem",
    "Plot",
    "Report",
    "StudySystem",
    "System",
    "Table",
    "Task",
    "TrainedSystem",
    "TransformSystem",
    "load",
    "task",
]
