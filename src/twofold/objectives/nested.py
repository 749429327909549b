"""A loss on every prefix of an embedding, so that each prefix is an embedding of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from twofold.errors import UserError
from twofold.objectives.loss import Loss
from twofold.parts.prefixes import prefix, rising

Embedded = Callable[..., Loss]
"""A loss of one embedding `[n, d]` or of several."""


def nested(
    loss: Embedded, widths: Sequence[int], weights: Sequence[float] | None = None, *, normalise: bool = True
) -> Embedded:
    """The loss `Σ_m c_m · loss(z[:m])` over the widths m.

    Kusupati et al. 2022, "Matryoshka Representation Learning", https://arxiv.org/abs/2205.13147, equation 1.

    Args:
        loss: of embeddings `[..., d]`, given by position; it sees the prefixes of all of them at one width, and may
            read the width off them.
        widths: m, rising.
        weights: c_m, one a width, not negative and not all 0; None: 1 each, as in the paper.
        normalise: bring prefixes to unit length after the cut, where embeddings have unit length themselves.

    Returns:
        A function of the same embeddings. Its figures: the widest prefix's own, `loss` (the weighted sum), and
        `loss@m` for each width where there are several.

    Raises:
        UserError: widths that are not rising or reach beyond the embeddings; weights that do not fit them.
    """
    rising(widths, max(widths, default=0))
    factors = tuple(weights) if weights is not None else (1.0,) * len(widths)
    if len(factors) != len(widths) or min(factors, default=0) < 0 or not any(factors):
        raise UserError(
            f"weights={list(factors)} do not fit the widths {list(widths)}: one each, none below 0, not all 0"
        )

    def every(*embeddings: Tensor) -> Loss:
        used = rising(widths, min(e.shape[-1] for e in embeddings))
        found = [loss(*(prefix(e, width, normalise=normalise) for e in embeddings)) for width in used]
        value = sum((c * f.value for c, f in zip(factors[1:], found[1:], strict=True)), factors[0] * found[0].value)
        each = {f"loss@{m}": f.value.detach() for m, f in zip(used, found, strict=True)} if len(used) > 1 else {}
        return Loss(value, {**found[-1].figures, **each, "loss": value.detach()})

    return every
