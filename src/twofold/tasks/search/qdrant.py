"""Indexes in Qdrant, for more documents than one machine holds: the same calls, the documents elsewhere.

An index is an alias of a collection, so that one built again takes the other's place in one step. The collection's
metadata say which model made it. A point is a document: its vectors, and in its payload its id and its text. Its own id
follows from the document's, so that whoever writes a document again replaces it.
"""

from __future__ import annotations

import atexit
import importlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twofold import computing
from twofold.errors import UserError
from twofold.tasks.search.index import Asked, Encoded
from twofold.tasks.search.kept import KeptIndex, check_documents, check_model, described, opened_model
from twofold.tasks.search.model import EncoderModel, Hit, SearchModel
from twofold.tasks.search.vectors import Codes, Dense, Multi, Sparse

KIND, FORMAT = "twofold-index", 1
_SERVER = re.compile(r"qdrant(\+https)?://([\w.-]+|\[[0-9a-fA-F:]+\])(?::(\d+))?/?")
_EMBEDDED = re.compile(r"qdrant:(?!//)(.+)")
_NAME = re.compile(r"[\w.-]+")
_VECTORS = "vectors"  # what they are called in a collection
_NAMES = uuid.UUID("8f3e2b1c-52a7-4f0e-9d35-6c0f6f1c7a55")  # of documents, to ids of points
_ENCODED, _SENT, _ASKED = 4096, 256, 32  # documents encoded at a time; points, and queries, in one message
_MORE = 4  # times as many candidates of each vector of a query that has several: the best of one may be far from others


def names(engine: str) -> bool:
    """Whether it is the address of a Qdrant: `qdrant://host:port`, `qdrant+https://host:port`, or `qdrant:folder`."""
    return bool(_SERVER.fullmatch(engine) or _EMBEDDED.fullmatch(engine))


class QdrantIndex(KeptIndex):
    """Documents in a Qdrant, searched by the model that encoded them.

    Use `create` and `open`. Vectors are found as Qdrant finds them, most of the best through a graph; weights of terms
    exactly. Several processes may search while one writes.
    """

    def __init__(self, engine: str, name: str, model: EncoderModel, kept: Mapping[str, Any]) -> None:
        self.engine, self.name, self.model, self._kept = engine, name, model, kept
        self.where = f"{name} in {engine}"
        self._encoder, self._net = model, model.net

    @classmethod
    def create(
        cls,
        engine: str,
        place: str | Path,
        documents: Mapping[str, str],
        model: SearchModel,
        source: str,
        fresh: bool = False,
    ) -> QdrantIndex:
        """Writes a new index; it is there when all of it is.

        Args:
            place: its name.
            documents: id to text.
            source: where the model is found again; an absolute path, or a name.
            fresh: replace an index that is there.

        Raises:
            UserError: no documents, an empty one, a name that is taken, a model without vectors, or nobody answers.
        """
        name = _named(place)
        check_documents(documents)
        if not isinstance(model, EncoderModel) or not (model.net.sparse or model.net.by_products):
            raise UserError(f"{model.name} has no vectors that Qdrant could compare; leave --engine out")
        before = _collection(engine, name)
        if before is not None and not fresh:
            raise UserError(
                f"{name} in {engine} is an index already; add to it with --add, replace it with --fresh, "
                "or give another name with -o"
            )
        if before is None and _ask(engine, "collection_exists", name):
            raise UserError(f"{engine} holds a collection {name} that is no index; give another name with -o")
        made = f"{name}-{uuid.uuid4().hex[:8]}"
        about = {"kind": KIND, "format": FORMAT, "model": described(model, source)}
        index = cls(engine, made, model, about)
        try:
            index._write(documents, new=True)
            index._take_name(name, before)
        except BaseException:
            _ask(engine, "delete_collection", made)
            raise
        if before is not None:
            _ask(engine, "delete_collection", before)
        return cls.open(engine, name, model)

    @classmethod
    def open(cls, engine: str, place: str | Path, model: SearchModel | None = None) -> QdrantIndex:
        """The index that is there.

        Args:
            place: its name.
            model: that made it; by default the one that the index names.

        Raises:
            UserError: no such index, nobody answers, a model that is not there, or one that did not make this index.
        """
        name = _named(place)
        if _collection(engine, name) is None:
            raise UserError(
                f"there is no index {name} in {engine}; build one with: "
                f"twofold index DOCUMENTS -m MODEL -o {name} --engine {engine}"
            )
        kept = _ask(engine, "get_collection", name).config.metadata or {}
        said: Any = kept.get("model")
        whole = isinstance(said, Mapping) and {"source", "name", "fingerprint"} <= set(said)
        if kept.get("kind") != KIND or kept.get("format") != FORMAT or not whole:
            raise UserError(f"{name} in {engine} is not an index of this version; build it again with --fresh")
        if model is None:
            model = opened_model(str(said["source"]), f"{name} in {engine}").to(computing.device())
        check_model(model, said, f"{name} in {engine}")
        assert isinstance(model, EncoderModel)
        return cls(engine, name, model, kept)

    def __len__(self) -> int:
        """How many documents it holds."""
        return int(self._ask("count", exact=True).count)

    @property
    def built_by(self) -> str:
        """What its model is called."""
        return str(self._kept["model"]["name"])

    def facts(self) -> dict[str, Any]:
        """Documents and engine."""
        return {"documents": len(self), "engine": self.engine}

    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of every document, in no order that means anything."""
        at: Any = None
        while True:
            points, at = self._ask("scroll", limit=_SENT, offset=at, with_payload=True)
            yield from ((str(p.payload["id"]), str(p.payload["text"])) for p in points)
            if at is None:
                return

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that it does not hold, in their order."""
        gone: list[str] = []
        for some in _batches(ids, _SENT):
            found = self._ask("retrieve", ids=[_point(id) for id in some], with_payload=False)
            held = {str(point.id) for point in found}
            gone += [id for id in some if _point(id) not in held]
        return gone

    def add(self, documents: Mapping[str, str]) -> int:
        """Adds documents; one whose id is there already takes the other's place.

        Interrupted, it leaves those that were sent so far; the same call again sends the rest.

        Returns:
            How many took another's place.

        Raises:
            UserError: no documents, or an empty one.
        """
        check_documents(documents)
        old = len(documents) - len(self.missing(documents))
        self._write(documents)
        return old

    def _remove(self, ids: Sequence[str]) -> None:
        for some in _batches(ids, _SENT):
            chosen = _models().PointIdsList(points=[_point(id) for id in some])
            self._ask("delete", points_selector=chosen, wait=True)

    def _write(self, documents: Mapping[str, str], new: bool = False) -> None:
        """Encodes and sends documents, into a new collection if asked."""
        models = _models()
        for some in _batches(documents.items(), _ENCODED):
            vectors = self._encoder.encode([text for _, text in some], "document")
            if new:
                self._ask("create_collection", metadata=dict(self._kept), **_shape(vectors))
                new = False
            points = [
                models.PointStruct(id=_point(id), vector={_VECTORS: vector}, payload={"id": id, "text": text})
                for (id, text), vector in zip(some, _sent(vectors), strict=True)
            ]
            for sent in _batches(points, _SENT):
                self._ask("upsert", points=list(sent), wait=True)

    def _take_name(self, name: str, before: str | None) -> None:
        """From one moment to the next, the name stands for this collection."""
        models = _models()
        steps: list[Any] = []
        if before is not None:
            steps.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)))
        new = models.CreateAlias(collection_name=self.name, alias_name=name)
        steps.append(models.CreateAliasOperation(create_alias=new))
        _ask(self.engine, "update_collection_aliases", change_aliases_operations=steps)

    def _ranked(self, queries: Asked, k: int) -> list[list[Hit]]:
        vectors = queries.vectors(self._encoder)
        if isinstance(vectors, Sparse) or self._net.by_dot:
            answers = self._nearest(list(_sent(vectors)), k)
            return [[_hit(p, p.score) for p in found if p.score > 0 or not self._net.sparse] for found in answers]
        several = vectors.values.ndim == 3
        parts = vectors.values.reshape(-1, vectors.values.shape[-1])
        answers = self._nearest(list(_sent(Dense(parts))), k * (_MORE if several else 1), whole=True)
        each = len(parts) // max(1, len(queries))
        return [
            self._scored(vectors.values[row : row + 1], answers[row * each : (row + 1) * each])[:k]
            for row in range(len(queries))
        ]

    def _scored(self, query: torch.Tensor, answers: Sequence[Sequence[Any]]) -> list[Hit]:
        """What the vectors of one query found, scored as the network scores, best first."""
        points = list({point.id: point for found in answers for point in found}.values())
        if not points:
            return []
        documents = torch.tensor([point.vector[_VECTORS] for point in points])
        scores = self._net.score(query, documents)[0].tolist()
        hits = [_hit(point, score) for point, score in zip(points, scores, strict=True)]
        return sorted(hits, key=lambda hit: -hit.score)

    def _nearest(self, vectors: Sequence[Any], k: int, whole: bool = False) -> list[Sequence[Any]]:
        """The nearest points of each vector; of one without any term, none."""
        models = _models()
        several = self._several if not self._net.sparse else False
        found: list[Sequence[Any]] = [()] * len(vectors)
        asked = [i for i, vector in enumerate(vectors) if not self._net.sparse or vector.indices]
        for some in _batches(asked, _ASKED):
            requests = [
                models.QueryRequest(
                    query=models.NearestQuery(nearest=[vectors[i]] if several else vectors[i]),
                    using=_VECTORS,
                    limit=k,
                    with_payload=True,
                    with_vector=[_VECTORS] if whole else False,
                )
                for i in some
            ]
            for i, answer in zip(some, self._ask("query_batch_points", requests=requests), strict=True):
                found[i] = answer.points
        return found

    @property
    def _several(self) -> bool:
        """Whether a document has several vectors."""
        held = self._ask("get_collection").config.params.vectors[_VECTORS]
        return held.multivector_config is not None

    def _ask(self, call: str, **given: Any) -> Any:
        return _ask(self.engine, call, self.name, **given)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _hit(point: Any, score: float) -> Hit:
    return Hit(str(point.payload["id"]), float(score), str(point.payload["text"]))


def _point(id: str) -> str:
    return str(uuid.uuid5(_NAMES, id))


def _shape(vectors: Encoded) -> dict[str, Any]:
    """What a collection of such vectors is told when it is made."""
    assert not isinstance(vectors, Codes)
    models = _models()
    if isinstance(vectors, Sparse):
        return {"vectors_config": {}, "sparse_vectors_config": {_VECTORS: models.SparseVectorParams()}}
    largest = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    shape = models.VectorParams(
        size=int(vectors.values.shape[-1]),
        distance=models.Distance.DOT,
        multivector_config=largest if isinstance(vectors, Multi) else None,
    )
    return {"vectors_config": {_VECTORS: shape}}


def _sent(vectors: Encoded) -> Iterator[Any]:
    """Vectors as they are sent."""
    assert not isinstance(vectors, Codes)
    if isinstance(vectors, Sparse):
        rows = vectors.values
        for begin, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            indices, values = rows.indices[begin:end], rows.data[begin:end]
            yield _models().SparseVector(indices=indices.tolist(), values=np.asarray(values, np.float64).tolist())
    else:
        yield from vectors.values.tolist()


def _named(place: str | Path) -> str:
    name = str(place).rstrip("/\\")
    if not _NAME.fullmatch(name):
        raise UserError(f"an index in Qdrant has a name instead of a folder, such as -o notes; {place} is none")
    return name


def _collection(engine: str, name: str) -> str | None:
    """The collection that an index's name stands for; None: there is no such index."""
    aliases = _ask(engine, "get_aliases").aliases
    return next((str(each.collection_name) for each in aliases if each.alias_name == name), None)


def _ask(engine: str, call: str, *given: Any, **more: Any) -> Any:
    """What a Qdrant answers.

    Raises:
        UserError: nobody answers, or it refuses.
    """
    client = _client(_address(engine))
    errors = _library("qdrant_client.http.exceptions")
    try:
        return getattr(client, call)(*given, **more)
    except errors.ResponseHandlingException as error:
        raise UserError(f"nothing answers at {engine} ({error}); start Qdrant there, or correct --engine") from None
    except errors.UnexpectedResponse as error:
        said = error.content.decode("utf-8", "replace")[:200]
        raise UserError(f"{engine} refuses ({error.status_code}: {said}); QDRANT_API_KEY may be wanted") from None


def _address(engine: str) -> str:
    """The engine with an embedded one's folder spelled out, so that it is the same wherever the process stands."""
    folder = _EMBEDDED.fullmatch(engine)
    return engine if folder is None or folder[1] == ":memory:" else f"qdrant:{Path(folder[1]).absolute()}"


@cache
def _client(address: str) -> Any:
    library = _library("qdrant_client")
    folder, server = _EMBEDDED.fullmatch(address), _SERVER.fullmatch(address)
    if folder is not None:
        if Path(folder[1]).is_file():
            raise UserError(f"{folder[1]} is a file; give --engine qdrant:FOLDER a folder, or a name for a new one")
        where = {"location": ":memory:"} if folder[1] == ":memory:" else {"path": folder[1]}
        try:
            client = library.QdrantClient(**where)
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"{address} cannot be opened ({str(error).splitlines()[0]}); one process at a time"
            ) from None
    else:
        assert server is not None
        secure, host, port = server.groups()
        if port and not 0 < int(port) < 1 << 16:
            raise UserError(f"{address}: {port} is no port; give one of 1 to 65535 (Qdrant's own is 6333)")
        client = library.QdrantClient(
            url=f"{'https' if secure else 'http'}://{host}:{port or 6333}",
            api_key=os.environ.get("QDRANT_API_KEY"),
            check_compatibility=False,
            timeout=60,
        )
    atexit.register(client.close)
    return client


def _models() -> Any:
    return _library("qdrant_client.models")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError("--engine qdrant needs its client; pip install 'twofold[qdrant]'") from None
