"""What blocks and their units cost, and which budgets can be reached.

Operations are multiplications and additions, counted per token at a stated sequence length: the linear layers of
attention and feed-forward part, and the attention scores (half of them where attention is always causal).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from twofold.errors import UserError
from twofold.parts import ChannelMixer, Loop, Mixer, Resize, SharedCache, Vcc, blocks
from twofold.surgery import importance
from twofold.surgery.units import Units


def block_flops(net: nn.Module, length: int) -> float:
    """Operations per token of all blocks of a network, at `length` tokens a sequence.

    Raises:
        UserError: a block has a mixer that cannot say what it costs: names it.
    """
    total = 0.0
    loops = [(f"{name}.", part.times) for name, part in net.named_modules() if isinstance(part, Loop)]
    short = [(f"{name}.", part.reads(length)) for name, part in net.named_modules() if isinstance(part, Vcc)]
    total += sum(part.flops(length) / length for part in net.modules() if isinstance(part, SharedCache | Vcc | Resize))
    for name, block in blocks(net):
        often = math.prod(times for inside, times in loops if name.startswith(inside))
        rows = next((rows for inside, rows in short if name.startswith(inside)), length)
        for role, part in (("mixer", block.mixer), ("channel", block.channel)):
            if part is None:
                continue
            if not isinstance(part, Mixer | ChannelMixer):
                raise UserError(f"{name}.{role} is a {type(part).__name__}, which does not say what it costs")
            total += often * part.flops(rows) / length
    return total


def unit_flops(units: Units, length: int) -> float:
    """Operations per token that go with one unit."""
    part = units.part
    assert isinstance(part, Mixer | ChannelMixer)
    return part.flops(length) / length / units.count


@dataclass(frozen=True)
class Budget:
    """A share of the blocks' operations, and what that means for the units that may be cut.

    Args:
        net: the network as it is.
        units: what may be cut.
        keep: the share of the blocks' operations that stays, in (0, 1].
        length: tokens in a sequence, for the attention scores.

    Raises:
        UserError: the share is out of range, or too small to be reached; says the smallest that can be.
    """

    net: nn.Module
    units: Sequence[Units]
    keep: float
    length: int

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UserError(f"keep is the share of operations that stays: above 0, at most 1, not {self.keep}")
        least = sum(min(u.least, u.count) * c for u, c in zip(self.units, self.costs, strict=True))
        smallest = (self.fixed + least) / self.total
        if self.keep < smallest:
            kinds = " and ".join(
                f"{least} {kind}{'s' if least > 1 else ''}"
                for kind, least in sorted({(u.kind, u.least) for u in self.units})
            )
            shown = np.ceil(smallest * 1000) / 1000
            raise UserError(
                f"keep={self.keep} cannot be reached: with {kinds} left in every layer the blocks still cost "
                f"{smallest:.1%} of what they did; use keep={shown:g} or more"
            )

    @property
    def costs(self) -> list[float]:
        """Operations per token of one unit, for each of `units`."""
        return [unit_flops(u, self.length) for u in self.units]

    @property
    def total(self) -> float:
        """Operations per token of the whole blocks."""
        return block_flops(self.net, self.length)

    @property
    def fixed(self) -> float:
        """Operations per token that cutting these units cannot save."""
        return self.total - sum(u.count * c for u, c in zip(self.units, self.costs, strict=True))

    def choose(self, priorities: Sequence[np.ndarray], uniform: bool = False) -> list[np.ndarray]:
        """The units that stay, highest priority first across all layers, while they fit.

        Args:
            priorities: for each of `units`, one number a unit.
            uniform: the same number of units of a kind in every layer, as formats with one width need it.

        Raises:
            UserError: `uniform`, but layers already differ.
        """
        affordable = self.keep * self.total - self.fixed
        if self.keep == 1:
            return [np.arange(u.count) for u in self.units]
        if uniform:
            for kind in {u.kind for u in self.units}:
                sizes = sorted({u.count for u in self.units if u.kind == kind})
                if len(sizes) > 1:
                    raise UserError(
                        f"uniform=true needs layers that are alike, but they have between {sizes[0]} and "
                        f"{sizes[-1]} {kind}s; use uniform=false"
                    )
        choose = importance.select_uniform if uniform else importance.select
        return choose(priorities, self.costs, affordable, [u.least for u in self.units])
