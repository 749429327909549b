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
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twofold import computing
from twofold.checkpoints.plain import write_json
from twofold.checkpoints.replace import replacing, replacing_file, survivor
from twofold.errors import UserError
from twofold.tasks import reference
from twofold.tasks.search import graph, postings, segments
from twofold.tasks.search.index import Asked
from twofold.tasks.search.kept import KeptIndex, check_model, check_products, described, opened_model
from twofold.tasks.search.model import EncoderModel, Hit, SearchModel
from twofold.tasks.search.segments import FORMAT, KIND, MANIFEST, Segment, holds_index, read_manifest

_MOST_SEGMENTS = 16  # more are made one when documents are added


class StoredIndex(KeptIndex):
    """Documents in a folder, searched by the model that made it.

    Use `create` and `open`. One process at a time writes; others may search meanwhile.
    """

    def __init__(self, path: Path, model: SearchModel, manifest: dict[str, Any], segments: list[Segment]) -> None:
        self.path, self.model, self._manifest, self.segments = path, model, manifest, segments
        self.where = str(path)

    @classmethod
    def create(
        cls,
        path: str | Path,
        documents: Mapping[str, str],
        model: SearchModel,
        source: str,
        fresh: bool = False,
        engine: str = "exact",
    ) -> StoredIndex:
        """Writes a new index.

        Args:
            documents: id to text.
            source: where the model is found again; an absolute path, or a name.
            fresh: replace an index that is there.
            engine: `exact`, or `faiss`: a graph finds most of the best dense vectors without looking at all.

        Raises:
            UserError: no documents, an empty one, the place is taken, or no such engine for this model.
        """
        place = Path(path)
        if not holds_index(place) and place.exists() and (place.is_file() or any(place.iterdir())):
            raise UserError(f"{place} holds something that is not an index; give another folder with -o")
        if holds_index(place) and not fresh:
            raise UserError(
                f"{place} holds an index already; add to it with --add, replace it with --fresh, "
                "or name another folder with -o"
            )
        if holds_index(place) and segments.strangers(place):
            raise UserError(
                f"{place} holds {segments.strangers(place)[0]} beside its index, which --fresh would delete; "
                "move it, or name another folder with -o"
            )
        if engine == "faiss":
            check_products(model)
            graph.faiss()
        with replacing(place) as partial:
            name = segments.new_name(1)
            segments.write_segment(partial / name, documents, model, engine)
            manifest = {
                "kind": KIND,
                "format": FORMAT,
                "engine": engine,
                "model": described(model, source),
                "segments": [{"name": name, "removed": []}],
                "written": 1,
            }
            write_json(partial / MANIFEST, manifest)
        return cls.open(place, model)

    @classmethod
    def open(cls, path: str | Path, model: SearchModel | None = None) -> StoredIndex:
        """The index that is there; its arrays are mapped, not copied.

        Args:
            model: that made it; by default the one that the index names.

        Raises:
            UserError: no index, a damaged one, a model that is not there, or one that did not make this index.
        """
        place = survivor(Path(path))
        manifest = read_manifest(place)
        if model is None:
            model = opened_model(str(manifest["model"]["source"]), place).to(computing.device())
        check_model(model, manifest["model"], str(place))
        for attempt in range(2):
            try:
                found = [segments.open_segment(place, entry, model) for entry in manifest["segments"]]
                return cls(place, model, manifest, found)
            except UserError:
                newer = read_manifest(place)
                if attempt or newer == manifest:
                    raise
                manifest = newer  # somebody joined the segments meanwhile
        raise AssertionError("unreachable")

    def __len__(self) -> int:
        """How many documents it holds."""
        return sum(int(each.alive.sum()) for each in self.segments)

    @property
    def built_by(self) -> str:
        """What its model is called."""
        return str(self._manifest["model"]["name"])

    @property
    def engine(self) -> str:
        """How it is searched: `exact` or `faiss`."""
        return str(self._manifest.get("engine", "exact"))

    @property
    def nbytes(self) -> int:
        """Bytes of what is searched (without the texts)."""
        return sum(each.part.nbytes for each in self.segments)

    def facts(self) -> dict[str, Any]:
        """Documents, engine, segments and bytes."""
        return {
            "documents": len(self),
            "engine": self.engine,
            "segments": len(self.segments),
            "bytes": self.nbytes,
            "bytes_each": self.nbytes / max(1, sum(map(len, self.segments))),
        }

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that it does not hold, in their order."""
        return [id for id in ids if self._place(id) is None]

    def _place(self, id: str) -> int | None:
        """Where a document is, over all segments; None: it is not there, or no longer."""
        start = 0
        for each in self.segments:
            place = each.ids.places.get(id)
            if place is not None and each.alive[place]:
                return start + place
            start += len(each)
        return None

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
            name = segments.new_name(self._manifest["written"] + 1)
            with replacing(self.path / name) as partial:
                segments.write_segment(partial, documents, self.model, self.engine)
            entries = [*self._without(old), {"name": name, "removed": []}]
            self._commit(entries, self._manifest["written"] + 1)
            if len(entries) > _MOST_SEGMENTS:
                self._join()
        return len(old)

    def _remove(self, ids: Sequence[str]) -> None:
        """Their texts leave the disk when the index is made one segment (`join`)."""
        with self._writing():
            self._commit(self._without(ids), self._manifest["written"])

    def join(self) -> None:
        """Makes one segment of all; what was removed leaves the disk."""
        with self._writing():
            self._join()

    def _join(self) -> None:
        name = segments.new_name(self._manifest["written"] + 1)
        vectors: Any = None
        if isinstance(self.model, EncoderModel):
            parts: list[Any] = [each.part for each in self.segments]
            kept: list[Any] = [
                self.model.vectors_of(p).take(np.flatnonzero(e.alive))
                for p, e in zip(parts, self.segments, strict=True)
            ]
            vectors = kept[0].joined(*kept[1:])
        with replacing(self.path / name) as partial:
            segments.write_encoded(partial, dict(self.documents()), self.model, self.engine, vectors)
        self._commit([{"name": name, "removed": []}], self._manifest["written"] + 1)

    def _without(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """What `index.json` says of the segments once these documents are gone."""
        gone = np.array(sorted({place for id in ids if (place := self._place(id)) is not None}), dtype=np.int64)
        entries, start = [], 0
        for each in self.segments:
            here = gone[(gone >= start) & (gone < start + len(each))] - start
            dead = np.flatnonzero(~each.alive)
            removed = np.union1d(dead, here).tolist()
            if len(removed) < len(each):
                entries.append({"name": each.name, "removed": removed})
            start += len(each)
        return entries

    def _commit(self, entries: list[dict[str, Any]], written: int) -> None:
        manifest = {**self._manifest, "segments": entries, "written": written}
        with replacing_file(self.path / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=1).encode())
        self._take(manifest)
        kept = {entry["name"] for entry in entries}
        for left in self.path.glob("segment-*"):
            if left.name not in kept:
                shutil.rmtree(left, ignore_errors=True)
        for left in self.path.glob(".*.partial-*"):  # of writers that were killed: whoever writes does so alone
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def _take(self, manifest: dict[str, Any]) -> None:
        known = {each.name: each for each in self.segments}
        found = []
        for entry in manifest["segments"]:
            each = known.get(entry["name"]) or segments.open_segment(self.path, entry, self.model)
            alive = np.ones(len(each), bool)
            alive[entry["removed"]] = False
            found.append(Segment(each.name, each.ids, each.texts, alive, each.part))
        self._manifest, self.segments = manifest, found

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone, and with what others have written since."""
        with reference.alone(self.path):
            manifest = read_manifest(self.path)
            if manifest != self._manifest:
                self._take(manifest)
            yield

    def _hit(self, place: int, score: float) -> Hit:
        for each in self.segments:
            if place < len(each):
                return Hit(each.ids[place], score, each.texts[place])
            place -= len(each)
        raise IndexError(place)

    def _ranked(self, queries: Asked, k: int) -> list[list[Hit]]:
        """Each query's best documents, best first; equal scores in the order in which they came."""
        if isinstance(self.model, EncoderModel):
            places = self._by_vectors(queries, k)
        else:
            parts: list[Any] = [each.part for each in self.segments]
            alive = [each.alive for each in self.segments]
            k1, b = float(self.model.spec.get("k1", 1.2)), float(self.model.spec.get("b", 0.75))
            places = [_best(postings.scores(parts, alive, query, k1, b), k) for query in queries]
        return [[self._hit(place, score) for place, score in found] for found in places]

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


def _best(scores: np.ndarray, k: int) -> list[tuple[int, float]]:
    held = np.flatnonzero(scores > 0)
    if len(held) > k:  # all that may be among the best, ties included
        held = held[scores[held] >= np.partition(scores[held], len(held) - k)[len(held) - k]]
    order = held[np.argsort(-scores[held], kind="stable")][:k]
    return [(int(place), float(scores[place])) for place in order]
