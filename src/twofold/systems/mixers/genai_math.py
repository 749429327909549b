"""Five proposals for components of language models; the one that makes a model is rotary × harmonic positions.

Li 2024, "The Nature of Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI",
https://arxiv.org/abs/2410.18441. Parts: `Harmonic`, `Reciprocal`, `RandomBlocks`, `staircase`; `train_likelihood`;
`cross_entropy_search`.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data import read
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Pattern
from twofold.systems.mixers import genai_math_study as study
from twofold.tasks import Analysis, Model, Report
from twofold.tasks.language import LanguageData, LanguageModel
from twofold.tasks.sequences import SequenceSystem


@system(
    "genai-math",
    number=239,
    title="The Nature of Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2410.18441",
    year=2024,
    needs=(
        "rope that reads longer texts than it was trained on",
        "subword units by likelihood",
        "search good settings of word vectors",
        "attention to random blocks",
        "key-value cache with fewer bits for older tokens",
    ),
    simplified=(
        "the paper formulates and hardly measures; sizes, slopes and the order of sampling are ours",
        "settings are searched for word vectors from a factored matrix, which skip-gram approximates, not for word2vec",
        "random blocks and windows are compared on text, caches on the model of the study or the one given",
        "sub-word units are found greedily; that this equals the best choice is tested on tiny corpora alone",
    ),
)
class GenaiMath(SequenceSystem, Analysis):
    """Decoder with rotary positions and a bias that falls with the harmonic number of the distance."""

    by_name: ClassVar[bool] = True

    study_steps: int = Field(150, ge=1, description="study: training steps of each small model")
    study_texts: int = Field(200, ge=4, description="study: texts that are looked at, at most")
    study_rounds: int = Field(4, ge=1, description="study: rounds of the search for settings, of five trials each")
    study_vocab: int = Field(600, ge=260, description="study: pieces of each tokenizer")

    def pattern(self) -> Pattern:
        layer = {"position": {"kind": "harmonic", "base": "rope"}, "times": self.layers}
        return Pattern.read([layer], dim=self.dim, heads=self.heads, conv=self.conv)

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """Five tables, each proposal beside its rivals.

        Args:
            model: a language model whose cache is rounded; none: the study's own.
            rows: texts (default: pydoc).
        """
        if model is not None and not isinstance(model, LanguageModel):
            raise UserError(f"genai-math rounds the cache of language models, and {model.name} is for {model.task}")
        data = LanguageData.from_rows(read("pydoc") if rows is None else rows)
        plan = study.Plan(
            self.study_steps, self.length, self.dim, self.layers, self.heads, self.study_vocab, self.study_texts,
            self.study_rounds,
        )  # fmt: skip
        placed, own = study.positions(data, plan, seed)
        tables = (
            study.tokenizers(data, plan),
            study.settings(data, plan, seed),
            placed,
            study.blocks(data, plan, seed),
            study.caches(model or own, data, self.length),
        )
        figures = {f"{table.columns[1]}: {row[0]}": float(row[1]) for table in tables for row in table.rows}
        return Report(figures, tables, text="Fewer bits are better; more AUC is better.")

    def small(self) -> Self:
        return super().small().changed(
            layers=1, dim=8 * self.heads, length=32, study_steps=1, study_texts=8, study_rounds=1, study_vocab=270
        )  # fmt: skip

    claim: ClassVar[Claim] = Claim(
        says="with a harmonic bias rotary positions read beyond the trained length",
        paper="no figures",
        arms=(
            Arm("backbone", backbone=[{"position": "rope", "times": 2}], dim=64, length=128, batch=32),
            Arm("genai-math", dim=64, layers=2, length=128, batch=32),
        ),
        data="pydoc",
        metric="bits_per_byte_far",
        direction="lower",
        by=0.1,
        budget=Steps(300),
        repeats=3,
        setting={"far": (384, 512), "texts": 100},
        side=(Arm("backbone", backbone=[{"position": "alibi", "times": 2}], dim=64, length=128, batch=32),),
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        minutes=4,
    )
