"""SWAN-GPT: global attention without positions, and windows with rotary ones, in turn.

Puvvada, Ladhak, Akle Serrano, Hsieh, Acharya, Majumdar, Jia, Kriman, Sun, Rekesh & Ginsburg 2025, "SWAN-GPT: An
Efficient and Scalable Approach for Long-Context Language Modeling", https://arxiv.org/abs/2504.08719
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Budget, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Attention, LogScale, Pattern, SequenceModel
from twofold.parts.fitting import stretch
from twofold.surgery.attention import attentions, change_attention
from twofold.tasks import Fitted, Model
from twofold.tasks.language import LanguageData, LanguageModel
from twofold.tasks.sequences import SequenceSystem
from twofold.tasks.system import Change

STRENGTHS = tuple(round(0.05 * i, 2) for i in range(11))


@system(
    "swan-gpt",
    number=106,
    title="SWAN-GPT: An Efficient and Scalable Approach for Long-Context Language Modeling",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2504.08719",
    year=2025,
    needs=(
        "read texts longer than in training",
        "extend the context of a rope model",
        "language model that extrapolates in length",
        "smaller key-value cache",
    ),
    simplified=(
        "documentation at 128 to 1,024 bytes in place of 1 billion weights at 1k to 256k tokens",
        "how the scale was fitted is not said; here: least bits per byte of validation texts at 2, 4 and 8 times the "
        "trained length, over eleven strengths",
    ),
)
class SwanGpt(SequenceSystem, Change):
    """Decoder of global layers without positions and window layers with rotary ones: reads beyond its training."""

    every: int = Field(4, ge=1, description="one layer in so many is global, the first of them")
    window: int | None = Field(None, ge=1, description="how far the others see; by default 64, or all of less")
    scaled: bool = Field(True, description="after training, fit the growth of global logits beyond the trained length")
    texts: int = Field(12, ge=1, description="validation texts that the growth is fitted on, at most")

    def pattern(self) -> Pattern:
        window = stretch(self.id, "window", self.window, self.length)
        near = {"mixer": {"kind": "local-attention", "window": window}, "position": "rope"}
        everywhere = {"mixer": "attention", "position": {"kind": "log-scale", "trained": self.length}}
        layers = [everywhere if i % self.every == 0 else near for i in range(self.layers)]
        return Pattern.read(layers, dim=self.dim, heads=self.heads, conv=self.conv)

    def fit(
        self,
        data: Any,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        fitted = super().fit(data, budget, seed=seed, folder=folder, until=until)
        if self.scaled and until is None and isinstance(data, LanguageData):
            assert isinstance(fitted.model, LanguageModel)
            found = fit_scale(fitted.model, data.part("validation"), self.texts)
            fitted.model.history[-1]["report"] |= {"scale": found}
        return fitted

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """The same weights, with windows in three layers of four and no positions in the others; train it on.

        Raises:
            UserError: the model is no language model, or a layer is something else than attention.
        """
        if not isinstance(model, LanguageModel):
            raise UserError(f"swan-gpt changes language models, and {model.name} is one for {model.task}")
        changed = model.copy()
        to_swan(changed.net, self.every, stretch(self.id, "window", self.window, changed.length), changed.length)
        texts = [t for t in rows.columns.get("text", ()) if str(t).strip()][: self.texts]
        report = {
            f"bits_per_byte_{name}": one.score(texts).bits_per_byte
            for name, one in (("before", model), ("after", changed))
            if texts
        }
        return changed.remember(self.id, self.options(), {"layers": len(changed.net.stack.layers), **report})

    def small(self) -> Self:
        return super().small().changed(layers=2, every=2, window=8, texts=2)

    claim: ClassVar[Claim] = Claim(
        says="global layers without positions and rotary windows predict bytes far beyond the trained length better "
        "than rotary attention in every layer",
        paper="robust to 32 times the trained length without training on long texts, where rotary attention fails",
        arms=(
            Arm("backbone", dim=64, layers=4, length=128, batch=16),
            Arm("swan-gpt", dim=64, layers=4, length=128, batch=16, window=32),
        ),
        data="pydoc:texts",
        metric="bits_per_byte_far",
        direction="lower",
        by=0.1,
        budget=Steps(300),
        repeats=3,
        setting={"far": (512, 1024), "texts": 40},
        side=(Arm("swan-gpt", dim=64, layers=4, length=128, batch=16, window=32, scaled=False),),
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        tune_by="bits_per_byte",
        minutes=6,
    )


def to_swan(net: SequenceModel, every: int, window: int, trained: int) -> SequenceModel:
    """Takes the positions from every `every`-th layer and gives the others a window, in place; weights stay.

    Raises:
        UserError: a layer that is something else than attention.
    """
    layers = range(len(attentions(net)))
    change_attention(net, [i for i in layers if i % every], "local-attention", {"window": window})
    return change_attention(net, [i for i in layers if not i % every], position=LogScale(trained))


def set_scale(net: SequenceModel, strength: float) -> None:
    """Sets how fast the logits of global layers grow beyond the trained length."""
    for part in net.modules():
        if isinstance(part, Attention) and isinstance(part.position, LogScale):
            part.position = LogScale(part.position.trained, strength)


def fit_scale(model: LanguageModel, texts: Sequence[str], most: int) -> float:
    """The strength with the least bits per byte at 2, 4 and 8 times the context, as far as texts reach; it is set."""
    lengths = {n: [t for t in texts if len(model.tokens([t])[0]) > n * model.length // 2][:most] for n in (2, 4, 8)}
    reach = [n for n, long in lengths.items() if long]
    if not reach:
        return 0.0

    def cost(strength: float) -> float:
        set_scale(model.net, strength)
        return sum(model.far(lengths[n], n * model.length // 2, n * model.length) for n in reach)

    best = min(STRENGTHS, key=cost)
    set_scale(model.net, best)
    return best
