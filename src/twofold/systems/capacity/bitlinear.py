"""Networks trained with weights of −1, 0 and 1, and trained networks rounded to them.

Nielsen, Galke & Schneider-Kamp 2024, "When are 1.58 bits enough? A Bottom-up Exploration of BitNet Quantization",
https://arxiv.org/abs/2411.05882; the layer: Ma et al. 2024, https://arxiv.org/abs/2402.17764
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from twofold.catalog import Arm, Claim, Saving, Steps, system
from twofold.data.rows import Rows
from twofold.parts import bits_per_weight
from twofold.surgery import pack_bit158, refuse_packed, to_bit158
from twofold.systems.baselines.pixel_mlp import PixelMlp
from twofold.tasks import Change, Model
from twofold.tasks.classify import ClassifyData


@system(
    "bitlinear",
    number=7,
    title="When are 1.58 bits enough? A Bottom-up Exploration of BitNet Quantization",
    tasks=("classify",),
    source="https://arxiv.org/abs/2411.05882",
    year=2024,
    needs=(
        "train a network with ternary weights",
        "a classifier of 1.58 bits a weight",
        "quantization-aware training",
        "store a small network in a twelfth of its bytes",
        "BitNet",
    ),
    simplified=(
        "as a model by itself a perceptron on images; language models and text encoders take ternary maps by their "
        "option linear=bit158, or by applying it; graph networks and encoder-decoders are left out",
        "one byte holds five weights (1.6 bits), the last bytes of a row padded",
        "the claim's saving counts the whole network, head included, beside float32",
    ),
)
class BitLinearSystem(PixelMlp, Change):
    """Perceptron whose linear maps hold three values; applied to a trained network, its maps rounded to them."""

    scale: Literal["mean", "median"] = Field("mean", description="of a matrix: mean or median size of its entries")
    activation_bits: int = Field(8, ge=0, le=8, description="of what a layer reads, 2 to 8; 0: plain numbers")
    rounded: Literal["during", "after"] = Field(
        "during", description="weights are ternary during training, or only after it (what a plain network loses)"
    )

    calibrates = False

    def start(self, data: ClassifyData, seed: int) -> Model:
        model = super().start(data, seed)
        if self.rounded == "during":
            to_bit158(model.net, scale=self.scale, activation_bits=self.activation_bits)
        return model

    def finish(self, model: Model) -> None:
        if self.rounded == "after":
            to_bit158(model.net, scale=self.scale, activation_bits=self.activation_bits)
        pack_bit158(model.net)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A copy of a model of any task with all linear maps but the head's rounded and packed; nothing is trained.

        Args:
            model: any model with plain linear maps.
            rows: not looked at.
            seed: not used.

        Raises:
            UserError: weights that are packed already, or nothing to round.
        """
        refuse_packed(model.net, self.id)
        made = model.copy()
        count = to_bit158(made.net, scale=self.scale, activation_bits=self.activation_bits)
        pack_bit158(made.net)
        report = {"layers": count, "bits_per_weight": round(bits_per_weight(made.net), 4)}
        return made.remember(self.id, self.options(), report).renewed(model)

    claim: ClassVar[Claim] = Claim(
        says="a perceptron trained with ternary weights classifies as well as one of plain numbers, in at most an "
        "eighth of its float32 bytes",
        paper="1.58-bit training on par with 16 and 32 bits from perceptrons and graph networks to encoders and "
        "encoder-decoders, sometimes better",
        arms=(Arm("pixel-mlp", hidden=256, dim=256), Arm("bitlinear", hidden=256, dim=256)),
        data="digits",
        metric="accuracy",
        by=-0.01,
        parity=True,
        saving=Saving("bytes", 0.125),
        budget=Steps(400),
        repeats=5,
        side=(
            Arm("bitlinear", hidden=256, dim=256, rounded="after"),
            Arm("bitlinear", hidden=256, dim=256, scale="median"),
            Arm("bitlinear", hidden=512, dim=512),
            Arm("bitlinear", hidden=256, dim=256, activation_bits=0),
        ),
        tune={"lr": (1e-3, 3e-3, 1e-2)},
        minutes=1,
    )
