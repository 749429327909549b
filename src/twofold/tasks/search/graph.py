"""Approximate search: a graph over documents' vectors, walked from neighbour to nearer neighbour, by `faiss`.

Malkov and Yashunin 2016, https://arxiv.org/abs/1603.09320. The graph lies beside the vectors as plain arrays, which are
checked before `faiss` sees them: its own files are read without such care.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from twofold.errors import UserError
from twofold.tasks.search.index import Asked, Encoded, ExactIndex, Found
from twofold.tasks.search.vectors import Dense, broken, read_tensors

if TYPE_CHECKING:
    from twofold.tasks.search.model import EncoderModel

_FILE = "graph.safetensors"
_ARRAYS = ("neighbours", "offsets", "levels", "entry")
_LINKS = 32  # of a node to others in each upper level; twice as many in the lowest
_BUILD, _LOOK = 100, 128  # nodes kept in view while the graph is built, and at least while it is walked
_MORE = 4  # times as many candidates of each vector of a query that has several: the best of one may be far from others
_SHARE = 10  # answers that are more than a tenth of all documents cost less by looking at every one


def faiss() -> Any:
    """The library.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise UserError(
            "approximate search needs faiss; pip install 'twofold[faiss]', or take --engine exact"
        ) from None


@dataclass(frozen=True)
class Graph:
    """Which vectors are neighbours, in levels that thin out.

    Attributes:
        neighbours: node numbers, -1 for none; each node's lists one behind the other, the lowest level first.
        offsets: where each node's lists begin, and the last one's end, `[n + 1]`.
        levels: of how many levels each node is part, `[n]`.
        entry: the node of the highest level at which a walk begins.
    """

    neighbours: np.ndarray
    offsets: np.ndarray
    levels: np.ndarray
    entry: int

    @classmethod
    def of(cls, nodes: np.ndarray) -> Graph:
        """The graph of vectors `[n, d]`, near by their dot products.

        Raises:
            UserError: `faiss` is not installed.
        """
        library = _threaded()
        made = library.IndexHNSWFlat(nodes.shape[1], _LINKS, library.METRIC_INNER_PRODUCT)
        made.hnsw.efConstruction = _BUILD
        made.add(np.ascontiguousarray(nodes, dtype=np.float32))
        arrays = (library.vector_to_array(getattr(made.hnsw, name)) for name in ("neighbors", "offsets", "levels"))
        neighbours, offsets, levels = arrays
        return cls(neighbours, offsets.astype(np.int64), levels, int(made.hnsw.entry_point))

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return int(self.neighbours.nbytes + self.offsets.nbytes + self.levels.nbytes)

    def walker(self, nodes: np.ndarray) -> Any:
        """What walks this graph of the vectors `[n, d]`: `faiss`'s index of them.

        Raises:
            UserError: `faiss` is not installed.
            ValueError: the graph is damaged.
        """
        self._check()
        library = _threaded()
        made = library.IndexHNSWFlat(nodes.shape[1], _LINKS, library.METRIC_INNER_PRODUCT)
        library.downcast_index(made.storage).add(np.ascontiguousarray(nodes, dtype=np.float32))
        library.copy_array_to_vector(np.ascontiguousarray(self.neighbours), made.hnsw.neighbors)
        library.copy_array_to_vector(self.offsets.astype(np.uint64), made.hnsw.offsets)
        library.copy_array_to_vector(np.ascontiguousarray(self.levels), made.hnsw.levels)
        made.hnsw.entry_point, made.hnsw.max_level = self.entry, int(self.levels.max()) - 1
        made.ntotal = len(nodes)
        return made

    def _check(self) -> None:
        """Every walk stays inside: lists are as long as their node's levels ask, and lead to nodes of that level."""
        levels, offsets, neighbours = self.levels, self.offsets, self.neighbours
        if levels.min(initial=1) < 1 or levels.max(initial=1) > 64:
            raise ValueError("levels that cannot be")
        if offsets[0] != 0 or offsets[-1] != len(neighbours) or (np.diff(offsets) != _LINKS * (levels + 1)).any():
            raise ValueError("lists that do not fit")
        if neighbours.min(initial=0) < -1 or neighbours.max(initial=0) >= len(levels):
            raise ValueError("neighbours that are not there")
        if not 0 <= self.entry < len(levels) or levels[self.entry] != levels.max():
            raise ValueError("no way in")
        for level in range(1, int(levels.max())):
            begins = offsets[:-1][levels > level] + _LINKS * (level + 1)
            there = neighbours[begins[:, None] + np.arange(_LINKS)]
            if ((there >= 0) & (levels[there] <= level)).any():
                raise ValueError("neighbours of another level")

    def save(self, folder: Path) -> None:
        """Writes it as safetensors."""
        arrays = (self.neighbours, self.offsets, self.levels, np.array([self.entry], dtype=np.int64))
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in zip(_ARRAYS, arrays, strict=True)}
        save_file(tensors, folder / _FILE)

    @classmethod
    def open(cls, folder: Path) -> Graph:
        """The graph of such a folder, memory-mapped.

        Raises:
            UserError: the file is missing or broken.
        """
        found = read_tensors(folder / _FILE, *_ARRAYS)
        neighbours, offsets, levels, entry = (found[name].numpy() for name in _ARRAYS)
        kinds = (neighbours.dtype, offsets.dtype, levels.dtype, entry.dtype)
        flat = all(array.ndim == 1 for array in (neighbours, offsets, levels, entry))
        if not flat or kinds != (np.int32, np.int64, np.int32, np.int64) or len(entry) != 1:
            raise broken(folder / _FILE, ValueError("values of the wrong kind"))
        if not 0 < len(levels) == len(offsets) - 1:
            raise broken(folder / _FILE, ValueError("lists that do not fit"))
        return cls(neighbours, offsets, levels, int(entry[0]))


class GraphIndex:
    """Dense vectors of documents, of which a walk finds candidates; these are scored exactly.

    Where a document or a query has several vectors, each of them is a node or a walk of its own. A query for more than
    a tenth of the documents looks at all of them.
    """

    def __init__(self, exact: ExactIndex, graph: Graph, file: Path | None = None) -> None:
        self.exact, self.graph, self._file = exact, graph, file

    @classmethod
    def of(cls, model: EncoderModel, vectors: Encoded) -> GraphIndex:
        """The index of documents' vectors.

        Raises:
            UserError: `faiss` is not installed.
        """
        assert isinstance(vectors, Dense)
        return cls(ExactIndex(model, vectors), Graph.of(_nodes(vectors)))

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def nbytes(self) -> int:
        return self.exact.nbytes + self.graph.nbytes

    @cached_property
    def _walker(self) -> Any:
        try:
            return self.graph.walker(_nodes(self.exact.vectors))
        except ValueError as error:
            raise broken(self._file or Path(_FILE), error) from None

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query, most of them; their scores are exact."""
        asked = Asked.of(queries)
        values = asked.vectors(self.exact.model).values
        each = len(self.graph.levels) // len(self)
        if k * _SHARE > len(self) or not len(asked):
            return self.exact.search(asked, k)
        assert isinstance(values, Tensor)
        wanted = k * each * (_MORE if values.ndim == 3 else 1)
        look = faiss().SearchParametersHNSW(efSearch=max(_LOOK, 2 * wanted))
        _, near = self._walker.search(values.reshape(-1, values.shape[-1]).numpy(), wanted, params=look)
        # By position, so that equal scores are ranked by index as exact search ranks them.
        positions = np.sort(near.reshape(len(asked), -1) // each, axis=1)
        again = np.diff(positions, axis=1, prepend=-1) == 0
        scores = np.where(again, -np.inf, self.exact.among(asked, np.maximum(positions, 0)))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found = Found(np.take_along_axis(positions, order, 1), np.take_along_axis(scores, order, 1))
        few = np.flatnonzero(np.isinf(found.scores[:, -1]))
        if len(few):
            whole = self.exact.search(asked, k)
            found.positions[few], found.scores[few] = whole.positions[few], whole.scores[few]
        return found

    def save(self, folder: Path) -> None:
        self.exact.save(folder)
        self.graph.save(folder)

    @classmethod
    def open(cls, model: EncoderModel, folder: Path) -> GraphIndex:
        """The index that `save` wrote.

        Raises:
            UserError: a file is missing or broken.
        """
        exact, graph = ExactIndex.open(model, folder), Graph.open(folder)
        if not len(exact) or len(graph.levels) != len(_nodes(exact.vectors)):
            raise broken(folder / _FILE, ValueError("it is of other vectors"))
        return cls(exact, graph, folder / _FILE)


def holds_graph(folder: Path) -> bool:
    """Whether such an index was written there."""
    return (folder / _FILE).exists()


def _nodes(vectors: Dense) -> np.ndarray:
    values = vectors.values
    return values.reshape(-1, values.shape[-1]).numpy()


def _threaded() -> Any:
    library = faiss()
    library.omp_set_num_threads(torch.get_num_threads())
    return library
