"""Where an index is kept and how it is searched, by the name of its engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twofold.errors import UserError, unknown
from twofold.tasks.search.kept import KeptIndex
from twofold.tasks.search.model import SearchModel
from twofold.tasks.search.segments import holds_index
from twofold.tasks.search.stored import StoredIndex

LOCAL = ("exact", "faiss")


def create(
    place: str | Path,
    documents: Mapping[str, str],
    model: SearchModel,
    source: str,
    fresh: bool = False,
    engine: str | None = None,
) -> KeptIndex:
    """A new index of documents by id.

    Raises:
        UserError: no documents, an empty one, the place is taken, or no such engine for this model.
    """
    _check(engine)
    return StoredIndex.create(place, documents, model, source, fresh, engine or "exact")


def opened(place: str | Path, model: SearchModel | None = None, engine: str | None = None) -> KeptIndex:
    """The index that is there.

    Args:
        model: that made it; by default the one that the index names.
        engine: None: a folder, searched as it was built.

    Raises:
        UserError: no index, a damaged one, one of another model, or a folder that was built for another engine.
    """
    _check(engine)
    found = StoredIndex.open(place, model)
    if engine is not None and engine != found.engine:
        raise UserError(
            f"{place} was built for --engine {found.engine}; leave --engine out, or build it again with --fresh"
        )
    return found


def holds(place: str | Path, engine: str | None = None) -> bool:
    """Whether it is an index rather than a model.

    Raises:
        UserError: there is no such engine.
    """
    _check(engine)
    return holds_index(Path(place))


def _check(engine: str | None) -> None:
    if engine is not None and engine not in LOCAL:
        raise unknown("engine", engine, LOCAL)
