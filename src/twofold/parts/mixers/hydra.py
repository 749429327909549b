"""Two-way state-space mixing by a quasiseparable matrix."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.centred_conv import CentredConv
from twofold.parts.mixers.mamba import Inputs, heads_of, step_sizes
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.norms import GatedRMSNorm
from twofold.parts.scans import ssd, ssd_matrix
from twofold.parts.states import document_starts, flip, shift


class Hydra(Mixer):
    """`shift(SS(x)) + flip(shift(SS(flip x))) + diag · x`. Hwang et al. 2024, https://arxiv.org/abs/2407.09941

    A block as `SSD`, with a convolution to both sides. The two scans share input map, convolution and rates of decay,
    and have step sizes, b and c of their own; the diagonal is read from x.

    Args:
        dim: width of the states.
        expand: inner width / dim.
        state: height of a head's state (N), in each direction.
        head_dim: its width (P).
        groups: heads of one group share b and c.
        kernel: of the convolution, odd.
        chunk: positions that are mixed by one matrix; changes speed only.

    Raises:
        UserError: sizes that do not go together, or on use: a mask of more than padding and documents.
    """

    causal = "no"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {
            "plain": cls(dim, state=6, head_dim=8),
            "chunks": cls(dim, expand=1, state=4, head_dim=4, groups=2, kernel=3, chunk=4),
        }

    def __init__(
        self,
        dim: int,
        expand: int = 2,
        state: int = 64,
        head_dim: int = 64,
        groups: int = 1,
        kernel: int = 7,
        chunk: int = 64,
    ) -> None:
        super().__init__()
        at_least_one("Hydra", dim=dim, expand=expand, state=state, head_dim=head_dim, groups=groups, chunk=chunk)
        self.dim, self.inner, self.state, self.groups, self.chunk = dim, expand * dim, state, groups, chunk
        self.heads, self.head_dim = heads_of("Hydra", self.inner, head_dim, groups), head_dim
        self.mixed = self.inner + 4 * groups * state
        self.enter_map = Dense(dim, self.inner + self.mixed + 2 * self.heads, bias=False)
        self.conv = CentredConv(self.mixed, kernel)
        self.dt_bias = nn.Parameter(step_sizes(self.heads))
        self.log_a = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.diagonal = Dense(self.inner, self.heads, bias=False)
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = GatedRMSNorm(self.inner, 1e-5)
        self.out = Dense(self.inner, dim, bias=False)

    @property
    def a(self) -> Float[Tensor, "heads"]:
        """Rates of decay, all negative."""
        return -torch.exp(self.log_a)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        if cache is not None:
            raise UserError("Hydra needs the whole sequence at once; use SSD to go step by step")
        z, forward, backward, diagonal, begins, ends = self.routing(x, mask)
        u, back = forward[0], backward[0]
        # Both directions in one pass, a row each.
        both: list[Tensor] = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]
        starts = None if begins is None or ends is None else torch.cat((begins, ends))
        mixed, _ = ssd(both[0], both[1], self.a.to(u.dtype), both[2], both[3], None, starts, self.chunk)
        y = shift(mixed[: len(u)], begins) + flip(shift(mixed[len(back) :], ends)) + diagonal[..., None] * u
        return self.out(self.norm(y.flatten(2).to(x.dtype), z))

    def routing(
        self, x: Tensor, mask: AnyMask = None
    ) -> tuple[Tensor, Inputs, Inputs, Tensor, Tensor | None, Tensor | None]:
        """The gate; what the scans forward and (from the end) backward are given; the diagonal `[B, T, H]`; and where
        packed documents begin for each scan."""
        mask = Mask.of(mask).two_way("Hydra", "mixer SSD for causal models")
        size = self.groups * self.state
        z, mixed, dt = self.enter_map(x).split((self.inner, self.mixed, 2 * self.heads), -1)
        u, *projected = F.silu(self.conv(mixed, mask)).split((self.inner, size, size, size, size), -1)
        fine = torch.promote_types(x.dtype, torch.float32)
        diagonal = self.diagonal(u).to(fine) + self.skip.to(fine)
        dt = F.softplus(dt.to(fine).unflatten(-1, (2, self.heads)) + self.dt_bias.to(fine))
        if mask.pad is not None:
            dt = dt * mask.pad[..., None, None].to(fine)
        u = u.to(fine).unflatten(-1, (self.heads, self.head_dim))
        b, c, b2, c2 = (t.to(fine).unflatten(-1, (self.groups, self.state)) for t in projected)
        begins, ends = document_starts(mask, None, len(x)), None
        if mask.segment_ids is not None:
            ends = document_starts(Mask.segments(flip(mask.segment_ids)), None, len(x))
        backward = (flip(u), flip(dt[:, :, 1]), flip(b2), flip(c2))
        return z, (u, dt[:, :, 0], b, c), backward, diagonal, begins, ends

    def implicit(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        """The quasiseparable matrix that mixes the (convolved) values: every block that lies strictly below or strictly
        above the diagonal has rank N at most, and the diagonal is free."""
        _, (_, dt, b, c), (_, dt2, b2, c2), diagonal, begins, ends = self.routing(x, mask)
        a = self.a.to(dt.dtype)

        def shifted(matrix: Tensor, starts: Tensor | None) -> Tensor:
            return shift(matrix.transpose(1, 2), starts).transpose(1, 2)

        below = shifted(ssd_matrix(dt, a, b, c, begins), begins)
        above = shifted(ssd_matrix(dt2, a, b2, c2, ends), ends).flip(-1, -2)
        return below + above + torch.diag_embed(diagonal.transpose(1, 2))

    def flops(self, time: int) -> int:
        size = min(self.chunk, time)
        inside = 2 * time * size * (self.groups * self.state + self.inner)
        between = 4 * time * self.inner * self.state
        maps = self.enter_map.flops(time) + self.out.flops(time) + self.diagonal.flops(time)
        return maps + self.conv.flops(time) + 2 * (inside + between)
