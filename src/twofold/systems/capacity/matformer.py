"""One language model of many sizes: the first units of every feed-forward part are smaller feed-forward parts.

Devvrit et al. 2023, "MatFormer: Nested Transformer for Elastic Inference", https://arxiv.org/abs/2310.07707
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from twofold.catalog import Arm, Claim, Saving, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.costs import parameters
from twofold.parts import ElasticFFN, SequenceModel, extract, presets, set_channels, widths_of
from twofold.surgery import mix_n_match
from twofold.systems.baselines.separate_sizes import SizesSystem, WidthBatch
from twofold.tasks import Change, Model
from twofold.tasks.language import LanguageData

_SIZES: dict[str, Any] = {"dim": 64, "layers": 2, "length": 128, "channel": "gelu"}


@system(
    "matformer",
    number=115,
    title="MatFormer: Nested Transformer for Elastic Inference",
    tasks=("language",),
    source="https://arxiv.org/abs/2310.07707",
    year=2023,
    needs=(
        "one model in many sizes",
        "choose the size of a model after training",
        "elastic inference",
        "a small draft of a large model for speculative decoding",
    ),
    simplified=(
        "under a million weights in place of 2.6 billion; heads are not nested",
        "nested image encoders, and starting from a trained checkpoint, are left out",
    ),
)
class Matformer(SizesSystem, Change):
    """Decoder of nested feed-forward widths; applied to one, takes a smaller plain model out of it."""

    by_name: ClassVar[bool] = True

    chances: tuple[NonNegativeFloat, ...] | None = Field(
        None, description="how often each size learns, from the narrowest; by default alike"
    )
    widths: tuple[NonNegativeInt, ...] | None = Field(
        None, description="applying: the size of each layer, from 0 (narrowest); one number for all"
    )
    budget: PositiveInt | None = Field(
        None, description="applying: most weights that the model may keep; sizes are mixed over the layers"
    )

    calibrates = False

    def network(self, vocab: int) -> SequenceModel:
        widths = self.hidden_widths()
        net = super().network(vocab)
        made = presets.CHANNELS[self.channel]
        set_channels(net, lambda layer, old: ElasticFFN(self.dim, widths, bias=False, **made))
        return net

    def batches(self, model: Model, data: LanguageData, seed: int) -> Callable[[int, float], WidthBatch]:
        windows, many = super().batches(model, data, seed), len(self.sizes)
        chances = np.asarray(self.chances or [1.0] * many)
        if len(chances) != many or not chances.sum() > 0:
            raise UserError(f"matformer: chances {list(chances)} do not fit {many} sizes; give one for each, not all 0")

        def batch(step: int, progress: float) -> WidthBatch:
            drawn = np.random.default_rng((seed, step)).choice(many, p=chances / chances.sum())
            return WidthBatch(windows(step, progress).ids, int(drawn))

        return batch

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A plain model of one size, or of a size for each layer, out of one of many sizes: the same outputs there.

        Args:
            model: one that matformer trained.
            rows: not looked at.
            seed: not used.

        Raises:
            UserError: a model of one size, widths that there are not, or a budget below the smallest model.
        """
        known = widths_of(model.net)
        if (self.widths is None) == (self.budget is None):
            raise UserError("matformer: give widths (a size a layer) or budget (weights to keep), one of the two")
        if self.budget is not None:
            chosen = mix_n_match(model.net, self.budget)
        else:
            assert self.widths is not None
            chosen = list(self.widths) * len(known) if len(self.widths) == 1 else list(self.widths)
        made = type(model)(extract(model.net, chosen), model.tokenizer, model.spec, model.history, model.notes)
        return made.remember(self.id, self.options(), {"widths": chosen, "parameters": parameters(made.net)})

    claim: ClassVar[Claim] = Claim(
        says="one nested decoder gives four sizes that predict text as well as four decoders trained apart in as many "
        "steps together, with the weights of the largest",
        paper="one 2.6B model gives models from 1.5B to 2.6B, each as good as its twin trained by itself",
        arms=(Arm("separate-sizes", **_SIZES), Arm("matformer", **_SIZES)),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=-0.01,
        parity=True,
        saving=Saving("parameters", 0.5),
        budget=Steps(480),
        repeats=3,
        setting={"texts": 100, "every_width": True},
        tune={"lr": (2e-3, 4e-3)},
        minutes=4,
    )
