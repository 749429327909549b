"""Long convolutions, differences of mixers, and waves on a ring."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from twofold.errors import UserError
from twofold.parts import (
    SSD,
    Attention,
    Differential,
    Hyena,
    IdentityRNN,
    ImplicitFilter,
    Mask,
    ModalFilter,
    MonarchConv,
    RingConv,
)
from twofold.parts.mixers.hyena import long_conv


def test_convolution_by_fft_is_the_direct_one():
    u, kernel = torch.randn(2, 3, 37, dtype=torch.float64), torch.randn(3, 37, dtype=torch.float64)
    direct = torch.stack([sum(kernel[:, t - s] * u[:, :, s] for s in range(t + 1)) for t in range(37)], -1)
    torch.testing.assert_close(long_conv(u, kernel), direct, rtol=1e-10, atol=1e-10)


def test_a_head_for_each_feature_is_hyena():
    torch.manual_seed(0)
    mixer = Hyena(6, 6, ImplicitFilter(6, 16)).double()
    x = torch.randn(2, 20, 6, dtype=torch.float64)
    q, k, v = mixer.conv(mixer.enter_map(x)).transpose(1, 2).chunk(3, 1)
    y = mixer.out((q * long_conv(k * v, mixer.filter.kernel(20))).transpose(1, 2))
    torch.testing.assert_close(mixer(x), y, rtol=1e-10, atol=1e-10)


def test_kernels_do_not_depend_on_how_many_taps_are_asked():
    torch.manual_seed(0)
    for made in (ImplicitFilter(3, 16), ModalFilter(3, 4)):
        torch.testing.assert_close(made.kernel(40)[:, :11], made.kernel(11), rtol=1e-5, atol=1e-6)
    assert ModalFilter(3, 4).kernel(1).shape == (3, 1)


def test_a_modal_filter_is_a_recurrence():
    torch.manual_seed(0)
    made = ModalFilter(1, 4).double()
    with torch.no_grad():
        for p in made.parameters():
            p.normal_()
    u = torch.randn(30, dtype=torch.float64)
    poles, residues = made.powers(2)[0, :, 1], made.residues[0]
    assert (poles.abs() < 1).all()
    state, out = torch.zeros(2, dtype=torch.complex128), []
    for given in u:
        out.append(2 * (residues * state).sum().real + made.now[0] * given)
        state = poles * state + given
    torch.testing.assert_close(long_conv(u, made.kernel(30)[0]), torch.stack(out), rtol=1e-9, atol=1e-9)


def test_a_modal_memory_does_not_grow_and_past_products_do():
    growing, constant = Hyena(8, 2, ImplicitFilter(2)), Hyena(8, 2, ModalFilter(2, 4))
    sizes = []
    for mixer in (growing, constant):
        for time in (2, 50):
            cache = mixer.new_cache(1, 64)
            mixer(torch.randn(1, time, 8), cache=cache)
            sizes.append(cache.nbytes)
    assert sizes[1] > sizes[0]
    assert sizes[2] == sizes[3]


def test_sizes_of_hyena_that_do_not_go_together_are_refused():
    with pytest.raises(UserError, match="heads=4"):
        Hyena(16, 12)
    with pytest.raises(UserError, match="make them equal"):
        Hyena(16, 4, ImplicitFilter(8))
    with pytest.raises(UserError, match="use 4"):
        ModalFilter(2, 3)


def test_what_is_taken_away_grows_with_the_layer():
    starts = [Differential(SSD(8, head_dim=8), layer).start for layer in (1, 2, 50)]
    assert starts[0] == pytest.approx(0.2)
    assert starts[0] < starts[1] < starts[2]
    assert starts[2] == pytest.approx(0.8, abs=1e-6)
    made = Differential(SSD(8, head_dim=8), 1)
    with torch.no_grad():
        made.weight.fill_(10.0)
    assert float(made.share.detach()) == pytest.approx(1.2)  # beyond one, and not cut
    with pytest.raises(UserError, match="from 1"):
        Differential(SSD(8, head_dim=8), 0)


def test_without_the_other_the_first_is_normalised_and_scaled():
    torch.manual_seed(0)
    made, x = Differential(SSD(16, head_dim=8, state=4), 2), torch.randn(2, 9, 16)
    with torch.no_grad():
        made.other.out.weight.zero_()
        y = made.inner(x)
        expected = (1 - made.start) * y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(made(x), expected, rtol=1e-5, atol=1e-6)


def test_the_two_start_apart_and_their_matrices_are_subtracted():
    torch.manual_seed(0)
    for inner in (SSD(16, head_dim=8, state=4), Attention(16, 2, causal=True)):
        made, x = Differential(inner, 1), torch.randn(2, 9, 16)
        own, other = dict(made.inner.named_parameters()), dict(made.other.named_parameters())
        assert any(not torch.equal(own[name], other[name]) for name in own)
        found = getattr(made.inner, "implicit", None) or made.inner.matrix
        away = getattr(made.other, "implicit", None) or made.other.matrix
        torch.testing.assert_close(made.implicit(x), found(x) - made.share * away(x))


def test_what_enters_a_ring_travels_as_a_wave():
    ring = RingConv(1, 8, activation="linear")
    x = torch.zeros(1, 20, 8)
    given = torch.randn(20)
    x[0, :, 0] = given
    h = ring(x)[0]
    for t in range(8):
        for p in range(t + 1):
            assert h[t, p] == given[t - p]
    # After a round, what comes in meets what came a round ago.
    torch.testing.assert_close(h[8, 0], given[8] + given[0])
    assert h[7, 0] == given[7]


def test_a_ring_without_a_shift_keeps_and_one_of_one_position_is_refused():
    still = RingConv(2, 4, start="identity")
    x = torch.zeros(1, 3, 8)
    x[0, 0, 3] = 1.0
    assert torch.equal(still(x)[0, 2], x[0, 0])
    wrong = (({"kernel": 2}, "kernel=1 or"), ({"kernel": 9}, "use kernel=3"), ({"start": "tidal"}, "identity"))
    for options, words in wrong:
        with pytest.raises(UserError, match=words):
            RingConv(2, 4, **options)


def test_an_identity_rnn_is_torchs():
    torch.manual_seed(0)
    made, x = IdentityRNN(5), torch.randn(2, 12, 5)
    with torch.no_grad():
        made.weight.add_(0.1 * torch.randn(5, 5))
        peer = torch.nn.RNN(5, 5, nonlinearity="relu", batch_first=True)
        peer.weight_ih_l0.copy_(torch.eye(5))
        peer.weight_hh_l0.copy_(made.weight)
        peer.bias_ih_l0.copy_(made.bias)
        peer.bias_hh_l0.zero_()
        torch.testing.assert_close(made(x), peer(x)[0], rtol=1e-5, atol=1e-6)
    assert F.relu(made(x)).equal(made(x))


def packed(time=9):
    x = torch.randn(2, time, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([[0, 0, 0, 0, 1, 1, 1, 2, 2], [0, 1, 1, 1, 1, 1, 1, 1, 1]])


def test_packed_documents_go_through_a_cache_of_keys_apart() -> None:
    torch.manual_seed(0)
    mixer, (x, ids) = Hyena(8, 2, ImplicitFilter(2, 16)).double(), packed()
    whole = mixer(x, Mask.segments(ids))
    cache = mixer.new_cache(2, 9, torch.float64)
    steps = [mixer(x[:, t], Mask.segments(ids[:, t]), cache) for t in (slice(0, 5), slice(5, 6), slice(6, 9))]
    assert (torch.cat(steps, 1) - whole).abs().max() < 1e-9
    weights, values = mixer.matrix(x, Mask.segments(ids)), mixer.values(x, Mask.segments(ids))
    assert (mixer.merge(weights @ values) - whole).abs().max() < 1e-9


def test_waves_refuse_packed_documents_behind_a_cache() -> None:
    mixer, (x, ids) = Hyena(8, 2, ModalFilter(2, 4)).double(), packed()
    with pytest.raises(UserError, match="a row of its own"):
        mixer(x, Mask.segments(ids), mixer.new_cache(2, 9, torch.float64))


def test_padding_stands_anywhere_among_packed_documents() -> None:
    torch.manual_seed(0)
    x, ids = packed()
    real = torch.ones(2, 9, dtype=torch.bool)
    real[:, 2] = real[:, 8] = False
    for mixer in (Hyena(8, 2, ImplicitFilter(2, 16)).double(), MonarchConv(8, length=16).double()):
        rows = mixer(x, Mask.segments(ids) & Mask.padding(real))
        alone = mixer(x[:1, :4], Mask.padding(real[:1, :4]))
        assert (rows[:1, :4] - alone)[:, real[0, :4]].abs().max() < 1e-9
        rows.sum().backward()
