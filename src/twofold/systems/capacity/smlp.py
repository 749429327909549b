"""A language model without attention, half of whose layers are experts: for tokens, and for features over positions.

Yu, Artetxe, Ott, Shleifer, Gong, Stoyanov & Li 2022, "Efficient Language Modeling with Sparse all-MLP",
https://arxiv.org/abs/2203.06850
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.systems.baselines.gmlp import Gmlp

_SIZES: dict[str, Any] = {"dim": 96, "length": 64, "batch": 8, "tokenizer": "bpe", "vocab": 1024}


@system(
    "smlp",
    number=172,
    title="Efficient Language Modeling with Sparse all-MLP",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2203.06850",
    year=2022,
    needs=(
        "a sparse language model without attention",
        "experts for tokens and for features",
        "all-MLP with mixture of experts",
    ),
    simplified=(
        "features are routed by the fixed rule (chunk i to expert i); routing by the first fifth of a text is left out",
        "texts of 64 pieces and under a million weights, no zero-shot tasks",
        "in a sparse layer the gate comes first and the experts for tokens behind it, each with a residual of its own",
    ),
)
class Smlp(Gmlp):
    """Language model of spatial gates; every second layer has experts for tokens and for chunks of features."""

    experts: int = Field(4, ge=1, description="experts for tokens, and chunks of features with a matrix each")
    every: int = Field(2, ge=1, description="the last of so many layers is sparse")
    sparse_hidden: float = Field(1.5, gt=0, description="width inside a sparse layer's gate as a multiple of dim")
    expert_hidden: float = Field(2.5, gt=0, description="width of an expert for tokens as a multiple of dim")
    router: Literal["balanced", "switch"] = Field(
        "balanced", description="of tokens: equal shares while training, or the best expert by its probability"
    )
    token_experts: bool = Field(True, description="sparse layers have experts for tokens (else one dense network)")
    feature_experts: bool = Field(True, description="sparse layers have a matrix for each chunk (else one for all)")

    def layer(self, number: int) -> dict[str, Any]:
        if (number + 1) % self.every:
            return super().layer(number)
        hidden = round(self.expert_hidden * self.dim)
        count = self.experts if self.token_experts else 1
        return {
            "mixer": self.gate(self.sparse_hidden, self.experts if self.feature_experts else 1),
            "channel": {
                "kind": "moe",
                "router": {"kind": self.router, "experts": count},
                "experts": {"kind": "experts", "count": count, "hidden": hidden},
                "balance": 0.01 if self.router == "switch" else 0.0,
            },
        }

    claim: ClassVar[Claim] = Claim(
        says="with experts for tokens and for features in every second layer, a language model of gates predicts text "
        "better at the same operations",
        paper="up to twice the training efficiency of mixture-of-experts Transformers and of dense all-MLPs",
        arms=(Arm("gmlp", **_SIZES), Arm("smlp", **_SIZES)),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.02,
        budget=Steps(400),
        repeats=3,
        setting={"texts": 100},
        side=(
            Arm("smlp", feature_experts=False, **_SIZES),
            Arm("decoder", **_SIZES),
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=10,
    )
