"""AbbIE [29]: loops against plain and untied stacks, caches of iterations, costs."""

from __future__ import annotations

import json

import pytest
import torch

from twofold.catalog import configure
from twofold.errors import UserError
from twofold.measure.costs import context_costs, parameters
from twofold.parts import Loop, Mask, Pattern, Stack, build, presets, set_iterations

IDS = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(0))


def system(**options):
    return configure("abbie", **{"dim": 32, "heads": 4, "layers": 4, "length": 24, **options})


def network(**options):
    torch.manual_seed(0)
    return system(**options).network(50).eval()


def test_one_iteration_without_injection_is_the_plain_stack() -> None:
    looped = network(iterations=1, inject=False)
    torch.manual_seed(0)
    plain = presets.decoder(50, 32, 4, 4).eval()
    assert [tuple(t.shape) for t in looped.tensors().values()] == [tuple(t.shape) for t in plain.tensors().values()]
    assert torch.equal(looped(IDS, Mask.causal()), plain(IDS, Mask.causal()))


def test_weights_do_not_depend_on_iterations() -> None:
    sizes = {parameters(network(iterations=r)) for r in (1, 2, 8)}
    assert len(sizes) == 1
    assert sizes.pop() == parameters(presets.decoder(50, 32, 4, 4)) + 32  # the norm before the input is added


@pytest.mark.parametrize("inject", [True, False])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_steps_are_the_full_pass_for_every_number_of_iterations(times, inject) -> None:
    net = network(inject=inject)
    set_iterations(net, times)
    whole = net(IDS, Mask.causal())
    cache, out = net.new_cache(2, 12), []
    for piece in IDS.split([5, 1, 1, 5], 1):
        out.append(net(piece, Mask.causal(), cache))
    torch.testing.assert_close(torch.cat(out, 1), whole, rtol=1e-5, atol=1e-5)
    cache.rewind(5)
    torch.testing.assert_close(net(IDS[:, 7:], Mask.causal(), cache), whole[:, 7:], rtol=1e-5, atol=1e-5)
    alone = network(iterations=1).new_cache(1, 12)
    looped = net.new_cache(1, 12)
    assert [len(c.layers) if hasattr(c, "layers") else 1 for c in looped.layers] == [1, 2 * times, 1]
    assert len(alone.layers) == 3


def test_the_update_is_the_papers() -> None:
    loop = network().stack.layers[1]
    assert isinstance(loop, Loop)
    z = x = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        z = loop.norm(z) + x
        for block in loop.layers:
            z = block(z, Mask.causal())
    torch.testing.assert_close(loop(x, Mask.causal()), z, rtol=0, atol=0)


def test_the_gradient_is_the_sum_over_untied_copies() -> None:
    loop = network(inject=False, layers=3).stack.layers[1].double()
    copies = [build(loop.layers[0].spec()).double() for _ in range(2)]
    for copy in copies:
        copy.load_state_dict(loop.layers[0].state_dict())
    x = torch.randn(1, 6, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    loop(x, Mask.causal()).square().sum().backward()
    Stack(copies)(x, Mask.causal()).square().sum().backward()
    summed = [a.grad + b.grad for a, b in zip(copies[0].parameters(), copies[1].parameters(), strict=True)]
    for own, expected in zip(loop.parameters(), summed, strict=True):
        torch.testing.assert_close(own.grad, expected, rtol=1e-9, atol=1e-9)


def test_costs_count_iterations_and_specs_keep_loops() -> None:
    once, twice, six = (context_costs(n, 24) for n in (network(iterations=1), network(), presets.decoder(50, 32, 6, 4)))
    assert once["flops_per_token"] < twice["flops_per_token"] == six["flops_per_token"]
    assert twice["cache_bytes"] == six["cache_bytes"]
    net = network()
    again = build(json.loads(json.dumps(net.spec()))).eval()
    again.assign(net.tensors())
    assert torch.equal(again(IDS, Mask.causal()), net(IDS, Mask.causal()))


def test_what_cannot_be_is_refused() -> None:
    net = network()
    cache = net.new_cache(2, 12)
    set_iterations(net, 3)
    with pytest.raises(UserError, match="3 iterations and the cache was made for 2"):
        net(IDS, Mask.causal(), cache)
    with pytest.raises(UserError, match="at least 1"):
        set_iterations(net, 0)
    with pytest.raises(UserError, match="no loops"):
        set_iterations(presets.decoder(50, 32, 2, 4), 2)
    with pytest.raises(UserError, match="layers=3 or more"):
        system(layers=2).network(50)
    for layers, message in (
        ([{"loop": [{"loop": [{}]}]}], "one loop with more"),
        ([{"loop": [{}], "mixer": "attention"}], "key of a layer pattern"),
        ([{"loop": []}], "a pattern is a list"),
        ([{"loop": [{}], "iterations": 0}], "at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            Pattern.read(layers, dim=32).network(50)
