"""Pyramid-residual mixtures of experts: more experts in later layers, each beside a network that all tokens share.

Rajbhandari et al. 2022, "DeepSpeed-MoE: Advancing Mixture-of-Experts Inference and Training to Power Next-Generation AI
Scale", https://arxiv.org/abs/2201.05596
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveInt

from twofold.catalog import Arm, Claim, Saving, Steps, system
from twofold.errors import UserError, typed
from twofold.parts import FFN, MoE, Part, SharedExpert, presets
from twofold.parts.fitting import check_experts, with_k
from twofold.systems.capacity.moe_lm import MoeLm

_SIZES = {"dim": 64, "length": 128}


@system(
    "deepspeed-moe",
    number=249,
    title="DeepSpeed-MoE: Advancing Mixture-of-Experts Inference and Training to Power Next-Generation AI Scale",
    tasks=("language",),
    source="https://arxiv.org/abs/2201.05596",
    year=2022,
    needs=(
        "a smaller mixture of experts",
        "more experts in later layers",
        "residual experts beside a dense network",
        "faster dispatch of tokens to experts",
    ),
    simplified=(
        "students with fewer layers (mixture of students) and layouts over several devices are left out",
        "under two million weights, thousands of tokens a step",
    ),
)
class DeepspeedMoe(MoeLm):
    """Decoder whose later layers have more experts, each correcting a feed-forward part that all tokens share."""

    by_name: ClassVar[bool] = True

    layers: int = Field(4, ge=1, description="blocks")
    k: int = Field(1, ge=1, description="experts that a token meets beside the shared part")
    every: int = Field(1, ge=1, description="the last of so many layers has experts")
    router: Literal["softmax-topk", "switch", "balanced"] = Field("switch", description="as moe-lm has it")
    pyramid: tuple[PositiveInt, ...] = Field(
        (4, 4, 4, 8), min_length=1, description="experts of each layer that has some; the last number goes on"
    )
    residual: bool = Field(True, description="experts correct a shared feed-forward part of their own width")
    expert_hidden: float = Field(2.0, gt=0, description="width of an expert (and of the shared part), times dim")

    def check(self) -> None:
        if self.experts != MoeLm().experts:  # type: ignore[call-arg]
            raise UserError(
                f"deepspeed-moe: pyramid says how many experts a layer has; give pyramid=[{self.experts}] in place of "
                f"experts={self.experts}"
            )
        super().check()

    def check_room(self) -> None:
        fit = [min(count, self.tokens) for count in self.pyramid]
        fix = f"pyramid={typed(fit)}{with_k(self.k, self.most_k(min(fit)))} or less"
        check_experts(self.id, max(self.counts), self.tokens, 1, fix)
        if self.router == "softmax-topk" and self.k > (fewest := min(self.counts)):
            raise UserError(f"deepspeed-moe: k is {self.k}, and a layer has {fewest} experts; use k={fewest} or less")

    def mixture(self, layer: int) -> Part:
        self.check_room()
        count, hidden = self.counts[layer // self.every], round(self.expert_hidden * self.dim)
        experts = MoE(self.routes(self.dim, count), self.stack(self.dim, hidden, count), self.capacity, self.balance)
        if not self.residual:
            return experts
        return SharedExpert(FFN(self.dim, hidden, bias=False, **presets.CHANNELS[self.channel]), experts)

    @property
    def counts(self) -> list[int]:
        """Experts of each layer that has some.

        Raises:
            UserError: more numbers than there are such layers.
        """
        layers = self.layers // self.every
        if len(self.pyramid) > layers:
            raise UserError(
                f"deepspeed-moe: pyramid names experts for {len(self.pyramid)} layers, and {layers} have some; give as "
                "many or fewer"
            )
        return [*self.pyramid, *[self.pyramid[-1]] * (layers - len(self.pyramid))]

    def small(self) -> Self:
        made = super().small()
        return replace(made, pyramid=self.pyramid[-max(1, made.layers // made.every) :])  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="a pyramid of residual experts predicts text as well as eight experts in every layer, with less than half "
        "of the weights",
        paper="up to 3.7 times fewer weights than standard experts at equal quality (with distilled students)",
        arms=(
            Arm("moe-lm", k=1, every=1, router="switch", **_SIZES),
            Arm("deepspeed-moe", **_SIZES),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=-0.01,
        parity=True,
        saving=Saving("parameters", 0.45),
        budget=Steps(300),
        repeats=5,
        setting={"texts": 100},
        side=(
            Arm("moe-lm", k=2, every=1, expert_hidden=2.0, **_SIZES),
            Arm("deepspeed-moe", residual=False, expert_hidden=4.0, **_SIZES),
            Arm("deepspeed-moe", pyramid=(8,), **_SIZES),
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=12,
    )
