"""How the vectors of a query meet those of a document, after both were encoded apart."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, einsum

from twofold.parts.part import Part


class CandidateAttention(Part):
    """The candidate attends over the context's vectors, and is compared with what it finds.

    Humeau et al. 2020, https://arxiv.org/abs/1905.01969: with y the context's vectors and c the candidate,
    `s = c · Σ_i softmax_i(c · y_i) y_i`. The products `p_i = c · y_i` are all that this needs:
    `s = Σ_i softmax_i(p)_i p_i`, so that no vector is made for a pair. A context vector of zeros stands for none.
    """

    by_products: ClassVar[bool] = True

    def forward(
        self, contexts: Float[Tensor, "contexts few dim"], candidates: Float[Tensor, "candidates dim"]
    ) -> Float[Tensor, "contexts candidates"]:
        """Every context against every candidate."""
        products = einsum("qmd,nd->qnm", contexts, candidates)
        none = (contexts == 0).all(-1)
        none = none & ~none.all(-1, keepdim=True)
        weights = products.masked_fill(none[:, None], float("-inf")).softmax(-1)
        return (weights * products).sum(-1)


class MaxOverVectors(Part):
    """The best of a document's vectors: `s = max_j q · d_j`. Luan et al. 2021, https://arxiv.org/abs/2005.00181"""

    by_products: ClassVar[bool] = True

    def forward(
        self, queries: Float[Tensor, "queries dim"], documents: Float[Tensor, "documents few dim"]
    ) -> Float[Tensor, "queries documents"]:
        """Every query against every document."""
        return einsum("qd,nmd->qnm", queries, documents).amax(-1)
