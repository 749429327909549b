"""The loss of any dense search system at several widths of the same vectors.

Kusupati et al. 2022, https://arxiv.org/abs/2205.13147, equation 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from twofold.objectives import Loss, nested
from twofold.parts import Encoder, TextEncoder, halvings
from twofold.tasks.inputs import Embedded
from twofold.tasks.search.system import PairBatch


def nested_pairs(
    loss: Callable[[Any, PairBatch], Loss],
    net: Encoder,
    batch: PairBatch,
    widths: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
) -> Loss:
    """A loss of pairs, summed over prefixes of the vectors that `net` makes of them.

    Args:
        loss: of a network and a batch, which it embeds; it is given vectors that are there already.
        widths: rising; None: halves of the whole width down to 8.
        weights: as `objectives.nested` has them.
    """
    document = net.tower("document")

    def at_one_width(queries: Tensor, documents: Tensor) -> Loss:
        cut: Any = replace(batch, queries=Embedded(queries), documents=Embedded(documents))
        return loss(net, cut)

    queries, documents = batch.queries.embed(net.tower("query")), batch.documents.embed(document)
    widths = widths or halvings(documents.shape[-1])
    unit = isinstance(document, TextEncoder) and document.normalise
    return nested(at_one_width, widths, weights, normalise=unit)(queries, documents)
