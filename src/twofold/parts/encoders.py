"""Encoders: networks that make vectors of texts, and say how a query's vectors are scored against a document's."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part
from twofold.parts.prefixes import prefix

Side = Literal["query", "document"]


class Encoder(Part, abstract=True):
    """What search asks of a network: a tower for each side, and the score of their vectors.

    Attributes:
        sparse: vectors `[B, V]` are mostly zeros, one value for each token of the vocabulary.
        codes: it gives log-probabilities of symbols `[B, length, size]`; documents are kept as their likeliest ones.
    """

    sparse: ClassVar[bool] = False
    codes: ClassVar[bool] = False

    def tower(self, side: Side) -> Tower:
        """What encodes the texts of one side."""
        raise NotImplementedError

    def score(
        self, queries: Float[Tensor, "queries *few dim"], documents: Float[Tensor, "documents *more dim"]
    ) -> Float[Tensor, "queries documents"]:
        """Every query against every document: here the dot product of their vectors."""
        return queries @ documents.T

    @property
    def by_dot(self) -> bool:
        """Whether scores are dot products, one vector a text."""
        return not self.sparse and not self.codes

    @property
    def by_products(self) -> bool:
        """Whether scores follow from dot products of single vectors, so that the nearest of each are candidates."""
        return self.by_dot


class Tower(Encoder, abstract=True):
    """A sequence model and what reads its states; by itself the encoder of both sides.

    A subclass keeps its `SequenceModel` as `model` and says in `read` what it makes of the states.
    """

    model: SequenceModel
    needs_ids: ClassVar[bool] = False  # reads ids beside states, so no states are kept in their place

    def cut(self, vectors: Float[Tensor, "*batch dim"], width: int) -> Float[Tensor, "*batch width"]:
        """The first `width` coordinates of this tower's vectors, as it would give them.

        Raises:
            UserError: the vectors have fewer.
        """
        return prefix(vectors, width, normalise=False)

    def tower(self, side: Side) -> Tower:
        """Itself: one network for queries and documents."""
        return self

    def forward(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch *few out"]:
        """Vectors `[B, d]` (or `[B, m, d]`) of texts; `real` marks what is not padding."""
        return self.upper(self.lower(ids, real, 0), real, 0)

    def lower(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None, layers: int
    ) -> Float[Tensor, "batch time dim"]:
        """States after the first `layers` blocks; worth keeping where those are frozen."""
        return self.model.states(ids, real, stop=layers)

    def upper(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"] | None, layers: int
    ) -> Float[Tensor, "batch *few out"]:
        """The rest: blocks from `layers` on, then `read`; `upper(lower(ids, real, n), real, n)` is `forward`."""
        mask = Mask.of(real)
        states = self.model.stack(states, mask, start=layers)
        return self.read(states, mask.real(states))

    def read(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch *few out"]:
        """Vectors from the states of the last block."""
        raise NotImplementedError


def sequence_model(net: Part) -> SequenceModel | None:
    """The sequence model that a network is, or that its texts (documents, where there are sides) go through."""
    found = net.tower("document").model if isinstance(net, Encoder) else net
    return found if isinstance(found, SequenceModel) else None


class TextEncoder(Tower):
    """A sequence model, a pool, a projection (where given) and unit length (where asked).

    Args:
        model: its head, if any, is not used.
        pool: `pool(states, real)`.
        project: a part `[..., D] -> [..., d]` after pooling.
        normalise: vectors of unit Euclidean length, so that a dot product is a cosine.
    """

    def __init__(self, model: SequenceModel, pool: Part, project: Part | None = None, normalise: bool = True) -> None:
        super().__init__()
        self.model, self.pool, self.project, self.normalise = model, pool, project, normalise

    def read(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch *few out"]:
        """Pool, projection, length."""
        pooled = self.pool(states, real)
        if self.project is not None:
            pooled = self.project(pooled)
        return F.normalize(pooled, dim=-1) if self.normalise else pooled

    def cut(self, vectors: Float[Tensor, "*batch dim"], width: int) -> Float[Tensor, "*batch width"]:
        """The first `width` coordinates, at unit length again where the whole vectors have it."""
        return prefix(vectors, width, normalise=self.normalise)


class TwoTowers(Encoder):
    """One network for queries, another for documents, and how their vectors meet.

    Args:
        query, document: the towers.
        interaction: `interaction(queries, documents) -> [queries, documents]`; None for the dot product.
    """

    def __init__(self, query: Tower, document: Tower, interaction: Part | None = None) -> None:
        super().__init__()
        self.query, self.document, self.interaction = query, document, interaction

    def tower(self, side: Side) -> Tower:
        """The tower of that side."""
        return self.query if side == "query" else self.document

    def forward(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch *few out"]:
        """Vectors of documents; those of queries come from `tower("query")`."""
        return self.document(ids, real)

    def score(
        self, queries: Float[Tensor, "queries *few dim"], documents: Float[Tensor, "documents *more dim"]
    ) -> Float[Tensor, "queries documents"]:
        """Every query against every document."""
        return super().score(queries, documents) if self.interaction is None else self.interaction(queries, documents)

    @property
    def by_dot(self) -> bool:
        """Whether scores are dot products, one vector a text."""
        return self.interaction is None and self.query.by_dot and self.document.by_dot

    @property
    def by_products(self) -> bool:
        """Whether scores follow from dot products of single vectors."""
        meet = True if self.interaction is None else bool(getattr(self.interaction, "by_products", False))
        return meet and self.query.by_dot and self.document.by_dot
