"""Where an index is kept and how it is searched, by the name of its engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twofold.errors import UserError, unknown
from twofold.tasks.search import qdrant
from twofold.tasks.search.kept import KeptIndex
from twofold.tasks.search.model import SearchModel
from twofold.tasks.search.segments import holds_index
from twofold.tasks.search.stored import StoredIndex

LOCAL = ("exact", "faiss")
SERVER = "qdrant://HOST:PORT"


def create(
    place: str | Path,
    documents: Mapping[str, str],
    model: SearchModel,
    source: str,
    fresh: bool = False,
    engine: str | None = None,
) -> KeptIndex:
    """A new index of documents by id: in a folder, or by that name on a server.

    Raises:
        UserError: no documents, an empty one, the place is taken, or no such engine for this model.
    """
    if _remote(engine):
        return qdrant.QdrantIndex.create(str(engine), place, documents, model, source, fresh)
    return StoredIndex.create(place, documents, model, source, fresh, engine or "exact")


def opened(place: str | Path, model: SearchModel | None = None, engine: str | None = None) -> KeptIndex:
    """The index that is there.

    Args:
        model: that made it; by default the one that the index names.
        engine: None: a folder, searched as it was built.

    Raises:
        UserError: no index, a damaged one, one of another model, or a folder that was built for another engine.
    """
    if _remote(engine):
        return qdrant.QdrantIndex.open(str(engine), place, model)
    found = StoredIndex.open(place, model)
    if engine is not None and engine != found.engine:
        raise UserError(
            f"{place} was built for --engine {found.engine}; leave --engine out, or build it again with --fresh"
        )
    return found


def holds(place: str | Path, engine: str | None = None) -> bool:
    """Whether it is an index rather than a model; on a server everything is."""
    return _remote(engine) or holds_index(Path(place))


def _remote(engine: str | None) -> bool:
    if engine is None or engine in LOCAL:
        return False
    if qdrant.names(engine):
        return True
    raise unknown("engine", engine, (*LOCAL, SERVER))
