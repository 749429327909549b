"""What a search model makes of texts: vectors that know their bytes and their scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from twofold.coding import symbols
from twofold.errors import UserError
from twofold.parts import look_up

Score = Callable[[Tensor, Tensor], Tensor]
"""Queries' vectors and documents' vectors to `[queries, documents]`."""

_CELLS = 1 << 24  # scores, or products that go into them, held at once


class Vectors(ABC):
    """The vectors of n texts, in order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of all of them."""

    @abstractmethod
    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Those of some texts, in that order."""

    @abstractmethod
    def joined(self, *others: Self) -> Self:
        """These, then the others."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What is written to a file."""

    def save(self, file: Path) -> None:
        """Writes them as safetensors."""
        save_file(self.tensors(), file)


@dataclass(frozen=True)
class Dense(Vectors):
    """One vector a text, `[n, d]`; unless told otherwise, the score of two texts is their dot product."""

    values: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        return self.values.numel() * self.values.element_size()

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        return type(self)(self.values[torch.as_tensor(np.asarray(indices, dtype=np.int64))])

    def joined(self, *others: Self) -> Self:
        return type(self)(torch.cat([self.values, *(o.values for o in others)]))

    def tensors(self) -> dict[str, Tensor]:
        return {"vectors": self.values.contiguous()}

    @classmethod
    def open(cls, file: Path) -> Self:
        """Vectors from a file, memory-mapped.

        Raises:
            UserError: the file is missing or broken.
        """
        values = read_tensors(file, "vectors")["vectors"]
        if values.dim() not in (2, 3) or not values.is_floating_point():
            raise broken(file, ValueError("values of the wrong kind"))
        return cls(values)

    def score(self, documents: Dense, by: Score | None = None) -> Float[Tensor, "n m"]:
        """Scores of these queries against `documents`."""
        return self.values @ documents.values.T if by is None else by(self.values, documents.values)

    def top(self, documents: Dense, k: int, by: Score | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Exact search: document indices and scores, best first, `[n, k]` each; equal scores by index."""
        width = max(1, len(documents) * (self.values[0].numel() // max(1, self.values.shape[-1]) if len(self) else 1))
        rows = min(1024, max(1, _CELLS // width))
        found = [best(type(self)(some).score(documents, by), k) for some in self.values.split(rows)]
        return joined(found, min(k, len(documents)))


class Multi(Dense):
    """Several vectors a text, `[n, m, d]`; how they meet the other side's is for the network to say."""

    def joined(self, *others: Self) -> Self:
        """As `Vectors`; texts with fewer vectors repeat their first, which changes no largest product."""
        every = [self.values, *(o.values for o in others)]
        most = max(v.shape[1] for v in every)
        return type(self)(torch.cat([torch.cat((v, v[:, :1].expand(-1, most - v.shape[1], -1)), 1) for v in every]))


@dataclass(frozen=True)
class Codes(Vectors):
    """A few symbols a text, kept in as few bits as they need.

    Args:
        packed: `[n, bytes]`, as `coding.symbols.pack` has it.
        length: symbols of a code.
        size: of the alphabet.
        file: from which they come, if they do: they are read, and damage is found, when they are asked for.
    """

    packed: UInt8[Tensor, "n bytes"]
    length: int
    size: int
    file: Path | None = None

    @classmethod
    def of(cls, values: Int[Tensor, "n length"], size: int) -> Codes:
        """Codes from their symbols."""
        return cls(torch.from_numpy(symbols.pack(values.numpy(), size)), values.shape[1], size)

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def nbytes(self) -> int:
        return self.packed.numel()

    @property
    def values(self) -> Int[Tensor, "n length"]:
        """The symbols.

        Raises:
            UserError: the codes are damaged.
        """
        try:
            return torch.from_numpy(symbols.unpack(self.packed.numpy(), self.length, self.size))
        except UserError as error:
            if self.file is None:
                raise
            raise broken(self.file, error) from None

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        return replace(self, packed=self.packed[torch.as_tensor(np.asarray(indices, dtype=np.int64))])

    def joined(self, *others: Self) -> Self:
        return replace(self, packed=torch.cat([self.packed, *(o.packed for o in others)]))

    def tensors(self) -> dict[str, Tensor]:
        return {"codes": self.packed.contiguous(), "alphabet": torch.tensor([self.length, self.size])}

    @classmethod
    def open(cls, file: Path) -> Self:
        """Codes from a file, memory-mapped and not read yet.

        Raises:
            UserError: the file is missing, or holds no codes.
        """
        found = read_tensors(file, "codes", "alphabet")
        try:
            length, size = (int(value) for value in found["alphabet"])
            symbols.shaped(found["codes"].numpy(), length, size)
        except (ValueError, TypeError, UserError) as error:
            raise broken(file, error) from None
        return cls(found["codes"], length, size, file)

    def score(self, documents: Codes) -> Float[Tensor, "n m"]:
        """How many symbols these codes share with those of `documents`."""
        alike = torch.nn.functional.one_hot(self.values, self.size).float()
        return look_up(alike, documents.values)


@dataclass(frozen=True)
class Tables(Multi):
    """What each query gives every symbol at every place of a code, `[n, length, size]`: log-probabilities."""

    values: Float[Tensor, "n length size"]

    def score(self, documents: Codes, by: Score | None = None) -> Float[Tensor, "n m"]:  # type: ignore[override]
        """The sum over the symbols of each document's code."""
        return (by or look_up)(self.values, documents.values)

    def top(self, documents: Codes, k: int, by: Score | None = None) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[override]
        """Exact search, as `Dense.top`."""
        rows = min(1024, max(1, _CELLS // max(1, len(documents))))
        kept = documents.values
        found = [best((by or look_up)(some, kept), k) for some in self.values.split(rows)]
        return joined(found, min(k, len(documents)))


@dataclass(frozen=True)
class Sparse(Vectors):
    """A weight for each term of a vocabulary, most of them 0: `[n, V]` by rows; scores are dot products."""

    values: csr_matrix

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def nbytes(self) -> int:
        return int(self.values.data.nbytes + self.values.indices.nbytes + self.values.indptr.nbytes)

    @classmethod
    def of(cls, values: Float[Tensor, "n vocab"]) -> Sparse:
        """The weights that are not 0."""
        return cls(csr_matrix(values.numpy()))

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        return type(self)(self.values[np.asarray(indices, dtype=np.int64)])

    def joined(self, *others: Self) -> Self:
        return type(self)(vstack([self.values, *(o.values for o in others)], format="csr"))

    def pruned(self, most: int) -> Sparse:
        """Each text's `most` heaviest terms; of equal ones, those that come first in the vocabulary."""
        lengths = np.diff(self.values.indptr)
        row = np.repeat(np.arange(len(self)), lengths)
        order = np.lexsort((self.values.indices, -self.values.data, row))
        rank = np.arange(len(row)) - np.repeat(self.values.indptr[:-1], lengths)
        kept = np.sort(order[rank < most])
        pointers = np.concatenate([[0], np.minimum(lengths, most).cumsum()])
        parts = (self.values.data[kept], self.values.indices[kept], pointers)
        return Sparse(csr_matrix(parts, shape=self.values.shape))

    def score(self, documents: Sparse) -> Float[Tensor, "n m"]:
        """Scores of these queries against `documents`."""
        return torch.from_numpy((self.values @ documents.values.T).toarray())

    def tensors(self) -> dict[str, Tensor]:
        return sparse_tensors(self.values)


def best(scores: Float[Tensor, "n m"], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and scores of the `k` best columns of each row; equal scores by index."""
    width = scores.shape[1]
    if not 0 < 4 * k < width:
        score, index = scores.sort(dim=1, descending=True, stable=True)
        return index[:, :k].numpy(), score[:, :k].numpy()
    index = scores.topk(k, dim=1, sorted=False).indices.sort(dim=1).values
    score, order = scores.gather(1, index).sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    tied = (scores < score[:, -1:]).sum(1) < width - k  # the last has its equals among those that were left out
    if tied.any():
        whole = scores[tied].sort(dim=1, descending=True, stable=True)
        score[tied], index[tied] = whole.values[:, :k], whole.indices[:, :k]
    return index.numpy(), score.numpy()


def joined(found: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The answers of several batches of queries as one."""
    if not found:
        return np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def sparse_tensors(matrix: csr_matrix) -> dict[str, Tensor]:
    """A sparse matrix as tensors that can be written to a file."""
    shape = np.array(matrix.shape, dtype=np.int64)
    parts = {"weights": matrix.data, "indices": matrix.indices, "pointers": matrix.indptr, "shape": shape}
    return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}


def open_sparse(file: Path) -> csr_matrix:
    """The sparse matrix that such a file holds, memory-mapped.

    Only where rows begin is looked at: whoever reads a row asks `check_rows` before.

    Raises:
        UserError: the file is missing or broken.
    """
    found = {
        name: tensor.numpy() for name, tensor in read_tensors(file, "weights", "indices", "pointers", "shape").items()
    }
    pointers, held = found["pointers"], len(found["indices"])
    try:
        if found["indices"].dtype.kind != "i" or pointers.dtype != found["indices"].dtype:
            raise TypeError("places of the wrong kind")
        matrix = csr_matrix(tuple(int(size) for size in found["shape"]), dtype=found["weights"].dtype)
        # Given to the constructor, indices of 64 bits would be read whole to see whether 32 are enough.
        matrix.data, matrix.indices, matrix.indptr = found["weights"], found["indices"], pointers
        matrix.check_format(full_check=False)
        if len(matrix.data) != held or pointers[-1] != held or (np.diff(pointers) < 0).any():
            raise ValueError("lists that do not fit")
        return matrix
    except (ValueError, TypeError, IndexError) as error:
        raise broken(file, error) from None


def check_rows(matrix: csr_matrix, rows: Iterable[int], file: Path) -> None:
    """Looks through some rows of a matrix that was opened from `file`: their columns must be there.

    Raises:
        UserError: the file is broken.
    """
    for row in rows:
        columns = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
        if len(columns) and not 0 <= columns.min() <= columns.max() < matrix.shape[1]:
            raise broken(file, ValueError("columns that are not there"))


def read_tensors(file: Path, *names: str) -> dict[str, Tensor]:
    """The named tensors of an index file, memory-mapped.

    Raises:
        UserError: the file is missing or broken.
    """
    try:
        found = load_file(file)
        return {name: found[name] for name in names}
    except (OSError, SafetensorError, KeyError) as error:
        raise broken(file, error) from None


def broken(file: Path, error: Exception) -> UserError:
    """The error for an index file that is damaged."""
    return UserError(f"the index file {file} cannot be read ({error}); build the index again")
