"""MBLM [244]: nothing leaks over bytes and patches, one stage is the plain model, chunks, generation, costs."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.decoding import generate
from twofold.errors import UserError
from twofold.measure.costs import context_costs
from twofold.parts import Mask, Pattern, build
from twofold.tasks import task
from twofold.tasks.examples import small_rows

IDS = torch.randint(50, (2, 14), generator=torch.Generator().manual_seed(0))
SHAPES = {
    1: {"stages": ("transformer",), "patches": (32,), "depths": (2,)},
    2: {"stages": ("mamba", "transformer"), "patches": (8, 4), "depths": (2, 1)},
    3: {"stages": ("transformer", "mamba", "transformer"), "patches": (4, 2, 4), "depths": (1, 1, 1)},
}


def network(stages, **options):
    torch.manual_seed(0)
    return configure("mblm", dim=32, heads=2, length=24, **SHAPES[stages], **options).network(50)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_nothing_leaks_over_bytes_and_patches(stages) -> None:
    net = network(stages).eval()
    with torch.no_grad():
        whole = net(IDS, Mask.causal())
        for t in range(1, IDS.shape[1]):  # three patches and two bytes
            changed = IDS.clone()
            changed[:, t] = (changed[:, t] + 7) % 50
            found = net(changed, Mask.causal())
            torch.testing.assert_close(found[:, :t], whole[:, :t], rtol=1e-5, atol=1e-6)
            if t % 4:
                assert not torch.allclose(found[:, t], whole[:, t], atol=1e-4)  # a patch's last byte waits for the next
            later = (t // 4 + 1) * 4
            if stages == 2 and later < IDS.shape[1]:
                assert not torch.allclose(found[:, later], whole[:, later], atol=1e-6)


def test_one_stage_is_the_plain_model() -> None:
    net = network(1).eval()
    plain = Pattern.read([{"times": 2}], dim=32, heads=2, tied=False).network(50, causal=True, max_len=32).eval()
    own = net.tensors()
    plain.assign({name: own[name] for name in plain.tensors()})
    ids = IDS.clone()
    ids[:, 0] = 3
    with torch.no_grad():
        net.start.copy_(net.embedding.table[3])
        torch.testing.assert_close(net(ids, Mask.causal()), plain(ids, Mask.causal()), rtol=1e-5, atol=1e-6)


def test_chunks_change_no_gradient() -> None:
    grads = []
    for chunks in (1, 3):
        net = network(2, chunks=chunks).double().train()
        net(IDS, Mask.causal()).square().mean().backward()
        grads.append([p.grad for p in net.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_step_by_step_and_padded_is_the_whole_pass(stages) -> None:
    net = network(stages).double().eval()
    real = torch.arange(14) >= torch.tensor([0, 3])[:, None]
    with torch.no_grad():
        whole = net(IDS, Mask.causal() & Mask.padding(real))
        alone = net(IDS[1:, 3:], Mask.causal())
        torch.testing.assert_close(whole[1:, 3:], alone, rtol=1e-10, atol=1e-12)
        cache = net.new_cache(2, 14)
        parts = [net(IDS[:, :5], Mask.causal() & Mask.padding(real[:, :5]), cache)]
        parts += [net(IDS[:, t : t + 1], Mask.causal(), cache) for t in range(5, 14)]
        torch.testing.assert_close(torch.cat(parts, 1)[real], whole[real], rtol=1e-9, atol=1e-11)
        cache.reorder(torch.tensor([1, 1, 0]))
        assert sorted(row for rows, _ in cache.groups for row in rows.tolist()) == [0, 1, 2]
    with pytest.raises(UserError, match="cannot be rewound"):
        cache.rewind(1)


def test_cached_generation_is_the_slow_one_and_specs_make_it_again() -> None:
    net = network(2).eval()
    prompts = [[3, 4, 5, 6, 7, 8], [9, 1]]
    slow, fast = (generate(net, prompts, 9, cached=cached).ids for cached in (False, True))
    assert torch.equal(slow, fast)
    again = build(net.spec())
    again.assign(net.tensors())
    assert torch.equal(again(IDS, Mask.causal()), net(IDS, Mask.causal()))


def test_costs_count_patches() -> None:
    cost = context_costs(network(2), 32)
    stage, net = network(2).outer[0], network(2)
    inner = sum(block.mixer.flops(4) + block.channel.flops(4) for block in net.stack.layers)
    assert net.flops(32) == stage.flops(8) + 8 * inner
    assert cost["flops_per_token"] == net.flops(32) / 32 + net.head.flops(1, 32)
    plain = {"stages": ("transformer", "transformer"), "patches": (64, 8), "depths": (2, 2)}
    long = configure("mblm", dim=32, heads=2, length=512, **plain).network(50)
    flat = configure("decoder", dim=32, heads=2, layers=2, length=512).network(50)
    assert context_costs(long, 512)["cache_bytes"] < 0.3 * context_costs(flat, 512)["cache_bytes"]


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(UserError, match=r"use patches=\[6,4\]"):
        configure("mblm", patches=(5, 4), length=24, dim=32).network(50)
    with pytest.raises(
        UserError, match=r"patches of 64 are longer than a context of 24; use patches=\[5,24\] or length=64"
    ):
        configure("mblm", patches=(5, 64), length=24, dim=32).network(50)
    assert configure("mblm", patches=(5, 64), length=64, dim=32).network(50)
    with pytest.raises(UserError, match="9x4"):
        network(2)(torch.zeros(1, 36, dtype=torch.long))
    with pytest.raises(UserError, match="stages need"):
        configure("mblm", stages=("mamba",)).network(50)
    with pytest.raises(UserError, match="Did you mean 'mamba'"):
        configure("mblm", stages=("mambo", "transformer")).network(50)
    model = configure("mblm").small().fit(task("language").read(small_rows()), Steps(2)).model
    assert isinstance(model.generate("The lamp", 8), str)
    assert len(model.generate(["The lamp", "A"], 8)) == 2
