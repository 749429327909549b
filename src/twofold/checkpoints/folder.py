"""Twofold's own model folder.

    model.json            format number, network spec, task spec, history, notes, and what else is there
    tensors.safetensors   the network's weights and buffers; or packed, tensors.tfz or tensors.zst
    tokenizer.json        the tokenizer, where there is one
    README.md             a card for people

and whatever a task puts beside them, such as an index. The network is plain data: loading builds it from its
spec on the meta device and puts the memory-mapped tensors in place. Nothing is unpickled, no code that the
folder names is imported, and the options that once made the network are not replayed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twofold import parts
from twofold.checkpoints import packed
from twofold.checkpoints import tensors as weights
from twofold.checkpoints.plain import read_json, write_json
from twofold.checkpoints.replace import recover, replacing, survivor
from twofold.errors import UserError
from twofold.parts import Part

FORMAT = 1
MANIFEST, WEIGHTS, TOKENIZER, CARD = "model.json", "tensors.safetensors", "tokenizer.json", "README.md"

_WEIGHTS = (WEIGHTS, *(Path(WEIGHTS).with_suffix(s).name for s in packed.SUFFIXES))

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a format number to what turns its manifest into the next number's."""

_KINDS: dict[str, type | tuple[type, ...]] = {
    "network": (dict, type(None)),
    "task": dict,
    "history": list,
    "notes": dict,
    "files": list,
}


@dataclass(frozen=True)
class Saved:
    """A model folder that was read.

    Attributes:
        path: where it is.
        format: the format number it was written with (its content is always the newest).
        network: the spec that `parts.build` takes; None where the model is no network.
        task: the task's name under `name`, and the task's own settings.
        tokenizer: what `Tokenizer.from_dict` takes; None where there is none.
        history: what was done to the model, oldest first: `{"id", "options", "report"}`.
        notes: licence and source of weights from elsewhere.
        files: every file that was written, relative to the folder.
    """

    path: Path
    format: int
    network: dict[str, Any] | None
    task: dict[str, Any]
    tokenizer: dict[str, Any] | None
    history: list[dict[str, Any]]
    notes: dict[str, Any]
    files: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """The file that holds the tensors, packed or not."""
        return packed.find(self.path / WEIGHTS)

    def tensors(self) -> dict[str, Tensor]:
        """The weights and buffers by name, memory-mapped where they are not packed.

        Raises:
            UserError: the file is damaged.
        """
        return weights.load(self.weights)


def write(
    path: str | Path,
    *,
    network: Mapping[str, Any] | None,
    tensors: Mapping[str, Tensor],
    task: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | None = None,
    history: list[dict[str, Any]] | None = None,
    card: str = "",
    notes: Mapping[str, Any] | None = None,
    files: Callable[[Path], None] | None = None,
    stored: str = packed.PLAIN,
) -> Path:
    """Writes a model folder as a whole: whatever goes wrong, a model that was there stays readable.

    Files of the old folder that Twofold did not write are kept.

    Args:
        path: where to; a folder that holds something else than a model is refused.
        network: the network's spec.
        tensors: its state, by name.
        task: the task's name under `name`, and its settings.
        tokenizer: what `Tokenizer.to_dict` gives.
        history: what was done to the model, oldest first.
        card: the text of `README.md`.
        notes: licences and sources.
        files: called with the new folder, to put more files into it.
        stored: ending of the file that holds the tensors: how they are packed.

    Raises:
        UserError: the place is taken by something else, cannot be written to, or the disk is full.
    """
    target = Path(path)
    foreign = _foreign(target)
    with replacing(target) as new:
        weights.save((new / WEIGHTS).with_suffix(stored), tensors)
        if tokenizer is not None:
            write_json(new / TOKENIZER, dict(tokenizer))
        (new / CARD).write_text(card, encoding="utf-8")
        if files is not None:
            files(new)
        written = sorted(p.relative_to(new).as_posix() for p in new.rglob("*") if p.is_file())
        manifest = {
            "format": FORMAT,
            "twofold": metadata.version("twofold"),
            "task": dict(task),
            "history": history or [],
            "notes": dict(notes or {}),
            "files": [MANIFEST, *written],
            "network": dict(network) if network is not None else None,
        }
        write_json(new / MANIFEST, manifest)
        for name in foreign:
            _keep(target / name, new / name)
    return target


def read(path: str | Path) -> Saved:
    """Reads a model folder, all but its weights.

    Raises:
        UserError: no such folder, not a model folder, one that is damaged or incomplete, or a newer format.
    """
    folder = survivor(Path(path))
    if not folder.exists():
        raise UserError(f"there is no model at {path}")
    weights.refuse_pickle(folder)
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{path} is not a Twofold model folder: it has no {MANIFEST}")
    manifest, number = _manifest(folder)
    files = tuple(str(name) for name in manifest["files"])
    for name in files:
        # Weights may have been packed, or unpacked, where they were.
        lost = not packed.find(folder / WEIGHTS).is_file() if name in _WEIGHTS else not (folder / name).is_file()
        if name in (*_WEIGHTS, TOKENIZER) and lost:
            raise UserError(f"the model folder {path} is incomplete: {name} is missing; copy the whole folder again")
    return Saved(
        path=folder,
        format=number,
        network=manifest["network"],
        task=manifest["task"],
        tokenizer=read_json(folder / TOKENIZER) if TOKENIZER in files else None,
        history=manifest["history"],
        notes=manifest["notes"],
        files=files,
    )


def load_network(saved: Saved) -> Part:
    """Builds the network of a folder that was read; its weights are memory-mapped, not copied.

    Raises:
        UserError: a part that this Twofold does not know, or a spec and tensors that do not fit each other.
    """
    if saved.network is None:
        raise UserError(f"the model in {saved.path} has no network")
    what = str(saved.path)
    return furnish(built(saved.network, what), saved.tensors(), what)


def built(spec: Mapping[str, Any], what: str) -> Part:
    """The network of a spec that somebody else may have written, without storage (on the meta device).

    Args:
        spec: what `Part.spec` gave.
        what: the name of the whole, for errors.

    Raises:
        UserError: a spec that cannot be built.
    """
    try:
        with torch.device("meta"):
            return parts.build(dict(spec))
    except UserError as error:
        raise UserError(f"the network of {what} cannot be built: {error}") from None
    except Exception as error:  # a damaged spec can break any part's arguments in any way
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UserError(f"the network of {what} cannot be built from its description ({text})") from error


def furnish(net: Part, tensors: Mapping[str, Tensor], what: str) -> Part:
    """Gives a network from `built` its weights, as they are, without a copy; puts it in evaluation mode.

    Raises:
        UserError: tensors that do not fit it.
    """
    own, state = net.tensors(), net.state_dict(keep_vars=True)
    # A tensor with several names is assigned once, under its first.
    given = {name: tensor for name, tensor in tensors.items() if name in own or name not in state}
    try:
        net.assign(given)
        for part in net.modules():
            if isinstance(part, Part):
                part.check_tensors()
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    _fill_buffers(net)
    return net.eval()


def _manifest(folder: Path) -> tuple[dict[str, Any], int]:
    """The manifest as the newest format has it, and the format it was written in."""
    manifest = read_json(folder / MANIFEST)
    number = manifest.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(f"{folder / MANIFEST} has no format number: it is not Twofold's, or damaged")
    if number > FORMAT:
        raise UserError(
            f"{folder} was made by a newer Twofold (format {number}, this one reads up to {FORMAT}); upgrade: "
            "pip install -U twofold"
        )
    for step in range(number, FORMAT):
        manifest = MIGRATIONS[step](manifest)
    for key, kind in _KINDS.items():
        if not isinstance(manifest.get(key), kind):
            raise UserError(f"{folder / MANIFEST} is damaged: {key!r} is missing or not what it should be")
    if not all(isinstance(step, dict) for step in manifest["history"]):
        raise UserError(f"{folder / MANIFEST} is damaged: 'history' should hold one object for each step")
    return manifest, number


def _foreign(target: Path) -> list[str]:
    """What is in `target` besides the model that will be replaced."""
    if not target.exists() and survivor(target) != target:
        recover(target.absolute())
    if not target.exists():
        return []
    if not target.is_dir():
        raise UserError(f"{target} is a file; a model is a folder: choose another name")
    if not any(target.iterdir()):
        return []
    if not (target / MANIFEST).is_file():
        raise UserError(f"{target} holds something that is not a Twofold model; choose another folder or empty it")
    written = {str(name).split("/")[0] for name in _manifest(target)[0]["files"]}
    return sorted(entry.name for entry in target.iterdir() if entry.name not in written)


def _keep(source: Path, target: Path) -> None:
    if target.exists():
        return
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link)
    else:
        _link(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _fill_buffers(net: Part) -> None:
    """Tables that a part computes for itself and does not save are computed again."""
    for part in net.modules():
        empty = [name for name, buffer in part.named_buffers(recurse=False) if buffer.is_meta]
        if empty and isinstance(part, Part):
            fresh = parts.build(part.spec())
            for name in empty:
                part.register_buffer(name, fresh.get_buffer(name), persistent=False)
