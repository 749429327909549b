"""Language models in which every second feed-forward part is a mixture of experts.

Artetxe et al. 2021, "Efficient Large Scale Language Modeling with Mixtures of Experts",
https://arxiv.org/abs/2112.10684
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Experts, MoE, Part, Router, SequenceModel, TopK, presets, set_channels
from twofold.parts.fitting import check_experts, with_k
from twofold.parts.routing import ROUTERS
from twofold.surgery import upcycle
from twofold.systems.baselines.decoder import Decoder
from twofold.systems.capacity.moe_report import experts_of
from twofold.tasks import Analysis, Change, Model, Report, task
from twofold.tasks.language import LanguageData, LanguageModel


@system(
    "moe-lm",
    number=151,
    title="Efficient Large Scale Language Modeling with Mixtures of Experts",
    tasks=("language",),
    source="https://arxiv.org/abs/2112.10684",
    year=2021,
    needs=(
        "a language model with more weights for the same operations",
        "mixture of experts",
        "sparse language model",
        "turn a dense model into experts",
    ),
    simplified=(
        "8 experts and under a million weights in place of 512 and up to a trillion",
        "zero-shot choices, other domains and fine-tuning are left out; `measure.scaling.speedup_factor` computes the "
        "paper's speed-up from two learning curves",
    ),
)
class MoeLm(Decoder, Change, Analysis):
    """Decoder whose every second feed-forward part is experts, of which each token meets two."""

    channel: Literal["swiglu", "geglu", "gelu", "relu"] = Field("gelu", description="feed-forward part and experts")
    position: Literal["rope", "sinusoid", "alibi", "t5", "none"] = Field("sinusoid", description="how places are known")
    experts: int = Field(8, ge=1, description="how many there are")
    k: int = Field(2, ge=1, description="how many a token meets; the others cost nothing")
    every: int = Field(2, ge=1, description="the last of so many layers has experts")
    expert_hidden: float = Field(4.0, gt=0, description="width of an expert as a multiple of dim")
    router: Literal["softmax-topk", "switch", "balanced"] = Field(
        "softmax-topk", description="top k, renormalised; the best one by its probability; or equal shares in training"
    )
    capacity: float | None = Field(
        2.0, gt=0, description="in training an expert takes capacity · k · tokens / experts, and no more; none: all"
    )
    balance: float = Field(0.01, ge=0, description="weight of the loss that keeps experts evenly used")
    expert_linear: Literal["dense", "bit158"] = Field("dense", description="kind of the experts' linear maps")
    study_steps: int = Field(200, ge=1, description="study: training steps, where no model is given")
    texts: int = Field(50, ge=1, description="study: how many unseen texts are looked at")

    def network(self, vocab: int) -> SequenceModel:
        net = super().network(vocab)
        set_channels(net, lambda layer, old: old if (layer + 1) % self.every else self.mixture(layer))
        return net

    def mixture(self, layer: int) -> Part:
        """The channel mixer of a layer that has experts."""
        self.check_room()
        return MoE(
            self.routes(self.dim, self.experts),
            self.stack(self.dim, round(self.expert_hidden * self.dim), self.experts),
            self.capacity,
            self.balance,
        )

    @property
    def tokens(self) -> int:
        """Tokens of a batch."""
        return self.batch * self.length

    def check_room(self) -> None:
        """Refuses more experts than a batch has tokens, or parts of them (UserError)."""
        fix = f"experts={self.tokens}{with_k(self.k, self.most_k(self.tokens))} or less"
        check_experts(self.id, self.experts, self.tokens, 1, fix)

    def most_k(self, experts: int) -> int:
        """How many of so many experts the router can send a token to."""
        return experts if self.router == "softmax-topk" else 1

    def routes(self, dim: int, experts: int) -> Router:
        """The router of tokens, or of parts of them, `dim` wide.

        Raises:
            UserError: routers that take another k.
        """
        if self.router == "softmax-topk":
            return TopK(dim, experts, self.k)
        if self.k != 1:
            raise UserError(f"{self.id}: router={self.router} sends a token to one expert; use k=1, not {self.k}")
        return ROUTERS[self.router](dim, experts)

    def stack(self, dim: int, hidden: int, experts: int) -> Experts:
        """Experts whose gradients are scaled by 1 / √experts, for stability."""
        made = presets.CHANNELS[self.channel]
        return Experts(dim, hidden, experts, linear=self.expert_linear, gradient=experts**-0.5, **made)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A copy of a dense language model with copies of its feed-forward parts as experts, in every second layer.

        It answers as before; training makes experts of the copies. Komatsuzaki et al. 2022, sparse upcycling,
        https://arxiv.org/abs/2212.05055

        Args:
            model: a language model of plain feed-forward parts without biases.
            rows: not looked at.
            seed: of the routers' weights.

        Raises:
            UserError: another model, or feed-forward parts that cannot be copied.
        """
        if not isinstance(model, LanguageModel):
            raise UserError(f"moe-lm makes experts of language models, and this is one for {model.task}; give another")
        MoeLm.check_room(self)  # experts on whole tokens, whatever the kind that is trained anew has
        torch.manual_seed(seed)
        made = model.copy()
        count = upcycle(made.net, lambda dim: self.routes(dim, self.experts), self.every, self.capacity, self.balance)
        return made.remember(self.id, self.options(), {"layers": count})

    calibrates = False

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """How a model's experts are used on unseen text.

        Args:
            model: a language model with experts; None: one is trained.
            rows: texts in the column `text`; by default documentation of Python.
            seed: of the weights and batches, where one is trained.

        Raises:
            UserError: another model, or one without experts.
        """
        job = task("language")
        data = job.read(job.default_data if rows is None else rows)
        assert isinstance(data, LanguageData)
        if model is None:
            model = self.fit(data, Steps(self.study_steps), seed=seed).model
        if not isinstance(model, LanguageModel):
            raise UserError(f"{self.id} reports on language models, and this is one for {model.task}; give another")
        bits = job.evaluate(model, data, texts=self.texts).figures["bits_per_byte"]
        return experts_of(model, data.part("test")[: self.texts], bits)

    def small(self) -> Self:
        return replace(super().small(), study_steps=2, texts=2)  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="eight experts, of which a token meets two, predict text better than a dense feed-forward part of the "
        "same operations",
        paper="the quality of dense models at about a fourth of their compute at modest budgets, less at larger scale",
        arms=(
            Arm("decoder", dim=64, length=128, channel="gelu", position="sinusoid", hidden=(4, 8)),
            Arm("moe-lm", dim=64, length=128),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.02,
        budget=Steps(400),
        repeats=3,
        setting={"texts": 100},
        side=(
            Arm("moe-lm", dim=64, length=128, experts=4),
            Arm("moe-lm", dim=64, length=128, experts=16),
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=10,
    )
