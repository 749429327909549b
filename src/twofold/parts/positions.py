"""Where a token is, told to a network: one part with six hooks, each doing nothing by default.

Positions arrive as int `[1 or B, T]`, counted over real tokens. Whatever can be computed from them is computed when it is
used, so nothing here is stored with a model but what was learned.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twofold.errors import UserError, unknown
from twofold.parts.part import Part, at_least_one

Positions = Int[Tensor, "rows time"]


class Position(Part, abstract=True):
    """How position enters a network.

    Attributes:
        max_len: positions must be below this; None: no limit.
        needs_qk: uses queries and keys, so only attention can carry it.
        absolute: adds something to the states themselves.
        after_softmax: `after` does something, so probabilities must be materialised.
    """

    max_len: int | None = None
    needs_qk: bool = False
    absolute: bool = False
    after_softmax: bool = False

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        """Refuses sizes that this position cannot serve (UserError)."""

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        """States with their positions added."""
        return x

    def rotate(self, q: Tensor, k: Tensor, positions_q: Positions, positions_k: Positions) -> tuple[Tensor, Tensor]:
        """Queries `[B, H, T, d]` and keys `[B, G, S, d]`, turned by position."""
        return q, k

    def bias(self, positions_q: Positions, positions_k: Positions) -> Tensor | None:
        """`[1 or B, H, T, S]`, added to the logits; None: nothing."""
        return None

    def scale(self, positions_q: Positions) -> Float[Tensor, "rows time"] | None:
        """Factor on each query's logits; None: one."""
        return None

    def after(self, p: Tensor, positions_q: Positions, positions_k: Positions) -> Tensor:
        """Attention probabilities `[B, H, T, S]`, changed after the softmax."""
        return p

    def extend(self, length: int) -> None:
        """Makes positions below `length` possible.

        Raises:
            UserError: where the positions that were learned do not reach that far.
        """
        if self.max_len is not None and length > self.max_len:
            raise UserError(
                f"position {type(self).__name__} knows {self.max_len} positions and {length} are asked; "
                "give shorter inputs, or a position without a limit (sinusoid, rope, alibi)"
            )


class NoPosition(Position):
    """None at all. A causal network still finds out where it is. Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466"""


class Learned(Position):
    """One learned vector for each position below `max_len`, added to the states.

    Raises:
        UserError: on use, at a position of `max_len` or beyond.
    """

    absolute = True

    def __init__(self, max_len: int, dim: int) -> None:
        super().__init__()
        at_least_one("Learned", max_len=max_len, dim=dim)
        self.max_len, self.dim = max_len, dim
        self.weight = nn.Parameter(torch.empty(max_len, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if dim != self.dim:
            raise UserError(
                f"position Learned has dim {self.dim} and the states {dim}; give Learned(max_len, dim={dim})"
            )

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        if positions.device.type != "meta" and not torch.compiler.is_compiling():
            self.extend(int(positions.max()) + 1)
        return x + self.weight[positions]


class Sinusoid(Position):
    """Sines and cosines of geometric wavelengths, in turn, added to the states. Vaswani et al. 2017, §3.5, https://arxiv.org/abs/1706.03762"""

    absolute = True

    def __init__(self, base: float = 10000.0) -> None:
        super().__init__()
        self.base = base

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if dim % 2:
            raise UserError(f"position Sinusoid needs an even dim, not {dim}; use dim={dim + 1}")

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        angles = positions[..., None] * frequencies(x.shape[-1], self.base, x)
        return x + torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).to(x.dtype)


def frequencies(dim: int, base: float, like: Tensor) -> Tensor:
    """`base^(-2i/dim)` for i < dim/2, in float64 where `like` is, else float32."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return base ** -(torch.arange(0, dim, 2, device=like.device, dtype=dtype) / dim)


class Stretch(Part, abstract=True):
    """How rotary frequencies change to reach beyond the length they were trained for."""

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        """New frequencies `[d/2]`."""
        raise NotImplementedError


class LinearStretch(Stretch):
    """Positions divided by `factor`. Chen et al. 2023, https://arxiv.org/abs/2306.15595"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        return inverse / self.factor


class NtkStretch(Stretch):
    """A larger base: high frequencies stay, low ones are divided by `factor`. bloc97 2023 (NTK-aware scaling); Peng et al. 2023, https://arxiv.org/abs/2309.00071, §3.1"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        half = len(inverse)
        i = torch.arange(half, device=inverse.device, dtype=inverse.dtype)
        return inverse * self.factor ** -(i / max(half - 1, 1))


class Llama3Stretch(Stretch):
    """Wavelengths beyond the trained length are stretched, short ones kept, those between blended (Llama 3.1)."""

    def __init__(self, factor: float, low: float, high: float, trained: int) -> None:
        super().__init__()
        self.factor, self.low, self.high, self.trained = factor, low, high, trained

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        turns = self.trained * inverse / (2 * math.pi)
        blend = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return blend * inverse + (1 - blend) * inverse / self.factor


class Rope(Position):
    """Queries and keys turned pairwise by angles that grow with position, so logits depend on distance alone.

    Su et al. 2021, https://arxiv.org/abs/2104.09864. Pairs are (i, i + d/2) as in Llama; `interleaved`: (2i, 2i + 1).

    Args:
        base: of the geometric frequencies.
        interleaved: neighbouring features form the pairs.
        fraction: share of each head's features that turn (the first ones).
        stretch: changes the frequencies to reach further.
    """

    needs_qk = True

    def __init__(
        self, base: float = 10000.0, interleaved: bool = False, fraction: float = 1.0, stretch: Stretch | None = None
    ) -> None:
        super().__init__()
        if base <= 1 or not 0 < fraction <= 1:
            raise UserError(f"Rope: base must be above 1 and fraction in (0, 1], not base={base}, fraction={fraction}")
        self.base, self.interleaved, self.fraction = base, interleaved, fraction
        self.stretch = stretch
        self._last: tuple[Any, Tensor, Tensor] | None = None

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if head_dim is not None and (turned := int(head_dim * self.fraction)) % 2 + (turned < 2):
            raise UserError(
                f"position Rope turns pairs, and {turned} features of a head of {head_dim} turn; "
                f"use an even head_dim (head_dim={head_dim + head_dim % 2}) or another fraction"
            )

    def rotate(self, q: Tensor, k: Tensor, positions_q: Positions, positions_k: Positions) -> tuple[Tensor, Tensor]:
        q = self._turn(q, positions_q)
        return q, self._turn(k, positions_k)

    def _turn(self, x: Tensor, positions: Tensor) -> Tensor:
        turned = int(x.shape[-1] * self.fraction)
        rest = x[..., turned:]
        x = x[..., :turned]
        cos, sin = self._tables(x, positions)
        if self.interleaved:
            partner = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        else:
            a, b = x.chunk(2, dim=-1)
            partner = torch.cat((-b, a), dim=-1)
        x = x * cos + partner * sin
        return torch.cat((x, rest), dim=-1) if rest.shape[-1] else x

    def _tables(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin `[1 or B, 1, T, d]`; queries, keys and every layer that shares this part ask for the same ones."""
        key = (positions, x.dtype, x.shape[-1])
        last = self._last
        if last is not None and last[0][0] is positions and last[0][1:] == key[1:]:
            return last[1], last[2]
        inverse = frequencies(x.shape[-1], self.base, x)
        if self.stretch is not None:
            inverse = self.stretch(inverse, self.base)
        angles = positions[:, None, :, None] * inverse
        angles = angles.repeat_interleave(2, -1) if self.interleaved else torch.cat((angles, angles), -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        if not torch.compiler.is_compiling():
            self._last = (key, cos, sin)
        return cos, sin


def alibi_slopes(heads: int) -> list[float]:
    """Slope of each head: 2^(-8h/H) for h = 1…H where H is a power of two; else those of the powers around it, in turn."""
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    return slopes + [2 ** (-4 * h / power) for h in range(1, 2 * (heads - power), 2)]


class Alibi(Position):
    """Logits fall linearly with distance, at a slope of its own in each head. Press et al. 2021, https://arxiv.org/abs/2108.12409

    Args:
        heads: of the attention that carries it.
        slopes: one for each head (default: the paper's), for attention that has lost heads.
    """

    needs_qk = True

    def __init__(self, heads: int, slopes: list[float] | None = None) -> None:
        super().__init__()
        at_least_one("Alibi", heads=heads)
        self.heads = heads
        self.slopes = alibi_slopes(heads) if slopes is None else list(slopes)
        if len(self.slopes) != heads:
            raise UserError(
                f"position Alibi has {heads} heads and {len(self.slopes)} slopes; give one slope for each head"
            )

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        _same_heads("Alibi", self.heads, heads)

    def bias(self, positions_q: Positions, positions_k: Positions) -> Tensor:
        slopes = torch.tensor(self.slopes, device=positions_q.device)
        distance = (positions_q[:, :, None] - positions_k[:, None, :]).abs()
        return -slopes[:, None, None] * distance[:, None]


class T5Bias(Position):
    """A learned scalar for each head and bucket of distances: half of the buckets exact, the rest logarithmic.

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683. T5 shares one such part among all layers: hand the same object to each.

    Args:
        heads: of the attention that carries it.
        buckets: how many; two-way attention spends half on each side.
        max_distance: from here on one bucket serves all.
        two_way: positions ahead have buckets of their own (encoders).
    """

    needs_qk = True

    def __init__(self, heads: int, buckets: int = 32, max_distance: int = 128, two_way: bool = False) -> None:
        super().__init__()
        at_least_one("T5Bias", heads=heads, buckets=buckets // 4)
        if max_distance <= buckets:
            raise UserError(f"T5Bias: max_distance ({max_distance}) must be above buckets ({buckets})")
        self.heads, self.buckets, self.max_distance, self.two_way = heads, buckets, max_distance, two_way
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        _same_heads("T5Bias", self.heads, heads)

    def bucket(self, distance: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Bucket of each distance key − query."""
        count, offset = self.buckets, 0
        if self.two_way:
            count //= 2
            offset = (distance > 0).long() * count
            distance = distance.abs()
        else:
            distance = (-distance).clamp_min(0)
        exact = count // 2
        far = torch.log(distance.clamp_min(1).float() / exact) / math.log(self.max_distance / exact) * (count - exact)
        far = (exact + far.long()).clamp_max(count - 1)
        return offset + torch.where(distance < exact, distance, far)

    def bias(self, positions_q: Positions, positions_k: Positions) -> Tensor:
        buckets = self.bucket(positions_k[:, None, :] - positions_q[:, :, None])
        return self.weight[buckets].permute(0, 3, 1, 2)


def _same_heads(position: str, own: int, heads: int | None) -> None:
    if heads is not None and own != heads:
        raise UserError(
            f"position {position} has {own} heads and the attention {heads}; give {position}(heads={heads})"
        )


def without_queries(mixer: str, position: Position) -> None:
    """For mixers without queries and keys: refuses a position that needs them."""
    if position.needs_qk:
        raise UserError(
            f"position {type(position).__name__} needs queries and keys; mixer {mixer} has none: "
            "use position none, learned or sinusoid"
        )


def position(name: str, dim: int, heads: int, max_len: int | None = None, base: float = 10000.0) -> Position:
    """A position by the name that presets use: none, learned, sinusoid, rope, alibi, t5.

    Raises:
        UserError: unknown name, or `learned` without `max_len`.
    """
    if name == "learned" and max_len is None:
        raise UserError("position learned needs max_len, the longest input it will see")
    known = {
        "none": NoPosition,
        "learned": lambda: Learned(max_len or 1, dim),
        "sinusoid": Sinusoid,
        "rope": lambda: Rope(base),
        "alibi": lambda: Alibi(heads),
        "t5": lambda: T5Bias(heads),
    }
    if name not in known:
        raise unknown("position", name, known)
    return known[name]()
