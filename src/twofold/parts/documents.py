"""Packed documents as rows of their own, for parts that can only mix whole rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from twofold.parts.masks import Mask
from twofold.parts.states import starts


def each_document(
    x: Float[Tensor, "batch time dim"], mask: Mask, mix: Callable[[Tensor, Mask], Tensor]
) -> Float[Tensor, "batch time out"]:
    """`mix(rows, mask)` over every packed document by itself, put back where it stood.

    Args:
        x: states; a document stands in one run.
        mask: with `segment_ids`; rules and padding are handed on, the padding of the shorter documents with it.
        mix: gives a row for each that it is given, `[documents, longest, ...]`.
    """
    # The layers of a stack share one mask within a pass.
    document, place, shape, alone = mask.keep(("each document", *x.shape[:2]), lambda: _apart(x, mask))
    rows = x.new_zeros(*shape, x.shape[2]).index_put((document, place), x.flatten(0, 1))
    return mix(rows, alone)[document, place].unflatten(0, x.shape[:2])


def _apart(x: Tensor, mask: Mask) -> tuple[Tensor, Tensor, tuple[int, int], Mask]:
    """Each slot's document and place in it, `[B · T]`; how many documents and how long; their mask as rows."""
    batch, time = x.shape[:2]
    assert mask.segment_ids is not None
    begins = starts(mask.segment_ids).expand(batch, -1).clone()
    begins[:, 0] = True
    document = begins.flatten().cumsum(0) - 1
    slots = torch.arange(batch * time, device=x.device)
    place = slots - slots[begins.flatten()][document]
    shape = (int(document[-1]) + 1, int(place.max()) + 1)
    real = torch.zeros(shape, dtype=torch.bool, device=x.device)
    real[document, place] = mask.real(x).flatten()
    return document, place, shape, (Mask(rules=mask.rules) & Mask.padding(real)).for_pass()
