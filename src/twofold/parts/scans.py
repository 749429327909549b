"""Linear recurrences over time, all positions at once: the scans of state-space models.

Everywhere `starts` `[B, T]` is True where a new packed document begins: nothing is carried into it. A step size of
zero (as for padding) leaves the state as it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from twofold.parts import kernels
from twofold.parts.fused import fused_pass

_RUN = 16  # positions that a scan goes through one after another, in all runs at once
_FITS = 1 << 17  # numbers of a block of a selective scan
_KEPT = 1 << 18  # numbers of a piece of an SSD scan, which stay in a processor's cache
_WIDE = 32  # runs that are joined by one matrix


def selective_scan(
    u: Float[Tensor, "batch time inner"],
    dt: Float[Tensor, "batch time inner"],
    a: Float[Tensor, "state inner"],
    b: Float[Tensor, "batch time state"],
    c: Float[Tensor, "batch time state"],
    state: Float[Tensor, "batch state inner"] | None = None,
    starts: Bool[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time inner"], Float[Tensor, "batch state inner"]]:
    """S6: `h_t = exp(dt_t a) h_{t-1} + dt_t b_t u_t`, `y_t = c_t · h_t`. Gu & Dao 2023, https://arxiv.org/abs/2312.00752

    The states of all positions are never held at once: the sequence goes through in blocks that fit a processor's
    cache, forward and backward. Where numba is installed (`twofold[fast]`), float32 on a processor takes a compiled
    pass, which is compiled at the first long input and kept for later runs.

    Returns:
        y, and the state after the last position.
    """
    if state is None:
        state = u.new_zeros(len(u), *a.shape)
    fused = fused_pass("fused_scan", "FusedScan", u.numel() * len(a), u, dt, a, b, c, state)
    y, last = (fused or _SelectiveScan).apply(u, dt, a, b, c, state, starts)
    return y, last


class _SelectiveScan(torch.autograd.Function):
    """Keeps the inputs and the states between blocks; the states inside are computed again for the gradient."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor, starts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        y, between = torch.empty_like(u), [state]
        for block in _blocks(u, a):
            _, h = _states(u, dt, a, b, between[-1], starts, block)
            y[:, block] = (c[:, block, None] @ h)[:, :, 0]
            between.append(h[:, -1].clone())
        ctx.save_for_backward(u, dt, a, b, c, starts, *between)
        return y, between[-1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, a, b, c, starts, *between = ctx.saved_tensors
        grad_y, later = grads
        grad_u, grad_dt, grad_b, grad_c = (torch.empty_like(t) for t in (u, dt, b, c))
        grad_a = torch.zeros_like(a)
        blocks = _blocks(u, a)
        for k in reversed(range(len(blocks))):
            block = blocks[k]
            decay, h = _states(u, dt, a, b, between[k], starts, block)
            step, entering, given = dt[:, block, None], u[:, block, None], grad_y[:, block, None]
            grad_c[:, block] = _rows(h * given)
            total = c[:, block, :, None] * given
            total[:, -1] += later
            total = _back(decay, total)
            slope = torch.empty_like(total)  # of dt · a
            torch.mul(total[:, 0], between[k], out=slope[:, 0])
            torch.mul(total[:, 1:], h[:, :-1], out=slope[:, 1:])
            slope.mul_(decay)
            later = total[:, 0] * decay[:, 0]
            grad_a += (slope * step).sum((0, 1))
            by_input = (b[:, block, None] @ total)[:, :, 0]
            grad_dt[:, block] = slope.mul_(a).sum(2) + by_input * entering[:, :, 0]
            grad_u[:, block] = by_input * step[:, :, 0]
            grad_b[:, block] = _rows(total.mul_(step * entering))
        return grad_u, grad_dt, grad_a, grad_b, grad_c, later, None


def _blocks(u: Tensor, a: Tensor) -> list[slice]:
    """Cuts the sequence so that a block's states fit a processor's cache."""
    size = max(_RUN, _FITS // max(1, len(u) * a.numel()) // _RUN * _RUN)
    return [slice(begin, min(begin + size, u.shape[1])) for begin in range(0, u.shape[1], size)]


def _states(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, state: Tensor, starts: Tensor | None, block: slice
) -> tuple[Tensor, Tensor]:
    """Decays and states of a block's positions, `[B, L, N, E]` each."""
    step = dt[:, block]
    decay = (step[:, :, None] * a).exp_()
    if starts is not None:
        decay.masked_fill_(starts[:, block, None, None], 0.0)
    inputs = (step * u[:, block])[:, :, None] * b[:, block, :, None]
    inputs[:, 0].addcmul_(decay[:, 0], state)
    return decay, _scan(decay, inputs, reverse=False)


def _rows(x: Float[Tensor, "batch time state inner"]) -> Float[Tensor, "batch time state"]:
    """Sums over the last dimension, as a product, which is several times faster than `sum` of short rows."""
    return (x.flatten(0, 2) @ x.new_ones(x.shape[-1])).view(x.shape[:-1])


def _back(decay: Tensor, inputs: Tensor) -> Tensor:
    """`h_t = decay_{t+1} · h_{t+1} + inputs_t` over dimension 1, from zero; may write into the inputs."""
    if inputs.shape[1] > _RUN:
        return _scan(torch.cat((decay[:, 1:], torch.zeros_like(decay[:, :1])), 1), inputs, reverse=True)
    steps, states = decay.unbind(1), inputs.unbind(1)
    for i in range(len(states) - 2, -1, -1):
        states[i].addcmul_(steps[i + 1], states[i + 1])
    return inputs


def _scan(decay: Tensor, inputs: Tensor, reverse: bool) -> Tensor:
    """`h_t = decay_t · h_{t-1} + inputs_t` over dimension 1, from zero; in reverse with `h_{t+1}`. May write into the
    inputs.

    All runs of 16 positions advance together, then their ends are scanned in the same way. Decays are multiplied
    forward only, so that nothing overflows.
    """
    time = inputs.shape[1]
    run = min(_RUN, time)
    short = -time % run
    if short:
        fill = inputs.new_zeros(len(inputs), short, *inputs.shape[2:])
        decay, inputs = torch.cat((decay, fill), 1), torch.cat((inputs, fill), 1)
    a, h = decay.unflatten(1, (-1, run)), inputs.unflatten(1, (-1, run))
    steps, states = a.unbind(2), h.unbind(2)
    order, back = (range(run - 2, -1, -1), 1) if reverse else (range(1, run), -1)
    for i in order:
        states[i].addcmul_(steps[i], states[i + back])
    if h.shape[1] > 1:
        through = a.clone(memory_format=torch.contiguous_format)
        products = through.unbind(2)
        for i in order:
            products[i].mul_(products[i + back])
        last = 0 if reverse else -1
        ends = _scan(products[last], states[last].clone(), reverse)
        nothing = torch.zeros_like(ends[:, :1])
        enter = torch.cat((ends[:, 1:], nothing) if reverse else (nothing, ends[:, :-1]), 1)
        h.addcmul_(through, enter[:, :, None])
    return h.flatten(1, 2)[:, :time]


def ssd(
    x: Float[Tensor, "batch time heads width"],
    dt: Float[Tensor, "batch time heads"],
    a: Float[Tensor, "heads"],
    b: Float[Tensor, "batch time groups state"],
    c: Float[Tensor, "batch time groups state"],
    state: Float[Tensor, "batch heads state width"] | None = None,
    starts: Bool[Tensor, "batch time"] | None = None,
    chunk: int = 64,
    skip: Float[Tensor, "heads"] | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], Float[Tensor, "batch heads state width"]]:
    """`h_t = exp(dt_t a) h_{t-1} + dt_t b_t x_tᵀ`, `y_t = h_tᵀ c_t + skip x_t`, one decay a head, as matrix products.

    Inside a chunk as masked attention, between chunks by the states at their ends. Dao & Gu 2024 (SSD),
    https://arxiv.org/abs/2405.21060. Time grows linearly with T; the chunk changes speed, not values. A processor goes
    through pieces that stay in its cache; where numba is installed (`twofold[fast]`), in float32 with compiled passes.

    Args:
        x, dt, a, b, c: what enters, step sizes (none below zero), rates of decay (none above zero), what is written
            where, and what is read.
        state: at the beginning; zero where None.
        starts: as above.
        chunk: positions that are mixed by one matrix.
        skip: a head's direct path; none where None.

    Returns:
        y, and the state after the last position.
    """
    others = [t for t in (state, skip) if t is not None]
    fused = fused_pass("fused_ssd", "FusedSSD", dt.numel() * min(chunk, x.shape[1]), x, dt, a, b, c, *others)
    if fused is None:
        return plain_ssd(x, dt, a, b, c, state, starts, chunk, skip)
    first = x.new_zeros(len(x), x.shape[2], b.shape[3], x.shape[3]) if state is None else state
    y, last = fused.apply(x, dt, a, b, c, first, starts, chunk, torch.zeros_like(a) if skip is None else skip)
    return y, last


def plain_ssd(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    state: Tensor | None,
    starts: Tensor | None,
    chunk: int,
    skip: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`ssd` by whole tensors, through which gradients of any order go."""
    y, last = decayed(x * dt[..., None], dt * a, b, c, state, starts, chunk)
    if skip is not None:
        y = kernels.add_scaled(y.flatten(2), x.flatten(2), skip.repeat_interleave(x.shape[3])).view_as(x)
    return y, last


def decayed(
    u: Float[Tensor, "batch time heads width"],
    log: Float[Tensor, "batch time heads"],
    b: Float[Tensor, "batch time groups state"],
    c: Float[Tensor, "batch time groups state"],
    state: Float[Tensor, "batch heads state width"] | None = None,
    starts: Bool[Tensor, "batch time"] | None = None,
    chunk: int = 64,
) -> tuple[Float[Tensor, "batch time heads width"], Float[Tensor, "batch heads state width"]]:
    """`h_t = exp(log_t) h_{t-1} + b_t u_tᵀ`, `y_t = h_tᵀ c_t`: what `ssd` and retention share.

    Args:
        u, log, b, c: what enters, logs of the decays (none above zero), what is written where, and what is read.
        state, starts, chunk: as `ssd` takes them.

    Returns:
        y, and the state after the last position.
    """
    batch, time, heads, _ = u.shape
    groups, size = b.shape[2], min(chunk, time)
    piece = max(1, _KEPT // max(1, u[:, 0].numel() * size)) * size
    if u.is_cpu and time > piece:
        given = [t.split(piece, 1) for t in (u, log, b, c)]
        found = []
        for i, (us, logs, bs, cs) in enumerate(zip(*given, strict=True)):
            begins = None if starts is None else starts[:, i * piece : (i + 1) * piece]
            y, state = decayed(us, logs, bs, cs, state, begins, chunk)
            found.append(y)
        assert state is not None
        return torch.cat(found, 1), state
    short = -time % size
    if short:
        u, b, c = (F.pad(t, (0, 0, 0, 0, 0, short)) for t in (u, b, c))
        log = F.pad(log, (0, 0, 0, short))
        starts = None if starts is None else F.pad(starts, (0, short))

    def heads_first(t: Tensor) -> Tensor:  # [B, K, Q, G, R, ...] -> [B, K, G, R, Q, ...]
        return t.movedim(2, 4)

    width = u.shape[-1]
    u = u.unflatten(2, (groups, -1)).unflatten(1, (-1, size))  # [B, K, Q, G, R, P]
    into, read = (t.unflatten(1, (-1, size)).transpose(2, 3) for t in (b, c))  # [B, K, G, Q, N]
    log = log.unflatten(2, (groups, -1)).unflatten(1, (-1, size)).cumsum(2)  # [B, K, Q, G, R]
    end, rising = log[:, :, -1:], heads_first(log)
    seen = torch.ones(size, size, dtype=torch.bool, device=u.device).tril()
    document = None
    if starts is not None:
        document = starts.unflatten(1, (-1, size)).cumsum(-1)  # [B, K, Q]
        seen = seen & (document[..., :, None] == document[..., None, :])[:, :, None]
    met = (read @ into.transpose(-1, -2)).masked_fill(~seen, 0.0)
    # Decays grow from the diagonal to the right, where nothing is seen; there they are held at one, so as to be finite.
    decays = (rising[..., :, None] - rising[..., None, :]).clamp_(max=0.0).exp_()
    y = (met[..., None, :, :] * decays) @ heads_first(u)

    to_end, from_start = torch.exp(end - log), torch.exp(log)
    broken = None
    if document is not None:
        to_end = to_end * (document == document[..., -1:])[..., None, None]
        from_start = from_start * (document == 0)[..., None, None]
        broken = document[..., -1] > 0
    # The heads of a group have the same b and c: side by side they are one product.
    ends = into.transpose(-1, -2) @ (u * to_end[..., None]).flatten(4).transpose(2, 3)  # [B, K, G, N, R·P]
    sums = ends.unflatten(4, u.shape[4:]).transpose(3, 4).flatten(2, 3)  # [B, K, H, N, P]
    first = sums.new_zeros(sums[:, 0].shape) if state is None else state
    enter, last = _carry(end[:, :, 0].flatten(2), sums, first, broken)
    given = enter.unflatten(2, (groups, -1)).transpose(3, 4).flatten(4)  # [B, K, G, N, R·P]
    far = (read @ given).unflatten(4, u.shape[4:]).transpose(2, 3) * from_start[..., None]
    return far.add_(y.movedim(4, 2)).reshape(batch, time + short, heads, width)[:, :time], last


def _carry(through: Tensor, sums: Tensor, state: Tensor, broken: Tensor | None) -> tuple[Tensor, Tensor]:
    """The states in which each chunk begins `[B, K, H, N, P]`, and the one after the last.

    Args:
        through: log decay of each chunk `[B, K, H]`.
        sums: what each chunk adds `[B, K, H, N, P]`.
        state: at the beginning `[B, H, N, P]`.
        broken: bool `[B, K]`, chunks through which nothing passes.
    """
    count = sums.shape[1]
    if count > _WIDE:
        return _carry_groups(through, sums, state, broken)
    # decay[i, j]: from the end of chunk j (0: the beginning) to the end of chunk i
    log = F.pad(through.transpose(1, 2), (1, 0))
    steps = log[..., :, None].expand(*log.shape, count + 1)
    below = torch.ones(count + 1, count + 1, dtype=torch.bool, device=log.device)
    log = steps.masked_fill(~below.tril(-1), 0).cumsum(-2)  # summed anew for each j: differences of sums lose digits
    seen = below.tril()
    if broken is not None:
        met = F.pad(broken.long(), (1, 0)).cumsum(-1)[:, None]
        seen = seen & (met[..., :, None] == met[..., None, :])
    decay = torch.exp(log.masked_fill(~seen, float("-inf")))
    given = torch.cat((state[:, :, None], sums.transpose(1, 2)), 2)  # [B, H, K + 1, N, P]
    found = (decay @ given.flatten(3)).unflatten(3, given.shape[3:]).transpose(1, 2)
    return found[:, :-1], found[:, -1]


def _carry_groups(through: Tensor, sums: Tensor, state: Tensor, broken: Tensor | None) -> tuple[Tensor, Tensor]:
    """As `_carry`, for many chunks: groups of chunks first, then the same over groups."""
    batch, count = sums.shape[:2]
    short = -count % _WIDE
    through = F.pad(through, (0, 0, 0, short)).unflatten(1, (-1, _WIDE))
    sums = F.pad(sums, (0, 0, 0, 0, 0, 0, 0, short)).unflatten(1, (-1, _WIDE))
    groups = through.shape[1]
    met = None
    if broken is not None:
        broken = F.pad(broken, (0, short)).unflatten(1, (-1, _WIDE))
        met = broken.flatten(0, 1)
    nothing = torch.zeros_like(sums[:, :, 0]).flatten(0, 1)
    enter, ends = _carry(through.flatten(0, 1), sums.flatten(0, 1), nothing, met)
    whole = None if broken is None else broken.any(-1)
    begins, last = _carry(through.sum(2), ends.unflatten(0, (batch, groups)), state, whole)
    reach = torch.exp(through.cumsum(2) - through)  # from a group's beginning to each chunk's
    if broken is not None:
        reach = reach * (broken.long().cumsum(-1) - broken.long() == 0)[..., None]
    enter = enter.unflatten(0, (batch, groups)) + reach[..., None, None] * begins[:, :, None]
    return enter.flatten(1, 2)[:, :count], last


def ssd_step(
    x: Float[Tensor, "batch heads width"],
    dt: Float[Tensor, "batch heads"],
    a: Float[Tensor, "heads"],
    b: Float[Tensor, "batch groups state"],
    c: Float[Tensor, "batch groups state"],
    state: Float[Tensor, "batch heads state width"],
) -> tuple[Float[Tensor, "batch heads width"], Float[Tensor, "batch heads state width"]]:
    """One position of `ssd`: y, and the state after it."""
    return decayed_step(x * dt[..., None], dt * a, b, c, state)


def decayed_step(
    u: Float[Tensor, "batch heads width"],
    log: Float[Tensor, "batch heads"],
    b: Float[Tensor, "batch groups state"],
    c: Float[Tensor, "batch groups state"],
    state: Float[Tensor, "batch heads state width"],
) -> tuple[Float[Tensor, "batch heads width"], Float[Tensor, "batch heads state width"]]:
    """One position of `decayed`: y, and the state after it."""
    repeat = u.shape[1] // b.shape[1]
    into, read = b.repeat_interleave(repeat, 1), c.repeat_interleave(repeat, 1)
    state = torch.addcmul(torch.exp(log)[..., None, None] * state, into[..., None], u[..., None, :])
    return (read[..., None, :] @ state)[..., 0, :], state


def ssd_matrix(
    dt: Float[Tensor, "batch time heads"],
    a: Float[Tensor, "heads"],
    b: Float[Tensor, "batch time groups state"],
    c: Float[Tensor, "batch time groups state"],
    starts: Bool[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch heads time sources"]:
    """The matrix by which `ssd` mixes x: lower triangular, every block below the diagonal of rank N at most."""
    return decayed_matrix(dt * a, b, c, starts) * dt.transpose(1, 2)[:, :, None]


def decayed_matrix(
    log: Float[Tensor, "batch time heads"],
    b: Float[Tensor, "batch time groups state"],
    c: Float[Tensor, "batch time groups state"],
    starts: Bool[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch heads time sources"]:
    """The matrix by which `decayed` mixes u."""
    time, heads = log.shape[1:]
    log = log.transpose(1, 2)
    below = torch.ones(time, time, dtype=torch.bool, device=log.device)
    log = log[..., :, None].expand(*log.shape, time).masked_fill(~below.tril(-1), 0).cumsum(-2)
    seen = below.tril()
    if starts is not None:
        document = starts.long().cumsum(1)[:, None]
        seen = seen & (document[..., :, None] == document[..., None, :])
    decay = torch.exp(log.masked_fill(~seen, float("-inf")))
    scores = c.transpose(1, 2) @ b.transpose(1, 2).transpose(-1, -2)
    return scores.repeat_interleave(heads // b.shape[2], 1) * decay
