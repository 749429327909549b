"""FlexiBERT: encoders whose layers all differ, found by Bayesian optimisation over their computation graphs.

Tuli et al. 2022, "FlexiBERT: Are Current Transformer Architectures too Homogeneous and Rigid?", https://arxiv.org/abs/2205.11656
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from twofold.catalog import Arm, Claim, system
from twofold.tasks.designs import Boshnas, DesignSearch, Proposer
from twofold.tasks.designs.proposers import Floats
from twofold.training.second_order import Ascent, ascend, ascend_by_gradient

CLIMBS: dict[str, Ascent] = {"second-order": ascend, "first-order": ascend_by_gradient}
"""How the bound is climbed."""

_TABLE: dict[str, Any] = {
    "table": 60,
    "layers": (2, 3),
    "dims": (32, 48),
    "hidden": (96, 192),
    "vocab": 300,
    "mask_rate": 0.3,
    "lr": 2e-3,
    "steps": 80,
    "judged": 40,
}


@system(
    "flexibert",
    number=225,
    title="FlexiBERT: Are Current Transformer Architectures too Homogeneous and Rigid?",
    tasks=("represent",),
    source="https://arxiv.org/abs/2205.11656",
    year=2022,
    needs=(
        "find the best architecture for my texts",
        "neural architecture search over encoders",
        "an encoder whose layers differ",
        "attention, Fourier or convolution in which layer",
        "a smaller encoder of the same quality",
    ),
    simplified=(
        "encoders of up to 4 layers and width 128 on documentation, in place of BERT-Tiny to BERT-Large on GLUE",
        "blocks have RMS norms in front and rotary positions in attention; heads are counted in attention alone",
        "a computation graph has one node for all heads of an operation, and none for norms and residuals",
        "one step from coarse designs to fine ones, by changes of the best; no crossover between designs",
        "the claim's table is trained from fresh weights, so its searches do not transfer any",
    ),
)
class Flexibert(DesignSearch):
    """Encoder with operations, widths and feed-forward parts chosen for each layer; its study searches for them."""

    by_name: ClassVar[bool] = True

    data_weight: float = Field(0.5, ge=0, description="weight of the noise in the data in the bound (k1)")
    model_weight: float = Field(0.5, ge=0, description="weight of what the surrogate does not know in the bound (k2)")
    uncertain: float = Field(0.1, ge=0, le=0.5, description="how often the most uncertain design is trained")
    diverse: float = Field(0.1, ge=0, le=0.5, description="how often a design is drawn at random")
    climb: Literal["second-order", "first-order"] = Field(
        "second-order", description="how the bound is climbed: with curvature, or by gradients alone"
    )

    def proposer(self, points: Floats, seed: int) -> Proposer:
        return Boshnas(
            points,
            seed,
            self.data_weight,
            self.model_weight,
            self.uncertain,
            self.diverse,
            CLIMBS[self.climb],
        )

    claim: ClassVar[Claim] = Claim(
        says="Bayesian optimisation with second-order steps on a surrogate finds a design within 1 % of the best "
        "after fewer trained designs than random draws",
        paper="FlexiBERT-Mini: 3 % fewer weights than BERT-Mini and 8.9 % higher GLUE; equal quality at a size 2.6 "
        "times smaller; BOSHNAS needs fewer queries than random search, evolution and other surrogates",
        arms=(Arm("random-search", **_TABLE), Arm("flexibert", **_TABLE)),
        data="pydoc",
        metric="relative_queries",
        direction="lower",
        by=0.2,
        repeats=40,
        task="study",
        side=(
            Arm("evolution-search", starts=20, **_TABLE),
            Arm("gaussian-search", starts=20, **_TABLE),
            Arm("flexibert", starts=20, climb="first-order", **_TABLE),
            Arm("flexibert", starts=20, data_weight=0.0, model_weight=0.0, **_TABLE),
        ),
        minutes=6,
    )
