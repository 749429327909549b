"""The task `store`: how many bytes a model's weights take. The weights are the data."""

from __future__ import annotations

import filecmp
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from twofold.checkpoints import packed
from twofold.checkpoints import tensors as weights
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.tasks.model import Model
from twofold.tasks.task import Evaluation, Task


class StoreTask(Task):
    """Bytes of the packed weights, as a share of the safetensors file."""

    name: ClassVar[str] = "store"
    metric: ClassVar[str] = "size"
    direction: ClassVar[str] = "lower"
    default_data: ClassVar[str] = "minilm"
    baselines: ClassVar[tuple[str, ...]] = ("zstd",)
    model: ClassVar[type[Model]] = Model

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> str:
        """The name of the weights; the model itself brings them."""
        return source.name if isinstance(source, Rows) else str(source)

    def evaluate(
        self,
        model: Model,
        data: str,
        part: str = "test",
        *,
        pieces: Sequence[Sequence[str]] = (),
        file: int | None = None,
        dtypes: Sequence[str] = (),
        **setting: Any,
    ) -> Evaluation:
        """Bytes of a file that is packed as the model says, divided by those of the safetensors file.

        Args:
            model: its `stored` says how it is packed.
            data: the weights' name.
            part: there are no parts.
            pieces: how the weights are cut into files: for each the beginnings of its tensors' names.
            file: which of the pieces; None for all weights in one file.
            dtypes: what they are cast to, each measured on its own; none: as they are.
            setting: other settings do not matter.

        Returns:
            `size` (with types, `size@bfloat16` and the like), and `exact`: 1 where unpacking gave the very file.
        """
        tensors = dict(model.net.state_dict())
        if file is not None:
            if not 0 <= file < len(pieces):
                raise UserError(f"the weights are cut into {len(pieces)} files, and file {file} is asked for")
            tensors = {n: t for n, t in tensors.items() if n.startswith(tuple(pieces[file]))}
        figures: dict[str, float] = {}
        exact = True
        with tempfile.TemporaryDirectory() as place:
            for dtype in dtypes or ("",):
                plain = Path(place) / f"plain{packed.PLAIN}"
                weights.save(plain, {name: _cast(tensor, dtype) for name, tensor in tensors.items()})
                target, again = plain.with_suffix(model.stored), plain.with_name(f"again{packed.PLAIN}")
                if target != plain:
                    packed.pack(plain, target)
                    packed.unpack(target, again)
                    exact &= filecmp.cmp(plain, again, shallow=False)
                figures[f"size@{dtype}" if dtype else "size"] = target.stat().st_size / plain.stat().st_size
        return Evaluation({**figures, "exact": float(exact)})

    def describe(self, data: str) -> dict[str, Any]:
        return {"name": data, "source": data, "fingerprint": data, "counts": {}, "notes": []}

    def cut(self, data: str, share: float) -> str:
        """The weights stay whole."""
        return data

    def requests(self, model: Model, data: str) -> tuple[Callable[[Any], Any], list[Any]]:
        """Reading all weights from their file."""
        place = tempfile.TemporaryDirectory()
        file = Path(place.name) / f"tensors{model.stored}"
        weights.save(file, dict(model.net.state_dict()))

        def read(_: Any, kept: Any = place) -> int:
            return sum(int(t.reshape(-1)[:1].count_nonzero()) for t in weights.load(file).values())

        return read, [0] * 20


def _cast(tensor: Tensor, dtype: str) -> Tensor:
    return tensor.to(getattr(torch, dtype)) if dtype and tensor.is_floating_point() else tensor
