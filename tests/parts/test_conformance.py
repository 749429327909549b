"""What every sequence mixer must hold, over every example of every registered mixer."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from twofold.errors import UserError
from twofold.parts import Mask, Mixer, build, registered

DIM, BATCH, TIME = 16, 3, 9
CASES = [
    pytest.param(cls, name, id=f"{cls.__name__}-{name}")
    for cls in registered(Mixer).values()
    if cls.__module__.startswith("twofold.")
    for name in cls.examples(DIM)
]
pytestmark = pytest.mark.parametrize(("cls", "name"), CASES)


def make(cls, name, dtype=torch.float32) -> Mixer:
    torch.manual_seed(0)
    mixer = cls.examples(DIM)[name]
    with torch.no_grad():
        for parameter in mixer.parameters():  # so that nothing is still at a start where it does nothing
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return mixer.to(dtype)


def inputs(batch=BATCH, time=TIME, dtype=torch.float32, seed=1):
    return torch.randn(batch, time, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def given(mixer, mask=None, rows=slice(None), dtype=torch.float32):
    """The mask, with a memory for those that need one."""
    mask = Mask.of(mask)
    if not mixer.needs_memory:
        return mask
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [False] + [True] * 4])
    return mask & Mask.remember(inputs(3, 5, dtype, seed=2)[rows], real[rows])


def forward_only(mixer) -> Mask:
    return Mask.causal() if mixer.causal == "both" else Mask.bidirectional()


def can_step(mixer) -> None:
    if mixer.causal == "no":
        pytest.skip("two-way: needs the whole sequence")


def close(a, b, tolerance):
    a, b = a.detach(), b.detach()
    off = float((a - b).abs().max())
    assert torch.isfinite(a).all()
    assert off <= tolerance * max(1.0, float(b.abs().max())), off


def test_shape_and_dtype(cls, name):
    real = torch.ones(BATCH, TIME, dtype=torch.bool)
    real[0] = False  # a row of padding alone
    real[1, 5:] = False
    for dtype in (torch.float32, torch.bfloat16):
        mixer = make(cls, name, dtype)
        x = inputs(dtype=dtype).requires_grad_()
        y = mixer(x, given(mixer, real, dtype=dtype))
        assert y.shape == x.shape
        assert y.dtype == dtype
        y.float().square().sum().backward()
        assert torch.isfinite(y).all()
        assert torch.isfinite(x.grad).all()
        assert all(torch.isfinite(p.grad).all() for p in mixer.parameters() if p.grad is not None)


def test_nothing_looks_ahead(cls, name):
    mixer = make(cls, name)
    if mixer.causal == "no":
        x = inputs()
        changed = x.clone()
        changed[:, -1] += 1
        assert not torch.equal(mixer(x)[:, 0], mixer(changed)[:, 0])
        return
    time = 40  # longer than a tile of the kernels
    x, other = inputs(time=time), inputs(time=time, seed=3)
    mask = given(mixer, forward_only(mixer))
    with torch.no_grad():
        whole = mixer(x, mask)
        for t in (1, 2, 17, 32, 33, time - 1):
            y = mixer(torch.cat((x[:, :t], other[:, t:]), 1), mask)
            assert (y[:, :t] - whole[:, :t]).abs().max() <= mixer.leaks


@pytest.mark.parametrize("mask", [Mask.causal(), Mask.prefix(3), Mask.window(2)], ids=["causal", "prefix", "window"])
def test_what_sees_all_refuses_to_have_tokens_hidden(cls, name, mask):
    mixer = make(cls, name)
    if mixer.causal != "no":
        pytest.skip("it need not see all")
    x, other = inputs(), inputs(seed=3)
    try:
        whole = mixer(x, given(mixer, mask))
    except UserError:
        return
    y = mixer(torch.cat((x[:, :5], other[:, 5:]), 1), given(mixer, mask))  # token 5 is hidden from the first four
    assert (y[:, :4] - whole[:, :4]).abs().max() <= mixer.leaks


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_prefill_and_steps_are_the_full_pass(cls, name, dtype, tolerance):
    mixer = make(cls, name, dtype)
    can_step(mixer)
    x = inputs(dtype=dtype)
    left = torch.arange(TIME) >= torch.tensor([0, 3, 1])[:, None]
    right = left.flip(1)
    with torch.no_grad():
        for real in (None, left, right) if mixer.pads == "both" else (None, right):
            rule = forward_only(mixer)
            mask = rule if real is None else rule & Mask.padding(real)
            whole = mixer(x, given(mixer, mask, dtype=dtype))
            for chunks in ([4, 1, 1, 1, 1, 1], [1, 2, 6], [3, 3, 3]):
                cache = mixer.new_cache(BATCH, TIME + 2, dtype)
                parts, at = [], 0
                for n in chunks:
                    piece = rule if real is None else rule & Mask.padding(real[:, at : at + n])
                    parts.append(mixer(x[:, at : at + n], given(mixer, piece, dtype=dtype), cache))
                    at += n
                assert cache.length == TIME
                y = torch.cat(parts, 1)
                keep = torch.ones(BATCH, TIME, dtype=torch.bool) if real is None else real
                close(y[keep], whole[keep], tolerance)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(cls, name, side):
    mixer = make(cls, name)
    if mixer.pads not in ("both", side):
        pytest.skip("padding on the other side only")
    lengths = [TIME, 4, 6]
    x = inputs()
    real = torch.arange(TIME) < torch.tensor(lengths)[:, None]
    real = real.flip(1) if side == "left" else real
    for rule in {Mask.bidirectional(), forward_only(mixer)}:
        with torch.no_grad():
            y = mixer(x, given(mixer, rule & Mask.padding(real)))
            noise = torch.where(real[..., None], x, inputs(seed=4) * 50)
            close(mixer(noise, given(mixer, rule & Mask.padding(real)))[real], y[real], 1e-5)
            for row in range(BATCH):
                alone = mixer(x[row : row + 1, real[row]], given(mixer, rule, slice(row, row + 1)))
                close(y[row, real[row]], alone[0], 1e-5)


def test_packed_segments_do_not_meet(cls, name):
    mixer = make(cls, name)
    x = inputs()
    ids = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2]).expand(BATCH, -1)
    for rule in {Mask.bidirectional(), forward_only(mixer)}:
        with torch.no_grad():
            packed = mixer(x, given(mixer, rule & Mask.segments(ids)))
            for part in (slice(0, 4), slice(4, 7), slice(7, 9)):
                close(packed[:, part], mixer(x[:, part], given(mixer, rule)), 1e-5)


def test_rows_are_independent(cls, name):
    mixer = make(cls, name)
    x, other = inputs(), inputs(seed=5)
    mixed = torch.cat((x[:1], other[1:]))
    assert torch.equal(mixer(x, given(mixer))[0], mixer(mixed, given(mixer))[0])


def test_gradients(cls, name):
    mixer = make(cls, name, torch.float64)
    mask = given(mixer, forward_only(mixer), slice(0, 1), torch.float64)
    x = inputs(1, 4, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mixer(x, mask), (x,), fast_mode=True)


def test_matrix_gives_the_output(cls, name):
    mixer = make(cls, name)
    if not mixer.has_matrix:
        with pytest.raises(UserError):
            mixer.matrix(inputs())
        return
    real = torch.arange(TIME) < torch.tensor([TIME, 4, 6])[:, None]
    mask = given(mixer, forward_only(mixer) & Mask.padding(real))
    x = inputs()
    matrix = mixer.matrix(x, mask)
    close(mixer.merge(matrix @ mixer.values(x, mask))[real], mixer(x, mask)[real], 1e-5)
    if mixer.causal != "no" and not mixer.needs_memory:
        assert matrix.triu(1).abs().max() == 0


def test_cache_grows_as_declared(cls, name):
    mixer = make(cls, name)
    if mixer.causal == "no":
        with pytest.raises(UserError, match="needs the whole sequence"):
            mixer.new_cache(BATCH, 32)
        return
    cache = mixer.new_cache(BATCH, 32)
    sizes = []
    with torch.no_grad():
        for _ in range(4):
            mixer(inputs(time=8), given(mixer, forward_only(mixer)), cache)
            sizes.append(cache.nbytes)
    if cache.growth == "linear":
        grown = [b - a for a, b in itertools.pairwise(sizes)]
        assert grown[0] == grown[1] == grown[2] > 0  # beside what does not grow
    elif cache.growth == "window":
        assert sizes[-1] == sizes[-2]
    else:
        assert len(set(sizes)) == 1
    assert sizes[0] > 0


def test_cache_rewinds_and_reorders(cls, name):
    mixer = make(cls, name)
    can_step(mixer)
    x = inputs()
    rule = forward_only(mixer)
    whole = mixer(x, given(mixer, rule))
    cache = mixer.new_cache(BATCH, TIME)
    with torch.no_grad():
        mixer(x[:, :4], given(mixer, rule), cache)
        mixer(inputs(time=3, seed=6), given(mixer, rule), cache)
        cache.rewind(3)
        close(mixer(x[:, 4:7], given(mixer, rule), cache), whole[:, 4:7], 1e-5)
        order = torch.tensor([2, 0, 1])
        cache.reorder(order)
        # The cache of a memory moves with the rows, so the mask's memory no longer counts.
        close(mixer(x[order, 7:], given(mixer, rule), cache), whole[order, 7:], 1e-5)


@pytest.mark.parametrize(("dtype", "kept"), [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_a_cache_of_another_type_keeps_it(cls, name, dtype, kept):
    mixer = make(cls, name, dtype)
    can_step(mixer)
    x, rule = inputs(dtype=dtype), forward_only(mixer)
    with torch.no_grad():
        whole = mixer(x, given(mixer, rule, dtype=dtype))
        cache = mixer.new_cache(BATCH, TIME, kept)
        size, at = cache.nbytes, 0
        for n in (3, 1, 1, -1, 1, 3, -2, 3):  # calls of so many tokens, and tokens taken back
            if n < 0:
                cache.rewind(-n)
            else:
                y = mixer(x[:, at : at + n], given(mixer, rule, dtype=dtype), cache)
                assert y.dtype == dtype
                close(y, whole[:, at : at + n], 1e-5)
            at += n
    assert cache.length == TIME
    if cache.growth == "const" and not mixer.needs_memory:
        assert cache.nbytes == size


def test_lengths(cls, name):
    mixer = make(cls, name)
    one = mixer(inputs(time=1), given(mixer))
    assert one.shape == (BATCH, 1, DIM)
    assert torch.isfinite(one).all()
    with pytest.raises(UserError, match="empty"):
        mixer(inputs(time=1)[:, :0], given(mixer))
    if mixer.max_len is not None:
        with pytest.raises(UserError, match=str(mixer.max_len)):
            mixer(inputs(time=mixer.max_len + 1), given(mixer))
    if mixer.causal != "no" and mixer.new_cache(BATCH, 4).growth == "linear":
        with pytest.raises(UserError, match="max_len=5"):
            mixer(inputs(time=5), given(mixer), mixer.new_cache(BATCH, 4))


def test_spec_and_tensors_make_it_again(cls, name):
    mixer = make(cls, name)
    spec = json.loads(json.dumps(mixer.spec()))
    with torch.device("meta"):
        again = build(spec)
    assert all(t.is_meta for t in again.tensors().values())
    again.assign({k: v.detach().clone() for k, v in mixer.tensors().items()})
    assert again.spec() == mixer.spec()
    assert torch.equal(again(inputs(), given(again)), mixer(inputs(), given(mixer)))


def test_flops_grow_with_length(cls, name):
    mixer = make(cls, name)
    assert 0 < mixer.flops(8) < mixer.flops(16)
