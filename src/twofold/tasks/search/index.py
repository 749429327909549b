"""Indexes: documents made ready to be searched. All give the same `Found`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import bm25s
import numpy as np
import torch
from scipy.sparse import csr_matrix

from twofold.errors import UserError
from twofold.tasks.search import lexical
from twofold.tasks.search.vectors import Dense, Sparse, best, joined, open_sparse

if TYPE_CHECKING:
    from twofold.tasks.search.model import EncoderModel

_SCORES = 1 << 22  # scores held at once


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
    """Dense vectors of documents, each scored against every query as the network says."""

    def __init__(self, model: EncoderModel, vectors: Dense) -> None:
        self.model, self.vectors = model, vectors

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query."""
        vectors = self.model.encode(queries, side="query")
        assert isinstance(vectors, Dense)
        return Found(*vectors.top(self.vectors, k, self.model.net.score))

    def save(self, folder: Path) -> None:
        self.vectors.save(folder / "vectors.safetensors")

    @classmethod
    def open(cls, model: EncoderModel, folder: Path) -> ExactIndex:
        return cls(model, Dense.open(folder / "vectors.safetensors"))


class InvertedIndex:
    """For each term the documents that hold it, with their weights: a query touches only its own terms' lists."""

    def __init__(self, model: EncoderModel, postings: csr_matrix) -> None:
        self.model, self.postings = model, postings

    @classmethod
    def of(cls, model: EncoderModel, vectors: Sparse) -> InvertedIndex:
        """The index of documents' sparse vectors."""
        return cls(model, vectors.values.T.tocsr())

    def __len__(self) -> int:
        return int(self.postings.shape[1])

    @property
    def nbytes(self) -> int:
        return Sparse(self.postings).nbytes

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query; those that share no term with it score 0."""
        vectors = self.model.encode(queries, side="query")
        assert isinstance(vectors, Sparse)
        rows = max(1, _SCORES // max(1, len(self)))
        found = []
        for start in range(0, len(vectors), rows):
            scores = (vectors.values[start : start + rows] @ self.postings).toarray()
            found.append(best(torch.from_numpy(scores), k))
        return Found(*joined(found, min(k, len(self))))

    def save(self, folder: Path) -> None:
        Sparse(self.postings).save(folder / "postings.safetensors")

    @classmethod
    def open(cls, model: EncoderModel, folder: Path) -> InvertedIndex:
        return cls(model, open_sparse(folder / "postings.safetensors"))


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
