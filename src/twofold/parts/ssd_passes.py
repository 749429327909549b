"""The passes between the matrix products of an SSD scan, compiled by numba; `fused_ssd` says how they fit together.

Sizes: B rows, J chunks of all rows, Q positions of a chunk, H = G · R heads in groups, N the height of a state, P its
width. Flat arrays hold rows of `[H · P]` that begin at `places[j] + q · step`.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from twofold.parts.compiled import compiled, exp, summing

_TILE = 16  # positions of a chunk whose decays towards each other are computed one by one


@compiled
@no_type_check
def decays(log, first, out):
    """`exp(log_i - log_j)` for `first_i ≤ j ≤ i`, else 0. `log` `[J, H, Q]` in float64, `first` `[J, Q]`, `out`
    `[J, H, Q, Q]`.

    A decay over more than a tile is one to the tile's beginning times one from there, so that few exponentials do.
    """
    chunks, heads, size = log.shape
    before, inside = np.empty(size, np.float32), np.empty(_TILE * _TILE, np.float32)
    for j in range(chunks):
        for h in range(heads):
            falls = log[j, h]
            for tile in range((size + _TILE - 1) // _TILE):
                begin = tile * _TILE
                wide = min(_TILE, size - begin)
                start = falls[begin]
                for k in range(begin):
                    before[k] = exp(np.float32(start - falls[k]))
                for i in range(wide):
                    for k in range(wide):
                        inside[i * _TILE + k] = min(np.float32(falls[begin + i] - falls[begin + k]), np.float32(0.0))
                for k in range(_TILE * _TILE):
                    inside[k] = exp(inside[k])
                for i in range(wide):
                    row, whole = out[j, h, begin + i], inside[i * _TILE]
                    for k in range(begin):
                        row[k] = whole * before[k]
                    for k in range(i + 1):
                        row[begin + k] = inside[i * _TILE + k]
                    for k in range(begin + i + 1, size):
                        row[k] = np.float32(0.0)
                    for k in range(first[j, begin + i]):
                        row[k] = np.float32(0.0)


@compiled
@no_type_check
def spread(flat, places, step, one, other, by_head, by_group):
    """Rows of chunks times `one`, heads apart `[J, H, Q, P]`, and times `other`, a group's heads side by side
    `[J, G, Q, RP]`; both factors are `[J, H, Q]`."""
    chunks, heads, size, width = by_head.shape
    groups = by_group.shape[1]
    several = heads // groups
    for j in range(chunks):
        for q in range(size):
            begin = places[j] + q * step
            for g in range(groups):
                for r in range(several):
                    h = g * several + r
                    row = flat[begin + h * width : begin + h * width + width]
                    apart, beside = by_head[j, h, q], by_group[j, g, q, r * width : r * width + width]
                    scale, scale_beside = one[j, h, q], other[j, h, q]
                    for p in range(width):
                        apart[p] = scale * row[p]
                        beside[p] = scale_beside * row[p]


@compiled
@no_type_check
def carry(through, sums, running):
    """What chunks add `[B, K, G, N, RP]` becomes the states in which they begin; `running` `[B, G, N, RP]` goes from
    the first to the one behind the last. `through` `[B, K, H]`."""
    rows, chunks, groups, states, wide = sums.shape
    several = through.shape[2] // groups
    width = wide // several
    for b in range(rows):
        for k in range(chunks):
            for g in range(groups):
                for r in range(several):
                    keep = through[b, k, g * several + r]
                    for n in range(states):
                        state = running[b, g, n, r * width : r * width + width]
                        added = sums[b, k, g, n, r * width : r * width + width]
                        for p in range(width):
                            entering = state[p]
                            state[p] = keep * entering + added[p]
                            added[p] = entering


@summing
@no_type_check
def carry_back(through, given, running, enter, last, pull):
    """The gradients of the states in which chunks begin, as far as they are read there, become those of what chunks
    add; `running` goes from the gradient behind the last to that of the first. `enter` as `given`, `last` the state
    behind the last; `pull` `[B, K, H]` takes the products of states and gradients behind each chunk."""
    rows, chunks, groups, states, wide = given.shape
    several = through.shape[2] // groups
    width = wide // several
    for b in range(rows):
        for back in range(chunks):
            k = chunks - 1 - back
            for g in range(groups):
                for r in range(several):
                    keep, total = through[b, k, g * several + r], np.float32(0.0)
                    for n in range(states):
                        after = last[b, g, n, r * width : r * width + width]
                        if back > 0:
                            after = enter[b, k + 1, g, n, r * width : r * width + width]
                        slope = running[b, g, n, r * width : r * width + width]
                        read = given[b, k, g, n, r * width : r * width + width]
                        for p in range(width):
                            behind = slope[p]
                            total += behind * after[p]
                            slope[p] = keep * behind + read[p]
                            read[p] = behind
                    pull[b, k, g * several + r] = total


@compiled
@no_type_check
def join(near, far, start, flat, places, step, skip, out, out_places):
    """`near` `[J, H, Q, P]` + `start` `[J, H, Q]` · `far` `[J, G, Q, RP]` + `skip` `[H]` · x, into flat rows."""
    chunks, heads, size, width = near.shape
    groups = far.shape[1]
    several = heads // groups
    for j in range(chunks):
        for q in range(size):
            begin, into = places[j] + q * step, out_places[j] + q * heads * width
            for g in range(groups):
                for r in range(several):
                    h = g * several + r
                    row = flat[begin + h * width : begin + h * width + width]
                    y = out[into + h * width : into + h * width + width]
                    apart, beside = near[j, h, q], far[j, g, q, r * width : r * width + width]
                    scale, direct = start[j, h, q], skip[h]
                    for p in range(width):
                        y[p] = apart[p] + scale * beside[p] + direct * row[p]


@summing
@no_type_check
def slopes(
    near, far, to_end, dt, a, skip, pull, flat, places, step, y, y_places, given, given_places, given_step,
    to_x, to_dt, to_a, to_skip,
):  # fmt: skip
    """The gradients of x (flat, laid out as y), dt `[J, H, Q]`, a and skip (`[J, H]`, to be summed), from those of u:
    `near + to_end · far`."""
    chunks, heads, size, width = near.shape
    several = heads // far.shape[1]
    for j in range(chunks):
        for h in range(heads):
            g, r = h // several, h % several
            direct, total = skip[h], pull[j, h]
            sum_a, sum_skip = np.float32(0.0), np.float32(0.0)
            for back in range(size):
                q = size - 1 - back
                begin, behind = places[j] + q * step + h * width, y_places[j] + (q * heads + h) * width
                entered, left = flat[begin : begin + width], y[behind : behind + width]
                into = to_x[behind : behind + width]
                begin = given_places[j] + q * given_step + h * width
                wanted = given[begin : begin + width]
                apart, beside = near[j, h, q], far[j, g, q, r * width : r * width + width]
                scale, by = to_end[j, h, q], dt[j, h, q]
                by_u, by_y, by_x = np.float32(0.0), np.float32(0.0), np.float32(0.0)
                for p in range(width):
                    u = apart[p] + scale * beside[p]
                    by_u += u * entered[p]
                    by_y += wanted[p] * left[p]
                    by_x += wanted[p] * entered[p]
                    into[p] = by * u + direct * wanted[p]
                total += by_y - direct * by_x - by * by_u
                to_dt[j, h, q] = by_u + a[h] * total
                sum_a += by * total
                sum_skip += by_x
            to_a[j, h] = sum_a
            to_skip[j, h] = sum_skip
