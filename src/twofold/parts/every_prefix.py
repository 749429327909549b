"""Next-token prediction by an encoder: every prefix is read afresh, in both directions.

Ewer, Chae, Zeng, Kim & Lee 2024, "ENTP: Encoder-only Next Token Prediction", https://arxiv.org/abs/2410.01600
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.caches import StackCache
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.model import SequenceModel

_ROWS = 512  # prefixes that are read at a time


class EveryPrefix(SequenceModel):
    """A network whose states at a token, under a causal mask, are those of an encoder that has read the prefix up to it
    and nothing else: O(T³) for T tokens. Without a causal mask it is the encoder itself."""

    recomputes: ClassVar[bool] = True

    def states(
        self,
        ids: Int[Tensor, "batch time"],
        mask: AnyMask = None,
        cache: StackCache | None = None,
        stop: int | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask)
        if cache is not None:
            raise UserError("this network recomputes each prefix; there is no cache, so go without one")
        if not mask.is_causal or stop is not None:
            return super().states(ids, mask, None, stop, types)
        return self.at(ids, mask, torch.ones_like(ids, dtype=torch.bool)).unflatten(0, ids.shape)

    def at(
        self, ids: Int[Tensor, "batch time"], mask: Mask, where: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "prefixes dim"]:
        """States at the tokens that are asked for, row by row: each the last of its own prefix, which is what the mask
        lets the token see. Prefixes of like length are read together."""
        places = mask.places(ids.shape[0], ids.shape[1], ids.device)
        seen = mask.dense(places, places)[:, 0].expand(len(ids), -1, -1)
        rows, ends = where.nonzero(as_tuple=True)
        order = ends.argsort(stable=True)
        found = []
        for group in order.split(_ROWS):
            row, end = rows[group], ends[group]
            width = int(end.max()) + 1
            states = super().states(ids[row, :width], Mask.padding(seen[row, end, :width]))
            found.append(states[torch.arange(len(group), device=ids.device), end])
        out: Tensor = torch.cat(found)[order.argsort()]
        return out

    def newest(
        self, ids: Int[Tensor, "batch time"], mask: AnyMask = None, cache: StackCache | None = None
    ) -> Float[Tensor, "batch dim"]:
        if cache is not None:
            return super().newest(ids, mask, cache)
        last = torch.zeros_like(ids, dtype=torch.bool)
        last[:, -1] = True
        return self.at(ids, Mask.of(mask).made_causal(), last)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> StackCache:
        raise UserError("this network recomputes each prefix; there is no cache, so generate with cached=False")
