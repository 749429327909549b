"""Mixtures of experts as channel mixers: plain, beside a dense network, and on the heads of tokens."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.auxiliary import add_aux
from twofold.parts.channels.ffn import ChannelMixer
from twofold.parts.experts import Experts, capacity_of
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.part import Part
from twofold.parts.routing import Router, balance_loss, z_loss


class MoE(ChannelMixer):
    """Sends each token to a few experts and adds up their weighted answers. Padding is neither routed nor counted.

    While training, an expert may have a capacity, beyond which tokens are left out (their answer is zero); then what
    becomes of a token depends on its batch. Outside of training there is no limit.

    Args:
        router: chooses experts.
        experts: what they are.
        capacity: while training, an expert takes at most capacity · k · tokens / experts; None: no limit.
        balance: weight of the balance loss that is added (see `balance_loss`).
        z: weight of the z-loss that is added.

    Raises:
        UserError: router and experts that do not belong together.
    """

    def __init__(
        self, router: Router, experts: Experts, capacity: float | None = None, balance: float = 0.01, z: float = 0.0
    ) -> None:
        super().__init__()
        if (router.experts, router.dim) != (experts.count, experts.dim):
            raise UserError(
                f"MoE: the router chooses among {router.experts} experts of width {router.dim}, and there are "
                f"{experts.count} of width {experts.dim}"
            )
        if capacity is not None and not capacity > 0:
            raise UserError(f"MoE: capacity is {capacity}; it must be above 0, or None for no limit")
        self.dim = experts.dim
        self.router, self.experts = router, experts
        self.capacity, self.balance, self.z = capacity, balance, z

    def forward(self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None) -> Float[Tensor, "batch time dim"]:
        pad = Mask.of(mask).pad
        if pad is None:
            return self.routed(x.flatten(0, -2)).view_as(x)
        real = pad.flatten().nonzero()[:, 0]
        rows = x.flatten(0, -2)
        return rows.new_zeros(rows.shape).index_copy(0, real, self.routed(rows[real])).view_as(x)

    def routed(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        """The answers for real tokens; adds the auxiliary losses."""
        if not len(rows):
            return rows
        routing = self.router(rows)
        if self.training and self.balance:
            add_aux("balance", self.balance * balance_loss(routing))
        if self.training and self.z:
            add_aux("router z", self.z * z_loss(routing))
        limit = None
        if self.training and self.capacity is not None:
            limit = capacity_of(self.capacity, self.router.k, len(rows), self.experts.count)
        return self.experts(rows, routing, limit)

    def flops(self, time: int) -> int:
        return self.router.flops(time) + self.router.k * self.experts.flops(time)

    @property
    def idle_parameters(self) -> int:
        """Weights of the experts that a token does not meet."""
        own = sum(p.numel() for p in self.experts.parameters())
        return own * (self.experts.count - self.router.k) // self.experts.count


class SharedExpert(ChannelMixer):
    """A dense network that every token meets, plus experts: `dense(x) + moe(x)`.

    Rajbhandari et al. 2022 (residual experts), https://arxiv.org/abs/2201.05596

    Args:
        dense: the network that all share.
        moe: the experts.
    """

    def __init__(self, dense: ChannelMixer, moe: ChannelMixer) -> None:
        super().__init__()
        if dense.dim != moe.dim:
            raise UserError(f"SharedExpert: widths {dense.dim} and {moe.dim} differ; make them equal")
        self.dim = dense.dim
        self.dense, self.moe = dense, moe

    def forward(self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None) -> Float[Tensor, "batch time dim"]:
        out: Tensor = self.dense(x, mask) + self.moe(x, mask)
        return out

    def flops(self, time: int) -> int:
        return self.dense.flops(time) + self.moe.flops(time)


class MultiHead(ChannelMixer):
    """A channel mixer on sub-tokens: `merge(inner(split(head(x))))`, each token cut in heads that go their own ways.

    Huang et al. 2024, https://arxiv.org/abs/2411.16205

    Args:
        inner: works on sub-tokens of width dim / heads.
        heads: sub-tokens of a token.
        head: a linear map comes before the split; `merge`: one comes after the heads are joined.
    """

    def __init__(self, inner: ChannelMixer, heads: int, head: bool = True, merge: bool = True) -> None:
        super().__init__()
        if heads < 1:
            raise UserError(f"MultiHead: {heads} heads; there must be at least 1")
        self.inner, self.heads = inner, heads
        self.dim = inner.dim * heads
        self.to_heads: Part | None = Dense(self.dim, self.dim, bias=False) if head else None
        self.from_heads: Part | None = Dense(self.dim, self.dim, bias=False) if merge else None

    def forward(self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None) -> Float[Tensor, "batch time dim"]:
        pad = Mask.of(mask).pad
        own = None if pad is None else pad.repeat_interleave(self.heads, 1)
        x = x if self.to_heads is None else self.to_heads(x)
        sub = x.unflatten(-1, (self.heads, self.inner.dim)).flatten(1, 2)
        joined: Tensor = self.inner(sub, own).unflatten(1, (-1, self.heads)).flatten(2)
        return joined if self.from_heads is None else self.from_heads(joined)

    def flops(self, time: int) -> int:
        maps = (self.to_heads is not None) + (self.from_heads is not None)
        return 2 * maps * time * self.dim**2 + self.inner.flops(time * self.heads)

    @property
    def idle_parameters(self) -> int:
        """Below zero: what the inner mixture counts as idle for one sub-token, the token's others may meet."""
        idle = int(getattr(self.inner, "idle_parameters", 0))
        if not isinstance(self.inner, MoE):
            return 0
        met = self.inner.router.k * idle // max(1, self.inner.experts.count - self.inner.router.k)
        return -min(idle, (self.heads - 1) * met)
