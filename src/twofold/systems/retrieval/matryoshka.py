"""Matryoshka representations: vectors whose prefixes are vectors too, so that one model serves every size.

Kusupati et al. 2022, "Matryoshka Representation Learning", https://arxiv.org/abs/2205.13147
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field

from twofold import computing
from twofold.catalog import Arm, Budget, Claim, Steps, configure, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Encoder, Part, halvings, rising
from twofold.systems.retrieval import matryoshka_classify as classify
from twofold.tasks import Change, Fitted, Model
from twofold.tasks.classify import ClassifyData, ClassifyModel, LabelledBatch
from twofold.tasks.classify.knowing import Distance
from twofold.tasks.search import EncoderModel, PairBatch, SearchData, SearchSystem
from twofold.tasks.search.further import train_further
from twofold.tasks.search.nested import nested_pairs
from twofold.tasks.search.stages import LOOKUPS
from twofold.training import Recipe

SEARCH_RATE = 1e-4
WIDTHS = (2, 4, 8, 16, 32, 64)
"""Of the claim."""
LEAST = 16
"""The paper's width of the first comparison (section 4.3)."""


@system(
    "matryoshka",
    number=202,
    title="Matryoshka Representation Learning",
    tasks=("search", "classify"),
    source="https://arxiv.org/abs/2205.13147",
    year=2022,
    needs=(
        "smaller embeddings from one model",
        "truncate embeddings without retraining",
        "save memory in a vector index",
        "faster dense search with a shortlist",
        "adaptive retrieval, funnel search",
        "classify with as few numbers as are enough",
    ),
    simplified=(
        "batches of tens, and a pretrained backbone's last layers in place of training from scratch on ImageNet or JFT",
        "images are read by one hidden layer on their pixels, in place of a ResNet or a ViT",
    ),
)
class Matryoshka(SearchSystem, Change):
    """Nested embeddings: each prefix is trained to do the whole vector's work, so vectors are cut at will.

    Search: any dense search system can be nested (`of`); its batches and its loss stay what they are. `apply` does the
    same to a model that is trained already, and with `steps=0` only cuts. Classify: texts by a pretrained encoder,
    images by a perceptron on their pixels, with a head for each width.
    """

    reads: ClassVar[tuple[str, ...]] = ("text", "image")

    lr: float | None = Field(None, gt=0, description="highest learning rate; by default what suits the task")  # type: ignore[assignment]

    of: str = Field("gtr", description="the dense search system whose loss is nested")
    of_options: dict[str, Any] = Field(default_factory=dict, description="its options, beyond those named here")
    widths: tuple[int, ...] | None = Field(None, description="trained widths, rising; default: halves down to 8")
    weights: tuple[float, ...] | None = Field(None, description="how much each width counts; by default alike")
    width: int | None = Field(None, ge=1, description="vectors are cut here when they are used; default: whole")
    lookup: Literal["exact", "adaptive", "funnel"] = Field(
        "exact", description="compare whole vectors with all documents, or narrow ones first and wider ones with fewer"
    )
    narrow: int | None = Field(None, ge=1, description="width of the first comparison; default: the least from 16 on")
    shortlist: int = Field(200, ge=1, description="documents that are compared at more than the narrow width")
    steps: int = Field(200, ge=0, description="of training when a trained model is changed (apply); 0: it is only cut")

    answer: Literal["head", "cascade", "neighbours"] = Field(
        "head",
        description="classify: by the head at `width`; by the narrowest that is sure enough; or by the nearest "
        "training item",
    )
    shared_head: bool = Field(False, description="classify: heads of all widths share one matrix (MRL-E)")
    distance: Distance = Field("cosine", description="classify by neighbours: how vectors are compared")
    hidden: int = Field(256, ge=1, description="classify images: width of the hidden layer")
    dim: int = Field(64, ge=1, description="classify images: width of the vectors")

    def base(self) -> SearchSystem:
        """The system whose loss is nested, with the options that both have."""
        shared = {f.name: getattr(self, f.name) for f in fields(SearchSystem)} | {"lr": self.lr or SEARCH_RATE}
        made = configure(self.of, **{**shared, **self.of_options})
        if not isinstance(made, SearchSystem):
            raise UserError(f"matryoshka: of={self.of!r} trains no dense encoder for search; name one such as gtr")
        return made

    def start(self, data: SearchData | ClassifyData, seed: int) -> Model:
        if isinstance(data, ClassifyData):
            return classify.start(self, data, seed)
        model = self.base().start(data, seed)
        assert isinstance(model, EncoderModel)
        self.settle(model)
        return model

    def settle(self, model: EncoderModel) -> None:
        """Checks the widths against the model's vectors, and tells it where to cut and how to look up."""
        whole = model.dim
        trained = rising(self.widths or halvings(whole), whole)
        used = self.width or whole
        least = self.narrow or min(used, next((w for w in trained if w >= LEAST), whole))
        for option, width, most in (("width", used, whole), ("narrow", least, used)):
            if width > most:
                raise UserError(f"matryoshka: {option}={width} is wider than the vectors, {most}; use at most that")
        plan = LOOKUPS[self.lookup](least, used, self.shortlist)
        model.spec |= {"width": self.width, "widths": list(trained), "stages": [list(stage) for stage in plan]}

    def small(self) -> Self:
        small: Any = super().small()
        return cast(Self, replace(small, widths=None, weights=None, width=None, narrow=None, steps=min(self.steps, 3)))

    def batches(self, model: Model, data: SearchData | ClassifyData, seed: int) -> Callable[[int, float], Any]:
        if isinstance(data, ClassifyData):
            return classify.batches(self, model, data, seed)
        return self.base().batches(model, data, seed)

    def loss(self, net: Part, batch: PairBatch | LabelledBatch) -> Loss:
        """The base's loss at every width, of the same vectors (equation 1)."""
        if isinstance(batch, LabelledBatch):
            return classify.loss(self, net, batch)
        assert isinstance(net, Encoder)
        return nested_pairs(self.base().loss, net, batch, self.widths, self.weights)

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
        if isinstance(fitted.model, ClassifyModel):
            fitted.model.history[-1]["report"] |= classify.finish(self, fitted.model, data)
        return fitted

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr or SEARCH_RATE, dtype=computing.dtype())

    def recipe_for(self, data: Any) -> Recipe:
        rate = classify.RATES[data.modality] if isinstance(data, ClassifyData) else SEARCH_RATE
        return replace(self.recipe(), lr=self.lr or rate)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A trained dense encoder with its last layers trained further, nested, and its vectors cut at `width`.

        Args:
            model: any search model with dense vectors that are compared by dot products.
            rows: `query` and `document`; only looked at where there are steps to train.
        """
        if not isinstance(model, EncoderModel) or not model.net.by_dot:
            raise UserError(f"matryoshka changes dense search models, not {model.name}; give it one such as gtr's")
        changed = model.copy()
        self.settle(changed)
        report: dict[str, Any] = {"width": self.width or changed.dim, "widths": changed.spec["widths"]}
        if self.steps:
            history = train_further(self, changed, rows, self.steps, seed)
            report |= {"loss": history.curve[-1]["loss"], "steps": history.steps}
        return changed.remember(self.id, self.options(), report)

    claim: ClassVar[Claim] = Claim(
        says="vectors of two numbers, cut from nested ones, tell digits apart better than two principal components "
        "of plain ones",
        paper="ImageNet-1K, 1-NN accuracy of ResNet50 vectors cut to 8 of 2,048: above vectors trained at that width, "
        "and far above cut or SVD-compressed ones; embeddings up to 14 times smaller at equal accuracy",
        arms=(
            Arm("pixel-mlp", answer="neighbours", components=2, batch=64),
            Arm("matryoshka", answer="neighbours", width=2, widths=WIDTHS, batch=64),
        ),
        data="digits",
        metric="accuracy",
        by=0.03,
        budget=Steps(400),
        repeats=5,
        task="classify",
        side=(
            Arm("pixel-mlp", answer="neighbours", dim=2, batch=64),
            Arm("matryoshka", answer="neighbours", width=2, widths=(64,), batch=64),
            Arm("matryoshka", answer="neighbours", width=2, widths=WIDTHS, batch=64, shared_head=True),
            Arm("pixel-mlp", answer="neighbours", batch=64),
            Arm("pixel-mlp", answer="neighbours", components=4, batch=64),
            *(Arm("matryoshka", answer="neighbours", width=w, widths=WIDTHS, batch=64) for w in (3, 4, 8, 64)),
            Arm("matryoshka", answer="head", width=64, widths=WIDTHS, batch=64),
            Arm("matryoshka", answer="cascade", widths=WIDTHS, batch=64),
        ),
        tune={"lr": (3e-3, 1e-2, 3e-2), "distance": ("cosine", "euclidean")},
        minutes=1,
    )
