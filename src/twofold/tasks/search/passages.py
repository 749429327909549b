"""Passages stored so that candidates are scored without a network: what BM25 finds is put in order by look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from twofold.tasks.search.index import Asked, Encoded, LexicalIndex
from twofold.tasks.search.stages import Stage, StagedIndex
from twofold.tasks.search.vectors import Codes, Dense, Sparse, broken, read_tensors

if TYPE_CHECKING:
    from twofold.tasks.search.model import EncoderModel

_FIRST, _FILE = "first", "store.safetensors"


class Store(Protocol):
    """Something of every passage that a query's terms are looked up in."""

    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def tensors(self) -> dict[str, Tensor]: ...
    def scores(self, terms: np.ndarray, counts: np.ndarray, positions: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class TermStore:
    """A weight in float16 for each distinct term of a passage.

    Attributes:
        ids: terms, uint16 where the vocabulary allows it, `[terms of all passages]`.
        weights: float16, beside them.
        pointers: where each passage begins and the last one ends, `[n + 1]`.
        vocab: number of terms that there are.
        file: from which they come, if they do.
    """

    ids: np.ndarray
    weights: np.ndarray
    pointers: np.ndarray
    vocab: int
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.pointers) - 1

    @property
    def nbytes(self) -> int:
        return int(self.ids.nbytes + self.weights.nbytes + self.pointers.nbytes)

    @classmethod
    def of(cls, vectors: Sparse) -> Self:
        """The passages' weights, rounded to float16."""
        rows, vocab = vectors.values, int(vectors.values.shape[1])
        ids = rows.indices.astype(np.uint16 if vocab <= 1 << 16 else np.uint32)
        return cls(ids, rows.data.astype(np.float16), rows.indptr.astype(np.uint32), vocab)

    def scores(self, terms: np.ndarray, counts: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """One query's score with each of the passages at `positions`, `[n]`: Σ count · weight over its terms.

        Raises:
            UserError: the file that the passages come from is damaged.
        """
        table = np.zeros(self.vocab, np.float32)
        table[terms] = counts
        starts = self.pointers[positions].astype(np.int64)
        lengths = self.pointers[positions + 1].astype(np.int64) - starts
        ends = lengths.cumsum()
        places = np.arange(int(lengths.sum())) + np.repeat(starts - ends + lengths, lengths)
        try:
            products = table[self.ids[places]] * self.weights[places]
        except IndexError as error:
            raise broken(self.file or Path(_FILE), error) from None
        owners = np.repeat(np.arange(len(positions)), lengths)
        return np.bincount(owners, products, len(positions)).astype(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """What is written to a file."""
        made = {"ids": self.ids, "weights": self.weights, "pointers": self.pointers, "vocab": np.array([self.vocab])}
        return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in made.items()}

    @classmethod
    def open(cls, file: Path) -> Self:
        """The store of a file, memory-mapped; terms are read with their passages.

        Raises:
            UserError: it is missing or broken.
        """
        found = read_tensors(file, "ids", "weights", "pointers", "vocab")
        ids, weights, pointers, vocab = (found[name].numpy() for name in ("ids", "weights", "pointers", "vocab"))
        made = cls(ids, weights, pointers, int(vocab.max(initial=0)), file)
        pointers = pointers.astype(np.int64)
        whole = made.ids.ndim == made.weights.ndim == pointers.ndim == 1 and len(pointers) > 0
        if not whole or made.ids.dtype.kind != "u" or len(made.ids) != len(made.weights):
            raise broken(file, ValueError("terms that do not fit"))
        if pointers[0] != 0 or pointers[-1] != len(made.ids) or (np.diff(pointers) < 0).any():
            raise broken(file, ValueError("passages that do not fit"))
        return made


@dataclass(frozen=True)
class TableStore:
    """A number in float16 for every term of the vocabulary and every passage, `[n, V]`."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)

    @classmethod
    def of(cls, vectors: Dense) -> Self:
        """The passages' numbers, rounded to float16."""
        return cls(vectors.values.numpy().astype(np.float16))

    def scores(self, terms: np.ndarray, counts: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """One query's score with each of the passages at `positions`, `[n]`."""
        return self.values[np.ix_(positions, terms)].astype(np.float32) @ counts.astype(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """What is written to a file."""
        return {"values": torch.from_numpy(self.values)}

    @classmethod
    def open(cls, file: Path) -> Self:
        """The store of a file.

        Raises:
            UserError: it is missing or broken.
        """
        values = read_tensors(file, "values")["values"].numpy()
        if values.ndim != 2 or values.dtype != np.float16:
            raise broken(file, ValueError("values of the wrong kind"))
        return cls(values)


class LookUp:
    """A store as a scorer: queries become counts of their terms by the model, passages are looked up."""

    per_pair = None

    def __init__(self, model: EncoderModel, store: Store) -> None:
        self.model, self.store = model, store

    @property
    def nbytes(self) -> int:
        return self.store.nbytes

    def among(self, queries: Sequence[str], positions: np.ndarray) -> np.ndarray:
        """The scores of some passages of each query, `[queries, candidates]` as their positions."""
        vectors = Asked.of(queries).vectors(self.model)
        assert not isinstance(vectors, Codes)
        scores = np.zeros(positions.shape, np.float32)
        for row, some in enumerate(positions):
            if isinstance(vectors, Sparse):
                held = slice(*vectors.values.indptr[row : row + 2])
                terms, counts = vectors.values.indices[held], vectors.values.data[held]
            else:
                whole = vectors.values[row].numpy()
                terms = np.flatnonzero(whole)
                counts = whole[terms]
            scores[row] = self.store.scores(terms, counts, some)
        return scores


class Reranked(StagedIndex):
    """BM25 finds, stored passages put in order; where they say nothing, BM25's order stays."""

    def __init__(self, first: LexicalIndex, reader: LookUp, depth: int) -> None:
        super().__init__(first, [Stage(reader, depth, stable=True)])
        self.lexical, self.store = first, reader.store

    def save(self, folder: Path) -> None:
        (folder / _FIRST).mkdir()
        self.lexical.save(folder / _FIRST)
        save_file(self.store.tensors(), folder / _FILE)

    @classmethod
    def open(cls, model: EncoderModel, folder: Path, depth: int) -> Self:
        """The index that `save` wrote.

        Raises:
            UserError: a file is missing or broken.
        """
        kind = TermStore if model.net.sparse else TableStore
        return cls(LexicalIndex.open(folder / _FIRST), LookUp(model, kind.open(folder / _FILE)), depth)


def store_of(model: EncoderModel, vectors: Encoded) -> LookUp:
    """Passages' vectors, stored."""
    assert not isinstance(vectors, Codes)
    return LookUp(model, TermStore.of(vectors) if isinstance(vectors, Sparse) else TableStore.of(vectors))


def holds_store(folder: Path) -> bool:
    """Whether such an index was written there."""
    return (folder / _FILE).exists()
