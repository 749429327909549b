"""VCC: an encoder that reads long texts as few rows, chosen in every layer by what its important tokens attend to.

Zeng, Hawkins, Hong, Zhang, Pappas, Singh & Zheng 2023, "Vcc: Scaling Transformers to 128K Tokens or More by
Prioritizing Important Tokens", https://arxiv.org/abs/2305.04241. The layers: `twofold.parts.Vcc`, over a `SegmentTree`.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError, typed
from twofold.measure.costs import context_costs, interleaved
from twofold.parts import SequenceModel, Tower
from twofold.parts.segment_tree import nested
from twofold.surgery import read_longer, with_vcc
from twofold.tasks import Model
from twofold.tasks.classify import ClassifyModel
from twofold.tasks.lengthened import LengthenedSystem
from twofold.tasks.search import EncoderModel
from twofold.tasks.system import Change

# Both arms of the claim: a convolution over three tokens, then two blocks of attention without positions.
SMALL: dict[str, Any] = {
    "backbone": {
        "dim": 64,
        "heads": 2,
        "layers": [
            {"mixer": {"kind": "causal-conv", "kernel": 3}, "channel": "none"},
            {"mixer": "attention", "position": "none", "times": 2},
        ],
    },
    "first": 0,
    "last": 2,
}
USUAL = (128, 16, 1)
"""Sizes of segments where none are given."""

_LONGEST_TIMED = 4096


@system(
    "vcc",
    number=183,
    title="Vcc: Scaling Transformers to 128K Tokens or More by Prioritizing Important Tokens",
    tasks=("classify", "solve"),
    source="https://arxiv.org/abs/2305.04241",
    year=2023,
    needs=(
        "classify long documents",
        "read texts longer than my encoder can",
        "make an encoder cheaper on long texts",
        "compress the context but keep what the question asks for",
    ),
    simplified=(
        "2 layers on made sequences of 512 tokens in place of RoBERTa and T5 on texts of up to 128 thousand",
        "encoders alone; the encoder of an encoder-decoder is not offered",
        "important tokens are the first and the last few of a text; they cannot be named one by one",
        "positions beyond those that were learned are interpolated between them",
        "what the paper leaves open: a mean counts in attention as often as it has tokens (count_bias)",
    ),
)
class VccEncoder(LengthenedSystem, Change):
    """Classifier of long texts: important tokens are read whole, and so is what they attend to; the rest as means."""

    by_name: ClassVar[bool] = True
    calibrates: ClassVar[bool] = False

    rows: int = Field(128, ge=1, description="means and tokens that stand for a text in each layer, about")
    sizes: tuple[int, ...] | None = Field(
        None,
        description="of segments, falling; each divides the one before; by default 128, 16, 1, or those of them that "
        "are no longer than texts",
    )
    count_bias: bool = Field(True, description="a mean counts in attention as often as it has tokens")
    score: Literal["sum", "max"] = Field("sum", description="of what important tokens give a segment")
    timed: bool = Field(True, description="apply: measure times by length, before and after")

    def shortened(self, net: SequenceModel, length: int) -> SequenceModel:
        sizes = self.segments(length)
        return with_vcc(net, self.rows, sizes, self.first, self.last, self.count_bias, self.score)

    def segments(self, longest: int) -> tuple[int, ...]:
        """Sizes of segments of texts of at most so many tokens.

        Raises:
            UserError: sizes that do not fit into one another, or are longer than the texts.
        """
        if self.sizes is None:
            return tuple(size for size in USUAL if size <= longest)
        if (widest := max(self.sizes, default=0)) > longest:
            fits: list[int] = []
            for size in reversed(self.sizes):
                if 0 < size <= longest and (not fits or (size > fits[0] and size % fits[0] == 0)):
                    fits.insert(0, size)
            raise UserError(
                f"vcc: segments of {widest} tokens are longer than the longest text, {longest}; use "
                f"sizes={typed(fits or [longest])}, or texts of {widest} tokens"
            )
        return nested(self.sizes)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A copy that reads texts of `tokens` tokens as about `rows` rows; it is then best trained on (`fit`).

        The report has, by length, operations per token and (`timed`) milliseconds of one text, before and after.

        Args:
            model: an encoder for search, or a classifier of texts.
            rows: not read.
            seed: of the tokens that are timed.

        Raises:
            UserError: another kind of model, or one whose blocks cannot read means.
        """
        changed = model.copy()
        net = changed.net.tower("document") if isinstance(changed, EncoderModel) else changed.net
        if not isinstance(changed, EncoderModel | ClassifyModel) or not isinstance(net, Tower):
            raise UserError(f"vcc changes encoders of texts, and {model.name} is none; give it one such as minilm")
        read_longer(net.model, self.tokens)
        before = copy.deepcopy(net.model)
        self.shortened(net.model, self.tokens)
        if isinstance(changed, EncoderModel):
            changed.spec["document_tokens"] = self.tokens
        else:
            changed.spec["input"] = {**changed.spec["input"], "tokens": self.tokens}
        report = {"tokens": self.tokens, "lengths": self._by_length(before, net.model, seed)}
        return changed.remember(self.id, self.options(), report)

    def _by_length(self, before: SequenceModel, after: SequenceModel, seed: int) -> dict[str, dict[str, float]]:
        """Costs of both at 128, 256, … tokens."""
        generator = torch.Generator().manual_seed(seed)
        found: dict[str, dict[str, float]] = {}
        length = min(128, self.tokens)
        while length <= self.tokens:
            ways = {"before": before.eval(), "after": after.eval()}
            costs = {f"flops_per_token_{n}": context_costs(net, length)["flops_per_token"] for n, net in ways.items()}
            if self.timed and length <= _LONGEST_TIMED:
                ids = torch.randint(after.vocab, (1, length), generator=generator)
                with torch.inference_mode():
                    times = interleaved({n: partial(net.states, ids) for n, net in ways.items()}, rounds=3)
                costs |= {f"milliseconds_{n}": round(time, 3) for n, time in times.medians.items()}
            found[str(length)] = costs
            length *= 2
        return found

    def small(self) -> Self:
        return replace(super().small(), rows=5, sizes=(8, 4, 1), timed=False)  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="splitting the segments that the question attends to answers more questions about a long text than means "
        "of equal segments, with as many rows",
        paper="at least 3 times cheaper than efficient attention at 4 and 16 thousand tokens, as good or better",
        arms=(Arm("pooled-context", size=10, **SMALL), Arm("vcc", rows=50, sizes=[64, 8, 1], **SMALL)),
        data="loose-pair(time=512)",
        task="solve",
        metric="accuracy",
        by=0.1,
        budget=Steps(100),
        repeats=3,
        side=(
            Arm("pooled-context", size=1, **SMALL),
            Arm("vcc", rows=50, sizes=[64, 8, 1], count_bias=False, **SMALL),
        ),
        tune={"lr": (3e-4, 1e-3, 3e-3)},
        tune_by="log_likelihood",
        minutes=6,
    )
