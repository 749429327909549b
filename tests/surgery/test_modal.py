"""Kernels as damped waves: recovered exactly where they are some, nearest where they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twofold.errors import UserError
from twofold.surgery.modal import (
    METHODS,
    Modes,
    _descend,
    hankel_order,
    hankel_values,
    kung,
    modal_fit,
    prony,
    relative_error,
    with_poles,
)

POLES = np.array([0.9 * np.exp(0.4j), 0.8 * np.exp(1.7j), 0.95 * np.exp(2.6j)])
WAVES = Modes(POLES, np.array([1.0 + 0.5j, -0.7j, 0.3 + 0.1j]), 2.0)
KERNEL = WAVES.kernel(100)


def test_a_sum_of_waves_has_as_many_hankel_values() -> None:
    values = hankel_values(KERNEL)
    assert values[5] > 1e-4 * values[0]
    assert values[6] < 1e-12 * values[0]
    assert hankel_order(KERNEL, 1e-9) == 6
    assert hankel_order(np.zeros(20)) == 2


@pytest.mark.parametrize("find", [prony, kung])
def test_classical_methods_recover_the_poles(find) -> None:
    poles = find(KERNEL, 6)
    near = np.abs(poles[:, None] - np.concatenate((POLES, POLES.conj()))[None]).min(0)
    assert near.max() < 1e-6
    assert relative_error(KERNEL, with_poles(KERNEL, poles)) < 1e-6


def test_gradients_recover_them_too() -> None:
    (found,) = modal_fit(KERNEL, 6, 100)
    assert relative_error(KERNEL, found) < 1e-3
    assert found.now == KERNEL[0]
    assert (np.abs(found.poles) < 1).all()
    assert len(found.poles) <= 3


def test_gradients_from_the_ring_alone_come_near() -> None:
    ring = 0.95 * np.exp(1j * np.pi * (np.arange(3) + 0.5) / 3)[None]
    errors, _ = _descend(torch.from_numpy(KERNEL[None, 1:].copy()), ring, 150, 0.04)
    assert errors[0] < 1e-4


def test_a_fit_is_no_worse_than_what_it_starts_from_and_better_with_order() -> None:
    t = np.arange(64)
    kernel = np.exp(-t / 20) * np.sin(0.3 * t + 0.002 * t**2)
    errors = {order: relative_error(kernel, modal_fit(kernel, order, 40)[0]) for order in (2, 4, 8)}
    assert errors[8] < errors[4] < errors[2]
    for order, error in errors.items():
        for name in ("balanced", "modal"):
            assert error <= relative_error(kernel, METHODS[name](kernel, order)[0]) * (1 + 1e-6)


def test_no_recurrence_beats_the_hankel_value() -> None:
    t = np.arange(64)
    kernel = np.exp(-t / 20) * np.sin(0.3 * t + 0.002 * t**2)
    (found,) = modal_fit(kernel, 4, 20)
    gap = hankel_values(kernel - found.kernel(64))[0]
    assert gap >= hankel_values(kernel)[4] * (1 - 1e-9)


def test_poles_outside_come_inside() -> None:
    growing = with_poles(KERNEL, np.array([1.2 + 0j]))
    assert np.abs(growing.poles).max() < 1
    assert np.isfinite(growing.kernel(5000)).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="even"):
        modal_fit(KERNEL, 5)
    with pytest.raises(UserError, match="100 taps"):
        modal_fit(KERNEL, 80)
    with pytest.raises(UserError, match="finite"):
        modal_fit(np.full(40, np.nan), 4)
    with pytest.raises(UserError, match="tolerance"):
        hankel_order(KERNEL, 2.0)
    for find in (prony, kung):
        with pytest.raises(UserError, match="order is 90"):
            find(KERNEL, 90)
