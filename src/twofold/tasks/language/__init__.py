"""The task `language`: how likely a text is, in bits per byte, and how it goes on."""

from twofold.tasks.language.data import LanguageData
from twofold.tasks.language.guided import GuidedBatch, GuidedWindows
from twofold.tasks.language.model import LanguageModel, Score
from twofold.tasks.language.system import LanguageSystem, TokenBatch, Windows
from twofold.tasks.language.task import LanguageTask

__all__ = [
    "GuidedBatch",
    "GuidedWindows",
    "LanguageData",
    "LanguageModel",
    "LanguageSystem",
    "LanguageTask",
    "Score",
    "TokenBatch",
    "Windows",
]
