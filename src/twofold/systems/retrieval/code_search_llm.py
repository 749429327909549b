"""Code search with language models: encoders and decoders, as they are and fine-tuned, on the same queries.

Chen et al. 2024, "Are Decoder-Only Large Language Models the Silver Bullet for Code Search?",
https://arxiv.org/abs/2410.22240
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field

from twofold import catalog, progress
from twofold.catalog import Arm, Claim, Steps, system
from twofold.data import Rows
from twofold.data.code_collections import code_search
from twofold.errors import UserError
from twofold.measure.costs import parameters
from twofold.surgery import merge_adapters
from twofold.systems.retrieval.code_search_report import Judged, as_it_is, figures_of, report
from twofold.tasks import Model, Report, StudySystem
from twofold.tasks.examples import small_rows
from twofold.tasks.inputs import Kept, keeping
from twofold.tasks.options import Names
from twofold.tasks.search import EncoderModel, SearchData, SearchModel, SearchSystem, from_rows
from twofold.tasks.search.frozen import frozen_vectors

Method = Literal["zero-shot", "supervised", "unsupervised"]

_KEPT = Kept(dtype=torch.float32)
"""States below the trained layers: the same for every method and pooling, and for the next repeat."""


@system(
    "code-search-llm",
    number=10,
    title="Are Decoder-Only Large Language Models the Silver Bullet for Code Search?",
    tasks=("search",),
    source="https://arxiv.org/abs/2410.22240",
    year=2024,
    needs=(
        "which model is best for searching my code",
        "are language models good embedding models for code",
        "compare encoders and decoders for code search",
        "evaluate on CodeSearchNet or CoSQA+",
    ),
    simplified=(
        "adapters in the top layers alone, whose inputs are computed once, in place of adapters in all layers",
        "models that are here (minilm, smollm2, folders) in place of nine decoders up to 7 billion weights",
        "UniXcoder and CodeSage take part as folders of models that were trained with those systems",
        "mixtures of training languages are the person's rows; nothing mixes them",
    ),
)
class CodeSearchLlm(StudySystem):
    """Text to code search with encoders and decoders, as they are and tuned with low-rank adapters: MRR, MAP, costs."""

    models: Names = Field(("minilm", "smollm2"), min_length=1, description="checkpoints, folders, or preset and size")
    methods: tuple[Method, ...] = Field(
        ("zero-shot", "supervised"), min_length=1, description="as they are, tuned on pairs, tuned on texts alone"
    )
    poolings: tuple[Literal["mean", "last"], ...] = Field(("mean",), min_length=1, description="of states to a vector")
    instruction: str = Field("Find code: ", description="what every query begins with, for every model")
    two_way: bool = Field(False, description="lift the causal mask of decoders")
    layers: int = Field(2, ge=0, description="top layers that get adapters; 0: all")
    rank: int = Field(8, ge=1, description="width of the adapters")
    negatives: int = Field(1, ge=0, description="hard negatives a query")
    temperature: float = Field(0.05, gt=0, description="of the softmax over the batch's codes")
    steps: int = Field(30, ge=1, description="training steps")
    batch: int = Field(16, ge=2, description="pairs in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    query_tokens: int = Field(48, ge=2, le=512, description="queries are cut here, the instruction not counted")
    code_tokens: int = Field(48, ge=2, le=512, description="codes are cut here")
    train: int = Field(100, ge=2, description="most training codes")
    validation: int = Field(64, ge=2, description="most validation codes")
    test: int = Field(200, ge=2, description="most codes that test queries look among")

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """Judges BM25, every model with every method and pooling, and a search model that is given.

        Args:
            model: one more search model, judged as it is.
            rows: queries with their codes, or a copy of CodeSearchNet, CoSQA or CoSQA+.
            seed: of adapters and batches.

        Raises:
            UserError: the model is no search model, or the rows have no such columns.
        """
        data = self.data(small_rows() if rows is None else rows)
        lexical = catalog.configure("bm25").fit(data, Steps(1)).model
        arms = [as_it_is("bm25", lexical, data)]
        if model is not None:
            if not isinstance(model, SearchModel):
                raise UserError(f"{model.name} is a model for {model.task}; give one for search, or none")
            arms.append(as_it_is(model.name, model, data))
        ways = [(name, pooling, method) for name in self.models for pooling in self.poolings for method in self.methods]
        with keeping(_KEPT), progress.stage("models", total=len(ways)) as stage:
            for name, pooling, method in ways:
                arms.append(self.judged(data, name, pooling, method, seed))
                stage.advance(note=arms[-1].label)
        return report(arms, data, seed)

    def data(self, rows: Rows) -> SearchData:
        """The rows as search data of the sizes that were asked for, the same ones every time."""
        sizes = {"train": self.train, "validation": self.validation, "test": self.test}
        data = from_rows(code_search(rows)).limited(sizes)
        for part in sizes:
            if not len(data.asked(part)):
                raise UserError(f"{data.name}: no {part} queries; give more rows, or a split column with {part} rows")
        return data

    def arm(self, name: str, pooling: str, method: str) -> SearchSystem:
        """The dual encoder around one model; the text limits are the same for all."""
        made: SearchSystem = catalog.configure(
            "adapted",
            backbone=name,
            tune_layers=self.layers,
            learns="unsupervised" if method == "unsupervised" else "supervised",
            pooling=pooling,
            instruction=self.instruction,
            two_way=self.two_way,
            rank=self.rank,
            negatives=self.negatives,
            temperature=self.temperature,
            batch=self.batch,
            lr=self.lr,
            query_tokens=self.query_tokens,
            document_tokens=self.code_tokens,
        )
        return made

    def judged(self, data: SearchData, name: str, pooling: str, method: str, seed: int) -> Judged:
        """One model, trained as `method` says, on the test queries."""
        started = time.perf_counter()
        system = self.arm(name, pooling, method)
        model = system.start(data, seed)
        trained = sum(p.numel() for p in model.net.parameters() if p.requires_grad)
        if method == "zero-shot":
            merge_adapters(model.net)  # which at the start changes nothing
            trained = 0
        else:
            model = system.fit(data, Steps(self.steps), seed=seed).model
        assert isinstance(model, EncoderModel)
        found = figures_of(self.ranked(model, data, "test"), data, "test")
        validation = figures_of(self.ranked(model, data, "validation"), data, "validation")
        weights = parameters(model.net)
        seconds, width = time.perf_counter() - started, model.net.tower("document").model.dim
        costs: dict[str, Any] = {"parameters": weights, "trained": trained, "megabytes": model.bytes / 1e6}
        return Judged(
            name,
            method,
            pooling,
            found["mrr"],
            found["map"],
            float(validation["mrr"].mean()),
            seconds,
            vector_bytes=4 * width,
            **costs,
        )

    def ranked(self, model: EncoderModel, data: SearchData, part: str) -> np.ndarray:
        """All codes of a part, best first, for each of its queries, `[queries, codes]`."""
        below = len(model.net.tower("document").model.stack.layers) - self.layers if self.layers else 0
        codes = frozen_vectors(model, [data.documents[i] for i in data.pool(part)], "document", _KEPT, below)
        queries = frozen_vectors(model, [data.queries[i] for i in data.asked(part)], "query", _KEPT, below)
        return queries.top(codes, len(codes))[0]

    def small(self) -> Self:
        sizes: dict[str, Any] = {"query_tokens": 8, "code_tokens": 16, "train": 48, "validation": 16, "test": 24}
        return replace(  # type: ignore[type-var]
            self, models=("t5-2x32",), layers=1, rank=4, steps=4, batch=8, methods=self.methods[:2], **sizes
        )

    claim: ClassVar[Claim] = Claim(
        says="a decoder that is tuned on pairs of comment and code finds code better than it does as it is",
        paper="fine-tuned CodeGemma finds code with 5.57% more MRR on CodeSearchNet and 49.6% more MAP on CoSQA+ than "
        "UniXcoder without tuning",
        arms=(
            Arm("code-search-llm", models=("smollm2",), methods=("zero-shot",), negatives=0),
            Arm("code-search-llm", models=("smollm2",), methods=("supervised",), negatives=0),
        ),
        data="pycode",
        metric="mrr",
        by=0.05,
        repeats=3,
        side=(
            Arm("code-search-llm", models=("minilm",), negatives=0),
            Arm(
                "code-search-llm",
                models=("smollm2",),
                methods=("zero-shot", "supervised"),
                poolings=("last",),
                negatives=0,
            ),
        ),
        tune={"lr": (3e-4, 1e-3, 3e-3)},
        trial={"steps": 15},
        tune_by="validation_mrr",
        minutes=4,
    )
