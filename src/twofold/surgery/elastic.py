"""Which width each layer of an elastic network should have, for a budget of weights."""

from __future__ import annotations

from twofold.errors import UserError
from twofold.parts import Part, count_weights, elastic, extract, set_width, widths_of


def mix_n_match(net: Part, weights: int) -> list[int]:
    """The largest mix of widths within a budget: they never fall from layer to layer, and rise as little as can be.

    Devvrit et al. 2023, https://arxiv.org/abs/2310.07707 ("Mix'n'Match"). Nothing is trained: layers of neighbouring
    widths go together although they never learned to.

    Args:
        net: a network whose elastic parts have equally many widths; it stays at its present ones.
        weights: the most that the extracted network may have.

    Returns:
        A width for each elastic part.

    Raises:
        UserError: even the narrowest has more weights (says how many), or parts of different numbers of widths.
    """
    known = widths_of(net)
    if len(set(known)) > 1:
        raise UserError(f"layers have {known} widths, and mixing needs equally many in all")
    before = [part.width for _, part in elastic(net)]
    wide, layers = known[0], len(known)
    # From all narrow to all wide, one layer at a time from the last on.
    ladder = [[low] * (layers - up) + [low + 1] * up for low in range(wide - 1) for up in range(layers)]
    ladder.append([wide - 1] * layers)
    try:
        low, high = 0, len(ladder)
        while low < high:
            middle = (low + high) // 2
            fits = count_weights(extract(net, ladder[middle])) <= weights
            low, high = (middle + 1, high) if fits else (low, middle)
        if low == 0:
            least = count_weights(extract(net, ladder[0]))
            raise UserError(f"even the narrowest model has {least:,} weights, and {weights:,} are allowed; allow more")
    finally:
        set_width(net, before)
    return ladder[low - 1]
