"""One network for several dense predictions, whose size and priorities are chosen when it is used.

Aich et al. 2023, "Efficient Controllable Multi-Task Architectures", https://arxiv.org/abs/2308.11744
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.objectives.distillation import mse
from twofold.parts import SlimNetwork, Widening
from twofold.systems.baselines.slimmable import SlimSystem
from twofold.tasks import Change, Model
from twofold.tasks.segment import SegmentModel, fitting
from twofold.tasks.segment.data import Targets

_CALIBRATED = 64  # images on which widths are judged


@system(
    "ecmt",
    number=215,
    title="Efficient Controllable Multi-Task Architectures",
    tasks=("segment",),
    source="https://arxiv.org/abs/2308.11744",
    year=2023,
    needs=(
        "one network for segmentation, depth and edges",
        "choose the compute and the most important task when a model is used",
        "shrink a segmentation model to a budget of operations",
    ),
    simplified=(
        "a small residual network in place of the paper's backbones; its set of widths is 0.4, 0.6, 0.8 and 1.0",
        "decoders may spend the same share as the whole; the encoder's widths are found greedily, not by evolution",
    ),
)
class Ecmt(SlimSystem, Change):
    """Multi-task network of many widths with the same features at each; applied to one, cuts it to a budget."""

    invariance: float = Field(
        1.0, gt=0, description="weight of the distance between features at a narrow configuration and at full width"
    )
    budget: float | None = Field(
        None, gt=0, le=1, description="applying: the share of the full network's operations that may be spent"
    )
    preference: dict[str, NonNegativeFloat] | None = Field(
        None, description="applying: how much each target matters, such as depth=0.3; all alike where none is said"
    )

    def network(self, shape: tuple[int, int, int], targets: Targets) -> SlimNetwork:
        net = super().network(shape, targets)
        net.widening = Widening([own[-1] for own in net.encoder.sizes])
        return net

    def narrow(self, net: SlimNetwork, loss: Loss, features: list[Tensor], full: list[Tensor]) -> Loss:
        """Configuration-invariant distillation: every stage's features, mapped to full width, are to be those there."""
        assert net.widening is not None
        apart = [mse(own, wanted).value for own, wanted in zip(net.widening(features), full, strict=True)]
        return Loss(loss.value + self.invariance * torch.stack(apart).mean(), loss.figures)

    def finish(self, model: Model) -> None:
        assert isinstance(model.net, SlimNetwork)
        model.net.widening = None

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A plain smaller model within the budget, out of one of many widths.

        Args:
            model: one that ecmt or slimmable trained.
            rows: labelled images, of which the first 64 are looked at to choose widths.
            seed: not used.

        Raises:
            UserError: another model, no budget or one that is too small, or an unknown target.
        """
        if not isinstance(model, SegmentModel):
            raise UserError(f"ecmt cuts models for segment, and {model.name} is for {model.task}")
        if self.budget is None:
            raise UserError("ecmt: say how much may be spent, as a share of the full network: --set budget=0.5")
        batch = fitting(rows.take(range(min(_CALIBRATED, len(rows)))), model.shape, model.targets)
        made = model.configure(self.budget, self.preference, data=batch)
        report: dict[str, Any] = made.history.pop()["report"]
        return made.remember(self.id, self.options(), report)

    claim: ClassVar[Claim] = Claim(
        says="a slimmable network for segmentation, depth and edges that learns the same features at every width is "
        "better than one that does not, at half the compute with searched widths",
        paper="33.5 % higher controllability on NYUD-v2 than earlier methods, at much less compute",
        arms=(Arm("slimmable"), Arm("ecmt")),
        data="scenes",
        metric="relative_score",
        by=0.01,
        budget=Steps(300),
        repeats=5,
        setting={"compute": 0.5, "relative": "single-task", "relative_steps": 300},
        tune={"lr": (1e-2, 2e-2), "invariance": (0.1, 1.0, 10.0)},
        minutes=15,
    )
