"""CodeSage: hidden tokens and hidden names first, then docstrings against functions whose easy clues are gone.

Zhang et al. 2024, "Code Representation Learning At Scale", https://arxiv.org/abs/2402.01935
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data import batches
from twofold.data.python_names import places
from twofold.data.python_rewrites import body_alone
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.errors import UserError
from twofold.objectives import IGNORED, Loss, mask_tokens, masked, weighted_info_nce
from twofold.parts import Encoder, Mean, Part, TextEncoder
from twofold.tasks import backbones
from twofold.tasks.search import EncoderModel, PairBatch, PairBatches, SearchData
from twofold.tasks.search.pretraining import PretrainedSearch, TextBatch, TextBatches

# Both arms of the claim: they begin alike, and read queries and documents of code.
SMALL: dict[str, Any] = {
    "backbone": "tiny-encoder-2",
    "tune_layers": 0,
    "temperature": 0.05,
    "query_tokens": 96,
    "document_tokens": 96,
    "batch": 32,
}


@dataclass(frozen=True)
class NamedBatch(TextBatch):
    """Texts, and which of their tokens are part of a name that belongs to them.

    Attributes:
        names: `[B, T]`, True at such tokens.
    """

    names: Tensor

    def shard(self, rank: int, world: int) -> NamedBatch:
        """One process's share."""
        mine = super().shard(rank, world)
        return NamedBatch(mine.ids, mine.real, mine.hide, self.names[rank::world])

    def to(self, device: torch.device) -> NamedBatch:
        """The same on another device."""
        moved = super().to(device)
        return NamedBatch(moved.ids, moved.real, moved.hide, self.names.to(device))


class NamedBatches(TextBatches):
    """Batches of texts; in every second one names are to be told, where the texts have any.

    Raises:
        UserError: the tokenizer cannot say which characters a token stands for.
    """

    def __init__(self, model: EncoderModel, texts: Sequence[str], size: int, seed: int) -> None:
        super().__init__(model, texts, size, seed)
        if not isinstance(model.tokenizer, SubwordTokenizer):
            raise UserError("codesage hides whole names, which needs a subword tokenizer; use another backbone")
        limit = int(model.spec["document_tokens"])
        self.named = [named(model.tokenizer, text[: 32 * limit], limit) for text in texts]

    def __call__(self, step: int, progress: float) -> TextBatch:
        batch = super().__call__(step, progress)
        if step % 2 == 0:
            return batch
        names, _ = batches.pad([self.named[i] for i in self.order(step)], 0)
        found = names.bool()
        return NamedBatch(batch.ids, batch.real, batch.hide, found) if found.any() else batch


def named(tokenizer: SubwordTokenizer, text: str, limit: int) -> list[int]:
    """1 at each token, special ones counted, that is part of a name that belongs to `text`; 0 elsewhere."""
    ids, spans = tokenizer.encode_with_places(text)
    full = tokenizer.encode([text], max_len=limit)[0]
    before = len(tokenizer.encode(["a"])[0]) - len(tokenizer.encode(["a"], specials=False)[0])
    inside = np.zeros(len(text) + 1, bool)
    for place in places(text):
        inside[place.start : place.end] = True
    # A token may hold the space before a name.
    marks = [int(inside[start:end].any()) for start, end in spans]
    lead = full.index(tokenizer.cls) + 1 if tokenizer.cls in full[:1] else 0
    room = len(full) - before
    return [*[0] * lead, *marks[: min(room, len(ids))], *[0] * (before - lead)]


def hide_all(batch: TextBatch, rate: float) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Hidden tokens become the mask, all of them: a random token or the true one would spoil code (section 3.1)."""
    return mask_tokens(batch.ids, rate, real=batch.real, split=(1.0, 0.0, 0.0), **batch.hide.arguments())


def hide_names(batch: NamedBatch) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Every token of every name becomes a mask of its own; each is to be told."""
    hidden = batch.names & batch.real
    return batch.ids.masked_fill(hidden, batch.hide.mask), batch.ids.masked_fill(~hidden, IGNORED)


@system(
    "codesage",
    number=91,
    title="Code Representation Learning At Scale",
    tasks=("search",),
    source="https://arxiv.org/abs/2402.01935",
    year=2024,
    needs=(
        "search code by what it does",
        "find similar functions whatever their names",
        "embed source code",
        "train a code encoder on my repository",
    ),
    simplified=(
        "hundreds of steps on Python functions, in place of billions of tokens of nine languages",
        "both stages share one optimizer; the first is left out unless pretrain says otherwise",
        "names are hidden in Python alone; other texts have their tokens hidden",
        "a function that is nothing but its signature and a return keeps both",
    ),
)
class CodeSage(PretrainedSearch):
    """Code encoder: hidden names, then hard negatives that weigh more and functions without signature and returns."""

    by_name: ClassVar[bool] = True

    tune_layers: int = Field(0, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    pretrain: float = Field(0.0, ge=0, le=1, description="share of the budget that sees code alone")
    document_tokens: int = Field(96, ge=2, le=512, description="functions are cut here")
    weigh: bool = Field(True, description="negatives of the batch count by how near they are")
    raw: bool = Field(False, description="weights sum to 1 instead of to the number of negatives")
    through: bool = Field(False, description="gradients reach the weights")
    bodies: float = Field(1.0, ge=0, le=1, description="share of functions that lose signature and returns in training")

    def network(self, chosen: backbones.Chosen) -> Encoder:
        """Mean pooling; the head over the vocabulary stays for as long as training lasts."""
        made = super().network(chosen)
        assert isinstance(made, TextEncoder)
        return TextEncoder(made.model, Mean(), normalise=True)

    def texts(self, model: EncoderModel, documents: Sequence[str], seed: int) -> NamedBatches:
        return NamedBatches(model, documents, self.batch, seed)

    def pairing(self, model: EncoderModel, data: SearchData, seed: int) -> PairBatches:
        """Pairs, of whose functions `bodies` lost the easy clues."""
        train = set(data.pool("train").tolist())
        lot = np.random.default_rng(seed).random(len(data.documents))
        documents = [
            body_alone(text) if i in train and lot[i] < self.bodies else text for i, text in enumerate(data.documents)
        ]
        return super().pairing(model, replace(data, documents=tuple(documents)), seed)

    def loss(self, net: Part, batch: TextBatch | PairBatch) -> Loss:
        """Texts: hidden tokens or names; pairs: both directions, with weights where asked."""
        if isinstance(batch, TextBatch) or not self.weigh:
            return super().loss(net, batch)
        assert isinstance(net, TextEncoder)
        return weighted_info_nce(
            batch.queries.embed(net),
            batch.documents.embed(net),
            self.temperature,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
            raw=self.raw,
            through=self.through,
        )

    def pretraining(self, net: Encoder, batch: TextBatch) -> Loss:
        """Hidden tokens in one batch, hidden names in the next (section 3.1)."""
        hidden, labels = hide_names(batch) if isinstance(batch, NamedBatch) else hide_all(batch, self.mask_rate)
        model = net.tower("document").model
        asked = labels != IGNORED
        return masked(model.apply_head(model.states(hidden, batch.real)[asked]), labels[asked])

    claim: ClassVar[Claim] = Claim(
        says="hard negatives that weigh more, and functions without signature and returns, make a code encoder that "
        "finds functions better when their names are exchanged",
        paper="code-to-code search 41% above text-embedding-ada-002; hard negatives and hard positives each help",
        arms=(
            Arm("gtr", projection=False, judged=0.0, **SMALL),
            Arm("codesage", **SMALL),
        ),
        data="pycode:renamed",
        metric="mrr@10",
        by=0.02,
        budget=Steps(150),
        side=(Arm("bm25"),),
        tune={"lr": (1e-5, 3e-5, 1e-4)},
        minutes=4,
    )
