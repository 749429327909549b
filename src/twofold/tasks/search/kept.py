"""Indexes that outlast the process that made them: what all of them can do, wherever their documents are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twofold.checkpoints import folder as model_folder
from twofold.errors import UserError
from twofold.tasks import registry
from twofold.tasks.search.index import Asked
from twofold.tasks.search.model import EncoderModel, Hit, LexicalModel, SearchModel, check_asked
from twofold.tasks.search.pairs import PairModel

LEXICAL = "bm25"


class KeptIndex(ABC):
    """Documents by id, searched by the model that made them searchable.

    Attributes:
        where: what it is called in messages.
        model: the one that encodes queries.
    """

    where: str
    model: SearchModel

    @abstractmethod
    def __len__(self) -> int:
        """How many documents it holds."""

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and not self.missing([id])

    @property
    @abstractmethod
    def built_by(self) -> str:
        """What its model is called."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a person wants to know of it: `documents`, `engine`, and what the engine tells beside."""

    @abstractmethod
    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of every document."""

    @abstractmethod
    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that it does not hold, in their order."""

    @abstractmethod
    def add(self, documents: Mapping[str, str]) -> int:
        """Adds documents; one whose id is there already takes the other's place.

        Returns:
            How many took another's place.

        Raises:
            UserError: no documents, or an empty one.
        """

    def remove(self, ids: Sequence[str]) -> None:
        """Takes documents out.

        Raises:
            UserError: an id that is not there, or nothing would be left.
        """
        ids = [ids] if isinstance(ids, str) else ids
        unknown = self.missing(ids)
        if unknown:
            listed = ", ".join(unknown[:5]) + (f", … ({len(unknown)} in all)" if len(unknown) > 5 else "")
            raise UserError(f"{self.where} holds no document {listed}; give ids as search shows them")
        if len(set(ids)) == len(self):
            raise UserError(f"that would leave nothing in {self.where}; delete it instead")
        self._remove(ids)

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> None: ...

    @abstractmethod
    def _ranked(self, queries: Asked, k: int) -> list[list[Hit]]:
        """Each query's best documents, best first."""

    def search(
        self, query: str | Sequence[str], k: int = 10, rerank: SearchModel | None = None, shortlist: int = 100
    ) -> list[Hit] | list[list[Hit]]:
        """The best `k` documents for one query, or for each of many; fewer where the index holds fewer.

        By words or terms, documents that share none with the query are not given.

        Args:
            rerank: a model that puts the best `shortlist` in order again.

        Raises:
            UserError: a query is empty.
        """
        queries = [query] if isinstance(query, str) else list(query)
        check_asked(queries, k)
        readers: list[tuple[SearchModel, int]] = [(rerank, shortlist)] if rerank is not None else []
        if isinstance(self.model, PairModel):
            readers.insert(0, (self.model, int(self.model.spec["depth"])))
        hits = self._ranked(Asked.of(queries), max([k, *(count for _, count in readers)]))
        for reader, count in readers:
            hits = reranked(reader, queries, hits, count)
        hits = [found[:k] for found in hits]
        return hits[0] if isinstance(query, str) else hits


def reranked(
    model: SearchModel, queries: Sequence[str], hits: Sequence[Sequence[Hit]], shortlist: int
) -> list[list[Hit]]:
    """Each query's hits with the first `shortlist` in the order that `model` gives them; the others behind.

    Raises:
        UserError: a shortlist of nothing.
    """
    if shortlist < 1:
        raise UserError(f"the shortlist holds {shortlist} documents; give at least 1")
    pairs = [(query, hit) for query, found in zip(queries, hits, strict=True) for hit in found[:shortlist]]
    scores = iter(model.pair_scores([q for q, _ in pairs], [hit.text for _, hit in pairs]).tolist() if pairs else ())
    ordered = []
    for found in hits:
        new = [Hit(hit.id, next(scores), hit.text) for hit in found[:shortlist]]
        ordered.append([*sorted(new, key=lambda hit: -hit.score), *found[shortlist:]])
    return ordered


def check_documents(documents: Mapping[str, str]) -> None:
    """Refuses what cannot be indexed.

    Raises:
        UserError: no documents, or an empty one.
    """
    if not documents:
        raise UserError("there are no documents to index; give some")
    empty = next((id for id, text in documents.items() if not text.strip()), None)
    if empty is not None:
        raise UserError(f"the document {empty} is an empty text; leave it out")


def check_products(model: SearchModel) -> None:
    """Refuses a model whose documents cannot be found by the nearest of their vectors.

    Raises:
        UserError: its vectors are not compared by dot products, or it has none.
    """
    if not isinstance(model, EncoderModel) or model.net.sparse:
        raise UserError(f"{model.name} searches by an inverted index, which is exact and fast; leave --engine out")
    if not model.net.by_products:
        raise UserError(f"{model.name} does not compare vectors by dot products; search by it with --engine exact")


def described(model: SearchModel, source: str) -> dict[str, str]:
    """What an index keeps of its model: where it was, what made it, and the fingerprint of what it is."""
    name = model.name if model.history or not source else Path(source).name
    return {"source": source, "name": name, "fingerprint": model.fingerprint}


def check_model(model: SearchModel, kept: Mapping[str, Any], where: str) -> None:
    """Refuses a model that did not build the index.

    Raises:
        UserError: its fingerprint is another.
    """
    if model.fingerprint != kept["fingerprint"]:
        raise UserError(
            f"{where} was built by another model ({kept['name']}, fingerprint {kept['fingerprint']}) than "
            f"{model.name} ({model.fingerprint}); search it with that one, or build it again with --fresh"
        )


def opened_model(name: str, asked_by: str | Path | None = None) -> SearchModel:
    """The search model of that name or place: a folder, a pulled checkpoint, or `bm25`.

    Raises:
        UserError: it is not there, or is no search model.
    """
    if name == LEXICAL and not Path(name).exists():
        return LexicalModel(None, None, {"k1": 1.2, "b": 0.75}).remember(LEXICAL, {})
    if not name:
        raise UserError(f"the model that built {asked_by} was never saved; open the index with that model")
    try:
        model = registry.load(name)
    except UserError as error:
        if asked_by is None or (Path(name) / model_folder.MANIFEST).exists():
            raise
        raise UserError(
            f"the model that built {asked_by} cannot be opened ({error}); say where it is with -m"
        ) from None
    if not isinstance(model, SearchModel):
        raise UserError(f"{name} is a model for {model.task}, which cannot rank documents; name a search model or bm25")
    return model
