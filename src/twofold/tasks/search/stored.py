"""An index in a folder of its own: it opens by memory map, takes and gives up documents, and is never half-written.

    index.json       format, the model that made it, its segments and what was removed from them
    segment-1-…/     documents.safetensors (ids and texts), and vectors, weights of terms, or counts of words
    segment-2-…/     what was added later

What was written once is not changed. Adding writes a segment and then, in one step, a new `index.json`; removing
writes `index.json` alone. Whoever has the index open goes on with what it was.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from twofold import computing
from twofold.checkpoints import folder as model_folder
from twofold.checkpoints.plain import read_json, write_json
from twofold.checkpoints.replace import replacing, replacing_file, survivor
from twofold.errors import UserError
from twofold.tasks import reference, registry
from twofold.tasks.search import postings
from twofold.tasks.search.index import Asked, Index
from twofold.tasks.search.model import EncoderModel, Hit, LexicalModel, SearchModel
from twofold.tasks.search.pairs import PairModel
from twofold.tasks.search.texts import Texts
from twofold.tasks.search.vectors import broken, read_tensors

FORMAT = 1
MANIFEST = "index.json"
KIND = "twofold-index"
_DOCUMENTS = "documents.safetensors"
_MOST_SEGMENTS = 16  # more are made one when documents are added
LEXICAL = "bm25"


@dataclass
class Segment:
    """Documents that were written together.

    Args:
        alive: which of them have not been removed since, `[n]`.
        part: their vectors as the model indexes them, or counts of their words.
    """

    name: str
    ids: Texts
    texts: Texts
    alive: np.ndarray
    part: Index | postings.Postings

    def __len__(self) -> int:
        return len(self.ids)


class StoredIndex:
    """Documents in a folder, searched by the model that made it.

    Use `create` and `open`. One process at a time writes; others may search meanwhile.
    """

    def __init__(self, path: Path, model: SearchModel, manifest: dict[str, Any], segments: list[Segment]) -> None:
        self.path, self.model, self._manifest, self.segments = path, model, manifest, segments
        self._at: dict[str, int] | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        documents: Mapping[str, str],
        model: SearchModel,
        source: str,
        fresh: bool = False,
    ) -> StoredIndex:
        """Writes a new index.

        Args:
            documents: id to text.
            source: where the model is found again; an absolute path, or a name.
            fresh: replace an index that is there.

        Raises:
            UserError: no documents, an empty one, or the place is taken.
        """
        place = Path(path)
        if not holds_index(place) and place.exists() and (place.is_file() or any(place.iterdir())):
            raise UserError(f"{place} holds something that is not an index; give another folder with -o")
        if holds_index(place) and not fresh:
            raise UserError(
                f"{place} holds an index already; add to it with --add, replace it with --fresh, "
                "or name another folder with -o"
            )
        with replacing(place) as partial:
            name = _name(1)
            _write_segment(partial / name, documents, model)
            manifest = {
                "kind": KIND,
                "format": FORMAT,
                "model": {"source": source, "name": _called(model, source), "fingerprint": model.fingerprint},
                "segments": [{"name": name, "removed": []}],
                "written": 1,
            }
            write_json(partial / MANIFEST, manifest)
        return cls.open(place, model)

    @classmethod
    def open(cls, path: str | Path, model: SearchModel | None = None) -> StoredIndex:
        """The index that is there; its arrays are mapped, not read.

        Args:
            model: that made it; by default the one that the index names.

        Raises:
            UserError: no index, a damaged one, a model that is not there, or one that did not make this index.
        """
        place = survivor(Path(path))
        manifest = _manifest(place)
        if model is None:
            model = opened_model(str(manifest["model"]["source"]), place).to(computing.device())
        if model.fingerprint != manifest["model"]["fingerprint"]:
            raise UserError(
                f"{place} was built by another model ({manifest['model']['name']}, fingerprint "
                f"{manifest['model']['fingerprint']}) than {model.name} ({model.fingerprint}); "
                "search it with that one, or build it again with --fresh"
            )
        for attempt in range(2):
            try:
                segments = [_open_segment(place, entry, model) for entry in manifest["segments"]]
                return cls(place, model, manifest, segments)
            except UserError:
                newer = _manifest(place)
                if attempt or newer == manifest:
                    raise
                manifest = newer  # somebody joined the segments meanwhile
        raise AssertionError("unreachable")

    def __len__(self) -> int:
        """How many documents it holds."""
        return sum(int(each.alive.sum()) for each in self.segments)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    @property
    def built_by(self) -> str:
        """What its model is called."""
        return str(self._manifest["model"]["name"])

    @property
    def nbytes(self) -> int:
        """Bytes of what is searched (without the texts)."""
        return sum(each.part.nbytes for each in self.segments)

    @property
    def _places(self) -> dict[str, int]:
        """The place of each document that is there, by id."""
        if self._at is None:
            self._at, start = {}, 0
            for each in self.segments:
                ids = each.ids
                self._at |= {ids[i]: start + i for i in np.flatnonzero(each.alive).tolist()}
                start += len(each)
        return self._at

    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of every document, in the order in which they came."""
        for each in self.segments:
            for place in np.flatnonzero(each.alive).tolist():
                yield each.ids[place], each.texts[place]

    def add(self, documents: Mapping[str, str]) -> int:
        """Adds documents; one whose id is there already takes the other's place.

        Returns:
            How many took another's place.

        Raises:
            UserError: no documents, or an empty one.
        """
        with self._writing():
            old = [id for id in documents if id in self]
            name = _name(self._manifest["written"] + 1)
            with replacing(self.path / name) as partial:
                _write_segment(partial, documents, self.model)
            segments = [*self._without(old), {"name": name, "removed": []}]
            self._commit(segments, self._manifest["written"] + 1)
            if len(segments) > _MOST_SEGMENTS:
                self._join()
        return len(old)

    def remove(self, ids: Sequence[str]) -> None:
        """Takes documents out. Their texts leave the disk when the index is made one segment (`join`).

        Raises:
            UserError: an id that is not there, or nothing would be left.
        """
        unknown = [id for id in ids if id not in self]
        if unknown:
            listed = ", ".join(unknown[:5]) + (f", … ({len(unknown)} in all)" if len(unknown) > 5 else "")
            raise UserError(f"{self.path} holds no document {listed}; give ids as search shows them")
        if len(set(ids)) == len(self):
            raise UserError(f"that would leave nothing in {self.path}; delete the folder instead")
        with self._writing():
            self._commit(self._without(ids), self._manifest["written"])

    def join(self) -> None:
        """Makes one segment of all; what was removed leaves the disk."""
        with self._writing():
            self._join()

    def _join(self) -> None:
        name = _name(self._manifest["written"] + 1)
        with replacing(self.path / name) as partial:
            _write_documents(partial, dict(self.documents()))
            parts: list[Any] = [each.part for each in self.segments]
            if isinstance(self.model, EncoderModel):
                kept: list[Any] = [
                    self.model.vectors_of(p).take(np.flatnonzero(e.alive))
                    for p, e in zip(parts, self.segments, strict=True)
                ]
                self.model.index_vectors(kept[0].joined(*kept[1:])).save(partial)
            else:
                postings.Postings.of([text for _, text in self.documents()]).save(partial)
        self._commit([{"name": name, "removed": []}], self._manifest["written"] + 1)

    def _without(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """What `index.json` says of the segments once these documents are gone."""
        gone = np.array(sorted({self._places[id] for id in ids}), dtype=np.int64)
        entries, start = [], 0
        for each in self.segments:
            here = gone[(gone >= start) & (gone < start + len(each))] - start
            dead = np.flatnonzero(~each.alive)
            removed = np.union1d(dead, here).tolist()
            if len(removed) < len(each):
                entries.append({"name": each.name, "removed": removed})
            start += len(each)
        return entries

    def _commit(self, segments: list[dict[str, Any]], written: int) -> None:
        manifest = {**self._manifest, "segments": segments, "written": written}
        with replacing_file(self.path / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=1).encode())
        self._take(manifest)
        kept = {entry["name"] for entry in segments}
        for left in self.path.glob("segment-*"):
            if left.name not in kept:
                shutil.rmtree(left, ignore_errors=True)

    def _take(self, manifest: dict[str, Any]) -> None:
        known = {each.name: each for each in self.segments}
        segments = []
        for entry in manifest["segments"]:
            each = known.get(entry["name"]) or _open_segment(self.path, entry, self.model)
            alive = np.ones(len(each), bool)
            alive[entry["removed"]] = False
            segments.append(Segment(each.name, each.ids, each.texts, alive, each.part))
        self._manifest, self.segments, self._at = manifest, segments, None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone, and with what others have written since."""
        with reference.alone(self.path):
            manifest = _manifest(self.path)
            if manifest != self._manifest:
                self._take(manifest)
            yield

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
        if any(not q.strip() for q in queries):
            raise UserError("a query is empty; say what to search for")
        readers: list[tuple[SearchModel, int]] = [(rerank, shortlist)] if rerank is not None else []
        if isinstance(self.model, PairModel):
            readers.insert(0, (self.model, int(self.model.spec["depth"])))
        asked = Asked.of(queries)
        deepest = max([k, *(count for _, count in readers)])
        hits = [[self._hit(p, s) for p, s in found] for found in self._ranked(asked, deepest)]
        for reader, count in readers:
            hits = reranked(reader, queries, hits, count)
        hits = [found[:k] for found in hits]
        return hits[0] if isinstance(query, str) else hits

    def _hit(self, place: int, score: float) -> Hit:
        for each in self.segments:
            if place < len(each):
                return Hit(each.ids[place], score, each.texts[place])
            place -= len(each)
        raise IndexError(place)

    def _ranked(self, queries: Asked, k: int) -> list[list[tuple[int, float]]]:
        """Places and scores of each query's best documents, best first; equal scores by place."""
        if isinstance(self.model, EncoderModel):
            return self._by_vectors(queries, k)
        parts: list[Any] = [each.part for each in self.segments]
        alive = [each.alive for each in self.segments]
        k1, b = float(self.model.spec.get("k1", 1.2)), float(self.model.spec.get("b", 0.75))
        return [_best(postings.scores(parts, alive, query, k1, b), k) for query in queries]

    def _by_vectors(self, queries: Asked, k: int) -> list[list[tuple[int, float]]]:
        sparse = isinstance(self.model, EncoderModel) and self.model.net.sparse
        found: list[list[tuple[int, float]]] = [[] for _ in queries]
        start = 0
        for each in self.segments:
            part: Any = each.part
            wanted = min(len(each), k + int((~each.alive).sum()))
            answer = part.search(queries, wanted)
            for row, (positions, scores) in enumerate(zip(answer.positions, answer.scores, strict=True)):
                keep = each.alive[positions] & ((scores > 0) | (not sparse))
                found[row] += [(start + int(p), float(s)) for p, s in zip(positions[keep], scores[keep], strict=True)]
            start += len(each)
        return [sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k] for pairs in found]


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


def holds_index(place: Path) -> bool:
    """Whether a folder is such an index."""
    return (survivor(place) / MANIFEST).is_file()


def opened_model(name: str, asked_by: Path | None = None) -> SearchModel:
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
            f"the model that built {asked_by} cannot be opened ({error}); say where it is with --built-by"
        ) from None
    if not isinstance(model, SearchModel):
        raise UserError(f"{name} is a model for {model.task}, which cannot rank documents; name a search model or bm25")
    return model


def _called(model: SearchModel, source: str) -> str:
    """The id of the system that made the model; of a checkpoint as it was fetched, its own name."""
    return model.name if model.history or not source else Path(source).name


def _best(scores: np.ndarray, k: int) -> list[tuple[int, float]]:
    held = np.flatnonzero(scores > 0)
    if len(held) > k:  # all that may be among the best, ties included
        held = held[scores[held] >= np.partition(scores[held], len(held) - k)[len(held) - k]]
    order = held[np.argsort(-scores[held], kind="stable")][:k]
    return [(int(place), float(scores[place])) for place in order]


def _write_segment(folder: Path, documents: Mapping[str, str], model: SearchModel) -> None:
    if not documents:
        raise UserError("there are no documents to index; give some")
    empty = next((id for id, text in documents.items() if not text.strip()), None)
    if empty is not None:
        raise UserError(f"the document {empty} is an empty text; leave it out")
    folder.mkdir(exist_ok=True)
    _write_documents(folder, documents)
    texts = list(documents.values())
    if isinstance(model, EncoderModel):
        model.index_vectors(model.encode(texts, side="document")).save(folder)
    else:
        postings.Postings.of(texts).save(folder)


def _write_documents(folder: Path, documents: Mapping[str, str]) -> None:
    tensors = Texts.of(documents.keys()).tensors("ids") | Texts.of(documents.values()).tensors("texts")
    save_file(tensors, folder / _DOCUMENTS)


def _open_segment(place: Path, entry: Mapping[str, Any], model: SearchModel) -> Segment:
    folder = place / str(entry["name"])
    file = folder / _DOCUMENTS
    found = read_tensors(file, "ids", "ids_ends", "texts", "texts_ends")
    try:
        ids, texts = (Texts.from_tensors(found, name) for name in ("ids", "texts"))
        alive = np.ones(len(ids), bool)
        alive[entry["removed"]] = False
    except (ValueError, IndexError, TypeError) as error:
        raise broken(file, error) from None
    part: Any = model.open_index(folder) if isinstance(model, EncoderModel) else postings.Postings.open(folder)
    if not len(ids) == len(texts) == len(part):
        raise UserError(f"the index in {folder} does not match its documents; build it again")
    return Segment(str(entry["name"]), ids, texts, alive, part)


def _name(number: int) -> str:
    """A segment's name: never used again, so that who holds one open knows whether it is the same."""
    return f"segment-{number}-{uuid.uuid4().hex[:6]}"


def _manifest(place: Path) -> dict[str, Any]:
    if not (place / MANIFEST).is_file():
        raise UserError(f"there is no index in {place}; build one with: twofold index DOCUMENTS -m MODEL -o {place}")
    found = read_json(place / MANIFEST)
    model = found.get("model")
    whole = found.get("kind") == KIND and isinstance(found.get("written"), int) and isinstance(model, dict)
    segments = found.get("segments")
    if not whole or not isinstance(segments, list) or not all(_is_entry(entry) for entry in segments):
        raise UserError(f"{place / MANIFEST} is not that of an index; build it again")
    if found.get("format") != FORMAT:
        raise UserError(f"{place} has format {found.get('format')}, this version reads {FORMAT}; build it again")
    return found


def _is_entry(entry: Any) -> bool:
    name = isinstance(entry, dict) and entry.get("name")
    safe = isinstance(name, str) and re.fullmatch(r"segment-\d+-[0-9a-f]+", name) is not None
    return safe and isinstance(entry.get("removed"), list)
