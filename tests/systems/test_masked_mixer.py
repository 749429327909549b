"""Masked mixer [213]: the formula, what never learns, steps, inversion."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.measure.inversion import inversion_error, invert_input
from twofold.parts import Attention, Mask, MaskedMixer
from twofold.tasks import task
from twofold.tasks.examples import small_rows

IDS = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(0))


def system(**options):
    return configure("masked-mixer", **{"dim": 32, "layers": 2, "length": 16, **options})


def network(**options):
    torch.manual_seed(0)
    return system(**options).network(40).eval()


def mixer(heads=1):
    torch.manual_seed(0)
    return MaskedMixer(8, 12, heads)


def test_it_is_the_lower_triangle_times_the_input() -> None:
    one, x = mixer(), torch.randn(2, 7, 8)
    expected = one.spatial[0, :7, :7].tril() @ x + one.bias[0, :7, None]
    torch.testing.assert_close(one(x), expected, rtol=1e-5, atol=1e-6)
    four = mixer(4)
    parts = four.enter(x).chunk(4, -1)
    mixed = [w[:7, :7].tril() @ p + b[:7, None] for w, b, p in zip(four.spatial, four.bias, parts, strict=True)]
    torch.testing.assert_close(four(x), four.leave(torch.cat(mixed, -1)), rtol=1e-5, atol=1e-6)


def test_the_upper_triangle_never_learns() -> None:
    one = mixer(2)
    before = one.spatial.detach().clone()
    assert before.triu(1).abs().min() >= 0
    assert before.triu(1).abs().max() > 0  # the mask leaves them out; nobody edits them
    one(torch.randn(2, 12, 8)).square().sum().backward()
    assert (one.spatial.grad.triu(1) == 0).all()
    assert (one.spatial.grad.tril() != 0).any()
    assert torch.equal(one.spatial.detach(), before)


def test_steps_are_the_full_pass_and_nothing_looks_ahead() -> None:
    for options in ({}, {"mixer_heads": 2}, {"attention_every": 2}):
        net = network(**options)
        whole = net(IDS, Mask.causal())
        cache, out = net.new_cache(2, 12), []
        for piece in IDS.split([4, 1, 7], 1):
            out.append(net(piece, Mask.causal(), cache))
        torch.testing.assert_close(torch.cat(out, 1), whole, rtol=1e-5, atol=1e-5)
        changed = IDS.clone()
        changed[:, 6:] = 1
        assert torch.equal(net(changed, Mask.causal())[:, :6], whole[:, :6])
    kinds = [type(layer.mixer) for layer in network(attention_every=2).stack.layers]
    assert kinds == [MaskedMixer, Attention]


def test_inputs_are_found_again() -> None:
    net = network(layers=1)
    with torch.no_grad():  # nothing but a map that can be undone
        net.stack.layers[0].channel.down.weight.zero_()
        net.stack.layers[0].mixer.spatial.zero_()
    assert inversion_error(net, IDS, 200) < 0.05
    with torch.no_grad():
        net.stack.final_norm.weight.zero_()  # states that say nothing
    assert inversion_error(net, IDS, 5) > 0.8
    assert invert_input(net, IDS, 2).shape == IDS.shape
    with pytest.raises(UserError, match="at least 1"):
        invert_input(net, IDS, 0)


def test_the_language_task_inverts() -> None:
    data = task("language").read(small_rows())
    model = system(length=32, batch=4).fit(data, Steps(2)).model
    before = {name: t.clone() for name, t in model.net.state_dict().items()}
    figures = task("language").evaluate(model, data, "test", texts=2, invert=(2, 8, 3)).figures
    assert 0 <= figures["inversion_error"] <= 1
    assert all(torch.equal(t, before[name]) for name, t in model.net.state_dict().items())
    with pytest.raises(UserError, match="ask fewer or shorter"):
        model.inversion_error(["a"], 2, 8, 3)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="16 positions"):
        network()(torch.zeros(1, 17, dtype=torch.long), Mask.causal())
    with pytest.raises(UserError, match="use dim="):
        MaskedMixer(10, 8, 2)
