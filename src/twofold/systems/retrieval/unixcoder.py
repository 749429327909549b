"""UniXcoder: one transformer that reads both ways, writes, or reads and then writes, as its first token says.

Guo et al. 2022, "UniXcoder: Unified Cross-Modal Pre-training for Code Representation",
https://arxiv.org/abs/2203.03850
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.python_trees import MARKS
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.errors import UserError
from twofold.objectives import Loss, causal, info_nce, mask_tokens, masked
from twofold.parts import Encoder, Mask, Mean, MLMHead, Part, SequenceModel, TextEncoder
from twofold.surgery.vocabulary import widen_vocabulary
from twofold.tasks import Model, backbones
from twofold.tasks.search import EncoderModel, SearchData, SearchSystem
from twofold.tasks.search.modes import (
    LOSSES,
    MODES,
    SENTINELS,
    CodeBatch,
    CodeBatches,
    Name,
    check_modes,
    longest_row,
    mode_mask,
)
from twofold.training import Recipe


@system(
    "unixcoder",
    number=180,
    title="UniXcoder: Unified Cross-Modal Pre-training for Code Representation",
    tasks=("search",),
    source="https://arxiv.org/abs/2203.03850",
    year=2022,
    needs=(
        "find code that does the same as this code",
        "pre-train on my code with syntax trees and comments",
        "zero-shot code to code search",
        "one model that reads and writes code",
    ),
    simplified=(
        "Python alone, by Python's own parser: layout and comments inside a function are no part of its tree",
        "dropout acts on the token vectors only, where the backbones here have none of their own",
        "comments and completions are learnt, and not offered as verbs",
        "hundreds of steps from a small masked language model, in place of 800,000 from a code model",
    ),
)
class UniXcoder(SearchSystem):
    """Code encoder pre-trained in three modes of one network, on comments, code and its flat syntax tree."""

    by_name: ClassVar[bool] = True

    tune_layers: int = Field(0, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    document_tokens: int = Field(128, ge=16, le=512, description="code is cut here")
    batch: int = Field(16, ge=2, description="pairs in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    losses: tuple[Name, ...] = Field(LOSSES, min_length=1, description="what is asked, one a step, in turn")
    trees: float = Field(0.5, ge=0, le=1, description="share of samples that are flat syntax trees")
    mask_rate: float = Field(0.15, gt=0, lt=1, description="share of tokens that are hidden, alone or in spans")
    dropout: float = Field(0.1, ge=0, lt=1, description="of features of the token vectors, in training")
    temperature: float = Field(0.1, gt=0, description="of the softmax over the batch's codes")

    @property
    def longest(self) -> int:
        return longest_row(self.losses, self.query_tokens, self.document_tokens, self.mask_rate)

    def suits(self, backbone: SequenceModel) -> None:
        check_modes(backbone, self.losses, self.longest)

    def network(self, chosen: backbones.Chosen) -> Encoder:
        """The backbone with a head, over the wider vocabulary; the head stays, so that training can go on."""
        if "contrast" in self.losses and not self.dropout:
            raise UserError(
                "unixcoder: dropout=0 makes both views of a code the same; set it above 0, or leave contrast out"
            )
        known = chosen.head
        head = MLMHead(chosen.model.dim, chosen.model.vocab) if known is None else known
        model = SequenceModel(chosen.model.embedding, chosen.model.stack, head)
        vocab = self.tokenizer(chosen).vocab_size
        return TextEncoder(widen_vocabulary(model, vocab), Mean(), normalise=True)

    def tokenizer(self, chosen: backbones.Chosen) -> SubwordTokenizer:
        """The backbone's, with the modes, the sentinels and the marks of trees."""
        if not isinstance(chosen.tokenizer, SubwordTokenizer):
            raise UserError("unixcoder needs a subword tokenizer, to which it adds its marks; use another backbone")
        return chosen.tokenizer.extended([*MODES, *SENTINELS, *MARKS])

    def start(self, data: SearchData, seed: int) -> Model:
        model = super().start(data, seed)
        model.tokenizer = model.tokenizer.extended([*MODES, *SENTINELS, *MARKS])  # type: ignore[union-attr]
        model.spec |= {"query_prefix": MODES[0], "document_prefix": MODES[0]}
        return model

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], CodeBatch]:
        assert isinstance(model, EncoderModel)
        return CodeBatches(
            model,
            data,
            losses=self.losses,
            size=self.batch,
            comment=self.query_tokens,
            code=self.document_tokens,
            trees=self.trees,
            rate=self.mask_rate,
            seed=seed,
        )

    def loss(self, net: Part, batch: CodeBatch) -> Loss:
        """The loss of the batch's kind (section 3.2)."""
        assert isinstance(net, TextEncoder)
        known: Mapping[str, Callable[[TextEncoder, CodeBatch], Loss]] = {
            "masked": self.filled,
            "causal": self.written,
            "denoise": self.written,
            "comment": self.written,
            "contrast": self.contrasted,
        }
        return known[batch.kind](net, batch)

    def states(self, model: SequenceModel, ids: Tensor, mask: Mask) -> Float[Tensor, "batch time dim"]:
        """States with dropout on the token vectors."""
        mask = mask.for_pass()
        return model.stack(F.dropout(model.embed(ids, mask), self.dropout, model.training), mask)

    def filled(self, net: TextEncoder, batch: CodeBatch) -> Loss:
        """Hidden tokens, read both ways."""
        hidden, labels = mask_tokens(batch.ids, self.mask_rate, real=batch.real, **batch.hide.arguments())
        states = self.states(net.model, hidden, mode_mask(MODES[0]) & Mask.padding(batch.real))
        asked = labels != -100
        return masked(net.model.apply_head(states[asked]), labels[asked])

    def written(self, net: TextEncoder, batch: CodeBatch) -> Loss:
        """Each token of what is written, from those before it and the source."""
        mask = mode_mask(MODES[1] if batch.kind == "causal" else MODES[2], batch.source) & Mask.padding(batch.real)
        states = self.states(net.model, batch.ids, mask)
        counted = torch.arange(batch.ids.shape[1], device=batch.ids.device) >= batch.source[:, None]
        return causal(net.model.apply_head(states), batch.ids, counted, real=batch.real)

    def contrasted(self, net: TextEncoder, batch: CodeBatch) -> Loss:
        """A code must find itself under other dropout among the batch's (equation 4)."""
        mask = mode_mask(MODES[0]) & Mask.padding(batch.real)
        views = [net.read(self.states(net.model, batch.ids, mask), batch.real) for _ in range(2)]
        return info_nce(views[0], views[1], self.temperature, two_way=False)

    def recipe(self) -> Recipe:
        return replace(super().recipe(), schedule="trapezoid", final=0.0)

    claim: ClassVar[Claim] = Claim(
        says="contrast of a code with itself under other dropout, beside four other losses, finds code that does the "
        "same without any training on such pairs",
        paper="zero-shot code-to-code search MAP about 20, twice the best earlier model; without contrast it falls",
        arms=(
            Arm(
                "unixcoder",
                backbone="tiny-encoder-2",
                query_tokens=128,
                losses=("masked", "causal", "denoise", "comment"),
            ),
            Arm("unixcoder", backbone="tiny-encoder-2", query_tokens=128),
        ),
        data="pycode:rewritten",
        metric="mrr@10",
        by=0.05,
        budget=Steps(200),
        side=(Arm("bm25"),),
        tune={"lr": (3e-4, 1e-3, 2e-3)},
        minutes=5,
    )
