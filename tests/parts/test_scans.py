"""Scans of state-space models against loops over time, and what recurrent mixers remember."""

from __future__ import annotations

import sys

import pytest
import torch

from twofold.errors import UserError
from twofold.measure import costs
from twofold.parts import S6, SSD, Hydra, Mask, fused, scans
from twofold.parts.scans import selective_scan, ssd, ssd_matrix
from twofold.parts.states import StateCache

FINE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FINE)


def ssd_inputs(time, batch=2, heads=4, width=3, groups=2, state=5):
    dt = torch.nn.functional.softplus(drawn(batch, time, heads, seed=1))
    b, c = drawn(batch, time, groups, state, seed=2), drawn(batch, time, groups, state, seed=3)
    return drawn(batch, time, heads, width), dt, -torch.rand(heads, dtype=FINE) * 3, b, c


def ssd_loop(x, dt, a, b, c, state=None, starts=None):
    repeat = x.shape[2] // b.shape[2]
    b, c = b.repeat_interleave(repeat, 2), c.repeat_interleave(repeat, 2)
    h = torch.zeros(len(x), x.shape[2], b.shape[3], x.shape[3], dtype=x.dtype) if state is None else state
    out = []
    for t in range(x.shape[1]):
        if starts is not None:
            h = h * ~starts[:, t, None, None, None]
        h = torch.exp(dt[:, t] * a)[..., None, None] * h
        h = h + (dt[:, t, :, None] * b[:, t])[..., None] * x[:, t, :, None]
        out.append((c[:, t, :, :, None] * h).sum(2))
    return torch.stack(out, 1), h


def test_selective_scan_is_the_loop(monkeypatch):
    u, dt = drawn(2, 300, 6), torch.rand(2, 300, 6, dtype=FINE)
    a, b, c = -torch.rand(3, 6, dtype=FINE), drawn(2, 300, 3, seed=2), drawn(2, 300, 3, seed=3)
    h, out = torch.zeros(2, 3, 6, dtype=FINE), []
    for t in range(300):
        h = torch.exp(dt[:, t, None] * a) * h + (dt[:, t] * u[:, t])[:, None] * b[:, t, :, None]
        out.append((h * c[:, t, :, None]).sum(1))
    for fits in (1, 1 << 20):  # blocks of 16, and one block
        monkeypatch.setattr(scans, "_FITS", fits)
        y, last = selective_scan(u, dt, a, b, c)
        torch.testing.assert_close(y, torch.stack(out, 1), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(last, h, rtol=1e-10, atol=1e-10)


def test_selective_scan_has_the_right_gradient(monkeypatch):
    monkeypatch.setattr(scans, "_FITS", 1)
    starts = torch.zeros(1, 20, dtype=torch.bool)
    starts[:, [4, 17]] = True
    shapes = [(1, 20, 2), (1, 20, 2), (3, 2), (1, 20, 3), (1, 20, 3), (1, 3, 2)]
    given = [drawn(*shape, seed=i) for i, shape in enumerate(shapes)]
    given[1], given[2] = given[1].abs(), -given[2].abs()
    given = [t.requires_grad_() for t in given]
    assert torch.autograd.gradcheck(lambda *t: selective_scan(*t, starts), given, fast_mode=True)


@pytest.mark.parametrize(("batch", "time", "inner", "states"), [(2, 37, 150, 3), (1, 16, 128, 4), (3, 1, 5, 2)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_compiled_scan_is_the_same(batch, time, inner, states, threads, monkeypatch):
    pytest.importorskip("numba")
    before = torch.get_num_threads()
    monkeypatch.setattr(fused, "_LONG", 0)
    shapes = [(batch, time, inner)] * 2 + [(states, inner)] + [(batch, time, states)] * 2 + [(batch, states, inner)]
    given = [drawn(*shape, seed=i) for i, shape in enumerate(shapes)]
    given[1], given[2] = given[1].abs(), -4 * given[2].abs()
    starts = drawn(batch, time, seed=9) > 1
    found = []
    try:
        torch.set_num_threads(threads)
        for dtype in (FINE, torch.float32):
            leaves = [t.detach().to(dtype).requires_grad_() for t in given]
            y, last = selective_scan(*leaves, starts)
            assert ("Fused" in type(y.grad_fn).__name__) == (dtype == torch.float32)
            ((y * y).sum() + last.sin().sum()).backward()
            found.append([y, last, *(t.grad for t in leaves)])
    finally:
        torch.set_num_threads(before)
    for exact, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled.double(), exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_compiled_scan_works_in_inference_mode(threads, monkeypatch):
    pytest.importorskip("numba")
    before = torch.get_num_threads()
    monkeypatch.setattr(fused, "_LONG", 0)
    given = [drawn(1, 9, 300), drawn(1, 9, 300).abs(), -drawn(2, 300).abs(), drawn(1, 9, 2), drawn(1, 9, 2)]
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            y, _ = selective_scan(*(t.float() for t in given))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(y.double(), selective_scan(*given)[0], rtol=1e-4, atol=1e-4)


def test_the_compiled_scan_hides_no_operations_and_no_second_derivative(monkeypatch):
    pytest.importorskip("numba")
    shapes = [(1, 9, 4), (1, 9, 4), (2, 4), (1, 9, 2), (1, 9, 2)]
    given = [drawn(*shape, seed=i).float().requires_grad_() for i, shape in enumerate(shapes)]
    counts = []
    for long in (1 << 60, 0):
        monkeypatch.setattr(fused, "_LONG", long)
        counts.append(costs.flops(selective_scan, *given))
    assert counts[0] == counts[1] > 0
    first = torch.autograd.grad(selective_scan(*given)[0].square().sum(), given, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first[0].sum().backward()


@pytest.mark.parametrize(("threads", "chunk", "packed"), [(1, 7, True), (2, 20, False), (1, 20, True), (2, 64, True)])
def test_compiled_ssd_is_the_plain_one(threads, chunk, packed, monkeypatch):
    pytest.importorskip("numba")
    from twofold.parts import fused_ssd

    before = torch.get_num_threads()
    monkeypatch.setattr(fused, "_LONG", 0)
    monkeypatch.setattr(fused_ssd, "_KEPT", 2 * 12 * 2 * chunk)  # pieces of two chunks of both rows
    starts = torch.zeros(2, 150, dtype=torch.bool)
    starts[0, [0, 3, 21, 23, 64, 130]] = True
    starts[1, [20, 100]] = True
    wide = drawn(2, 150, 4 * 3 + 2 * 2 * 5)  # as a layer gives them: x, b and c side by side
    small = [drawn(2, 150, 4, seed=1).abs(), -drawn(4, seed=2).abs(), drawn(2, 4, 5, 3, seed=3), drawn(4, seed=4)]
    found = []
    try:
        torch.set_num_threads(threads)
        for dtype in (FINE, torch.float32):
            leaves = [t.detach().to(dtype).requires_grad_() for t in (wide, *small)]
            x, b, c = leaves[0].split((12, 10, 10), -1)
            given = x.unflatten(-1, (4, 3)), b.unflatten(-1, (2, 5)), c.unflatten(-1, (2, 5))
            dt, a, state, skip = leaves[1:]
            y, last = ssd(given[0], dt, a, *given[1:], state, starts if packed else None, chunk, skip)
            assert ("FusedSSD" in type(y.grad_fn).__name__) == (dtype == torch.float32)
            weighed = y.sin() * drawn(*y.shape, seed=5).to(dtype), last * drawn(*last.shape, seed=6).to(dtype)
            (weighed[0].sum() + weighed[1].sum()).backward()
            with torch.inference_mode():
                again, _ = ssd(given[0], dt, a, *given[1:], state, starts if packed else None, chunk, skip)
            found.append([y, last, again, *(t.grad for t in leaves)])
    finally:
        torch.set_num_threads(before)
    for exact, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled.double(), exact, rtol=1e-4, atol=1e-4)


def test_compiled_ssd_takes_padding_as_nothing(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(fused, "_LONG", 0)
    x, dt, a, b, c = (t.float() for t in ssd_inputs(40))
    dt[:, 11:17] = 0.0
    kept = torch.cat((torch.arange(11), torch.arange(17, 40)))
    y, last = ssd(x, dt, a, b, c, chunk=8)
    bare, behind = ssd(*(t if t is a else t[:, kept] for t in (x, dt, a, b, c)), chunk=8)
    torch.testing.assert_close(y[:, kept], bare, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last, behind, rtol=1e-5, atol=1e-5)


def test_compiled_ssd_keeps_its_precision_under_autocast(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(fused, "_LONG", 0)
    given = [t.float().requires_grad_() for t in ssd_inputs(40)]
    found = []
    for lower in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            y, last = ssd(*given)
            found.append((y, last, *torch.autograd.grad(y.sum() + last.sum(), given)))
    for plain, under in zip(*found, strict=True):
        assert under.dtype == torch.float32
        torch.testing.assert_close(under, plain)


def test_compiled_ssd_survives_strong_decays(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(fused, "_LONG", 0)
    x, dt, a, b, c = (t.float() for t in ssd_inputs(64))
    dt[:, ::3] = 80.0
    given = [t.requires_grad_() for t in (x, dt, a, b, c)]
    y, last = ssd(*given)
    found = torch.autograd.grad(y.sum() + last.sum(), given)
    fine = [t.detach().double().requires_grad_() for t in given]
    exact, _ = ssd(*fine)
    torch.testing.assert_close(y.double(), exact, rtol=1e-4, atol=1e-4)
    assert all(torch.isfinite(t).all() for t in found)


def test_compiled_ssd_hides_no_operations_and_has_second_derivatives(monkeypatch):
    pytest.importorskip("numba")
    x, dt, b, c = (drawn(1, 20, *s, seed=i).float() for i, s in enumerate([(2, 3), (2,), (1, 4), (1, 4)]))
    a, state, skip = -torch.ones(2), drawn(1, 2, 4, 3).float(), drawn(2).float()
    counts, second = [], []
    for long in (1 << 60, 0):
        monkeypatch.setattr(fused, "_LONG", long)
        counts.append(costs.flops(ssd, x, dt.abs(), a, b, c))
        leaves = [t.detach().clone().requires_grad_() for t in (x, dt.abs(), a, b, c, state, skip)]
        y, last = ssd(*leaves[:6], None, 6, leaves[6])
        first = torch.autograd.grad(y.square().sum() + last.square().sum(), leaves, create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    assert counts[0] == counts[1] > 0
    for plain, compiled in zip(*second, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-3)


def test_without_numba_long_inputs_are_scanned_all_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "twofold.parts.fused_scan", None)
    monkeypatch.setattr(fused, "_LONG", 0)
    fused._loaded.cache_clear()
    try:
        shapes = [(1, 9, 4), (1, 9, 4), (2, 4), (1, 9, 2), (1, 9, 2)]
        given = [drawn(*shape, seed=i) for i, shape in enumerate(shapes)]
        y, _ = selective_scan(*(t.float() for t in given))
        torch.testing.assert_close(y.double(), selective_scan(*given)[0], rtol=1e-4, atol=1e-4)
    finally:
        fused._loaded.cache_clear()


def test_strong_decays_neither_overflow_nor_vanish_into_nan():
    u, dt = drawn(1, 64, 4).float(), torch.full((1, 64, 4), 60.0)
    dt[:, 40:] = 1e-3
    given = [
        u,
        dt,
        -torch.arange(1.0, 17)[:, None].expand(16, 4).clone(),
        drawn(1, 64, 16).float(),
        drawn(1, 64, 16).float(),
    ]
    given = [t.requires_grad_() for t in given]
    y, _ = selective_scan(*given)
    y.sum().backward()
    exact, _ = selective_scan(*(t.detach().double() for t in given))
    torch.testing.assert_close(y.detach().double(), exact, rtol=1e-4, atol=1e-4)
    assert all(torch.isfinite(t.grad).all() for t in given)


@pytest.mark.parametrize("chunk", [2, 5, 64])
@pytest.mark.parametrize("packed", [False, True])
def test_ssd_is_the_loop_whatever_the_chunk(chunk, packed):
    given = ssd_inputs(150)  # chunks of 2: groups of groups of chunks
    state = drawn(2, 4, 5, 3, seed=5)
    starts = None
    if packed:
        starts = torch.zeros(2, 150, dtype=torch.bool)
        starts[0, [0, 3, 64, 65, 130]] = True
        starts[1, [1, 100]] = True
    expected, after = ssd_loop(*given, state, starts)
    y, last = ssd(*given, state, starts, chunk)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(last, after, rtol=1e-10, atol=1e-10)
    if state is not None and not packed:
        mixed = torch.einsum("bhij,bjhp->bihp", ssd_matrix(*given[1:]), given[0])
        torch.testing.assert_close(mixed, ssd(*given)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kept", [1, 200])
def test_ssd_in_pieces_is_ssd_at_once(kept, monkeypatch):
    state, starts = drawn(2, 4, 5, 3, seed=5).requires_grad_(), torch.zeros(2, 150, dtype=torch.bool)
    starts[0, [3, 64, 130]] = True
    given = [t.requires_grad_() for t in ssd_inputs(150)]
    found = []
    for size in (1 << 30, kept):
        monkeypatch.setattr(scans, "_KEPT", size)
        y, last = ssd(*given, state, starts, 5)
        found.append((y, last, *torch.autograd.grad(y.square().sum() + last.square().sum(), [*given, state])))
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-10, atol=1e-10)


def test_many_groups_of_chunks_with_documents():
    given = ssd_inputs(40 * 33)
    starts = torch.rand(2, 40 * 33, generator=torch.Generator().manual_seed(0)) < 0.01
    expected, after = ssd_loop(*given, None, starts)
    y, last = ssd(*given, None, starts, 1)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(last, after, rtol=1e-9, atol=1e-9)


def test_a_constant_input_has_a_closed_form():
    dt, a = torch.full((1, 30, 1), 0.3, dtype=FINE), torch.tensor([-0.7], dtype=FINE)
    one = torch.ones(1, 30, 1, 1, dtype=FINE)
    y, _ = ssd(one, dt, a, one, one)
    r = torch.exp(dt[0, 0, 0] * a)
    expected = 0.3 * (1 - r ** torch.arange(1, 31)) / (1 - r)
    torch.testing.assert_close(y[0, :, 0, 0], expected, rtol=1e-10, atol=1e-10)
    y, _ = selective_scan(one[..., 0], dt, a[:, None], one[..., 0], one[..., 0])
    torch.testing.assert_close(y[0, :, 0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mixer", [S6(16, state=3), SSD(16, state=4, head_dim=8, chunk=4)])
def test_a_state_goes_back_into_the_middle_of_a_call(mixer):
    x = torch.randn(2, 12, 16)
    ids = torch.tensor([[0] * 5 + [1] * 7, [0] * 7 + [1] * 5])
    with torch.no_grad():
        whole = mixer(x, Mask.segments(ids))
        cache = mixer.new_cache(2, 99)
        mixer(x[:, :4], Mask.segments(ids[:, :4]), cache)
        mixer(torch.cat((x[:, 4:6], torch.randn(2, 5, 16)), 1), Mask.segments(ids[:, 4:11]), cache)
        cache.rewind(5)
        cache.reorder(torch.tensor([1, 0]))
        order = torch.tensor([1, 0])
        y = mixer(x[order, 6:], Mask.segments(ids[order, 6:]), cache)
    torch.testing.assert_close(y, whole[order, 6:], rtol=1e-5, atol=1e-5)
    assert cache.length == 12


def test_a_state_that_cannot_go_back_says_so():
    cache = StateCache(torch.zeros(1, 2), back=2)
    cache.advance(torch.ones(1, 2), 5)
    with pytest.raises(UserError, match="keep a copy"):
        cache.rewind(3)
    cache.rewind(5)
    assert cache.length == 0
    assert not cache.state.any()
    for mixer in (S6(8), SSD(8, head_dim=8)):
        sizes = []
        for time in (1, 50):
            held = mixer.new_cache(1, 99)
            mixer(torch.randn(1, time, 8), cache=held)
            sizes.append(held.nbytes)
        assert sizes[0] == sizes[1]


def test_rates_are_negative_and_do_not_decay_as_weights():
    for mixer in (S6(8), SSD(8, head_dim=8), Hydra(8, head_dim=8)):
        assert (mixer.a < 0).all()
        assert mixer.log_a.ndim == mixer.skip.ndim == mixer.dt_bias.ndim == 1  # the recipe lets matrices decay alone


def test_sizes_that_do_not_go_together_are_refused():
    with pytest.raises(UserError, match="head_dim=16"):
        SSD(24, head_dim=32)
    with pytest.raises(UserError, match="groups=2"):
        SSD(16, head_dim=16, groups=4)
    with pytest.raises(UserError, match="mixer SSD"):
        Hydra(8, head_dim=8)(torch.randn(1, 3, 8), Mask.causal())
