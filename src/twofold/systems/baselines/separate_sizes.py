"""separate-sizes: decoders of several feed-forward widths that are trained side by side and share nothing.

The yardstick for one network of many widths: Devvrit et al. 2023, https://arxiv.org/abs/2310.07707
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, PositiveFloat
from pydantic.dataclasses import dataclass as options

from twofold.catalog import baseline
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import OneOfSeveral, Part, SequenceModel, set_width, widths_of
from twofold.systems.baselines.decoder import Decoder
from twofold.tasks import Model
from twofold.tasks.language import LanguageData, TokenBatch


@dataclass(frozen=True)
class WidthBatch(TokenBatch):
    """A batch, and the width that learns from it, from 0 (narrowest)."""

    width: int


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SizesSystem(Decoder):
    """A decoder of several feed-forward widths, one of which learns from each batch."""

    sizes: tuple[PositiveFloat, ...] = Field(
        (0.5, 1.0, 2.0, 4.0), min_length=2, description="feed-forward widths as multiples of dim, rising"
    )

    def hidden_widths(self) -> list[int]:
        """The feed-forward widths in units.

        Raises:
            UserError: they do not rise, or another option says them too.
        """
        widths = [round(size * self.dim) for size in self.sizes]
        if any(a >= b for a, b in itertools.pairwise(widths)) or widths[0] < 1:
            raise UserError(f"{self.id}: sizes {list(self.sizes)} of dim={self.dim} must rise, from one unit on")
        if self.hidden is not None or self.linear != "dense":
            raise UserError(f"{self.id}: sizes say the widths, of plain maps; leave hidden and linear out")
        return widths

    def loss(self, net: Part, batch: TokenBatch) -> Loss:
        assert isinstance(batch, WidthBatch)
        set_width(net, batch.width)
        return super().loss(net, batch)

    def finish(self, model: Model) -> None:
        set_width(model.net, min(widths_of(model.net)) - 1)


@baseline(
    "separate-sizes",
    title="MatFormer: Nested Transformer for Elastic Inference",
    tasks=("language",),
    source="https://arxiv.org/abs/2310.07707",
    needs=("language models of several sizes", "small and large twins of a model"),
)
class SeparateSizes(SizesSystem):
    """Decoders of several widths, each with weights of its own; the widest one answers."""

    by_name: ClassVar[bool] = True

    def network(self, vocab: int) -> SequenceModel:
        self.hidden_widths()
        alone: dict[str, Any] = {
            name: getattr(self, name) for name in Decoder.__dataclass_fields__ if name not in ("hidden", "linear")
        }
        return OneOfSeveral([Decoder(**alone | {"hidden": (size,)}).network(vocab) for size in self.sizes])

    def batches(self, model: Model, data: LanguageData, seed: int) -> Callable[[int, float], WidthBatch]:
        windows, many = super().batches(model, data, seed), len(self.sizes)
        # In turns, all on the same batches: as if each had been trained by itself for its share of the steps.
        return lambda step, progress: WidthBatch(windows(step // many, progress).ids, step % many)
