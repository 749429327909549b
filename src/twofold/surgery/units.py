"""What may be cut from a trained network, and what goes with it.

A kind of unit knows the linear layer that reads its activations (`reader`) and how to make its part really smaller:
a new part with fewer neurons or heads, no masks. Everything here works on any tree of parts that holds `Block`s.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts import FFN, Alibi, Attention, Block, Dense, Part, T5Bias
from twofold.parts.trace import blocks

P = TypeVar("P", bound=Part)


class Units(ABC):
    """The units of one kind in one block. Cutting changes the block in place.

    Args:
        name: of the part that holds them, as in `named_modules`.
        block: the block they belong to.

    Attributes:
        kind: what a unit is called.
        least: how many always stay.
        linears: names of the linear layers that are cut, the reader last.

    Raises:
        UserError: a layer that would be cut is no plain matrix (packed, quantised, an adapter): names it.
    """

    kind: ClassVar[str]
    least: ClassVar[int]
    linears: ClassVar[tuple[str, ...]]

    def __init__(self, name: str, block: Block) -> None:
        self.name, self.block = name, block
        for linear, layer in self.layers().items():
            if not isinstance(layer, Dense) or not layer.weight.is_floating_point():
                what = type(layer).__name__ if not isinstance(layer, Dense) else str(layer.weight.dtype)
                raise UserError(
                    f"{name}.{linear} is no plain matrix but {what}: cut the network before it is packed or adapted"
                )

    @property
    @abstractmethod
    def part(self) -> Part:
        """The part that holds the units, as it is now."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many there are now."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of the reader's input that belong to one unit."""

    @property
    def reader(self) -> Dense:
        """The linear layer that reads the units' activations, weight `[out, count * width]`."""
        return self.layers()[self.linears[-1]]

    @abstractmethod
    def keep(self, kept: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Cuts all but the `kept` units.

        Args:
            kept: indices of units, ascending, `[k]`.
            weight: what the reader's weight becomes, `[out, k * width]`; None: its columns as they are.

        Raises:
            UserError: the part holds something per unit that cannot be cut.
        """

    def layers(self) -> dict[str, Dense]:
        """The linear layers that are cut, by name; the reader last."""
        children = dict(self.part.named_children())
        return {name: cast(Dense, children[name]) for name in self.linears if name in children}

    def columns(self, kept: np.ndarray) -> np.ndarray:
        """The reader's input columns of some units, `[k * width]`."""
        return _columns(kept, self.width)

    def _read(self, kept: np.ndarray, weight: np.ndarray | None) -> Tensor:
        old = self.reader.weight.detach()
        if weight is None:
            return old[:, torch.as_tensor(self.columns(kept), device=old.device)]
        return torch.as_tensor(weight, dtype=old.dtype, device=old.device)


class Neurons(Units):
    """Hidden neurons of an `FFN`: a row of `up` (and of `gate`) and a column of `down`."""

    kind = "neuron"
    least = 8
    linears = ("up", "gate", "down")

    @property
    def part(self) -> FFN:
        part = self.block.channel
        assert isinstance(part, FFN)
        return part

    @property
    def count(self) -> int:
        return self.part.hidden

    @property
    def width(self) -> int:
        return 1

    @property
    def incoming(self) -> Tensor:
        """What each neuron reads: its rows of `up` and, where there is one, of `gate`, `[count, dim (* 2)]`."""
        return torch.cat([layer.weight.detach() for name, layer in self.layers().items() if name != "down"], dim=1)

    @property
    def outgoing(self) -> Tensor:
        """What each neuron writes: its column of `down`, `[count, dim]`."""
        return self.reader.weight.detach().T

    def keep(self, kept: np.ndarray, weight: np.ndarray | None = None) -> None:
        tensors = {"down.weight": self._read(kept, weight)}
        for name, layer in self.layers().items():
            if name != "down":
                tensors |= _rows(name, layer, kept)
        self.block.channel = smaller(self.part, tensors, hidden=len(kept))


class Heads(Units):
    """Attention heads; where query heads share keys and values, a unit is the whole group."""

    kind = "head"
    least = 1
    linears = ("query", "key", "value", "out")

    @property
    def part(self) -> Attention:
        part = self.block.mixer
        assert isinstance(part, Attention)
        return part

    @property
    def count(self) -> int:
        return self.part.kv_heads

    @property
    def queries(self) -> int:
        """Query heads in one unit."""
        return self.part.heads // self.part.kv_heads

    @property
    def width(self) -> int:
        return self.queries * self.part.head_dim

    def keep(self, kept: np.ndarray, weight: np.ndarray | None = None) -> None:
        size = self.part.head_dim
        tensors = {"out.weight": self._read(kept, weight)}
        for name, layer in self.layers().items():
            if name != "out":
                tensors |= _rows(name, layer, _columns(kept, self.width if name == "query" else size))
        changes: dict[str, object] = {"heads": len(kept) * self.queries, "kv_heads": len(kept), "head_dim": size}
        position = self.part.position
        heads = _columns(kept, self.queries)
        if isinstance(position, Alibi):
            changes["position"] = position.rebuilt(heads=len(heads), slopes=[position.slopes[h] for h in heads])
        elif isinstance(position, T5Bias):
            changes["position"] = position.rebuilt(heads=len(heads))
            tensors["position.weight"] = position.weight.detach()[:, heads]
        self.block.mixer = smaller(self.part, tensors, **changes)


def find(net: nn.Module, *, heads: bool = True, neurons: bool = True) -> list[Units]:
    """What can be cut from a network, block by block, in the order in which it is computed.

    Mixers other than attention and channel mixers other than `FFN` are left alone.

    Raises:
        UserError: nothing to cut; a block in several places; a layer that is no plain matrix.
    """
    found: list[Units] = []
    for name, block in blocks(net):
        if heads and isinstance(block.mixer, Attention):
            found.append(Heads(f"{name}.mixer", block))
        if neurons and isinstance(block.channel, FFN):
            found.append(Neurons(f"{name}.channel", block))
    if not found:
        kinds = " or ".join(k for k, wanted in (("Attention", heads), ("FFN", neurons)) if wanted)
        raise UserError(f"{type(net).__name__} has blocks, but none with {kinds}: there is nothing to cut")
    return found


def compact(net: P, kept: Mapping[str, np.ndarray | Sequence[int]]) -> P:
    """A really smaller copy of `net`, without masks; `net` stays as it is.

    Args:
        net: any part with blocks.
        kept: by the name of a part (`Units.name`), the units that stay; what is not named keeps all.

    Raises:
        UserError: a name without units, or indices that are not there.
    """
    small = copy.deepcopy(net)
    units = {u.name: u for u in find(small)}
    for name, indices in kept.items():
        if name not in units:
            raise UserError(f"no neurons or heads in {name!r}; known: {', '.join(units)}")
        chosen = np.unique(np.asarray(indices, dtype=np.int64))
        if not len(chosen) or chosen[0] < 0 or chosen[-1] >= units[name].count:
            raise UserError(f"{name} has {units[name].kind}s 0 to {units[name].count - 1}; keep some of those")
        units[name].keep(chosen)
    return small


def smaller(part: P, tensors: Mapping[str, Tensor], **changes: object) -> P:
    """`part` rebuilt with some arguments changed: named tensors replaced, all others as they were.

    Raises:
        UserError: another tensor has one entry per unit as well, so that it does not fit any more.
    """
    new = part.rebuilt(**changes)
    whole = {name: tensors.get(name, old).detach().clone() for name, old in part.tensors().items()}
    for name, own in new.tensors().items():
        if own.shape != whole[name].shape:
            raise UserError(f"{type(part).__name__}.{name} also has entries for single units and cannot be cut")
    device = next(iter(whole.values())).device
    new.assign(whole).to(device).train(part.training)
    for mine, old in zip(new.parameters(), part.parameters(), strict=True):
        mine.requires_grad_(old.requires_grad)
    return new


def _columns(kept: np.ndarray, width: int) -> np.ndarray:
    return (np.asarray(kept)[:, None] * width + np.arange(width)).ravel()


def _rows(name: str, layer: nn.Module, rows: np.ndarray) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor.detach()[torch.as_tensor(rows, device=tensor.device)]
        for key, tensor in layer.named_parameters(recurse=False)
    }
