"""A slow copy of a network, and a queue of what it made of earlier batches: many negatives for small batches.

He et al. 2020, https://arxiv.org/abs/1911.05722; for pairs Li et al. 2021, https://arxiv.org/abs/2107.07651
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part


class Ema(Part):
    """A part whose weights are an exponential moving average of another's; no gradient reaches them.

    Args:
        net: the copy.
    """

    def __init__(self, net: Part) -> None:
        super().__init__()
        self.net = net.requires_grad_(False)

    @classmethod
    def of(cls, source: Part) -> Ema:
        """One that begins as `source` is."""
        return cls(copy.deepcopy(source))

    @torch.no_grad()
    def follow(self, source: nn.Module, keep: float) -> None:
        """`own = keep · own + (1 − keep) · source`, for every weight by its name; `source` may have more.

        Raises:
            UserError: `source` lacks one, or `keep` is not between 0 and 1.
        """
        if not 0 <= keep <= 1:
            raise UserError(f"momentum is {keep}; it is a share, between 0 and 1")
        known = dict(source.named_parameters())
        for name, own in self.net.named_parameters():
            if name not in known:
                raise UserError(f"the network that is followed has no weight {name}; give the one that was copied")
            own.lerp_(known[name], 1 - keep)

    @torch.no_grad()
    def forward(self, ids: Tensor, real: Tensor | None = None) -> Tensor:
        """What the copy makes of its input."""
        made: Tensor = self.net(ids, real)
        return made


class PairQueue(Part):
    """The vectors of the latest `size` pairs, the oldest dropped first.

    Args:
        size: pairs.
        dim: width of the vectors.
    """

    queries: Tensor
    documents: Tensor
    ids: Tensor
    pushed: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        at_least_one("PairQueue", size=size, dim=dim)
        self.size = size
        self.register_buffer("queries", torch.zeros(size, dim))
        self.register_buffer("documents", torch.zeros(size, dim))
        self.register_buffer("ids", torch.full((size,), -1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        return min(self.size, int(self.pushed))

    @torch.no_grad()
    def push(
        self,
        queries: Float[Tensor, "batch dim"],
        documents: Float[Tensor, "batch dim"],
        ids: Int[Tensor, "batch"],
    ) -> None:
        """Takes pairs in; of more than fit, the last ones."""
        start, count = int(self.pushed), len(ids)
        kept = slice(max(0, count - self.size), count)
        place = torch.arange(start, start + count, device=self.ids.device)[kept] % self.size
        self.queries[place] = queries[kept].to(self.queries)
        self.documents[place] = documents[kept].to(self.documents)
        self.ids[place] = ids[kept]
        self.pushed += count

    def held(self) -> tuple[Float[Tensor, "held dim"], Float[Tensor, "held dim"], Int[Tensor, "held"]]:
        """Queries, documents and ids of the pairs that are in it."""
        count = len(self)
        return self.queries[:count].clone(), self.documents[:count].clone(), self.ids[:count].clone()


class Momentum(Part):
    """What contrast with a queue needs while it is trained: the slow encoder, the queue, and a learned temperature.

    Args:
        encoder: an `Ema` of the encoder.
        queue: of what it made.
        start: the temperature at the beginning.
    """

    RANGE = (0.001, 0.5)

    def __init__(self, encoder: Part, queue: Part, start: float = 0.07) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.queue: Any = queue
        self.scale = nn.Parameter(torch.tensor(float(start)))

    @property
    def temperature(self) -> Float[Tensor, ""]:
        """What similarities are divided by."""
        return self.scale.clamp(*self.RANGE)
