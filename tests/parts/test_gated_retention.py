"""Gated retention: one definition in three forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from twofold.errors import UserError
from twofold.parts import LSTM, SSD, GatedRetention, Mask, Rope


def mixer(dim=24, heads=3, dtype=torch.float64, **options) -> GatedRetention:
    torch.manual_seed(0)
    return GatedRetention(dim, heads, **options).to(dtype)


def one_by_one(part: GatedRetention, x: torch.Tensor) -> torch.Tensor:
    """The paper's recurrence as it stands, a token and a head at a time."""
    batch, time, _ = x.shape
    size = part.head_dim
    turn, places = Rope(), torch.arange(time)[None]
    q, k, v = (m(x).unflatten(-1, (part.heads, size)).transpose(1, 2) for m in (part.query, part.key, part.value))
    q, k = turn.rotate(q, k, places, places)
    gamma = torch.sigmoid(part.decay(x)) ** (1 / part.temperature)
    y = torch.zeros(batch, time, part.heads, size, dtype=x.dtype)
    for row in range(batch):
        for head in range(part.heads):
            state = torch.zeros(size, size, dtype=x.dtype)
            for t in range(time):
                state = gamma[row, t, head] * state + torch.outer(k[row, head, t], v[row, head, t]) * size**-0.5
                y[row, t, head] = q[row, head, t] @ state
    normed = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return part.out(F.silu(part.gate(x)) * normed.flatten(2))


@pytest.mark.parametrize("temperature", [0.5, 16.0])
def test_three_forms_agree(temperature) -> None:
    part = mixer(temperature=temperature, chunk=4)
    x = torch.randn(2, 23, 24, dtype=torch.float64)
    with torch.no_grad():
        written = one_by_one(part, x)
        chunked = part(x)
        _, _, v, _ = part.routing(x, Mask.of(None))
        heads = part.implicit(x) @ v.transpose(1, 2)
        normed = F.rms_norm(heads.transpose(1, 2), (part.head_dim,), eps=1e-5).flatten(2)
        parallel = part.out(F.silu(part.gate(x)) * normed)
        cache = part.new_cache(2, 23)
        steps = torch.cat([part(token, cache=cache) for token in x.split(1, 1)], 1)
    for found in (chunked, parallel, steps):
        torch.testing.assert_close(found, written, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_change_nothing_in_float32(chunk) -> None:
    part = mixer(dtype=torch.float32)
    x = torch.randn(2, 150, 24)
    with torch.no_grad():
        whole = part(x)
        part.chunk = chunk
        torch.testing.assert_close(part(x), whole, rtol=1e-5, atol=1e-5)


def test_a_higher_temperature_keeps_the_past_for_longer() -> None:
    x = torch.randn(1, 40, 24, dtype=torch.float64)
    kept = []
    for temperature in (1.0, 16.0):
        part = mixer(temperature=temperature)
        _, _, _, log = part.routing(x, Mask.of(None))
        kept.append(log.sum(1).exp())
    assert (kept[1] > kept[0]).all()
    torch.testing.assert_close(kept[1] ** 16, kept[0])


def test_what_it_remembers_is_one_state_a_head() -> None:
    cache = mixer(dtype=torch.float32).new_cache(2, 4096)
    assert cache.nbytes == cache.bytes_at(4000) == 2 * 3 * 8 * 8 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 25, "heads": 3}, "use dim=30"),
        ({"dim": 30, "heads": 6}, "Rope can turn in pairs; use dim=36 or heads=5"),
        ({"temperature": 0.0}, "use a number above 0, such as temperature=16"),
        ({"temperature": -1.0}, "temperature=16"),
        ({"temperature": float("nan")}, "temperature=16"),
        ({"temperature": float("inf")}, "temperature=16"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, message) -> None:
    with pytest.raises(UserError, match=message):
        mixer(**options)


@pytest.mark.parametrize(
    "made", [lambda: mixer(), lambda: SSD(24, state=4, head_dim=8).double(), lambda: LSTM(24).double()]
)
def test_documents_that_begin_behind_a_cache_without_any_are_kept_apart(made) -> None:
    part = made()
    x = torch.randn(2, 9, 24, dtype=torch.float64)
    ids = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 2])
    with torch.no_grad():
        whole = part(x, Mask.segments(ids.expand(2, -1)))
        for later in (ids[4:], ids[5:]):
            cache, first = part.new_cache(2, 9), 9 - len(later)
            part(x[:, :first], cache=cache)  # no documents are named: they are the first
            rest = part(x[:, first:], Mask.segments(later.expand(2, -1)), cache)
            torch.testing.assert_close(rest, whole[:, first:], rtol=1e-9, atol=1e-9)
