"""The task `search`: its data, vectors, indexes, models and systems."""

from twofold.tasks.search.data import SearchData, from_rows
from twofold.tasks.search.model import EncoderModel, Hit, LexicalModel, SearchModel
from twofold.tasks.search.system import PairBatch, PairBatches, SearchSystem
from twofold.tasks.search.task import SearchTask

__all__ = [
    "EncoderModel",
    "Hit",
    "LexicalModel",
    "PairBatch",
    "PairBatches",
    "SearchData",
    "SearchModel",
    "SearchSystem",
    "SearchTask",
    "from_rows",
]
