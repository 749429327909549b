"""Contrastive learning with the candidates of the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.objectives import ranks
from twofold.objectives.loss import Loss, full_precision

Score = Callable[[Tensor, Tensor], Tensor]


def info_nce(
    queries: Float[Tensor, "batch *few dim"],
    documents: Float[Tensor, "candidates *more dim"],
    temperature: float | Float[Tensor, ""],
    *,
    two_way: bool = True,
    query_ids: Int[Tensor, "batch"] | None = None,
    document_ids: Int[Tensor, "candidates"] | None = None,
    gather: bool = True,
    score: Score | None = None,
) -> Loss:
    """InfoNCE: every query must find its own document among the documents of the whole batch.

    van den Oord et al. 2018, https://arxiv.org/abs/1807.03748; in both directions as Ni et al. 2022,
    https://arxiv.org/abs/2112.07899. With s the dot products (or other scores) divided by the temperature, the loss is
    `mean_i −log softmax_j(s_ij)[i]` over all documents j, plus, in two ways, `mean_i −log softmax_k(s_ki)[i]`
    over the queries k.

    What is known to belong together is never a negative: document j is left out for query i when some pair of
    the batch has a query with i's id and a document with j's id. The pair itself always stays.

    Args:
        queries: one vector a query; normalise them first where the similarity is the cosine.
        documents: the document of each query, in order, then any number of further (hard) negatives.
        temperature: what similarities are divided by, above 0; may be a trained scalar.
        two_way: also let every document find its query. Hard negatives belong to no query and do not search.
        query_ids: equal numbers mark the same query; None: all differ.
        document_ids: equal numbers mark the same document; None: all differ.
        gather: in distributed training, take the batch of all ranks together. The value is then the same on
            every rank, and equals that of one process with the whole batch; so do the averaged gradients.
        score: every query against every document, `[batch, candidates]`; None for the dot product.

    Returns:
        The loss in nats; figures `loss` and `accuracy` (the share of queries that rank their document first).
    """
    if len(documents) < len(queries):
        raise ValueError(f"{len(queries)} queries need at least as many documents, got {len(documents)}")
    queries, documents = full_precision(queries), full_precision(documents)
    if gather and ranks.joined() > 1:
        pairs = len(queries)
        queries, documents = ranks.gather(queries), _gather_documents(documents, pairs)
        query_ids = None if query_ids is None else ranks.gather(query_ids)
        document_ids = None if document_ids is None else _gather_documents(document_ids, pairs)

    # A low temperature magnifies rounding: products stay in full precision under autocast.
    with torch.autocast(queries.device.type, enabled=False):
        scores = (queries @ documents.T if score is None else score(queries, documents)) / temperature
    scores = scores.masked_fill(_false_negatives(scores, query_ids, document_ids), -torch.inf)
    own = torch.arange(len(queries), device=scores.device)
    value = F.cross_entropy(scores, own)
    if two_way:
        value = value + F.cross_entropy(scores[:, : len(queries)].T, own)
    accuracy = (scores.detach().argmax(1) == own).float().mean()
    return Loss(value, {"loss": value.detach(), "accuracy": accuracy})


def _gather_documents(rows: Tensor, pairs: int) -> Tensor:
    """All ranks' positives first, in the order of the queries, then all ranks' hard negatives."""
    return torch.cat([ranks.gather(rows[:pairs]), ranks.gather(rows[pairs:])])


def _false_negatives(
    scores: Float[Tensor, "batch candidates"],
    query_ids: Int[Tensor, "batch"] | None,
    document_ids: Int[Tensor, "candidates"] | None,
) -> Bool[Tensor, "batch candidates"]:
    """True where a query and a document are known to belong together without being each other's pair."""
    pairs, candidates = scores.shape
    related = torch.eye(pairs, candidates, device=scores.device)
    own = related.bool()
    if document_ids is not None:
        related = (document_ids[:pairs, None] == document_ids[None, :]).float()
    if query_ids is not None:
        related = (query_ids[:, None] == query_ids[None, :]).float() @ related
    return (related > 0) & ~own


def weighted_info_nce(
    queries: Float[Tensor, "batch dim"],
    documents: Float[Tensor, "batch dim"],
    temperature: float,
    *,
    query_ids: Int[Tensor, "batch"] | None = None,
    document_ids: Int[Tensor, "batch"] | None = None,
    raw: bool = False,
    through: bool = False,
) -> Loss:
    """Two-way InfoNCE whose hard negatives count more.

    Zhang et al. 2024, https://arxiv.org/abs/2402.01935, section 3.2.

    With s the dot products divided by the temperature, i's negative k has the share `e^s_ik / Σ_j e^s_ij` of i's
    negatives j, and weighs `γ_ik`, that share times their number; the loss of a direction is
    `mean_i −log (e^s_ii / (e^s_ii + Σ_k γ_ik e^s_ik))`. Equal similarities give weights of 1, which is plain InfoNCE.

    Args:
        queries, documents: pairs, in order; of unit length where the similarity is the cosine.
        temperature: above 0.
        query_ids, document_ids: as in `info_nce`: what belongs together is no negative.
        raw: weigh by the share alone, which sums to 1, instead of by it times the number of negatives.
        through: let gradients reach the weights.

    Returns:
        The sum of both directions in nats; figures `loss` and `accuracy`.
    """
    queries, documents = full_precision(queries), full_precision(documents)
    with torch.autocast(queries.device.type, enabled=False):
        scores = queries @ documents.T / temperature
    scores = scores.masked_fill(_false_negatives(scores, query_ids, document_ids), -torch.inf)
    value = _weighted(scores, raw, through) + _weighted(scores.T, raw, through)
    own = torch.arange(len(scores), device=scores.device)
    accuracy = (scores.detach().argmax(1) == own).float().mean()
    return Loss(value, {"loss": value.detach(), "accuracy": accuracy})


def _weighted(scores: Float[Tensor, "batch batch"], raw: bool, through: bool) -> Float[Tensor, ""]:
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    wrong = scores.masked_fill(own, -torch.inf)
    counts = wrong.isfinite().sum(1, keepdim=True)
    # A row without negatives has no softmax; any finite number in its place gives it weights that do not count.
    weights = torch.where(counts > 0, wrong, 0.0).log_softmax(1) + (0.0 if raw else counts.clamp(min=1).log())
    weights = weights if through else weights.detach()
    weighted = torch.where(own, scores, scores + torch.where(wrong.isfinite(), weights, 0.0))
    return F.cross_entropy(weighted, torch.arange(len(scores), device=scores.device))
