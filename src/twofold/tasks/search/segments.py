"""What an index's folder holds: a manifest, and segments of documents that were written together."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from twofold.checkpoints.plain import read_json
from twofold.checkpoints.replace import survivor
from twofold.errors import UserError
from twofold.tasks.search import postings
from twofold.tasks.search.graph import GraphIndex, holds_graph
from twofold.tasks.search.index import Encoded, Index
from twofold.tasks.search.kept import check_documents
from twofold.tasks.search.model import EncoderModel, SearchModel
from twofold.tasks.search.texts import Texts
from twofold.tasks.search.vectors import broken, read_tensors

FORMAT = 1
MANIFEST = "index.json"
KIND = "twofold-index"
_DOCUMENTS = "documents.safetensors"


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


def holds_index(place: Path) -> bool:
    """Whether a folder is such an index: it says so, or cannot be read and has nothing but segments beside it."""
    folder = survivor(place)
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict) and found.get("kind") == KIND:
        return True
    return (folder / MANIFEST).is_file() and not strangers(folder) and any(folder.glob("segment-*"))


def strangers(place: Path) -> list[str]:
    """What is in an index's folder and not of an index."""
    ours = re.compile(rf"{re.escape(MANIFEST)}|segment-.*|\..*")
    return sorted(entry.name for entry in survivor(place).iterdir() if not ours.fullmatch(entry.name))


def new_name(number: int) -> str:
    """A segment's name: never used again, so that who holds one open knows whether it is the same."""
    return f"segment-{number}-{uuid.uuid4().hex[:6]}"


def write_segment(folder: Path, documents: Mapping[str, str], model: SearchModel, engine: str) -> None:
    """Writes documents and what they are searched by.

    Raises:
        UserError: no documents, or an empty one.
    """
    check_documents(documents)
    folder.mkdir(exist_ok=True)
    vectors = model.encode(list(documents.values()), "document") if isinstance(model, EncoderModel) else None
    write_encoded(folder, documents, model, engine, vectors)


def write_encoded(
    folder: Path, documents: Mapping[str, str], model: SearchModel, engine: str, vectors: Encoded | None
) -> None:
    """The same where the documents' vectors are known, in their order (None: the model is one of words)."""
    write_documents(folder, documents)
    if not isinstance(model, EncoderModel) or vectors is None:
        postings.Postings.of(list(documents.values())).save(folder)
    elif engine == "faiss":
        GraphIndex.of(model, vectors).save(folder)
    else:
        model.index_vectors(vectors).save(folder)


def write_documents(folder: Path, documents: Mapping[str, str]) -> None:
    """Writes ids and texts."""
    tensors = Texts.of(documents.keys()).tensors("ids") | Texts.of(documents.values()).tensors("texts")
    save_file(tensors, folder / _DOCUMENTS)


def open_segment(place: Path, entry: Mapping[str, Any], model: SearchModel) -> Segment:
    """The segment that an entry of the manifest names; its arrays are mapped, and read only as checking them asks.

    Raises:
        UserError: a file is missing or broken.
    """
    folder = place / str(entry["name"])
    file = folder / _DOCUMENTS
    found = read_tensors(file, "ids", "ids_ends", "texts", "texts_ends")
    try:
        ids, texts = (Texts.from_tensors(found, name) for name in ("ids", "texts"))
        alive = np.ones(len(ids), bool)
        alive[entry["removed"]] = False
    except (ValueError, IndexError, TypeError) as error:
        raise broken(file, error) from None
    part: Any
    if not isinstance(model, EncoderModel):
        part = postings.Postings.open(folder)
    else:
        part = GraphIndex.open(model, folder) if holds_graph(folder) else model.open_index(folder)
    if not len(ids) == len(texts) == len(part):
        raise UserError(f"the index in {folder} does not match its documents; build it again")
    return Segment(str(entry["name"]), ids, texts, alive, part)


def read_manifest(place: Path) -> dict[str, Any]:
    """What `index.json` says, checked.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not (place / MANIFEST).is_file():
        raise UserError(f"there is no index in {place}; build one with: twofold index DOCUMENTS -m MODEL -o {place}")
    found = read_json(place / MANIFEST)
    if found.get("kind") == KIND and isinstance(found.get("format"), int) and found["format"] != FORMAT:
        raise UserError(f"{place} has format {found['format']}, this version reads {FORMAT}; build it again")
    if not _is_manifest(found):
        raise UserError(f"{place / MANIFEST} is not that of an index; build it again")
    return found


def _is_manifest(found: dict[str, Any]) -> bool:
    model, entries = found.get("model"), found.get("segments")
    named = isinstance(model, dict) and all(isinstance(model.get(n), str) for n in ("source", "name", "fingerprint"))
    listed = isinstance(entries, list) and len(entries) > 0 and all(_is_entry(entry) for entry in entries)
    if not listed or not named or found.get("kind") != KIND or not isinstance(found.get("written"), int):
        return False
    once = len({entry["name"] for entry in found["segments"]}) == len(found["segments"])
    return once and found.get("format") == FORMAT and found.get("engine", "exact") in ("exact", "faiss")


def _is_entry(entry: Any) -> bool:
    name = isinstance(entry, dict) and entry.get("name")
    safe = isinstance(name, str) and re.fullmatch(r"segment-\d+-[0-9a-f]+", name) is not None
    removed = entry["removed"] if safe and "removed" in entry else None
    return isinstance(removed, list) and all(isinstance(place, int) and place >= 0 for place in removed)
