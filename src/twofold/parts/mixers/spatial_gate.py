"""Gates over the sequence by learned matrices, in place of attention.

Liu, Dai, So & Le 2021, "Pay Attention to MLPs" (gMLP), https://arxiv.org/abs/2105.08050; a matrix for each chunk of
features: Yu et al. 2022, "Efficient Language Modeling with Sparse all-MLP", https://arxiv.org/abs/2203.06850
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, KeyValueCache
from twofold.parts.channels.ffn import nonlinearity
from twofold.parts.init import normal
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.norms import LayerNorm


class SpatialGate(Mixer):
    """`down(u * (W norm(v) + b))` with `u, v` the halves of `act(up(x))` and W a causal matrix over positions.

    The features of v are cut in `chunks`, each with a W `[max_len, max_len]` and a b `[max_len]` of its own: fixed
    experts, each for its share of the features. W starts near 0 and b at 1, so that nothing is gated at first.

    Args:
        dim: width of the states.
        hidden: width of u and of v (default: 3 dim).
        max_len: the longest input; W has an entry for every two positions.
        chunks: of v's features, which take W of their own; 1 is gMLP's gate.
        activation: a name of `ACTIVATIONS`.

    Raises:
        UserError: a hidden width that does not divide into chunks of even width.
    """

    causal = "yes"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"gmlp": cls(dim, 24, 48), "chunks": cls(dim, 16, 48, 4)}

    def __init__(
        self, dim: int, hidden: int | None = None, max_len: int = 256, chunks: int = 1, activation: str = "gelu"
    ) -> None:
        super().__init__()
        at_least_one("SpatialGate", dim=dim, hidden=hidden, max_len=max_len, chunks=chunks)
        self.dim, self.max_len, self.chunks = dim, max_len, chunks
        self.hidden = 3 * dim if hidden is None else hidden
        if self.hidden % (2 * chunks):
            raise UserError(
                f"SpatialGate: hidden {self.hidden} does not divide into {chunks} chunks of even width; use "
                f"{max(1, self.hidden // (2 * chunks)) * 2 * chunks}"
            )
        self.act = nonlinearity(activation)
        self.up = Dense(dim, 2 * self.hidden)
        self.norm = LayerNorm(self.hidden)
        self.spatial = nn.Parameter(torch.empty(chunks, max_len, max_len))
        self.bias = nn.Parameter(torch.ones(chunks, max_len))
        self.down = Dense(self.hidden, dim)
        normal(self.spatial, 0.01 / max_len**0.5)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask).made_causal()
        batch, time = x.shape[:2]
        if cache is None:
            queries = keys = mask.places(batch, time, x.device)
        else:
            assert isinstance(cache, KeyValueCache)
            queries, keys = cache.place(batch, time, mask)
        if int(queries.positions.max()) >= self.spatial.shape[1]:
            raise UserError(
                f"SpatialGate has matrices for {self.max_len} positions, and the input is longer; shorten it, or make "
                "the mixer with a larger max_len"
            )
        u, v = self.act(self.up(x)).chunk(2, -1)
        v = self.norm(v).unflatten(-1, (self.chunks, -1)).transpose(1, 2)
        if cache is not None:
            assert isinstance(cache, KeyValueCache)
            v = torch.cat(cache.append(*v.chunk(2, -1)), -1)
        rows, columns = queries.positions.clamp(min=0), keys.positions.clamp(min=0)
        weight = self.spatial[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
        mixed = (weight * mask.dense(queries, keys)) @ v + self.bias[:, rows].transpose(0, 1)[..., None]
        out: Tensor = self.down(u * mixed.transpose(1, 2).flatten(2))
        return out

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> KeyValueCache:
        """Remembers v of every token, half of its features as keys, half as values."""
        like = self.spatial
        half = self.hidden // self.chunks // 2
        return KeyValueCache(batch, self.chunks, max_len, half, dtype or like.dtype, device or like.device)

    def flops(self, time: int) -> int:
        return self.up.flops(time) + self.down.flops(time) + self.hidden * time * time
