"""mask-instruct: an encoder that classifies with its masked-language-model head, tuned on instructions first.

Clavié et al. 2025, "It's All in The [MASK]: Simple Instruction-Tuning Enables BERT-like Masked Language Models As
Generative Classifiers", https://arxiv.org/abs/2502.03793
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from twofold.catalog import Arm, Budget, Claim, Steps, system
from twofold.data.instructions import tasks_of
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import sequence_model
from twofold.tasks import Change, Fitted, Model, backbones, instructed, reference
from twofold.tasks.classify import (
    ClassifyData,
    ClassifyModel,
    ClassifySystem,
    LabelledBatches,
    OneLabel,
    PromptReader,
    PromptStore,
    settings,
)
from twofold.tasks.options import Backbone

ACTS = {"question": "whether", "promise": "will", "thanks": "well"}
"""Labels of `utterances` that are several tokens of the reference models' vocabulary, and words that are one."""


@system(
    "mask-instruct",
    number=8,
    title="It's All in The [MASK]: Simple Instruction-Tuning Enables BERT-like Masked Language Models As Generative "
    "Classifiers",
    tasks=("classify",),
    source="https://arxiv.org/abs/2502.03793",
    year=2025,
    needs=(
        "classify text without labelled examples",
        "zero-shot classification with an encoder",
        "few-shot text classification",
        "instruction-tune a masked language model",
        "prompt a BERT-like model",
    ),
    simplified=(
        "instructions are written from five made task families, in place of 20 million examples of FLAN",
        "every prompt counts alike in the loss, dummies too; the paper does not say how it weighs them",
        "fine-tuning lists the labels in one order and is answered by the label itself or by its letter",
    ),
)
class MaskInstruct(ClassifySystem, Change):
    """Generative classifier: a prompt that ends in one mask, answered by the masked-language-model head."""

    backbone: Backbone = Field(
        "tiny-encoder-2", description="preset or mixer and size, reference model, checkpoint, folder, or layers as data"
    )
    tune_layers: Literal[0] = Field(0, description="all layers are trained")
    tokens: int = Field(128, ge=16, le=8192, description="prompts are cut here")
    lr: float = Field(1e-3, gt=0, description="highest learning rate on a person's data")
    examples: int | None = Field(
        None, ge=0, description="learn from so many examples, drawn by the seed; 0: zero-shot; none: from all"
    )
    answers: Literal["auto", "letters", "words"] = Field(
        "auto", description="answer with the label itself, with a letter, or with the label where it is one token"
    )
    words: dict[str, str] = Field(
        default_factory=dict, description="words that answer for labels, such as those of several tokens"
    )
    instruct_steps: int = Field(300, ge=0, description="steps of instruction tuning; 0: none")
    instruct_lr: float = Field(2e-3, gt=0, description="highest learning rate of instruction tuning")
    dummy: Literal["mask-label", "mlm", "none"] = Field(
        "mask-label", description="what the dummies ask for: the mask itself, the hidden tokens, or no dummies"
    )
    dummy_share: float = Field(0.2, ge=0, lt=1, description="share of prompts that are dummies")
    letters: float = Field(
        0.2, ge=0, le=1, description="share of instructions answered by letter though the answer is one token"
    )
    families: tuple[str, ...] = Field(instructed.FAMILIES, description="made text tasks to be instructed on")

    def serves(self, data: Any) -> str | None:
        reason = super().serves(data)
        if reason is None and not isinstance(data.target, OneLabel):
            return "it answers with one label, and these have several or a number"
        return reason

    def waits_for(self, seed: int) -> str | None:
        if self.backbone not in reference.NAMES or instructed.made(str(self.backbone), self.plan(), seed):
            return None
        return "the instructed model that it starts from is yet to be trained here, once, for minutes"

    def plan(self) -> instructed.Plan:
        """How the backbone is instructed."""
        return instructed.Plan(
            families=self.families,
            steps=self.instruct_steps,
            lr=self.instruct_lr,
            dummy=self.dummy,
            share=self.dummy_share,
            tokens=self.tokens,
            letters=self.letters,
        )

    def fit(
        self,
        data: ClassifyData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        """The MLM head fine-tuned on the data, in the format it was instructed in; without examples, as instructed."""
        if self.examples == 0:
            return Fitted(self.start(data, seed).remember(self.id, self.options(), {"steps": 0}))
        return super().fit(data, budget, seed=seed, folder=folder, until=until)

    def start(self, data: ClassifyData, seed: int) -> ClassifyModel:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        reader = PromptReader(self.tokens, self.answers, self.words)
        base = backbones.instructed_model(self.backbone, data.part("train")[0], self.plan(), seed)  # type: ignore[arg-type]
        assert base.tokenizer is not None
        if (room := reader.room(base.tokenizer, data.target.labels)) < 1:
            raise UserError(
                f"{self.id}: {len(data.target.labels)} labels take {self.tokens - room} of {self.tokens} tokens; "
                "raise tokens, or give the labels shorter names"
            )
        return ClassifyModel(base.net, base.tokenizer, settings(data.target, reader), base.history, base.notes)

    def batches(self, model: Model, data: ClassifyData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, ClassifyModel)
        assert isinstance(model.reader, PromptReader)
        assert model.tokenizer is not None
        store = PromptStore(model.reader, model.tokenizer, list(data.part("train")[0]), model.labels)
        return LabelledBatches(store, data, self.batch, seed)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> ClassifyModel:
        """The model instructed on labelled texts, ready for `predict` with any labels; the one given stays as it is.

        Args:
            model: any model of text with a mask token; where it has no head over its vocabulary, a tied one is added.
            rows: `text`, `label`, and `task` where they are several; `choices` where not every label is open.
            seed: of the prompts.

        Raises:
            UserError: rows without labels, or a model that cannot be asked.
        """
        tasks = tasks_of(rows)
        if model.tokenizer is None:
            raise UserError(f"{model.name} has no tokenizer, so it cannot be asked in words; give a model of text")
        found = sequence_model(copy.deepcopy(model.net))
        if found is None:
            raise UserError(
                f"{model.name} is no sequence model over tokens, so it cannot be instructed; give an encoder"
            )
        net = instructed.with_words(found)
        history = instructed.instruct(net, model.tokenizer, tasks, self.plan(), seed)
        spec = settings(OneLabel(tasks[0].names), PromptReader(self.tokens, self.answers, self.words))
        made = ClassifyModel(net, model.tokenizer, spec, list(model.history), dict(model.notes))
        report: dict[str, Any] = {"tasks": [task.name for task in tasks], "steps": self.instruct_steps}
        if history is not None:
            report["loss"] = round(float(history.curve[-1]["loss"]), 4)
        return made.remember(self.id, self.options(), report)

    def small(self) -> Self:
        few = 0 if self.examples == 0 else None
        made = replace(super().small(), tokens=96, examples=few)
        steps = min(self.instruct_steps, 2)
        return replace(made, instruct_steps=steps, families=("utterances",))  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="fine-tuned on 64 examples, the masked-language-model head of an instructed encoder is more accurate than "
        "a linear head on the same encoder",
        paper="fine-tuned, the MLM head matches or surpasses a classification head; zero-shot, MMLU 43.1 with 0.4B",
        arms=(
            Arm("linear-head", backbone="tiny-instructed", tune_layers=0, tokens=128, batch=16, examples=64),
            Arm("mask-instruct", batch=16, examples=64, words=ACTS),
        ),
        data="utterances",
        further=("reviews",),
        metric="accuracy",
        by=0.02,
        budget=Steps(60),
        tune={"lr": (3e-4, 1e-3, 3e-3)},
        side=(
            Arm("mask-instruct", examples=0, instruct_steps=0, words=ACTS),
            Arm("mask-instruct", examples=0, dummy="none", words=ACTS),
            Arm("mask-instruct", examples=0, words=ACTS),
            Arm("mask-instruct", batch=16, examples=16, words=ACTS),
            Arm("mask-instruct", batch=16, examples=256, words=ACTS),
            Arm("mask-instruct", batch=16, examples=64, instruct_steps=0, words=ACTS),
        ),
        minutes=3,
    )
