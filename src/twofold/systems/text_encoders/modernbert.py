"""modernbert: an encoder with rotary positions, gated channels, alternating local and global attention, no padding.

Warner et al. 2024, "Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder for Fast, Memory Efficient, and
Long Context Finetuning and Inference", https://arxiv.org/abs/2412.13663
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import MODERNBERT, Part, SequenceModel, presets
from twofold.systems.text_encoders import modernbert_classify as classify
from twofold.tasks import Model, backbones
from twofold.tasks.classify import ClassifyData, ClassifyModel, LabelledBatch
from twofold.tasks.language import LanguageData
from twofold.tasks.options import Backbone
from twofold.tasks.represent import MaskedModel, MaskedSystem, WindowBatch

_SHAPE = ("size", "every", "window", "dropout")


@system(
    "modernbert",
    number=59,
    title="Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder for Fast, Memory Efficient, and Long "
    "Context Finetuning and Inference",
    tasks=("represent", "classify"),
    source="https://arxiv.org/abs/2412.13663",
    year=2024,
    needs=(
        "pre-train an encoder on my own texts",
        "a modern BERT",
        "fill in masked words",
        "encode long texts without padding",
        "classify texts with an encoder trained from scratch",
    ),
    simplified=(
        "0.7 million weights and 300 steps on documentation, in place of 149 million and 2 trillion tokens",
        "the size of batches does not warm up, and the context is not extended in a second phase",
        "the paper trains with dropout 0.1 on attention; in 300 steps the claim's arms have none",
    ),
)
class ModernBert(MaskedSystem):
    """Masked language model: pre-norm, rotary positions, gated GELU, local and global layers in turn, no padding."""

    size: Literal["tiny", "base", "large"] = Field("tiny", description="tiny 0.7M, base 149M, large 395M parameters")
    start_from: Backbone | None = Field(
        None, description="a model folder, checkpoint or backbone to go on from, as it is; or layers: [{mixer: ssd}]"
    )
    every: int = Field(3, ge=1, description="one layer of so many sees the whole text")
    window: int | None = Field(128, ge=2, description="the other layers see half of this to each side; none: all")
    dropout: float = Field(0.1, ge=0, lt=1, description="on what attention gives, while training")
    pretrain: float = Field(
        0.3, ge=0, lt=1, description="classify: share of the budget that fills in hidden tokens of the training texts"
    )
    tokens: int = Field(128, ge=8, le=8192, description="classify: texts are cut here")

    def network(self, vocab: int) -> SequenceModel:
        return presets.modernbert(
            vocab,
            **MODERNBERT[self.size],
            every=self.every,
            window=self.window,
            dropout=self.dropout,
            head="mlm",
        )

    def check(self) -> None:
        if self.start_from is not None:
            backbones.check(self.start_from, max(self.length, self.tokens))

    def start(self, data: LanguageData | ClassifyData, seed: int) -> Model:
        if self.start_from is not None:
            self._agrees()
        if isinstance(data, ClassifyData):
            return classify.start(self, data, seed)
        if self.start_from is None:
            return super().start(data, seed)
        chosen = self.chosen(data.part("train"), seed, self.length)
        net = SequenceModel(chosen.model.embedding, chosen.model.stack, classify.masked_head(chosen))
        return MaskedModel(net, chosen.tokenizer, {"length": self.length}, notes=dict(chosen.notes))

    def chosen(self, texts: Sequence[str], seed: int, longest: int) -> backbones.Chosen:
        """What there is to go on from.

        Raises:
            UserError: it reads fewer than `longest` tokens.
        """
        chosen = backbones.choose(self.start_from, texts, seed, longest, self.vocab)
        if chosen.model.max_len is not None and chosen.model.max_len < longest:
            option = "length" if longest == self.length else "tokens"
            raise UserError(
                f"modernbert: {self.start_from} reads {chosen.model.max_len} tokens and {option} is {longest}; "
                f"lower {option}"
            )
        return chosen

    def _agrees(self) -> None:
        """A network to go on from has its own shape."""
        for option in _SHAPE:
            value = getattr(self, option)
            if value != getattr(type(self), option):
                raise UserError(
                    f"modernbert: {option}={value} shapes a fresh network, and {self.start_from} has its own; "
                    f"leave out {option} or start_from"
                )

    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        if isinstance(data, ClassifyData):
            assert isinstance(model, ClassifyModel)
            return classify.batches(self, model, data, seed)
        return super().batches(model, data, seed)

    def loss(self, net: Part, batch: WindowBatch | LabelledBatch) -> Loss:
        return super().loss(net, batch) if isinstance(net, SequenceModel) else classify.loss(self, net, batch)  # type: ignore[arg-type]

    def finish(self, model: Model) -> None:
        classify.finish(model)

    def small(self) -> Self:
        return replace(super().small(), start_from=None, tokens=16, size="tiny")  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="the modern trunk fills in more hidden tokens than BERT's of the same size after the same steps",
        paper="GLUE 88.4 (base) against RoBERTa's 86.4, and 2 to 3 times faster on long texts of mixed lengths",
        arms=(Arm("bert"), Arm("modernbert", dropout=0.0)),
        data="pydoc",
        metric="masked_accuracy",
        by=0.01,
        budget=Steps(300),
        repeats=3,
        side=(Arm("modernbert", dropout=0.0, window=None), Arm("modernbert")),
        tune={"lr": (5e-4, 1e-3, 2e-3)},
        minutes=6,
    )
