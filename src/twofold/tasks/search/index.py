"""Indexes: documents made ready to be searched. All give the same `Found`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import bm25s
import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from twofold.errors import UserError
from twofold.tasks.search import lexical
from twofold.tasks.search.vectors import Codes, Dense, Sparse, Tables, best, check_rows, joined, open_sparse

Encoded = Dense | Sparse | Codes
"""What a model makes of texts."""

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


class Asked(Sequence[str]):
    """The queries of one search; their vectors are made once, however many stages want them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self._vectors: dict[int, Encoded] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place: Any) -> Any:
        return self.texts[place]

    def vectors(self, model: EncoderModel) -> Encoded:
        """The queries' vectors by that model."""
        if id(model) not in self._vectors:
            self._vectors[id(model)] = model.encode(self.texts, side="query")
        return self._vectors[id(model)]

    @classmethod
    def of(cls, queries: Sequence[str]) -> Asked:
        """The queries themselves if they are being asked already."""
        return queries if isinstance(queries, Asked) else cls(queries)


class ExactIndex:
    """Dense vectors of documents, each scored against every query as the network says.

    Args:
        width: compare only the first so many coordinates, as the network would give them (at unit length, where the
            whole vectors have that); None: all.

    Raises:
        UserError: a width that the vectors have not, or of vectors that are compared by more than a dot product.
    """

    def __init__(self, model: EncoderModel, vectors: Dense, width: int | None = None) -> None:
        self.model, self.vectors = model, vectors
        self.width = None if width == vectors.values.shape[-1] else width
        if self.width is not None and not model.net.by_dot:
            raise UserError("only vectors that are compared by dot products can be cut; leave the width out")
        if self.width is not None:
            model.net.tower("document").cut(vectors.values[:0], self.width)  # refuses widths that there are not
        # The coordinates are a view of the whole vectors: what a cut costs is one number a document.
        self._compared: Tensor = vectors.values if self.width is None else vectors.values[:, : self.width]

    @cached_property
    def _scale(self) -> Tensor | None:
        if self.width is None:
            return None
        cut = self.model.net.tower("document").cut(self.vectors.values, self.width)
        return (cut * self._compared).sum(1) / self._compared.square().sum(1).clamp_min(1e-30)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes + (0 if self.width is None else 4 * len(self))

    @property
    def per_pair(self) -> int | None:
        """Multiplications for one query and one document; None where scores are more than a dot product."""
        if not self.model.net.by_dot:
            return None
        return int(self._compared.shape[-1]) + (self.width is not None)

    @property
    def multiplications(self) -> int | None:
        """For one query: those of comparing it with every document."""
        return None if self.per_pair is None else len(self) * self.per_pair

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query."""
        return Found(*self._asked(queries).top(Dense(self._compared), k, self._table))

    def among(self, queries: Sequence[str], positions: np.ndarray) -> np.ndarray:
        """The scores of some documents of each query, `[queries, candidates]` as their positions."""
        asked = self._asked(queries)
        if not self.model.net.by_dot:
            rows = [asked.take([n]).score(self.vectors.take(p), self._table) for n, p in enumerate(positions)]
            return torch.cat(rows).numpy() if rows else np.zeros(positions.shape, np.float32)
        places = torch.from_numpy(positions)
        size = max(1, _SCORES // max(1, positions.shape[1] * self._compared.shape[-1]))
        scores = [
            torch.einsum("qd,qcd->qc", some, self._compared[here]) * (1 if self._scale is None else self._scale[here])
            for some, here in zip(asked.values.split(size), places.split(size), strict=True)
        ]
        return torch.cat(scores).numpy() if scores else np.zeros(positions.shape, np.float32)

    def _asked(self, queries: Sequence[str]) -> Dense:
        vectors = Asked.of(queries).vectors(self.model)
        assert isinstance(vectors, Dense)
        held, wide = self.vectors.values.shape[-1], vectors.values.shape[-1]
        if held != wide:
            raise UserError(f"the index holds vectors of {held} numbers, and its model makes {wide}; build it again")
        return vectors if self.width is None else Dense(self.model.net.tower("query").cut(vectors.values, self.width))

    def _table(self, queries: Tensor, documents: Tensor) -> Tensor:
        scores = self.model.net.score(queries, documents)
        return scores if self._scale is None else scores * self._scale

    def save(self, folder: Path) -> None:
        self.vectors.save(folder / "vectors.safetensors")

    @classmethod
    def open(cls, model: EncoderModel, folder: Path) -> ExactIndex:
        return cls(model, Dense.open(folder / "vectors.safetensors"))


class CodeIndex:
    """Documents' codes, each scored from a table of the query as the network says."""

    def __init__(self, model: EncoderModel, codes: Codes) -> None:
        self.model, self.codes = model, codes

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query."""
        tables = Asked.of(queries).vectors(self.model)
        assert isinstance(tables, Tables)
        return Found(*tables.top(self.codes, k, self.model.net.score))

    def save(self, folder: Path) -> None:
        self.codes.save(folder / "codes.safetensors")

    @classmethod
    def open(cls, model: EncoderModel, folder: Path) -> CodeIndex:
        return cls(model, Codes.open(folder / "codes.safetensors"))


class InvertedIndex:
    """For each term the documents that hold it, with their weights: a query touches only its own terms' lists.

    Args:
        file: from which the postings were opened, if they were: a list is looked through before it is first used.
    """

    def __init__(self, model: EncoderModel, postings: csr_matrix, file: Path | None = None) -> None:
        self.model, self.postings, self._file = model, postings, file
        self._seen = np.full(postings.shape[0], file is None)

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
        vectors = Asked.of(queries).vectors(self.model)
        assert isinstance(vectors, Sparse)
        self._look_through(vectors.values.indices)
        rows = max(1, _SCORES // max(1, len(self)))
        found = []
        for start in range(0, len(vectors), rows):
            scores = (vectors.values[start : start + rows] @ self.postings).toarray()
            found.append(best(torch.from_numpy(scores), k))
        return Found(*joined(found, min(k, len(self))))

    def vectors(self) -> Sparse:
        """The documents' vectors; reads all of them."""
        self._look_through(np.arange(len(self._seen)))
        return Sparse(self.postings.T.tocsr())

    def _look_through(self, terms: np.ndarray) -> None:
        if self._file is not None:
            new = np.unique(terms[~self._seen[terms]])
            check_rows(self.postings, new, self._file)
            self._seen[new] = True

    def save(self, folder: Path) -> None:
        Sparse(self.postings).save(folder / "postings.safetensors")

    @classmethod
    def open(cls, model: EncoderModel, folder: Path) -> InvertedIndex:
        file = folder / "postings.safetensors"
        return cls(model, open_sparse(file), file)


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

    def knows(self, query: str) -> bool:
        """Whether a word of it is in any document."""
        return any(word in self.engine.vocab_dict for word in lexical.words(query))

    def save(self, folder: Path) -> None:
        self.engine.save(str(folder), show_progress=False)

    @classmethod
    def open(cls, folder: Path) -> LexicalIndex:
        """Maps the arrays of a saved index; nothing is unpickled.

        Raises:
            UserError: the index is missing or broken.
        """
        try:
            return cls(bm25s.BM25.load(str(folder), mmap=True, allow_pickle=False))
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
