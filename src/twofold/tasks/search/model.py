"""Search models: texts in, ranked documents out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix

from twofold import computing, progress
from twofold.checkpoints import Imported, folder
from twofold.data import batches
from twofold.errors import UserError
from twofold.parts import Encoder, Mean, SparseEncoder, TextEncoder
from twofold.parts.encoders import Side
from twofold.parts.ready import for_batches
from twofold.tasks.model import Model
from twofold.tasks.search import exported, lexical
from twofold.tasks.search.graph import GraphIndex
from twofold.tasks.search.index import (
    CodeIndex,
    Encoded,
    ExactIndex,
    Index,
    InvertedIndex,
    LexicalIndex,
    open_documents,
    save_documents,
)
from twofold.tasks.search.passages import Reranked, holds_store, store_of
from twofold.tasks.search.stages import Plan, StagedIndex, by_width
from twofold.tasks.search.vectors import Codes, Dense, Multi, Sparse, Tables


@dataclass(frozen=True)
class Hit:
    """One result."""

    id: str
    score: float
    text: str


def check_asked(queries: Sequence[str], k: int) -> None:
    """Refuses what cannot be searched.

    Raises:
        UserError: a query is empty, or k is below 1.
    """
    if any(not query.strip() for query in queries):
        raise UserError("a query is empty; say what to search for")
    if k < 1:
        raise UserError(f"k is {k}; ask for 1 document or more")


class SearchModel(Model):
    """A model that can rank documents for a query. What it has indexed is saved with it."""

    task: ClassVar[str] = "search"
    _index: Index | None = None
    _ids: Sequence[str] = ()
    _texts: Sequence[str] = ()

    @abstractmethod
    def build_index(self, documents: Sequence[str]) -> Index:
        """An index over `documents`, in their order."""

    @abstractmethod
    def open_index(self, path: Path) -> Index:
        """The index that `save` wrote there."""

    @abstractmethod
    def pair_scores(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """The score of each query with the document at its side, `[n]`; nothing has to be indexed."""

    def rerank(self, query: str, documents: Sequence[str], k: int | None = None) -> list[Hit]:
        """The given documents, best first (the best `k` of them); ids are their positions."""
        if not query.strip():
            raise UserError("the query is empty; say what to search for")
        scores = self.pair_scores([query] * len(documents), documents)
        order = np.argsort(-scores, kind="stable")[:k]
        return [Hit(str(i), float(scores[i]), documents[i]) for i in order]

    def index(self, documents: Sequence[str], ids: Sequence[str] | None = None) -> Self:
        """Makes `documents` searchable; ids default to their positions."""
        if not documents:
            raise UserError("nothing to index: the list of documents is empty")
        if ids is not None and (len(ids) != len(documents) or len(set(ids)) < len(ids)):
            raise UserError(f"{len(documents)} documents need as many ids, each its own; give one for each, or none")
        self._index = self.build_index(documents)
        self._texts = list(documents)
        self._ids = list(ids) if ids is not None else [str(i) for i in range(len(documents))]
        return self

    def search(self, query: str | Sequence[str], k: int = 10) -> list[Hit] | list[list[Hit]]:
        """The best `k` documents for one query, or for each of many.

        By words or terms, documents that share none with the query are not given.

        Raises:
            UserError: nothing has been indexed, a query is empty, or k is below 1.
        """
        if self._index is None:
            raise UserError("this model has no index yet; index documents first: model.index(documents)")
        queries = [query] if isinstance(query, str) else list(query)
        check_asked(queries, k)
        found = self._index.search(queries, k)
        hits = [
            [Hit(self._ids[p], float(s), self._texts[p]) for p, s in zip(positions, scores, strict=True)]
            for positions, scores in zip(found.positions, found.scores, strict=True)
        ]
        if isinstance(self._index, LexicalIndex | InvertedIndex):
            hits = [[hit for hit in each if hit.score > 0] for each in hits]  # the others share nothing with the query
        elif isinstance(self._index, StagedIndex) and isinstance(self._index.first, LexicalIndex):
            known = map(self._index.first.knows, queries)
            hits = [each if some else [] for each, some in zip(hits, known, strict=True)]
        return hits[0] if isinstance(query, str) else hits

    def copy(self) -> Self:
        """An independent copy, without the index: whoever changes the copy's network makes it anew."""
        other = super().copy()
        other._index, other._ids, other._texts = None, (), ()
        return other

    def renewed(self, before: Self) -> Self:
        return self.index(before._texts, before._ids) if before.indexed and not self.indexed else self

    @property
    def indexed(self) -> int:
        """How many documents are in the index."""
        return len(self._index) if self._index is not None else 0

    def _files(self, target: Path) -> None:
        if self._index is None:
            return
        place = target / "index"
        place.mkdir()
        self._index.save(place)
        save_documents(place, self._ids, self._texts)

    @classmethod
    def restore(cls, saved: folder.Saved) -> Self:
        model = super().restore(saved)
        place = saved.path / "index"
        if place.is_dir():
            model._ids, model._texts = open_documents(place)
            model._index = model.open_index(place)
            if len(model._index) != len(model._ids):
                raise UserError(f"the index in {place} does not match its documents; build it again")
        return model


class EncoderModel(SearchModel):
    """A network that encodes queries and documents apart: to a vector, to several, or to weights of terms.

    The task's settings: `query_tokens` and `document_tokens` (texts are cut there),
    `query_prefix` and `document_prefix`; for sparse vectors also `query_terms` and `document_terms` (only so many
    of the heaviest are kept; None: all); for dense ones `width` (vectors are cut there; None: not at all) and
    `stages` (widths, each with the number of documents that an index compares at it). With `depth`, an index lets
    BM25 find so many documents for a query, and compares only those. With `echo` (ids `before` and `between`), a text
    stands twice in its sequence, both times cut at the side's length.
    """

    @property
    def net(self) -> Encoder:
        net = super().net
        assert isinstance(net, Encoder)
        return net

    def tokens(self, texts: Sequence[str], side: Side) -> list[list[int]]:
        """Token ids of each text, with the side's prefix, cut at the side's length.

        Raises:
            UserError: a text is empty.
        """
        empty = next((i for i, t in enumerate(texts) if not t.strip()), None)
        if empty is not None:
            raise UserError(f"{side} {empty + 1} is an empty text; leave it out")
        assert self.tokenizer is not None
        prefix = self.spec.get(f"{side}_prefix", "")
        limit = int(self.spec[f"{side}_tokens"])
        # A token is at most a few characters of a long word; cutting the text first keeps a megabyte cheap.
        cut = limit * 32
        echo = self.spec.get("echo")
        if echo is not None:
            once = self.tokenizer.encode([f" {t.strip()[:cut]}" for t in texts], specials=False)
            return [[*echo["before"], *x[:limit], *echo["between"], *x[:limit]] for x in once]
        return self.tokenizer.encode([prefix + t[:cut] for t in texts], max_len=limit)

    def encode(self, texts: Sequence[str], side: Side = "document") -> Encoded:
        """Vectors of texts in float32, in the order given: `[n, d]`, `[n, m, d]` or sparse `[n, V]`.

        An encoder of codes gives documents as codes, and queries as tables of what each symbol is worth to them.

        Texts of like length share a batch, so that little is spent on padding.
        """
        sequences = self.tokens(texts, side)
        dtype = computing.use_dtype()
        net = self.net.eval()
        net = net if dtype == "float32" else self.ready(net, dtype, lambda net: for_batches(net, dtype))
        tower = net.tower(side)
        pad = self.tokenizer.pad or 0  # type: ignore[union-attr]
        groups = batches.buckets([len(s) for s in sequences], _places(net))
        found: list[Encoded] = []
        with progress.stage(f"encode {len(texts):,} texts", total=len(texts)) as stage:
            for group in groups:
                ids, real = batches.pad([sequences[i] for i in group], pad)
                with computing.inference():
                    vectors = tower(ids.to(self.device), real.to(self.device)).float().cpu()
                found.append(self._vectors(vectors, side))
                stage.advance(len(group))
        if not found:
            return Dense(torch.empty(0, 0))
        first: Any = found[0]
        whole: Encoded = first.joined(*found[1:])
        return whole.take(np.argsort(np.concatenate(groups)))

    def _vectors(self, values: torch.Tensor, side: Side) -> Encoded:
        if self.net.codes:
            return Tables(values) if side == "query" else Codes.of(values.argmax(-1), values.shape[-1])
        if not self.net.sparse:
            width = self.spec.get("width")
            cut = values if width is None else self.net.tower(side).cut(values, int(width))
            return Dense(cut) if values.ndim == 2 else Multi(cut)
        most = self.spec.get(f"{side}_terms")
        sparse = Sparse.of(values)
        return sparse if most is None else sparse.pruned(int(most))

    def terms(self, texts: Sequence[str], side: Side = "document") -> list[dict[str, float]]:
        """What a sparse encoder takes each text to be about: terms with their weights, heaviest first.

        Raises:
            UserError: the model's vectors have no terms.
        """
        if not self.net.sparse:
            raise UserError(f"{self.name} makes vectors without terms; only sparse encoders can list them")
        vectors = self.encode(texts, side)
        assert isinstance(vectors, Sparse)
        return self.listed(vectors.values)

    def listed(self, weights: csr_matrix) -> list[dict[str, float]]:
        """Rows of weights `[n, V]` as terms, heaviest first."""
        assert self.tokenizer is not None
        listed = []
        for row in weights:
            order = np.argsort(-row.data, kind="stable")
            listed.append({self.tokenizer.decode([int(row.indices[i])]): float(row.data[i]) for i in order})
        return listed

    def pair_scores(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        ways = []
        for texts, side in ((queries, "query"), (documents, "document")):
            place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
            ways.append((self.encode(list(place), side), [place[t] for t in texts]))  # type: ignore[arg-type]
        (asked, rows), (found, columns) = ways
        # Scores come as tables of queries against documents; small ones waste little besides their diagonals.
        parts = [slice(start, start + 64) for start in range(0, len(rows), 64)]
        scores = [self._score(asked.take(rows[p]), found.take(columns[p])).diagonal().numpy() for p in parts]
        return np.concatenate(scores) if scores else np.zeros(0, np.float32)

    def _score(self, queries: Any, documents: Any) -> torch.Tensor:
        scores: torch.Tensor = queries.score(documents, *(() if self.net.sparse else (self.net.score,)))
        return scores

    @property
    def dim(self) -> int:
        """Width of its whole vectors."""
        with computing.inference():
            one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
            return int(self.net.eval().tower("document")(one).shape[-1])

    def cut(self, width: int | None, stages: Plan | None = None) -> Self:
        """A copy, without index, whose vectors are cut to their first `width` coordinates (None: whole again).

        Args:
            stages: widths, each with the number of documents that an index compares at it; None: all at `width`.

        Raises:
            UserError: the vectors have no such width, or are not dense.
        """
        if not self.net.by_dot:
            raise UserError(f"{self.name} compares vectors by more than a dot product; they cannot be cut")
        other = self.copy()
        other.spec |= {"width": width, "stages": None if stages is None else [list(stage) for stage in stages]}
        other.encode(["any text"])
        return other

    _known: tuple[dict[str, int], Any] | None = None

    def copy(self) -> Self:
        other = super().copy()
        other._known = None
        return other

    def build_index(self, documents: Sequence[str]) -> Index:
        """Documents that were indexed before in this process are not encoded again."""
        place, vectors = self._known or ({}, None)
        new = [d for d in dict.fromkeys(documents) if d not in place]
        if new:
            encoded = self.encode(new, side="document")
            vectors = encoded if vectors is None else vectors.joined(encoded)
            place |= {text: len(place) + i for i, text in enumerate(new)}
            self._known = place, vectors
        assert vectors is not None
        own = vectors.take([place[d] for d in documents])
        depth = self.spec.get("depth")
        if depth is None:
            return self.index_vectors(own)
        return Reranked(LexicalIndex(lexical.fit_bm25(documents)), store_of(self, own), int(depth))

    def index_vectors(self, vectors: Encoded) -> Index:
        """An index over documents that were encoded before."""
        if isinstance(vectors, Codes):
            return CodeIndex(self, vectors)
        return InvertedIndex.of(self, vectors) if isinstance(vectors, Sparse) else self._dense_index(vectors)

    def vectors_of(self, index: Index) -> Encoded:
        """The documents' vectors that an index of this model holds."""
        if isinstance(index, GraphIndex):
            index = index.exact
        first = index.first if isinstance(index, StagedIndex) else index
        if isinstance(first, InvertedIndex):
            return first.vectors()
        if isinstance(first, CodeIndex):
            return first.codes
        assert isinstance(first, ExactIndex)
        return first.vectors

    def open_index(self, path: Path) -> Index:
        if holds_store(path):
            return Reranked.open(self, path, int(self.spec.get("depth") or 100))
        if self.net.codes:
            return CodeIndex.open(self, path)
        return (
            InvertedIndex.open(self, path)
            if self.net.sparse
            else self._dense_index(ExactIndex.open(self, path).vectors)
        )

    def _dense_index(self, vectors: Dense) -> Index:
        stages = self.spec.get("stages")
        return by_width(self, vectors, stages) if stages else ExactIndex(self, vectors)

    @property
    def export_notes(self) -> list[str]:
        return exported.differences(self)

    @property
    def prompts(self) -> dict[str, str]:
        return exported.prompts(self)

    @classmethod
    def imported(cls, found: Imported) -> EncoderModel:
        """A sentence encoder from a checkpoint, dense or sparse: its own pooling where it names one, else the mean."""
        plain: dict[str, Any] = {"pool": Mean(), "project": None, "normalise": True, "max_len": None, "prompts": {}}
        pooling = found.pooling or plain
        net: Encoder
        if pooling.get("terms"):
            net = SparseEncoder(found.net, pooling["pool"])
        else:
            net = TextEncoder(found.net, pooling["pool"], pooling["project"], normalise=pooling["normalise"])
        longest = min(pooling["max_len"] or 256, found.net.max_len or 256)
        prompts = pooling["prompts"]
        spec = {
            "query_tokens": min(64, longest),
            "document_tokens": longest,
            "query_prefix": prompts.get("query", ""),
            "document_prefix": prompts.get("document", prompts.get("passage", "")),
        }
        notes = {"source": found.source, **found.notes, "config": found.config}
        return cls(net.eval(), found.tokenizer, spec, notes=notes)


def _places(net: Encoder) -> int:
    """Tokens of a batch, padding counted. On a processor few enough that the states stay in its caches."""
    on_cpu = next((p.device.type for p in net.parameters()), "cpu") == "cpu"
    return 2048 if net.sparse else 1024 if on_cpu else 8192


class LexicalModel(SearchModel):
    """BM25: no weights; what it knows of the documents is the index."""

    def build_index(self, documents: Sequence[str]) -> Index:
        return LexicalIndex(lexical.fit_bm25(documents, self.spec.get("k1", 1.2), self.spec.get("b", 0.75)))

    def pair_scores(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """As if the given documents were all there are: rare words are those that are rare among them."""
        place = {text: i for i, text in enumerate(dict.fromkeys(documents))}
        engine = lexical.fit_bm25(list(place), self.spec.get("k1", 1.2), self.spec.get("b", 0.75))
        scores = {query: lexical.scores(engine, query) for query in dict.fromkeys(queries)}
        return np.array([scores[q][place[d]] for q, d in zip(queries, documents, strict=True)], dtype=np.float32)

    def open_index(self, path: Path) -> Index:
        return LexicalIndex.open(path)
