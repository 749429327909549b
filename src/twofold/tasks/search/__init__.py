"""The task `search`: its data, vectors, indexes, models and systems."""

from twofold.tasks.search.data import SearchData, from_collection, from_rows
from twofold.tasks.search.model import EncoderModel, Hit, LexicalModel, SearchModel
from twofold.tasks.search.pairs import PairModel
from twofold.tasks.search.rerank import ListBatch, RerankSystem
from twofold.tasks.search.system import PairBatch, PairBatches, SearchSystem, Triples
from twofold.tasks.search.task import SearchTask
from twofold.tasks.search.writing import WritingModel

__all__ = [
    "EncoderModel",
    "Hit",
    "LexicalModel",
    "ListBatch",
    "PairBatch",
    "PairBatches",
    "PairModel",
    "RerankSystem",
    "SearchData",
    "SearchModel",
    "SearchSystem",
    "SearchTask",
    "Triples",
    "WritingModel",
    "from_collection",
    "from_rows",
]
