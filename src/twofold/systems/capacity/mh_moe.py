"""Mixtures of experts that route parts of tokens.

Huang et al. 2024, "MH-MoE: Multi-Head Mixture-of-Experts", https://arxiv.org/abs/2411.16205
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.parts import FFN, ChannelMixer, MoE, MultiHead, Part, SharedExpert, presets
from twofold.parts.fitting import check_experts, with_k
from twofold.systems.capacity.moe_lm import MoeLm


@dataclass(frozen=True)
class Parity:
    """Experts on sub-tokens that cost what experts on whole tokens do.

    Args:
        hidden: width of one.
        experts: how many.
        flops, parameters: how far rounding leaves them from the mixture that they are to equal, as a share of it
            (feed-forward parts and head maps; routers apart).
    """

    hidden: int
    experts: int
    flops: float
    parameters: float


def moe_parity(dim: int, heads: int, k: int, experts: int, hidden: int, maps: int = 2) -> Parity:
    """Sizes of gated experts on `heads` sub-tokens, equal in operations and weights to those on whole tokens.

    With k experts a sub-token: `3 D m' k + maps · D² = 3 D m k`, and `3 (D / h) m' E' + maps · D² = 3 D m E`
    (with head and merge map: maps = 2).

    Args:
        dim: width of a token.
        heads: sub-tokens of a token.
        k, experts, hidden: of the mixture on whole tokens; as many experts a sub-token are taken.
        maps: D × D maps around the experts, 0 to 2.

    Raises:
        UserError: widths that do not divide, or experts too narrow to pay for the maps.
    """
    if dim % heads:
        raise UserError(
            f"mh-moe: dim={dim} does not divide into {heads} heads of tokens; use dim={-(-dim // heads) * heads}"
        )
    own = hidden * k - maps * dim / 3
    if round(own / k) < 1:
        least = int(maps * dim / (3 * k)) + 1
        raise UserError(
            f"mh-moe: experts of width {hidden} cost less than the maps around them; the smallest width that works is "
            f"{least}"
        )
    narrow = round(own / k)
    many = max(1, round(heads * (hidden * experts - maps * dim / 3) / narrow))
    flops = (3 * dim * narrow * k + maps * dim**2) / (3 * dim * hidden * k) - 1
    weights = (3 * (dim // heads) * narrow * many + maps * dim**2) / (3 * dim * hidden * experts) - 1
    return Parity(narrow, many, flops, weights)


@system(
    "mh-moe",
    number=243,
    title="MH-MoE: Multi-Head Mixture-of-Experts",
    tasks=("language",),
    source="https://arxiv.org/abs/2411.16205",
    year=2024,
    needs=(
        "experts for parts of tokens",
        "better mixture of experts at equal cost",
        "multi-head mixture of experts",
        "experts with ternary weights",
    ),
    simplified=(
        "under a million weights on documentation in place of 768-wide models on RedPajama",
        "rotary positions and bytes or a small learned vocabulary",
    ),
)
class MhMoe(MoeLm):
    """Decoder whose experts get heads of tokens, at the operations and weights of experts on whole tokens."""

    by_name: ClassVar[bool] = True

    channel: Literal["swiglu", "geglu"] = Field("swiglu", description="experts; the sums are for gated ones")
    position: Literal["rope", "sinusoid", "alibi", "t5", "none"] = Field("rope", description="how places are known")
    token_heads: int = Field(2, ge=1, description="sub-tokens of a token")
    experts: int = Field(8, ge=1, description="of the mixture on whole tokens that it is as large as")
    k: int = Field(1, ge=1, description="experts of a sub-token, and of a token of that mixture")
    expert_hidden: float = Field(3.0, gt=0, description="width of that mixture's experts as a multiple of dim")
    router: Literal["softmax-topk", "switch", "balanced"] = Field("switch", description="as moe-lm has it")
    head_map: bool = Field(True, description="a linear map comes before tokens are split")
    merge_map: bool = Field(True, description="a linear map comes after they are joined")
    shared: float = Field(0.0, ge=0, description="width of a network that all tokens share, as a multiple of dim")

    @property
    def sizes(self) -> Parity:
        """Width and number of the experts on sub-tokens."""
        hidden = round(self.expert_hidden * self.dim)
        return moe_parity(
            self.dim, self.token_heads, self.k, self.experts, hidden, int(self.head_map) + int(self.merge_map)
        )

    def check_room(self) -> None:
        def count(experts: int, k: int) -> int:
            return replace(self, experts=experts, k=k).sizes.experts  # type: ignore[call-arg]

        room = self.tokens * self.token_heads
        needed = count(self.experts, min(self.k, self.most_k(self.k)))
        if needed <= room:
            return
        k = min(self.k, self.most_k(room))
        while True:  # with a smaller k, more experts are as large
            most = max(1, bisect_right(range(1, min(self.experts, 2**31) + 1), room, key=partial(count, k=k)))
            if k <= (held := count(most, k)):
                break
            k = held
        fix = f"experts={most}{with_k(self.k, k)} or less"
        check_experts(f"{self.id} with experts={self.experts}", needed, self.tokens, self.token_heads, fix)

    def mixture(self, layer: int) -> Part:
        self.check_room()
        sizes, dim = self.sizes, self.dim // self.token_heads
        inner = MoE(
            self.routes(dim, sizes.experts),
            self.stack(dim, sizes.hidden, sizes.experts),
            self.capacity,
            self.balance,
        )
        made: ChannelMixer = MultiHead(inner, self.token_heads, self.head_map, self.merge_map)
        if not self.shared:
            return made
        dense = FFN(self.dim, round(self.shared * self.dim), bias=False, **presets.CHANNELS[self.channel])
        return SharedExpert(dense, made)

    claim: ClassVar[Claim] = Claim(
        says="experts on halves of tokens predict text better than twice as many experts of half the width on whole "
        "tokens, at equal operations and weights",
        paper="lower perplexity than plain and fine-grained mixtures at equal FLOPs and parameters, also with 1-bit "
        "weights (RedPajama)",
        arms=(
            Arm(
                "moe-lm",
                dim=64,
                length=128,
                channel="swiglu",
                position="rope",
                experts=16,
                expert_hidden=1.5,
                tokenizer="bpe",
                vocab=1024,
            ),
            Arm("mh-moe", dim=64, length=128, tokenizer="bpe", vocab=1024),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.005,
        budget=Steps(300),
        repeats=5,
        setting={"texts": 100},
        side=(
            Arm("decoder", dim=64, length=128, tokenizer="bpe", vocab=1024),
            Arm("mh-moe", dim=64, length=128, merge_map=False, tokenizer="bpe", vocab=1024),
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=4,
    )
