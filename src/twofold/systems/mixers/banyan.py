"""Banyan: vectors of sentences from entangled trees, with fourteen weights beside the tables.

Opper & Siddharth 2024, "Banyan: Improved Representation Learning with Explicit Structure",
https://arxiv.org/abs/2407.17771. The trees themselves: `twofold.parts.forests`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.objectives.loss import token_loss
from twofold.parts import DiagonalComposition, Part, TreeEncoder
from twofold.tasks import Model
from twofold.tasks.search.trees import SentenceBatch, TreeSystem


@system(
    "banyan",
    number=107,
    title="Banyan: Improved Representation Learning with Explicit Structure",
    tasks=("search",),
    source="https://arxiv.org/abs/2407.17771",
    year=2024,
    needs=(
        "sentence vectors in a language with little text",
        "sentence similarity without labelled pairs",
        "train sentence embeddings on a processor in minutes",
        "parse sentences without a treebank",
    ),
    simplified=(
        "about ten thousand sentences of documentation in place of ten million tokens",
        "similarity is judged against a pretrained encoder's, not against people's",
        "no transformer trained by contrast stands beside it",
    ),
)
class Banyan(TreeSystem):
    """Tree autoencoder whose equal constituents are one node throughout a batch."""

    by_name: ClassVar[bool] = True

    width: int = Field(2, ge=1, description="features of a channel; all channels share 7 weights a feature")

    def network(self, vocab: int) -> TreeEncoder:
        return TreeEncoder(vocab, self.dim, DiagonalComposition(self.width), self.dropout)

    def loss(self, net: Part, batch: SentenceBatch) -> Loss:
        """Cross-entropy over the batch's different leaves, and nothing else."""
        assert isinstance(net, TreeEncoder)
        forest, tokens = net.forest(batch.inputs.ids, batch.inputs.real, shared=True)
        value = token_loss(net.head(net.told(forest)[: forest.leaves]), tokens)
        return Loss(value, {"loss": value.detach(), "nodes": float(len(forest.vectors))})

    claim: ClassVar[Claim] = Claim(
        says="entangled trees with diagonal maps and no contrast learn similarity better than one tree a sentence",
        paper="Spearman on seven STS sets and SICK-R above Self-StrAE and small transformers, with 14 weights beside "
        "the embeddings",
        arms=(
            Arm("self-strae", batch=48, vocab=2048),
            Arm("banyan", batch=48, vocab=2048),
        ),
        data="pydoc",
        metric="similarity",
        by=0.03,
        budget=Steps(200),
        repeats=3,
        setting={"grader": "minilm"},
        tune={"lr": (1e-3, 3e-3, 1e-2)},
        minutes=5,
    )


def bracketing(model: Model, text: str) -> Any:
    """The tree that a model builds over a text: its pieces in nested pairs.

    Raises:
        UserError: a model that builds no trees.
    """
    net = model.net
    if not isinstance(net, TreeEncoder) or model.tokenizer is None:
        raise UserError(f"{model.name} builds no trees; train one: twofold fit banyan")
    tokenizer = model.tokenizer
    ids = torch.tensor(tokenizer.encode([text], max_len=int(model.spec["document_tokens"])))
    with torch.no_grad():
        forest, tokens = net.eval().forest(ids, torch.ones_like(ids, dtype=torch.bool), shared=True)

    def read(node: int) -> Any:
        if node < forest.leaves:
            return tokenizer.decode([int(tokens[node])])
        left, right = forest.children[node - forest.leaves].tolist()
        return read(left), read(right)

    return read(int(forest.roots[0]))
