"""Indexes: documents made ready to be searched. All give the same `Found`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import bm25s
import numpy as np

from twofold.errors import UserError
from twofold.tasks.search import lexical
from twofold.tasks.search.vectors import Dense

if TYPE_CHECKING:
    from twofold.tasks.search.model import EncoderModel


@dataclass(frozen=True)
class Found:
    """Results of many queries: positions in the index and scores, best first, `[queries, k]` each."""

    positions: np.ndarray
    scores: np.ndarray


class Index(Protocol):
    """Documents that can be searched."""

    def __len__(self) -> int: ...
    def search(self, queries: Sequence[str], k: int) -> Found: ...
    def save(self, folder: Path) -> None: ...
    @property
    def nbytes(self) -> int: ...


class ExactIndex:
    """Dense vectors, searched by the full matrix product."""

    def __init__(self, model: EncoderModel, vectors: Dense) -> None:
        self.model, self.vectors = model, vectors

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query."""
        return Found(*self.model.encode(queries, side="query").top(self.vectors, k))

    def save(self, folder: Path) -> None:
        self.vectors.save(folder / "vectors.safetensors")

    @classmethod
    def open(cls, model: EncoderModel, folder: Path) -> ExactIndex:
        return cls(model, Dense.open(folder / "vectors.safetensors"))


class LexicalIndex:
    """BM25 by `bm25s`."""

    def __init__(self, engine: bm25s.BM25) -> None:
        self.engine = engine

    def __len__(self) -> int:
        return int(self.engine.scores["num_docs"])

    @property
    def nbytes(self) -> int:
        return sum(int(self.engine.scores[k].nbytes) for k in ("data", "indices", "indptr"))

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query."""
        return Found(*lexical.top(self.engine, queries, k))

    def save(self, folder: Path) -> None:
        self.engine.save(str(folder), show_progress=False)

    @classmethod
    def open(cls, folder: Path) -> LexicalIndex:
        """Reads the arrays of a saved index; nothing is unpickled.

        Raises:
            UserError: the index is missing or broken.
        """
        try:
            return cls(bm25s.BM25.load(str(folder), allow_pickle=False))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"the index in {folder} cannot be read ({error}); build it again") from None


def save_documents(folder: Path, ids: Sequence[str], texts: Sequence[str]) -> None:
    """Writes what the positions of an index stand for, a JSON object a line."""
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as file:
        for id, text in zip(ids, texts, strict=True):
            file.write(json.dumps({"id": id, "text": text}, ensure_ascii=False) + "\n")


def open_documents(folder: Path) -> tuple[list[str], list[str]]:
    """Ids and texts of a saved index.

    Raises:
        UserError: the file is missing or broken.
    """
    try:
        with (folder / "documents.jsonl").open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return [str(r["id"]) for r in rows], [str(r["text"]) for r in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the index in {folder} cannot be read ({error}); build it again") from None
