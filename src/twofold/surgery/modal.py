"""Long convolution kernels as few damped waves: how many are needed, and which.

Massaroli et al. 2023, "Laughing Hyena Distillery", https://arxiv.org/abs/2310.18780, section 3. A kernel is
`h_0, h_1, …`; h_0 needs no state and stands apart; everything here is about `h_1, h_2, …`, which a recurrence of order
d gives as `Σ_n R_n λ_n^{t-1}` with d poles λ, pairs of conjugates among them. All in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from twofold.errors import UserError

Reals = NDArray[np.float64]
Poles = NDArray[np.complex128]

LARGEST = 1 - 1e-4  # poles stay inside the circle, so that what they give dies out


@dataclass(frozen=True)
class Modes:
    """A kernel as waves: `h_0 = now`, `h_t = 2 Re Σ_n residues_n poles_n^{t-1}`.

    Args:
        poles: one of each pair, `[order / 2]`, inside the unit circle.
        residues: `[order / 2]`.
        now: the tap at t = 0.
    """

    poles: Poles
    residues: Poles
    now: float

    def kernel(self, time: int) -> Reals:
        """The first taps, `[time]`."""
        waves = 2 * (self.residues * self.poles ** np.arange(time - 1)[:, None]).real.sum(1)
        return np.concatenate(([self.now], waves))


def hankel_values(kernel: Reals) -> Reals:
    """Singular values of the matrix `h_{i+j-1}` `[n, n]`, largest first: the (d+1)th is the least error, in the Hankel
    norm, of any recurrence of order d (Adamyan, Arov & Krein 1971).

    Args:
        kernel: `[T]`, T at least 3.
    """
    tail = np.asarray(kernel, np.float64)[1:]
    half = (len(tail) + 1) // 2
    return np.asarray(scipy.linalg.svdvals(scipy.linalg.hankel(tail[:half], tail[half - 1 :])), np.float64)


def hankel_order(kernel: Reals, tolerance: float = 1e-3) -> int:
    """The smallest even order whose Hankel error is at most `tolerance` of the largest singular value, at least 2."""
    if not 0 < tolerance < 1:
        raise UserError(f"tolerance is {tolerance}; it must lie between 0 and 1")
    values = hankel_values(kernel)
    needed = int((values > tolerance * values[0]).sum()) if values[0] > 0 else 0
    return max(2, needed + needed % 2)


def most_order(time: int) -> int:
    """The largest even order that every one of the `METHODS` can give a kernel of `time` taps."""
    return 2 * ((time // 2 - 1) // 2)


def kung(kernel: Reals, order: int) -> Poles:
    """Poles of the balanced truncation: the shift inside the leading singular vectors of the Hankel matrix. Kung 1978.

    Returns:
        `order` poles, in conjugate pairs where they are complex. A sum of `order` damped waves is recovered exactly.
    """
    tail = np.asarray(kernel, np.float64)[1:]
    half = (len(tail) + 1) // 2
    if not 1 <= order < half:
        raise UserError(f"order is {order}; a kernel of {len(tail) + 1} taps allows 1 to {half - 1}")
    left, values, _ = scipy.linalg.svd(scipy.linalg.hankel(tail[:half], tail[half - 1 :]))
    seen = left[:, :order] * np.sqrt(values[:order])
    shift, *_ = scipy.linalg.lstsq(seen[:-1], seen[1:])
    return np.asarray(np.linalg.eigvals(shift), np.complex128)


def prony(kernel: Reals, order: int) -> Poles:
    """Poles from the linear recurrence that fits the taps best. Prony 1795.

    Returns:
        `order` poles.
    """
    tail = np.asarray(kernel, np.float64)[1:]
    if not 1 <= order <= len(tail) // 2:
        raise UserError(f"order is {order}; a kernel of {len(tail) + 1} taps allows 1 to {len(tail) // 2}")
    rows = np.lib.stride_tricks.sliding_window_view(tail, order)[:-1]
    weights, *_ = scipy.linalg.lstsq(rows, tail[order:])
    return np.asarray(np.roots(np.concatenate(([1.0], -weights[::-1]))), np.complex128)


def modal_truncation(kernel: Reals, order: int) -> Poles:
    """Of many poles (a balanced truncation of a quarter of the taps), the `order` whose waves carry most energy."""
    many = kung(kernel, min(max(order, len(kernel) // 4), (len(kernel)) // 2 - 1))
    many = _inside(many)
    waves = many ** np.arange(len(kernel) - 1)[:, None]
    residues, *_ = scipy.linalg.lstsq(waves, np.asarray(kernel, np.float64)[1:].astype(np.complex128))
    energy = np.abs(residues) ** 2 / (1 - np.abs(many) ** 2)
    return np.asarray(many[np.argsort(-energy)[:order]], np.complex128)


def with_poles(kernel: Reals, poles: Poles, most: int | None = None) -> Modes:
    """The residues that bring given poles nearest to a kernel, by least squares.

    Args:
        poles: of each pair of conjugates the one above the real line is kept; a real pole takes the place of a pair.
        most: pairs that are kept, those whose waves carry most energy; None: all.
    """
    kept = _inside(poles)
    kept = kept[kept.imag >= -1e-12]
    tail = np.asarray(kernel, np.float64)[1:]
    residues = _residues(tail, kept)
    if most is not None and len(kept) > most:
        energy = np.abs(residues) ** 2 / (1 - np.abs(kept) ** 2)
        kept = kept[np.argsort(-energy)[:most]]
        residues = _residues(tail, kept)
    return Modes(kept, residues, float(kernel[0]))


def _residues(tail: Reals, poles: Poles) -> Poles:
    basis = _basis(torch.from_numpy(poles)[None], len(tail))[0].numpy()
    found, *_ = scipy.linalg.lstsq(basis, tail)
    return np.asarray(found[: len(poles)] + 1j * found[len(poles) :], np.complex128)


def modal_fit(kernels: Reals, order: int, steps: int = 300, lr: float = 0.02) -> list[Modes]:
    """Damped waves nearest to kernels in the sum of squares, found by gradients.

    Poles are moved by Adam along a cosine; the residues that go with them are solved for at every step. It starts from
    poles on a ring and from those of the balanced truncation, and keeps the better of each kernel's two.

    Args:
        kernels: `[C, T]`.
        order: real numbers in the state, even; two for each wave.
        steps, lr: of Adam.

    Raises:
        UserError: an odd order, one that is too large for the kernels, or kernels that are no numbers.
    """
    kernels = np.atleast_2d(np.asarray(kernels, np.float64))
    if order % 2 or not 2 <= order <= (kernels.shape[1] - 1) // 2:
        most = (kernels.shape[1] - 1) // 2
        raise UserError(f"order is {order}; it must be even, from 2 to {most - most % 2} for {kernels.shape[1]} taps")
    if not np.isfinite(kernels).all():
        raise UserError("the kernels hold values that are no finite numbers")
    half = order // 2
    ring = np.tile(0.95 * np.exp(1j * np.pi * (np.arange(half) + 0.5) / half), (len(kernels), 1))
    balanced = np.stack([_filled(with_poles(k, kung(k, order), half).poles, half) for k in kernels])
    tails = torch.from_numpy(kernels[:, 1:].copy())
    best: list[tuple[float, Poles]] = [(float("inf"), poles) for poles in ring]
    for first in (ring, balanced):
        errors, found = _descend(tails, first, steps, lr)
        for i, error in enumerate(errors):
            if error < best[i][0]:
                best[i] = (error, found[i])
    return [with_poles(kernel, poles) for kernel, (_, poles) in zip(kernels, best, strict=True)]


def relative_error(kernel: Reals, modes: Modes) -> float:
    """‖h - ĥ‖₂ / ‖h‖₂ over the kernel's taps."""
    kernel = np.asarray(kernel, np.float64)
    norm = float(np.linalg.norm(kernel))
    return float(np.linalg.norm(kernel - modes.kernel(len(kernel)))) / norm if norm else 0.0


def _each(find: Callable[[Reals, int], Poles]) -> Callable[[Reals, int], list[Modes]]:
    return lambda kernels, order: [with_poles(k, find(k, order), order // 2) for k in np.atleast_2d(kernels)]


METHODS: dict[str, Callable[[Reals, int], list[Modes]]] = {
    "gradient": modal_fit,
    "balanced": _each(kung),
    "modal": _each(modal_truncation),
    "prony": _each(prony),
}
"""Ways to find the waves, by name: kernels `[C, T]` and an order → a kernel's waves each."""


def _descend(tails: Tensor, first: Poles, steps: int, lr: float) -> tuple[list[float], Poles]:
    """The poles after gradient descent, and each kernel's squared error with them."""
    size = torch.from_numpy(np.clip(np.abs(first), 1e-3, LARGEST))
    radius = torch.logit(size).requires_grad_()
    angle = torch.from_numpy(np.angle(first)).clone().requires_grad_()
    optimizer = torch.optim.Adam([radius, angle], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    scale = tails.square().sum(1).clamp_min(1e-300)
    best = torch.full((len(tails),), float("inf"), dtype=torch.float64)
    kept = torch.polar(size, angle.detach())
    for _ in range(steps + 1):
        poles = torch.polar(torch.sigmoid(radius).clamp_max(LARGEST), angle)
        basis = _basis(poles, tails.shape[1])
        gram = basis.transpose(1, 2) @ basis
        # A trace of ridge: waves that coincide share their residue.
        gram = gram + 1e-10 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(gram.shape[1])
        residues = torch.linalg.solve(gram, (basis.transpose(1, 2) @ tails[..., None]))
        errors = (tails - (basis @ residues)[..., 0]).square().sum(1) / scale
        better = errors.detach() < best
        best = torch.where(better, errors.detach(), best)
        kept = torch.where(better[:, None], poles.detach(), kept)
        optimizer.zero_grad()
        errors.clamp_min(1e-30).log().sum().backward()
        optimizer.step()
        schedule.step()
    found = kept.numpy()
    return best.tolist(), np.asarray(found.real + 1j * np.abs(found.imag), np.complex128)


def _basis(poles: Tensor, time: int) -> Tensor:
    """`[2 Re λ^t, -2 Im λ^t]`, real `[C, time, order]`: times (Re R, Im R) they are the waves."""
    t = torch.arange(time, dtype=torch.float64)
    size = torch.exp(torch.log(poles.abs().clamp_min(1e-300))[:, None] * t[:, None])
    turn = poles.angle()[:, None] * t[:, None]
    return torch.cat((2 * size * torch.cos(turn), -2 * size * torch.sin(turn)), -1)


def _inside(poles: Poles) -> Poles:
    """Poles on or outside the circle come just inside it."""
    size = np.abs(poles)
    return np.asarray(np.where(size > LARGEST, poles / np.maximum(size, 1e-300) * LARGEST, poles), np.complex128)


def _filled(poles: Poles, half: int) -> Poles:
    """Poles, and as many on a ring as are missing to `half` of them."""
    more = 0.9 * np.exp(1j * np.pi * (np.arange(half - len(poles)) + 0.5) / max(1, half))
    return np.concatenate((poles, more))
