"""Blocks and stacks of them: how mixers, channel mixers, norms and residuals are joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from twofold.errors import UserError, unknown
from twofold.parts.building import build
from twofold.parts.caches import Cache, StackCache
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.norms import NORMS, NoNorm
from twofold.parts.part import Part
from twofold.parts.positions import Position

States = Float[Tensor, "batch time dim"]


class Wiring(Part, abstract=True):
    """How a block's two mixers, its norms and the residual stream are joined. A new wiring is a new object."""

    channel_norm: bool = True
    """Whether it uses a norm in front of the channel mixer."""

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        raise NotImplementedError

    def reads(self, block: Block, x: States) -> States:
        """What the mixer is given when the block is given `x`."""
        return cast(States, block.mixer_norm(x))


class PreNorm(Wiring):
    """`x + mixer(norm(x))`, then `x + channel(norm(x))`. Xiong et al. 2020, https://arxiv.org/abs/2002.04745"""

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.mixer is not None:
            x = x + block.mixer(block.mixer_norm(x), mask, cache)
        if block.channel is not None:
            x = x + block.channel(block.channel_norm(x), mask)
        return x


class PreNormDropout(Wiring):
    """As `PreNorm`, with dropout on what the mixer gives (not on the channel mixer), as ModernBERT is trained.

    Args:
        rate: the share of features that become zero while training, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise UserError(f"the dropout rate is {rate}; it must be at least 0 and below 1")
        self.rate = rate

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.mixer is not None:
            x = x + F.dropout(block.mixer(block.mixer_norm(x), mask, cache), self.rate, self.training)
        if block.channel is not None:
            x = x + block.channel(block.channel_norm(x), mask)
        return x


class PostNorm(Wiring):
    """`norm(x + mixer(x))`, then `norm(x + channel(x))`, as in the first Transformer and BERT."""

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.mixer is not None:
            x = x + block.mixer(x, mask, cache)
        x = block.mixer_norm(x)
        if block.channel is not None:
            x = x + block.channel(x, mask)
        return block.channel_norm(x)

    def reads(self, block: Block, x: States) -> States:
        return x


class Parallel(Wiring):
    """`x + mixer(norm(x)) + channel(norm(x))`. Wang & Komatsuzaki 2021 (GPT-J); Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311"""

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        y = x
        if block.mixer is not None:
            y = y + block.mixer(block.mixer_norm(x), mask, cache)
        if block.channel is not None:
            y = y + block.channel(block.channel_norm(x), mask)
        return y


class Sandwich(Wiring):
    """`x + norm(mixer(norm(x)))`, then `x + norm(channel(norm(x)))`. Ding et al. 2021, https://arxiv.org/abs/2105.13290

    Args:
        mixer_after, channel_after: norms of what the two mixers give.
    """

    def __init__(self, mixer_after: Part, channel_after: Part) -> None:
        super().__init__()
        self.mixer_after, self.channel_after = mixer_after, channel_after

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.mixer is not None:
            x = x + self.mixer_after(block.mixer(block.mixer_norm(x), mask, cache))
        if block.channel is not None:
            x = x + self.channel_after(block.channel(block.channel_norm(x), mask))
        return x


class Single(Wiring):
    """`x + mixer(norm(x))` and nothing else; the block has no channel mixer."""

    channel_norm = False

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.channel is not None:
            raise UserError("wiring Single has no place for a channel mixer; use PreNorm, or give channel=None")
        return x if block.mixer is None else x + block.mixer(block.mixer_norm(x), mask, cache)


class Bare(Wiring):
    """`mixer(x)` and nothing else: no norm, no residual, no channel mixer."""

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.channel is not None or block.mixer is None:
            raise UserError("wiring Bare is a mixer alone; give the block a mixer and channel=None, or use PreNorm")
        return cast(States, block.mixer(x, mask, cache))

    def reads(self, block: Block, x: States) -> States:
        return x


class Shaped(Wiring):
    """`u = mixer(norm(x))`, then `a · u + b · channel(norm(u))`: no residual around the mixer (SAS).

    He & Hofmann 2023, https://arxiv.org/abs/2311.01906; for `ShapedAttention`. a starts at 1, b at 0.1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip, self.gain = nn.Parameter(torch.ones(1)), nn.Parameter(torch.full((1,), 0.1))

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.mixer is not None:
            x = block.mixer(block.mixer_norm(x), mask, cache)
        if block.channel is None:
            return x
        return self.skip * x + self.gain * block.channel(block.channel_norm(x), mask)


class ShapedParallel(Wiring):
    """`mixer(norm(x)) + b · channel(norm(x))`, one norm for both: no residual at all (SAS-P). As `Shaped` otherwise."""

    channel_norm = False

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        normed = block.mixer_norm(x)
        y = x if block.mixer is None else block.mixer(normed, mask, cache)
        return y if block.channel is None else y + self.gain * block.channel(normed, mask)


class OneSkip(Wiring):
    """`x + mixer(norm(x))`, then `channel(norm(x))`: a residual around the mixer alone (CRATE).

    Yu et al. 2023, equation 4, https://arxiv.org/abs/2311.13110; for `ISTA`, which keeps what it reads by itself.
    """

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if block.mixer is not None:
            x = x + block.mixer(block.mixer_norm(x), mask, cache)
        return x if block.channel is None else cast(States, block.channel(block.channel_norm(x), mask))


class Recomputed(Wiring):
    """Another wiring whose inner states are not kept for the backward pass but computed again: less memory, more time.

    Chen et al. 2016, https://arxiv.org/abs/1604.06174

    Args:
        wiring: what is computed.
    """

    def __init__(self, wiring: Wiring) -> None:
        super().__init__()
        self.wiring, self.channel_norm = wiring, wiring.channel_norm

    def forward(self, block: Block, x: States, mask: Mask, cache: Cache | None) -> States:
        if cache is not None or not torch.is_grad_enabled():
            return cast(States, self.wiring(block, x, mask, cache))
        return cast(States, checkpoint(self.wiring, block, x, mask, None, use_reentrant=False))

    def reads(self, block: Block, x: States) -> States:
        return self.wiring.reads(block, x)


class Block(Part):
    """One layer: a mixer along the sequence and a channel mixer along the features.

    Args:
        mixer, channel: either may be None (a layer that lost all its heads, or has no feed-forward part).
        mixer_norm, channel_norm: norms; where they stand is the wiring's business. None: no norm.
        wiring: default `PreNorm()`.
    """

    def __init__(
        self,
        mixer: Part | None,
        channel: Part | None = None,
        mixer_norm: Part | None = None,
        channel_norm: Part | None = None,
        wiring: Wiring | None = None,
    ) -> None:
        super().__init__()
        self.mixer, self.channel = mixer, channel
        self.mixer_norm = NoNorm() if mixer_norm is None else mixer_norm
        self.channel_norm = NoNorm() if channel_norm is None else channel_norm
        self.wiring = PreNorm() if wiring is None else wiring

    def forward(self, x: States, mask: AnyMask = None, cache: Cache | None = None) -> States:
        return self.wiring(self, x, Mask.of(mask), cache)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache | None:
        """The mixer's cache, or None where nothing need be remembered."""
        return self.mixer.new_cache(batch, max_len, dtype, device) if isinstance(self.mixer, Mixer) else None


class Stack(Part):
    """Blocks one after another, each free to differ from the next. The same block may stand in several places.

    Args:
        layers: the blocks.
        final_norm: after the last (pre-norm networks need one).
    """

    def __init__(self, layers: Sequence[Part], final_norm: Part | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.final_norm = final_norm

    def forward(
        self,
        x: States,
        mask: AnyMask = None,
        cache: StackCache | None = None,
        start: int = 0,
        stop: int | None = None,
        newest: bool = False,
    ) -> Float[Tensor, "batch kept dim"]:
        """Runs the blocks from `start` on: to the end and through the final norm, or (`stop` given) until before block
        `stop`, whose input it returns without the final norm. So `stack(stack(x, stop=n), start=n) == stack(x)`.

        Args:
            x: states `[B, T, D]`, what block `start` takes.
            mask: passed to every mixer.
            cache: from `new_cache`; remembers all layers, so neither `start` nor `stop` goes with it.
            newest: only the last token's states are asked: a last layer with `reads_newest` may leave out the others'.
        """
        mask = Mask.of(mask).for_pass()
        end = len(self.layers) if stop is None else stop
        if not 0 <= start <= end <= len(self.layers):
            raise UserError(f"a stack of {len(self.layers)} layers has no layers {start} to {end}")
        if cache is not None and (start, stop) != (0, None):
            raise UserError("a cache remembers all layers; run the whole stack with it, or go without")
        time = x.shape[1]
        for i in range(start, end):
            held = None if cache is None else cache.layers[i]
            short = newest and i == len(self.layers) - 1 and getattr(self.layers[i], "reads_newest", False)
            x = self.layers[i](x, mask, held, newest=True) if short else self.layers[i](x, mask, held)
        if cache is not None:
            cache.length += time
        return x if stop is not None or self.final_norm is None else self.final_norm(x)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> StackCache:
        """An empty cache for `batch` rows of at most `max_len` tokens."""
        # Groups of blocks (loops, blocks that share a cache) stand in a stack as blocks do.
        layers = [cast(Block, layer).new_cache(batch, max_len, dtype, device) for layer in self.layers]
        return StackCache(layers, max_len)

    @property
    def causal(self) -> bool:
        """Whether every mixer is causal by itself."""
        mixers = [block.mixer for block in self.modules() if isinstance(block, Block) and block.mixer is not None]
        return bool(mixers) and all(isinstance(m, Mixer) and m.causal == "yes" for m in mixers)


def pattern(
    dim: int,
    layers: Sequence[Mapping[str, Any]],
    norm: str = "rms",
    wiring: Part | None = None,
    eps: float | None = None,
    final_norm: bool | None = None,
) -> Stack:
    """A stack from a pattern: `[{"mixer": Attention(64, 4), "channel": FFN(64, 256), "position": Rope(), "times": 6}]`.

    Each entry gives a mixer and a channel mixer (parts, or None), a position for a mixer that has none, and `times`;
    repeats are fresh parts of the same spec, never shared ones.

    Args:
        dim: width of the states.
        norm: a name of `NORMS`, with `eps` if given.
        wiring: default `PreNorm()`.
        final_norm: whether a norm ends the stack (default: unless the wiring is `PostNorm`).

    Raises:
        UserError: an entry with unknown keys, or a position that its mixer cannot carry.
    """
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)

    def new_norm() -> Part:
        return NORMS[norm](dim) if eps is None else NORMS[norm](dim, eps)

    wiring = PreNorm() if wiring is None else wiring
    blocks: list[Block] = []
    for entry in layers:
        for key in entry:
            if key not in _ENTRY:
                raise unknown("key of a layer pattern", key, _ENTRY)
        for _ in range(entry.get("times", 1)):
            mixer, channel = _fresh(entry.get("mixer")), _fresh(entry.get("channel"))
            position = _fresh(entry.get("position"))
            if isinstance(position, Position):
                mixer = _carry(mixer, position)
            blocks.append(Block(mixer, channel, new_norm(), new_norm(), build(wiring.spec())))  # type: ignore[arg-type]
    ends = not isinstance(wiring, PostNorm) if final_norm is None else final_norm
    return Stack(blocks, new_norm() if ends else None)


_ENTRY = ("mixer", "channel", "position", "times")


WIRINGS: dict[str, Callable[[Callable[[], Part]], Wiring]] = {
    "pre": lambda norm: PreNorm(),
    "post": lambda norm: PostNorm(),
    "parallel": lambda norm: Parallel(),
    "sandwich": lambda norm: Sandwich(norm(), norm()),
    "single": lambda norm: Single(),
    "sas": lambda norm: Shaped(),
    "sas-p": lambda norm: ShapedParallel(),
    "one-skip": lambda norm: OneSkip(),
    "recomputed": lambda norm: Recomputed(PreNorm()),
}
"""Wirings by the names that presets and patterns use; each from what makes its norms."""


def wiring(name: str, norm: Callable[[], Part]) -> Wiring:
    """A wiring by its name in `WIRINGS`. `norm` makes its norms.

    Raises:
        UserError: unknown name.
    """
    if name not in WIRINGS:
        raise unknown("wiring", name, WIRINGS)
    return WIRINGS[name](norm)


def _fresh(part: Any) -> Any:
    return build(part.spec()) if isinstance(part, Part) else part


def _carry(mixer: Any, position: Position) -> Any:
    if not isinstance(mixer, Mixer):
        raise UserError(f"position {type(position).__name__} needs a mixer to carry it; this layer has none")
    return mixer.rebuilt(position=position)
