"""The state of a training run on disk: `checkpoint.json` and the tensors file that it names.

A new tensors file is written under a name of its own; replacing the json is what makes it count. Killed at any
moment, the folder holds one complete checkpoint: the old one or the new one. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from twofold.errors import UserError

FORMAT = 1
_JSON = "checkpoint.json"
_TENSORS = "checkpoint-*.safetensors"
# What a killed process leaves behind: our own temporary files, and those of the safetensors library.
_UNFINISHED = (".*.part", ".tmp??????")


@dataclass(frozen=True)
class Checkpoint:
    """A saved state: plain data, and tensors by name."""

    state: dict[str, Any]
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one run in one folder; only the newest is kept.

    Args:
        folder: where they are; made when the first is saved.
        configuration: what must be the same for a run to go on from a checkpoint; JSON-able.
    """

    def __init__(self, folder: str | os.PathLike[str], configuration: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._configuration = json.loads(json.dumps(configuration))
        self._serial = 0

    def load(self) -> Checkpoint | None:
        """The checkpoint in the folder; None where there is none.

        Raises:
            UserError: it belongs to another configuration or a newer format, or it is damaged.
        """
        path = self.folder / _JSON
        again = f"delete {self.folder} to start again"
        if not path.exists():
            return None
        try:
            written = json.loads(path.read_bytes())
            if written["format"] > FORMAT:
                raise UserError(
                    f"the training checkpoint in {self.folder} has format {written['format']}, this version reads "
                    f"up to {FORMAT}; upgrade twofold, or {again}"
                )
            self._same(written["configuration"])
            tensors = load_file(self.folder / written["tensors"])
            self._serial = written["serial"]
            return Checkpoint(written["state"], tensors)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(f"the training checkpoint in {self.folder} cannot be read ({error}); {again}") from None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove the one before it.

        Raises:
            UserError: it cannot be written; the one before it is still there.
        """
        self._serial += 1
        name = _TENSORS.replace("*", str(self._serial))
        written = {
            "format": FORMAT,
            "serial": self._serial,
            "tensors": name,
            "configuration": self._configuration,
            "state": checkpoint.state,
        }
        tensors = {key: _alone(tensor) for key, tensor in checkpoint.tensors.items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / name) as temporary:
                save_file(tensors, temporary)
            with replacing(self.folder / _JSON) as temporary:
                temporary.write_text(json.dumps(written))
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"the training checkpoint cannot be saved in {self.folder} ({error}); make room there, or give "
                "another folder. What was saved before is still there"
            ) from error
        for pattern in (_TENSORS, *_UNFINISHED):
            for old in self.folder.glob(pattern):
                if old.name != name:
                    old.unlink(missing_ok=True)

    def _same(self, saved: Mapping[str, Any]) -> None:
        was, now = dict(_leaves(saved)), dict(_leaves(self._configuration))
        for name in [*now, *was]:
            if was.get(name) != now.get(name):
                raise UserError(
                    f"the training checkpoint in {self.folder} was made with {name} = {was.get(name)}, this run has "
                    f"{now.get(name)}; use the same settings, give another folder, or delete {self.folder} to "
                    "start again"
                )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes the place of `path` when the block ends."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # The new name itself must reach the disk too; not every system lets a folder be opened for that.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def network_state(net: nn.Module) -> dict[str, Tensor]:
    """What training changes in a network: trained parameters, and the buffers that belong to its state."""
    lasting = net.state_dict(keep_vars=True).keys()
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    return trained | {name: buffer for name, buffer in net.named_buffers() if name in lasting}


def optimizer_state(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """An optimizer's state as a flat mapping: `exp_avg/<parameter>` and so on."""
    return {
        f"{key}/{name}": value
        for parameter, name in names.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str], flat: Mapping[str, Tensor]
) -> None:
    """Put what `optimizer_state` gave back into an optimizer over the same parameters."""
    kept: dict[str, dict[str, Tensor]] = {}
    for path, tensor in flat.items():
        key, name = path.split("/", 1)
        kept.setdefault(name, {})[key] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {i: kept[names[p]] for i, p in enumerate(parameters) if names[p] in kept}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def fingerprint(net: nn.Module) -> str:
    """What a network is, in a few words: its trained numbers, and a hash of all names, shapes and types."""
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    state = net.state_dict(keep_vars=True)
    tensors = {name: t for name, t in state.items() if isinstance(t, Tensor)}
    lines = [f"{name} {tuple(t.shape)} {t.dtype} {name in trained}" for name, t in sorted(tensors.items())]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return f"{sum(tensors[name].numel() for name in trained):,} trained numbers ({digest[:12]})"


def _alone(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own, as the file format wants it."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.clone() if tensor.untyped_storage().nbytes() != tensor.nbytes else tensor


def _leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for name, item in data.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    else:
        yield path, data
