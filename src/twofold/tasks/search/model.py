"""Search models: texts in, ranked documents out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch

from twofold import computing, progress
from twofold.checkpoints import Imported, folder
from twofold.data import batches
from twofold.errors import UserError
from twofold.parts import Mean, TextEncoder
from twofold.tasks.model import Model
from twofold.tasks.search import lexical
from twofold.tasks.search.index import ExactIndex, Index, LexicalIndex, open_documents, save_documents
from twofold.tasks.search.vectors import Dense

Side = Literal["query", "document"]


@dataclass(frozen=True)
class Hit:
    """One result."""

    id: str
    score: float
    text: str


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

    def index(self, documents: Sequence[str], ids: Sequence[str] | None = None) -> Self:
        """Makes `documents` searchable; ids default to their positions."""
        if not documents:
            raise UserError("nothing to index: the list of documents is empty")
        self._index = self.build_index(documents)
        self._texts = list(documents)
        self._ids = list(ids) if ids is not None else [str(i) for i in range(len(documents))]
        return self

    def search(self, query: str | Sequence[str], k: int = 10) -> list[Hit] | list[list[Hit]]:
        """The best `k` documents for one query, or for each of many.

        Raises:
            UserError: nothing has been indexed, or a query is empty.
        """
        if self._index is None:
            raise UserError("this model has no index yet; index documents first: model.index(documents)")
        queries = [query] if isinstance(query, str) else list(query)
        if any(not q.strip() for q in queries):
            raise UserError("a query is empty; say what to search for")
        found = self._index.search(queries, k)
        hits = [
            [Hit(self._ids[p], float(s), self._texts[p]) for p, s in zip(positions, scores, strict=True)]
            for positions, scores in zip(found.positions, found.scores, strict=True)
        ]
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
    """A dual encoder: one network for queries and documents, one vector a text.

    The task's settings: `query_tokens` and `document_tokens` (texts are cut there),
    `query_prefix` and `document_prefix`.
    """

    @property
    def net(self) -> TextEncoder:
        net = super().net
        assert isinstance(net, TextEncoder)
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
        return self.tokenizer.encode([prefix + t[:cut] for t in texts], max_len=limit)

    def encode(self, texts: Sequence[str], side: Side = "document") -> Dense:
        """Vectors of texts, `[n, d]` in float32, in the order given.

        Texts of like length share a batch, so that little is spent on padding.
        """
        sequences = self.tokens(texts, side)
        net = self.net.eval()
        pad = self.tokenizer.pad or 0  # type: ignore[union-attr]
        out: torch.Tensor | None = None
        groups = batches.buckets([len(s) for s in sequences])
        with progress.stage(f"encode {len(texts):,} texts", total=len(texts)) as stage:
            for group in groups:
                ids, real = batches.pad([sequences[i] for i in group], pad)
                with computing.inference():
                    vectors = net(ids.to(self.device), real.to(self.device)).float().cpu()
                if out is None:
                    out = torch.empty(len(texts), vectors.shape[1])
                out[torch.as_tensor(group)] = vectors
                stage.advance(len(group))
        return Dense(out if out is not None else torch.empty(0, 0))

    _encoded: dict[str, torch.Tensor] | None = None

    def copy(self) -> Self:
        other = super().copy()
        other._encoded = None
        return other

    def build_index(self, documents: Sequence[str]) -> Index:
        """Documents that were indexed before in this process are not encoded again."""
        if self._encoded is None:
            self._encoded = {}
        new = [d for d in dict.fromkeys(documents) if d not in self._encoded]
        if new:
            self._encoded.update(zip(new, self.encode(new, side="document").values, strict=True))
        return ExactIndex(self, Dense(torch.stack([self._encoded[d] for d in documents])))

    def open_index(self, path: Path) -> Index:
        return ExactIndex.open(self, path)

    @classmethod
    def imported(cls, found: Imported) -> EncoderModel:
        """A sentence encoder from a checkpoint: its own pooling where it names one, else the mean."""
        pooling = found.pooling or {"pool": Mean(), "project": None, "normalise": True, "max_len": None, "prompts": {}}
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


class LexicalModel(SearchModel):
    """BM25: no weights; what it knows of the documents is the index."""

    def build_index(self, documents: Sequence[str]) -> Index:
        return LexicalIndex(lexical.fit_bm25(documents, self.spec.get("k1", 1.2), self.spec.get("b", 0.75)))

    def open_index(self, path: Path) -> Index:
        return LexicalIndex.open(path)
