"""The ModernBERT preset: its equations, its sizes, and what its windows let through."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from twofold.errors import UserError
from twofold.parts import MODERNBERT, Mask, PreNormDropout, bert, modernbert


def test_it_is_its_equations() -> None:
    torch.manual_seed(0)
    net = modernbert(50, 16, 4, 2, hidden=12, window=4, head="mlm").eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids = torch.randint(0, 50, (1, 9))
    tensors = net.tensors()
    assert [name for name in tensors if "bias" in name] == ["head.bias"]
    assert not any(name.startswith("stack.layers.0.mixer_norm") for name in tensors)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (16,), tensors[f"{name}.weight"], None, 1e-5)

    def turned(x: torch.Tensor, base: float) -> torch.Tensor:
        angle = torch.arange(9.0)[:, None] * base ** -(torch.arange(0, 8, 2) / 8)
        a, b = x[..., :4], x[..., 4:]
        return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)

    distance = (torch.arange(9)[:, None] - torch.arange(9)).abs()
    x = norm(tensors["embedding.tokens.weight"][ids[0]], "embedding.norm")
    for layer in range(4):
        own = f"stack.layers.{layer}"
        y = norm(x, f"{own}.mixer_norm") if layer else x
        q, k, v = (
            (y @ tensors[f"{own}.mixer.{n}.weight"].T).view(9, 2, 8).transpose(0, 1) for n in ("query", "key", "value")
        )
        base = 160_000.0 if layer % 3 == 0 else 10_000.0
        logits = turned(q, base) @ turned(k, base).transpose(1, 2) * 8**-0.5
        if layer % 3:
            logits = logits.masked_fill(distance > 2, float("-inf"))
        mixed = (logits.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = x + mixed @ tensors[f"{own}.mixer.out.weight"].T
        y = norm(x, f"{own}.channel_norm")
        active = F.gelu(y @ tensors[f"{own}.channel.gate.weight"].T) * (y @ tensors[f"{own}.channel.up.weight"].T)
        x = x + active @ tensors[f"{own}.channel.down.weight"].T
    x = norm(x, "stack.final_norm")
    head = norm(F.gelu(x @ tensors["head.transform.weight"].T), "head.norm")
    logits = head @ tensors["embedding.tokens.weight"].T + tensors["head.bias"]
    torch.testing.assert_close(net(ids)[0], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "millions"), [("base", 149), ("large", 395)])
def test_the_papers_sizes(size: str, millions: float) -> None:
    with torch.device("meta"):
        net = modernbert(50_368, **MODERNBERT[size], head="mlm")
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_tiny_is_as_large_as_a_bert_of_its_shape() -> None:
    with torch.device("meta"):
        modern = modernbert(2048, **MODERNBERT["tiny"], head="mlm")
        plain = bert(2048, 96, 4, 4, hidden=384, max_len=64, head="mlm")
    ours, theirs = (sum(p.numel() for p in net.parameters()) for net in (modern, plain))
    assert ours == pytest.approx(theirs, rel=0.02)


@torch.inference_mode()
def test_a_local_layer_ends_at_its_window() -> None:
    torch.manual_seed(0)
    net = modernbert(50, 16, 2, 2, hidden=8).eval()
    local = net.stack.layers[1]
    x = torch.randn(1, 400, 16)
    changed = x.clone()
    changed[0, 200] = torch.randn(16)  # a constant would go with the norm
    moved = (local(x) != local(changed)).any(-1)[0].nonzero()[:, 0]
    assert (int(moved.min()), int(moved.max())) == (200 - 64, 200 + 64)


@torch.inference_mode()
def test_with_one_theta_a_wide_window_is_global() -> None:
    ids = torch.randint(0, 50, (2, 40))
    states = []
    for window in (80, None):
        torch.manual_seed(0)
        states.append(modernbert(50, 16, 4, 2, hidden=8, window=window, base=10_000.0).eval()(ids))
    torch.testing.assert_close(*states, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_shifting_all_positions_changes_nothing() -> None:
    torch.manual_seed(0)
    net = modernbert(50, 16, 4, 2, hidden=8, window=8).eval()
    ids = torch.randint(0, 50, (1, 60))
    shifted = net(ids, Mask.bidirectional().at(torch.arange(60)[None] + 1000))
    torch.testing.assert_close(net(ids), shifted, rtol=1e-5, atol=1e-6)


def test_dropout_acts_on_attention_alone_and_only_in_training() -> None:
    torch.manual_seed(0)
    net = modernbert(50, 16, 2, 2, hidden=8, dropout=0.5)
    ids = torch.randint(0, 50, (1, 9))
    assert not torch.equal(net(ids), net(ids))
    assert torch.equal(net.eval()(ids), net(ids))
    block = net.train().stack.layers[1]
    block.mixer = None
    x = torch.randn(1, 3, 16)
    assert torch.equal(block(x), block(x))
    with pytest.raises(UserError, match="dropout rate is 1"):
        PreNormDropout(1.0)
