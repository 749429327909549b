"""Echo-Mistral-SPLADE: sparse vectors from a decoder that reads every text twice.

Doshi et al. 2024, "Mistral-SPLADE: LLMs for better Learned Sparse Retrieval", https://arxiv.org/abs/2408.11119
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.objectives import Loss, info_nce, quadratic
from twofold.parts import EchoEncoder, MaxTerms, Part, SequenceModel, SparseEncoder
from twofold.tasks import Model, backbones
from twofold.tasks.options import Backbone
from twofold.tasks.search import EncoderModel, PairBatches, SearchData, SearchSystem
from twofold.tasks.search.terms import PressedBatch, around, head, settle, silent_tokens, with_sparsity

# Both arms of the claim.
SMALL: dict[str, Any] = {
    "backbone": "tiny-decoder",
    "query_tokens": 16,
    "document_tokens": 32,
    "batch": 16,
    "lr": 3e-4,
    "query_terms": 16,
    "document_terms": 32,
}


@system(
    "echo-splade",
    number=142,
    title="Mistral-SPLADE: LLMs for better Learned Sparse Retrieval",
    tasks=("search",),
    source="https://arxiv.org/abs/2408.11119",
    year=2024,
    needs=(
        "sparse retrieval with a language model",
        "make a decoder an encoder of texts",
        "search with an inverted index, but by meaning",
    ),
    simplified=(
        "the top layers are trained (`tune_layers`), in place of low-rank adapters on all of them",
        "the head gets a bias, which starts at what lets a text say a stated number of terms (`start_terms`)",
        "texts of tens of tokens and batches of tens",
    ),
)
class EchoSplade(SearchSystem):
    """Sparse vectors over the vocabulary from a decoder: a text stands twice, and its second copy is read."""

    by_name: ClassVar[bool] = True

    backbone: Backbone = Field("smollm2", description="preset and size, reference model, checkpoint or folder")
    batch: int = Field(16, ge=2, description="pairs in a batch")
    document_tokens: int = Field(64, ge=2, le=512, description="documents are cut here, both copies alike")
    echo: bool = Field(True, description="the text stands twice, and only its second copy is read")
    instruction: str = Field("Rewrite the sentence.", description="what stands before the first copy")
    labels: tuple[str, str] = Field(
        ("Sentence:", "Rewritten sentence:"), description="what stands right before each copy"
    )
    shift: bool = Field(False, description="read the tokens that predict the second copy, instead of its own")
    flops_weight: float = Field(1e-3, ge=0, description="of the sparsity of documents, once it has risen")
    query_ratio: float = Field(1.0, ge=0, description="the queries' sparsity counts so many times as much")
    warmup: float = Field(1 / 3, ge=0, le=1, description="share of the budget in which the sparsity's weight rises")
    start_terms: int | None = Field(
        100, ge=1, description="a head without a trained bias starts with so many terms a text; none: as it is"
    )
    query_terms: int | None = Field(None, ge=1, description="only so many of a query's heaviest terms are used")
    document_terms: int | None = Field(None, ge=1, description="only so many of a document's heaviest are indexed")

    @property
    def longest(self) -> int:
        # A label's or an instruction's character is at most a few tokens.
        around_copies = 4 * len(" ".join([self.instruction, *self.labels])) + 8
        text = max(self.query_tokens, self.document_tokens)
        return 2 * text + around_copies if self.echo else text

    def network(self, chosen: backbones.Chosen) -> SparseEncoder:
        """The backbone with its head; of a text's two copies the second one is read."""
        model = SequenceModel(chosen.model.embedding, chosen.model.stack, head(chosen))
        tokenizer, silent = chosen.tokenizer, silent_tokens(chosen.tokenizer)
        if not self.echo:
            if self.shift:
                raise UserError("shift=true reads what predicts a second copy, and echo=false makes none; leave it out")
            return SparseEncoder(model, MaxTerms(), silent, *around(tokenizer))
        frame = sum(map(len, self.frame(tokenizer).values()))
        limit, longest = model.max_len, frame + 2 * max(self.query_tokens, self.document_tokens)
        if limit is not None and longest > limit:
            raise UserError(
                f"two copies and their prompt are {longest} tokens, and {self.backbone} reads {limit}; lower "
                f"document_tokens (now {self.document_tokens}) or query_tokens (now {self.query_tokens})"
            )
        return EchoEncoder(model, MaxTerms(), silent, frame, self.shift)

    def frame(self, tokenizer: Tokenizer) -> dict[str, list[int]]:
        """The tokens before the first copy, and those between the copies."""
        before = f"{self.instruction} {self.labels[0]}".strip()
        pieces = tokenizer.encode([before, f"\n{self.labels[1]}"], specials=False)
        opening = tokenizer.encode(["a"])[0][: around(tokenizer)[0]]
        return {"before": [*opening, *pieces[0]], "between": pieces[1]}

    def start(self, data: SearchData, seed: int) -> Model:
        model = super().start(data, seed)
        assert isinstance(model, EncoderModel)
        assert model.tokenizer is not None
        model.spec |= {"query_terms": self.query_terms, "document_terms": self.document_terms}
        if self.echo:
            model.spec["echo"] = self.frame(model.tokenizer)
        if self.start_terms is not None:
            settle(model, data, self.start_terms)
        return model

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], PressedBatch]:
        pairs = PairBatches(self, model, data, seed)
        return lambda step, progress: PressedBatch(pairs(step, progress), quadratic(progress, self.warmup))

    def loss(self, net: Part, batch: PressedBatch) -> Loss:
        """Softmax over the batch's documents, and the sparsity of both sides; no teacher, no hard negatives."""
        assert isinstance(net, SparseEncoder)
        pairs = batch.pairs
        queries, documents = pairs.queries.embed(net), pairs.documents.embed(net)
        rank = info_nce(
            queries, documents, 1.0, two_way=False, query_ids=pairs.query_ids, document_ids=pairs.document_ids
        )
        return with_sparsity(rank, queries, documents, batch.pressure * self.flops_weight, self.query_ratio)

    claim: ClassVar[Claim] = Claim(
        says="a decoder that reads a text twice makes better sparse vectors than one that reads it once",
        paper="about 0.550 nDCG@10 on 13 sets of BEIR, the best of learned sparse retrievers (with echo, Mistral 7B)",
        arms=(Arm("echo-splade", echo=False, **SMALL), Arm("echo-splade", echo=True, **SMALL)),
        data="pydoc",
        metric="mrr@10",
        by=0.02,
        budget=Steps(100),
        side=(Arm("bm25"),),
        tune={"lr": (1e-4, 3e-4, 1e-3)},
        minutes=8,
    )
