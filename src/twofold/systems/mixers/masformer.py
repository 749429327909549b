"""MASFormer: full attention in a few layers, attention inside blocks in the others.

Zhang, Ram, Hawkins, Zha & Zhao 2023, "Efficient Long-Range Transformers: You Need to Attend More, but Not Necessarily
at Every Layer", https://arxiv.org/abs/2310.12442
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.costs import context_costs
from twofold.parts import Attention, Pattern, SequenceModel
from twofold.parts.fitting import stretch
from twofold.surgery.attention import attentions, change_attention
from twofold.tasks import Model
from twofold.tasks.language import LanguageModel
from twofold.tasks.sequences import SequenceSystem
from twofold.tasks.system import Change

KINDS: dict[str, tuple[str, str]] = {"blocks": ("block-local", "width"), "window": ("local-attention", "window")}
PLACES: dict[str, Callable[[int, int], list[int]]] = {
    "bottom": lambda full, layers: list(range(full)),
    "top": lambda full, layers: list(range(layers - full, layers)),
    "spread": lambda full, layers: [round((i + 0.5) * layers / full - 0.5) for i in range(full)],
}


@system(
    "masformer",
    number=201,
    title="Efficient Long-Range Transformers: You Need to Attend More, but Not Necessarily at Every Layer",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2310.12442",
    year=2023,
    needs=(
        "read long documents with less attention",
        "cheaper attention without retraining from scratch",
        "local attention in most layers",
        "smaller key-value cache",
    ),
    simplified=(
        "decoders of a few layers trained from scratch in place of GPT-Neo 1.3B continued on long documents",
        "the claim recalls 4 pairs from 64 tokens, not more from 128",
        "whether the paper's blocks overlap is not said; blocks that do not overlap, and windows, are offered",
    ),
)
class Masformer(SequenceSystem, Change):
    """Decoder with full attention in a few layers and attention inside blocks in the others."""

    full_layers: int | str = Field(2, description="layers with full attention: how many, or which (0-3,8)")
    width: int | None = Field(
        None, ge=1, description="of a block, or how far a window sees; by default 64, or all of less"
    )
    local: Literal["blocks", "window"] = Field("blocks", description="what the other layers attend to")
    place: Literal["bottom", "top", "spread"] = Field("bottom", description="where full layers stand, if counted")
    texts: int = Field(16, ge=0, description="apply: texts that both models are compared on")

    def pattern(self) -> Pattern:
        full = self.full(self.layers)
        kind, option = KINDS[self.local]
        near = {"kind": kind, option: stretch(self.id, "width", self.width, self.length)}
        layers = [{"mixer": "attention" if i in full else near} for i in range(self.layers)]
        return Pattern.read(layers, dim=self.dim, heads=self.heads, conv=self.conv)

    def full(self, layers: int) -> set[int]:
        """Which of so many layers see everything.

        Raises:
            UserError: one that is not there; lists those that are.
        """
        text = str(self.full_layers).strip()
        if text.isdecimal() and not isinstance(self.full_layers, str):
            if int(text) > layers:
                raise UserError(f"masformer: full_layers is {text} of {layers} layers; give at most {layers}")
            return set(PLACES[self.place](int(text), layers))
        found: set[int] = set()
        for piece in text.split(","):
            first, _, last = piece.strip().partition("-")
            if not first.isdecimal() or (last and not last.isdecimal()):
                raise UserError(f"masformer: full_layers {text!r} cannot be read; write a number, or layers as 0-3,8")
            found |= set(range(int(first), int(last or first) + 1))
        if max(found) >= layers:
            raise UserError(f"masformer: full_layers {text}: no layer {max(found)}; give layers 0 to {layers - 1}")
        return found

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """The same weights with blocks or windows in all but the full layers; the report has costs and bits per byte.

        Raises:
            UserError: the model is no language model, or a layer is something else than attention.
        """
        if not isinstance(model, LanguageModel):
            raise UserError(f"masformer changes language models, and {model.name} is one for {model.task}")
        changed = model.copy()
        width = stretch(self.id, "width", self.width, changed.length)
        to_masformer(changed.net, self.full(len(changed.net.stack.layers)), width, self.local)
        report: dict[str, Any] = {}
        texts = [t for t in rows.columns.get("text", ()) if str(t).strip()][: self.texts]
        for name, one in (("before", model), ("after", changed)):
            report |= {f"{what}_{name}": value for what, value in context_costs(one.net, one.length).items()}
            if texts:
                report[f"bits_per_byte_{name}"] = one.score(texts).bits_per_byte
        return changed.remember(self.id, self.options(), report)

    def small(self) -> Self:
        layers = min(self.layers, 2)
        return super().small().changed(layers=layers, full_layers=1, width=min(self.width or 8, 8))

    claim: ClassVar[Claim] = Claim(
        says="full attention in two of four layers recalls what blocks in every layer cannot reach",
        paper="within 2 points of full attention on long documents with up to 75 % less attention cost (1.3B, 8k)",
        arms=(
            Arm("masformer", dim=64, layers=4, length=64, batch=32, conv=3, width=8, full_layers=0),
            Arm("masformer", dim=64, layers=4, length=64, batch=32, conv=3, width=8),
        ),
        data="mqar(time=64, pairs=4, symbols=32)",
        task="solve",
        metric="accuracy",
        by=0.2,
        budget=Steps(300),
        repeats=3,
        side=(Arm("backbone", dim=64, layers=4, length=64, batch=32, conv=3),),
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        tune_by="log_likelihood",
        minutes=6,
    )


def to_masformer(net: SequenceModel, full: set[int], width: int, local: str = "blocks") -> SequenceModel:
    """Gives every layer but those in `full` attention inside blocks (or a window) of `width`, in place.

    Weights stay as they are; what they see changes.

    Raises:
        UserError: a layer that is something else than attention, or a full layer that is not there.
    """
    layers = attentions(net)
    if full and max(full) >= len(layers):
        raise UserError(f"masformer: there is no layer {max(full)}; the model has layers 0 to {len(layers) - 1}")
    kind, option = KINDS[local]
    near = [i for i, mixer in enumerate(layers) if i not in full and type(mixer) is Attention]
    return change_attention(net, near, kind, {option: width})
