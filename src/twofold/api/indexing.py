"""Indexes of documents in folders of their own. Each function imports what it needs when it is called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from twofold.data.rows import Rows
    from twofold.tasks.search.kept import KeptIndex
    from twofold.tasks.search.model import SearchModel

    Source: TypeAlias = str | Path | Rows


def index(
    data: Source | None = None,
    model: SearchModel | str | Path | None = None,
    out: str | Path = "index",
    *,
    add: bool = False,
    remove: str | Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    fresh: bool = False,
    engine: str | None = None,
) -> KeptIndex:
    """Makes documents searchable by a model, in a folder; or changes what such a folder holds.

    Args:
        data: a folder of texts, code, captioned pictures or a collection; a file; a data set's name; or `Rows`. With
            `remove` alone: none.
        model: a search model, where it is, or `bm25`; by default `bm25`, and for an index that is there, its own.
        out: the folder; in Qdrant, a name.
        add: add to the index that is there; a document with the id of another takes its place.
        remove: ids of documents to take out, or a file with one a line.
        columns: wanted column names to the data's.
        device: where to compute.
        dtype: `float32`, `bfloat16`, or `auto`, whichever is faster here.
        fresh: replace the index that is there.
        engine: `exact` (the default); `faiss`: a graph finds most of the best dense vectors without looking at all; or
            `qdrant://host:port` (`qdrant+https://…`, `qdrant:folder`), where the index has the name `out`.

    Raises:
        UserError: nothing to index, a model that cannot search or did not build this index, or `out` is taken.
    """
    from pathlib import Path

    from twofold import computing
    from twofold.errors import UserError
    from twofold.tasks.search import engines, kept, sources

    if data is None and remove is None:
        raise UserError("there is nothing to index; name a folder or file of documents")
    if fresh and (add or remove is not None):
        raise UserError("--fresh builds the index again; leave out --add and --remove")
    with computing.on(device, dtype), computing.autocast():
        if add or remove is not None:
            chosen = _model(model) if model is not None else None
            there = engines.opened(out, chosen, engine)
            gone = sources.ids(remove) if remove is not None else []
            new = sources.documents(data, columns, there) if data is not None else {}
            if gone:
                there.remove(gone)
            if new:
                there.add(new)
            return there
        texts = sources.documents(data, columns)  # type: ignore[arg-type]
        chosen = _model(kept.LEXICAL if model is None else model)
        name = str(model) if isinstance(model, str | Path) else kept.LEXICAL if model is None else ""
        place = name.removeprefix("hf:")
        kind = name[: len(name) - len(place)]
        source = f"{kind}{Path(place).absolute()}" if place and Path(place).exists() else name
        return engines.create(out, texts, chosen, source, fresh, engine)


def open_index(path: str | Path, model: SearchModel | str | Path | None = None, engine: str | None = None) -> KeptIndex:
    """An index that `index` wrote.

    Args:
        path: its folder; in Qdrant, its name.
        model: that built it, where it is not where it was.
        engine: as it was built; None for an index in a folder.

    Raises:
        UserError: no index, a damaged one, or one that another model built.
    """
    from twofold.tasks.search import engines

    return engines.opened(path, None if model is None else _model(model), engine)


def _model(given: SearchModel | str | Path) -> SearchModel:
    from twofold import computing
    from twofold.tasks.search import kept
    from twofold.tasks.search.model import SearchModel

    return given if isinstance(given, SearchModel) else kept.opened_model(str(given)).to(computing.device())
