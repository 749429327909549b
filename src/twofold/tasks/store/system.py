"""What every lossless packer shares: it works on a model, which then saves itself packed, and on files."""

from __future__ import annotations

import copy
import tempfile
from abc import ABC
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold.checkpoints import packed
from twofold.checkpoints import tensors as weights
from twofold.checkpoints.packed import PLAIN, Packing
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.tasks.model import Model
from twofold.tasks.store import files
from twofold.tasks.system import TransformSystem


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StoreSystem(TransformSystem, ABC):
    """A lossless packer: the same network in another container."""

    calibrates = False
    suffix: ClassVar[str]
    """Ending of the files it writes, which says how they are packed."""

    unpack: bool = Field(False, description="the other way: packed files, or a packed model, become safetensors again")
    threads: int | None = Field(
        None, ge=1, description="that code and decode, by default as many as PyTorch uses; the bytes stay the same"
    )

    def base_file(self) -> str | None:
        """A file that others are stored as the difference to, or `first`; None: each is stored on its own."""
        return None

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """The same network, and what is indexed with it; when saved, its weights are packed.

        Args:
            model: any model with a network.
            rows: not read.
            seed: nothing is random.

        Raises:
            UserError: `unpack` of a model that is not packed, or a base, which is for files.
        """
        if self.base_file() is not None:
            raise UserError(f"base works on files, and this is a model; name its weights: {self.id} model/… -o …")
        if self.unpack and model.stored != self.suffix:
            raise UserError(f"this model's weights are not packed by {self.id}; leave unpack out to pack them")
        state = dict(model.net.state_dict())
        same = copy.copy(model)
        same.spec, same.history, same.notes = dict(model.spec), list(model.history), dict(model.notes)
        same.stored = PLAIN if self.unpack else self.suffix
        with tempfile.TemporaryDirectory() as place:
            plain = Path(place) / f"tensors{PLAIN}"
            weights.save(plain, state)
            if self.unpack:
                report = {"stored": PLAIN, "raw": plain.stat().st_size}
            else:
                found = packed.pack(plain, plain.with_suffix(self.suffix), threads=self.threads)
                report = {"stored": self.suffix, "raw": found.raw, "coded": found.coded}
                report |= {"size": round(found.coded / found.raw, 4)}
                report |= {"planes": files.merged([found])} if found.planes else {}
        return same.remember(self.id, self.options(), report)

    def apply_files(self, source: Path, target: Path, fresh: bool = False) -> dict[str, Any]:
        """Packs (or unpacks) a file, or every weight file in a folder; other files of the folder are copied.

        Args:
            source: a safetensors (or packed) file, or a folder with such files anywhere in it.
            target: the file, or the folder, to write.
            fresh: replace a file that is there.

        Returns:
            Bytes before and after, in all, by file and by plane.

        Raises:
            UserError: nothing to pack, a damaged file, or `target` is taken.
        """

        def change(source: Path, target: Path, base: Path | None, at: Path | None) -> Packing:
            if self.unpack:
                return packed.unpack(source, target, base=base, threads=self.threads)
            return packed.pack(source, target, base=base, base_at=at, threads=self.threads)

        base = self.base_file()
        if self.unpack and base == files.FIRST:
            base = None  # each delta says itself where its base is
        endings = (self.suffix, PLAIN) if self.unpack else (PLAIN, self.suffix)
        return files.convert(source, target, endings, change, base, fresh)

    def traced(self, model: Model) -> list[float]:
        """Bytes of made tensors of several chunks, some of whose numbers were rounded: outputs say nothing of a packer.

        In bytes, each digit counts; so the last four are given apart, which keeps them above a trace's tolerance.
        """
        made = torch.Generator().manual_seed(0)
        numbers = torch.randn(1_200_000, generator=made) * 0.05
        mixed = torch.where(torch.arange(len(numbers)) % 90_000 < 50_000, numbers.half().float(), numbers)
        sizes = []
        with tempfile.TemporaryDirectory() as place:
            plain = Path(place) / f"made{PLAIN}"
            for tensor in (numbers.bfloat16(), mixed, numbers.half()):
                weights.save(plain, {"made": tensor})
                sizes.append(packed.pack(plain, plain.with_suffix(self.suffix), threads=self.threads).coded)
        return [float(part) for size in sizes for part in divmod(size, 10_000)]
