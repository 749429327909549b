"""A cache of keys and values with fewer bits the older a token is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.caches import KeyValueCache, StackCache
from twofold.parts.model import SequenceModel

GROUP = 32
"""Numbers that share a scale and a smallest value (16 bits each)."""


def rounded(x: Float[Tensor, "*shape"], bits: int, dim: int) -> Float[Tensor, "*shape"]:
    """The nearest of 2^bits evenly spaced levels between the least and the greatest of each group along `dim`."""
    low, high = x.amin(dim, keepdim=True), x.amax(dim, keepdim=True)
    scale = (high - low).clamp_min(torch.finfo(x.dtype).tiny) / (2**bits - 1)
    return low + ((x - low) / scale).round() * scale


class StaircaseCache(KeyValueCache):
    """Keys and values as they came while they are new; then 8, 4 and 2 bits by age, in groups of 32 tokens.

    Keys are rounded channel by channel over the tokens of a group, values token by token over groups of 32 channels.
    A group is rounded again only when it crosses a step, from what is left of it, at most as often as there are steps.
    Numbers are held ready to use; `nbytes` counts codes, scales and smallest values as they would be stored.
    Li 2024, https://arxiv.org/abs/2410.18441

    Args:
        steps: (age in groups, bits), ages rising and bits falling; below the first age nothing is rounded.

    Raises:
        UserError: steps out of order.
    """

    back: int | None = 0

    def __init__(
        self,
        batch: int,
        heads: int,
        max_len: int,
        head_dim: int,
        steps: Sequence[tuple[int, int]] = ((1, 8), (4, 4), (16, 2)),
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(batch, heads, max_len, head_dim, dtype, device)
        ages, bits = [age for age, _ in steps], [b for _, b in steps]
        if ages != sorted(set(ages)) or bits != sorted(set(bits), reverse=True) or any(not 1 <= b < 16 for b in bits):
            raise UserError(f"steps {list(steps)}: give (age, bits) with ages rising and bits falling, below 16")
        if ages and ages[0] < 1:
            raise UserError("the newest group cannot be rounded while it fills up; begin at age 1")
        self.steps = tuple(steps)
        self.stored: list[int] = []

    def bits_of(self, age: int) -> int:
        """Bits of a group so many groups old; 16: as it came."""
        return min((bits for least, bits in self.steps if age >= least), default=16)

    def append(
        self, keys: Float[Tensor, "batch groups time d"], values: Float[Tensor, "batch groups time d"]
    ) -> tuple[Tensor, Tensor]:
        """As every cache; new tokens are seen unrounded by themselves and what comes with them."""
        found = super().append(keys, values)
        found = found[0].clone(), found[1].clone()
        self._settle()
        return found

    def _settle(self) -> None:
        full = self.length // GROUP
        self.stored += [16] * (full - len(self.stored))
        for group in range(full):
            bits = self.bits_of(full - group)
            if bits < self.stored[group]:
                cut = slice(group * GROUP, (group + 1) * GROUP)
                self.keys[:, :, cut] = rounded(self.keys[:, :, cut], bits, 2)
                parts = self.values[:, :, cut].split(GROUP, -1)
                self.values[:, :, cut] = torch.cat([rounded(part, bits, -1) for part in parts], -1)
                self.stored[group] = bits

    @property
    def nbytes(self) -> int:
        batch, heads, _, dim = self.keys.shape
        rounded_bits = 0
        for bits in self.stored:
            if bits < 16:
                scales = 32 * (dim + GROUP * -(-dim // GROUP))  # a scale and a smallest value of 16 bits a group
                rounded_bits += 2 * GROUP * dim * bits + scales
        plain = self.length - GROUP * sum(bits < 16 for bits in self.stored)
        return batch * heads * (2 * plain * dim * self.keys.element_size() + rounded_bits // 8)

    def check_rewind(self, n: int) -> None:
        super().check_rewind(n)
        if any(bits < 16 for bits in self.stored[(self.length - n) // GROUP :]):
            raise UserError(
                f"cannot rewind {n} tokens: some have been rounded already; keep a copy of the cache instead"
            )

    def rewind(self, n: int) -> None:
        super().rewind(n)
        del self.stored[self.length // GROUP :]


def staircase(
    net: SequenceModel, batch: int, max_len: int, steps: Sequence[tuple[int, int]] = ((1, 8), (4, 4), (16, 2))
) -> StackCache:
    """A network's cache with a staircase in every attention layer."""
    layers = []
    for layer in net.new_cache(batch, max_len).layers:
        if type(layer) is KeyValueCache:
            rows, heads, room, dim = layer.keys.shape
            layers.append(StaircaseCache(rows, heads, room, dim, steps, layer.keys.dtype, layer.keys.device))
        else:
            layers.append(layer)  # type: ignore[arg-type]
    return StackCache(layers, max_len)
