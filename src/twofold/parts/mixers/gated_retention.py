"""Attention without softmax whose past fades by a gate of the input, so that a state of one size replaces the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, StackCache
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.positions import Rope, width_of_heads
from twofold.parts.scans import decayed, decayed_matrix, decayed_step
from twofold.parts.states import StateCache, document_starts

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""Queries, keys, values, each `[B, T, H, d]`, and logs of the decays `[B, T, H]`."""


class GatedRetention(Mixer):
    """`S_t = γ_t S_{t-1} + k_t v_tᵀ`, `y_t = S_tᵀ q_t`, with a decay of the input for each head.

    Sun et al. 2024 (YOCO), §3.1, https://arxiv.org/abs/2405.05254, after Sun et al. 2023 (retention),
    https://arxiv.org/abs/2307.08621: `γ_t = σ(w_γ · x_t)^(1/τ)`, rotary positions on queries and keys, and
    `W_out(SiLU(W_gate x) · norm(y))` with an RMS norm of each head that has no gain. As products of chunks in long
    inputs, as a recurrence in single steps; `implicit` is its parallel form. Padding neither fades nor enters.

    Args:
        dim: width of the states.
        heads: each with a state `[dim / heads, dim / heads]`.
        temperature: τ; the larger it is, the longer the past lasts.
        chunk: positions that are mixed by one matrix; changes speed only.

    Raises:
        UserError: a width that does not divide into heads of an even size, or a temperature of zero or less.
    """

    causal = "yes"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, 4), "chunks": cls(dim, 2, temperature=2.0, chunk=4)}

    def __init__(self, dim: int, heads: int, temperature: float = 16.0, chunk: int = 64) -> None:
        super().__init__()
        at_least_one("GatedRetention", dim=dim, heads=heads, chunk=chunk)
        if not 0 < temperature < math.inf:
            raise UserError(
                f"GatedRetention: temperature is {temperature}; use a number above 0, such as temperature=16"
            )
        self.position = Rope()
        self.dim, self.heads = dim, heads
        self.head_dim = width_of_heads("GatedRetention", dim, heads, self.position)
        self.temperature, self.chunk = temperature, chunk
        self.query, self.key, self.value, self.gate, self.out = (Dense(dim, dim, bias=False) for _ in range(5))
        self.decay = Dense(dim, heads, bias=False)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask)
        memory = None if cache is None else self._memory(cache, len(x))
        q, k, v, log = self.routing(x, mask, cache)
        starts = document_starts(mask, memory, len(x))
        state = None if memory is None else memory.read(v.dtype)
        if x.shape[1] == 1 and state is not None and starts is None:
            y, last = decayed_step(v[:, 0], log[:, 0], k[:, 0], q[:, 0], state)
            y = y[:, None]
        else:
            y, last = decayed(v, log, k, q, state, starts, self.chunk)
        if memory is not None:
            given = (k, v, log) if starts is None else (k, v, log, starts)
            memory.advance(last, x.shape[1], mask.segment_ids, self._replay, given)
            cast(StackCache, cache).length += x.shape[1]
        normed = F.rms_norm(y, (self.head_dim,), eps=1e-5).flatten(2).to(x.dtype)
        return self.out(F.silu(self.gate(x)) * normed)

    def routing(self, x: Tensor, mask: Mask, cache: Cache | None = None) -> Inputs:
        """What is mixed, in float32 or finer."""
        batch, time = x.shape[:2]
        if isinstance(cache, StackCache):
            places, _ = cache.ledger.place(cache.length, batch, time, mask, x.device)
        else:
            places = mask.places(batch, time, x.device)
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.query, self.key, self.value))
        turned = self.position.rotate(q.transpose(1, 2), k.transpose(1, 2), places.positions, places.positions)
        fine = torch.promote_types(x.dtype, torch.float32)
        q, k = (t.transpose(1, 2).to(fine) for t in turned)
        k, v = k * self.head_dim**-0.5, v.to(fine)
        log = F.logsigmoid(self.decay(x).to(fine)) / self.temperature
        if mask.pad is not None:
            real = mask.pad[..., None].to(fine)
            v, log = v * real[..., None], log * real
        return q, k, v, log

    def _replay(self, state: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        k, v, log, *starts = inputs
        return decayed(v, log, k, torch.zeros_like(k), state, starts[0] if starts else None, self.chunk)[1]

    def _memory(self, cache: Cache, rows: int) -> StateCache:
        if not isinstance(cache, StackCache) or not isinstance(cache.layers[0], StateCache):
            raise UserError(f"GatedRetention needs the cache that its new_cache makes, not {type(cache).__name__}")
        cache.layers[0].check(rows)
        return cache.layers[0]

    def implicit(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        """The parallel form: `Q Kᵀ ⊙ D`, by which values are mixed, `D_ij = γ_{j+1} ⋯ γ_i` and zero above it."""
        mask = Mask.of(mask)
        q, k, _, log = self.routing(x, mask)
        return decayed_matrix(log, k, q, document_starts(mask, None, len(x)))

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        where = self.like().device if device is None else torch.device(device)
        fine = torch.promote_types(dtype or self.like().dtype, torch.float32)
        state = torch.zeros(batch, self.heads, self.head_dim, self.head_dim, dtype=fine, device=where)
        return StackCache([StateCache(state)], max_len)

    def flops(self, time: int) -> int:
        maps = sum(part.flops(time) for part in (self.query, self.key, self.value, self.gate, self.out, self.decay))
        inside = 4 * time * min(self.chunk, time) * self.dim
        return maps + inside + 4 * time * self.dim * self.head_dim
