"""The task `recommend`: what somebody takes next, from what they took so far."""

from twofold.tasks.recommend.data import RecommendData, from_rows
from twofold.tasks.recommend.model import RecommendModel, Suggestion
from twofold.tasks.recommend.system import Histories, HistoryBatch, RecommendSystem
from twofold.tasks.recommend.task import RecommendTask

__all__ = [
    "Histories",
    "HistoryBatch",
    "RecommendData",
    "RecommendModel",
    "RecommendSystem",
    "RecommendTask",
    "Suggestion",
    "from_rows",
]
