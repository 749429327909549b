"""The task `classify`: its data, targets, models and systems."""

from twofold.tasks.classify.data import ClassifyData, from_rows
from twofold.tasks.classify.model import ClassifyModel, settings
from twofold.tasks.classify.prompts import PromptInputs, PromptReader, PromptStore
from twofold.tasks.classify.readers import READERS, ImageReader, Reader, TextReader
from twofold.tasks.classify.system import ClassifySystem, LabelledBatch, LabelledBatches, training_store
from twofold.tasks.classify.targets import ManyLabels, Number, OneLabel, Prediction, Target
from twofold.tasks.classify.task import ClassifyTask

__all__ = [
    "READERS",
    "ClassifyData",
    "ClassifyModel",
    "ClassifySystem",
    "ClassifyTask",
    "ImageReader",
    "LabelledBatch",
    "LabelledBatches",
    "ManyLabels",
    "Number",
    "OneLabel",
    "Prediction",
    "PromptInputs",
    "PromptReader",
    "PromptStore",
    "Reader",
    "Target",
    "TextReader",
    "from_rows",
    "settings",
    "training_store",
]
