"""laughing-hyena: long convolutions distilled into recurrences, so that memory stays constant while text grows.

Massaroli et al. 2023, "Laughing Hyena Distillery: Extracting Compact Recurrences From Convolutions",
https://arxiv.org/abs/2310.18780. The mixer: `twofold.parts.Hyena`; the fit: `twofold.surgery.modal`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field

from twofold import progress
from twofold.catalog import Arm, Claim, Saving, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Hyena, ModalFilter, Part, Pattern
from twofold.parts.fitting import check_stretch
from twofold.surgery.modal import METHODS, Modes, hankel_order, most_order, relative_error
from twofold.tasks import Model
from twofold.tasks.sequences import SequenceSystem
from twofold.tasks.system import Change

_SHAPE: dict[str, Any] = {"dim": 64, "layers": 2, "batch": 8, "length": 256}


@system(
    "laughing-hyena",
    number=157,
    title="Laughing Hyena Distillery: Extracting Compact Recurrences From Convolutions",
    tasks=("language", "accelerate"),
    source="https://arxiv.org/abs/2310.18780",
    year=2023,
    needs=(
        "generate with a convolutional language model in constant memory",
        "turn a long convolution into a recurrence",
        "Hyena or MultiHyena language model",
        "a small state-space model of a filter",
    ),
    simplified=(
        "2 layers of width 64 and a context of 256 bytes in place of up to 1.3 billion weights on The Pile",
        "kernels are fitted in the sum of squares over the context; the H2 norm on the frequency grid is not offered",
        "the claim's saving is memory at a full context; times are in the benchmarks",
    ),
)
class LaughingHyena(SequenceSystem, Change):
    """Language model of long convolutions (MultiHyena) whose kernels become recurrences once it is trained."""

    by_name: ClassVar[bool] = True

    calibrates: ClassVar[bool] = False

    kernels: int = Field(16, ge=1, description="convolution kernels of a layer (heads); as many as dim make it Hyena")
    short: int = Field(3, ge=1, description="width of the short convolutions of q, k and v")
    order: Annotated[int, Field(ge=2)] | Literal["auto"] = Field(
        16, description="real numbers in a recurrence's state, even; auto: as many as `tolerance` asks for"
    )
    tolerance: float = Field(1e-3, gt=0, lt=1, description="auto: the Hankel value that may be left out, as a share")
    method: Literal["gradient", "balanced", "modal", "prony"] = Field("gradient", description="how waves are found")

    def pattern(self) -> Pattern:
        check_stretch(self.id, "short", self.short, self.length)
        mixer = {"kind": "hyena", "heads": self.kernels, "kernel": self.short, "length": self.length}
        return Pattern.read([{"mixer": mixer, "times": self.layers}], dim=self.dim, conv=self.conv)

    def check(self) -> None:
        self.check_order(self.length)
        super().check()

    def check_order(self, time: int) -> None:
        """Refuses an order that kernels of so many taps do not have, or an odd one (UserError)."""
        if not isinstance(self.order, int):
            return
        most = most_order(time)
        if self.order > most:
            raise UserError(
                f"laughing-hyena: order is {self.order}, and kernels as long as the context, {time}, allow {most}; use "
                f"order={most} or less"
            )
        if self.order % 2:
            raise UserError(f"laughing-hyena: order is {self.order}; waves come in pairs: use order={self.order + 1}")

    def finish(self, model: Model) -> None:
        self.distil(model)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A copy whose long convolutions are recurrences; the history says how near they are.

        Raises:
            UserError: a model without long convolutions, or an order that its context is too short for.
        """
        changed = model.copy()
        report = self.distil(changed)
        return changed.remember(self.id, self.options(), report)

    def distil(self, model: Model) -> dict[str, Any]:
        """Puts waves in place of every long kernel of `model`; returns orders and relative errors, a layer each."""
        layers = list(long_convolutions(model.net))
        if not layers:
            raise UserError(f"{model.name} has no long convolutions; laughing-hyena changes models of mixer hyena")
        length = int(model.spec.get("length", self.length))
        self.check_order(length)
        errors: dict[str, float] = {}
        orders: dict[str, int] = {}
        with progress.stage("distil convolutions", total=len(layers)) as stage:
            for name, mixer in layers:
                with torch.no_grad():
                    kernels = mixer.filter.kernel(length).double().cpu().numpy()
                order = self._order(kernels)
                found = METHODS[self.method](kernels, order)
                errors[name] = float(np.mean([relative_error(k, m) for k, m in zip(kernels, found, strict=True)]))
                orders[name] = order
                like = mixer.like()
                mixer.filter = filled(found, order).to(like.device, like.dtype)
                stage.advance()
        return {"orders": orders, "errors": errors}

    def _order(self, kernels: np.ndarray) -> int:
        """The order for a layer's kernels `[heads, T]`."""
        if isinstance(self.order, int):
            return self.order
        return min(max(hankel_order(k, self.tolerance) for k in kernels), most_order(kernels.shape[1]))

    def small(self) -> Self:
        return replace(super().small(), dim=32, layers=1, kernels=4, order=4, method="balanced")  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="recurrences of order 16 in place of a trained MultiHyena's convolutions predict text as well, in at most "
        "a third of the memory that a context takes",
        paper="no loss of quality at order 16 to 32 (1.3B); 10 times a transformer's throughput, 1.5 times Hyena's",
        arms=(
            Arm("backbone", **_SHAPE, backbone=[{"mixer": {"kind": "hyena", "heads": 16, "length": 256}, "times": 2}]),
            Arm("laughing-hyena", **_SHAPE),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        parity=True,
        by=-0.005,
        saving=Saving("cache_bytes", 1 / 3),
        budget=Steps(250),
        repeats=3,
        side=(Arm("laughing-hyena", **_SHAPE, order=4),),
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        minutes=6,
    )


def long_convolutions(net: Part) -> Iterator[tuple[str, Hyena]]:
    """Mixers whose kernels are not waves yet, with their names."""
    for name, part in net.named_modules():
        if isinstance(part, Hyena) and not isinstance(part.filter, ModalFilter):
            yield name, part


def filled(found: list[Modes], order: int) -> ModalFilter:
    """A filter that holds the waves; where a kernel needs fewer than the order allows, the others are silent."""
    made = ModalFilter(len(found), order)
    with torch.no_grad():
        made.real.zero_()
        made.imaginary.zero_()
        for i, modes in enumerate(found):
            count = len(modes.poles)
            size = torch.from_numpy(np.abs(modes.poles).clip(1e-6, None))
            made.radius[i, :count] = torch.logit(size).to(made.radius.dtype)
            made.angle[i, :count] = torch.from_numpy(np.angle(modes.poles)).to(made.angle.dtype)
            made.real[i, :count] = torch.from_numpy(modes.residues.real).to(made.real.dtype)
            made.imaginary[i, :count] = torch.from_numpy(modes.residues.imag).to(made.imaginary.dtype)
            made.now[i] = modes.now
    return made
