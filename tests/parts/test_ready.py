"""Networks as they are used: the same outputs, in faster forms."""

from __future__ import annotations

import copy

import pytest
import torch

from twofold.decoding import generate
from twofold.parts import Alibi, Attention, Dense, Mask, Packed, PackedLinear, SequenceModel, pack, presets
from twofold.parts.ready import Int8, OneQuery, Ready, for_batches, for_steps
from twofold.parts.streamed import FEW, Streamed, available, codes_in, codes_of

on_codes = pytest.mark.skipif(not available(), reason="this build of PyTorch has no kernel for it")
GRIDS = {"ranged": (4, True, 0), "halved": (4, False, 8), "symmetric": (8, False, 128)}


def on_grid(rows: int, columns: int, kind: str, seed: int = 0) -> torch.Tensor:
    """Weights as GGUF's Q4_1, Q4_0 and Q8_0 hold them: every group reaches its outermost level."""
    bits, zero, shift = GRIDS[kind]
    g = torch.Generator().manual_seed(seed)
    codes = torch.randint(1, 2**bits - 2, (rows, columns // 32, 32), generator=g).float()
    codes[..., 0] = 1 if kind == "symmetric" else 0
    codes[..., 1] = 2**bits - (2 if kind == "halved" else 1)  # the highest is not always met there
    scale = (torch.rand(rows, columns // 32, 1, generator=g) * 0.1 + 0.01).half().float()
    if kind == "halved":
        scale = scale * torch.where(torch.rand(scale.shape, generator=g) < 0.5, -1.0, 1.0)
    lowest = (torch.randn(scale.shape, generator=g) * 0.3).half().float() if zero else 0.0
    return (scale * (codes - shift) + lowest).reshape(rows, columns)


def decoder(kind: str | None, **options: object) -> SequenceModel:
    """Two layers whose matrices lie on a grid."""
    torch.manual_seed(0)
    net = presets.decoder(96, 64, 2, 4, hidden=192, **options)
    with torch.no_grad():
        for n, parameter in enumerate(net.parameters()):
            if parameter.ndim == 2 and kind is not None:
                parameter.copy_(on_grid(*parameter.shape, kind, seed=n) * 0.5)
            elif parameter.ndim == 2:
                parameter.mul_(1.5)
    return net.eval()


def near(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert float((a - b).detach().abs().max()) <= tolerance * float(b.detach().abs().max())


@pytest.mark.parametrize("kind", GRIDS)
def test_codes_give_the_weights_back_to_the_bit(kind: str) -> None:
    weight = on_grid(7, 96, kind)
    found = codes_of(weight)
    assert found is not None
    assert (found.offset is None) == (kind != "ranged")
    centred = found.codes.float().unflatten(1, (-1, 32)) - found.shift
    again = centred * found.scale[..., None] + (0 if found.offset is None else found.offset[..., None])
    near(again.flatten(1), weight, 1e-6)
    assert codes_of(weight + torch.randn(7, 96) * 1e-4) is None  # a grid is left by the smallest change
    one = weight.clone()
    one[6, 95] = one[6, 95] * (1 + 1e-6)
    assert codes_of(one) is None
    assert codes_of(weight[:, :80].contiguous()) is None


def test_weights_without_a_grid_and_zeros() -> None:
    assert codes_of(torch.randn(8, 64)) is None
    zeros = codes_of(torch.zeros(4, 64))
    assert zeros is not None
    assert float((zeros.scale * 1).abs().max()) == 0


@on_codes
@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize(("rows", "outputs"), [(1, 96), (FEW, 1000), (FEW + 1, 64), (1, 7)])
def test_products_on_codes_are_the_plain_ones(kind: str, rows: int, outputs: int) -> None:
    weight, bias, x = on_grid(outputs, 96, kind), torch.randn(outputs), torch.randn(1, rows, 96)
    codes = codes_of(weight)
    assert codes is not None
    product = Streamed([codes], [lambda x: x @ weight.T + bias], bias)
    exact = (x.double() @ weight.double().T + bias).float()
    near(product(x), exact, 2e-6)


@on_codes
def test_joined_maps_and_packed_ones() -> None:
    packed = Packed(24, 64, 4, 32, zero=True)
    packed.codes = pack(torch.randint(0, 16, (24, 64), dtype=torch.uint8), 4)
    with torch.no_grad():
        packed.scale.copy_(torch.rand(24, 2))
        packed.zero.copy_(torch.randn(24, 2))
    plain = on_grid(40, 64, "symmetric")
    first, second = codes_in(packed), codes_of(plain)
    assert first is not None
    assert second is not None
    maps = [PackedLinear(packed, False), lambda x: x @ plain.T]
    product, x = Streamed([first, second], maps, None), torch.randn(1, 1, 64)
    expected = torch.cat([x @ packed.dense().T, x @ plain.T], -1)
    near(product(x), expected)
    near(product(x.expand(1, 5, 64)), expected.expand(1, 5, -1))


@on_codes
@pytest.mark.parametrize("kind", [None, *GRIDS])
@pytest.mark.parametrize("options", [{}, {"kv_heads": 2}, {"position": "none"}, {"position": "alibi"}])
def test_steps_give_the_same_tokens(kind: str | None, options: dict[str, object]) -> None:
    net = decoder(kind, **options)
    fast = for_steps(net)
    mixers = [block.mixer for block in fast.stack.layers]
    assert all((type(m) is OneQuery) == (not isinstance(m.position, Alibi)) for m in mixers)
    if kind is not None and options == {}:
        assert isinstance(fast.stack.layers[0].channel.first, Streamed)
        assert isinstance(mixers[0].out, Streamed)
    for prompts in ([[3, 4, 5]], [[1, 2, 3], [4, 5]], [[1, 2, 3], [4, 5], [6]]):  # padded rows too
        plain, made = generate(net, prompts, 12), generate(fast, prompts, 12)
        assert torch.equal(plain.ids, made.ids)
        torch.testing.assert_close(plain.nats, made.nats, rtol=1e-4, atol=1e-4)
    ids = torch.randint(0, 96, (2, 9))
    near(fast(ids, Mask.causal()), net(ids, Mask.causal()))


def test_a_copy_for_steps_shares_the_weights() -> None:
    net = decoder(None)
    fast = for_steps(net)
    assert {id(p) for p in fast.parameters()} == {id(p) for p in net.parameters()}
    assert type(net.stack.layers[0].mixer) is Attention


def test_half_and_bytes_stay_near() -> None:
    torch.manual_seed(0)
    net = presets.encoder(50, 64, 2, 4).eval()
    ids = torch.randint(0, 50, (3, 20))
    plain = net.states(ids).detach().mean(1)
    for dtype, least in (("float32", 1 - 1e-6), ("bfloat16", 0.999), ("int8", 0.999)):
        made = for_batches(net, dtype)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            cosine = torch.cosine_similarity(made.states(ids).float().mean(1), plain, dim=1)
        assert float(cosine.min()) >= least, dtype
    assert next(net.parameters()).dtype == torch.float32
    assert any(isinstance(part, Int8) for part in for_batches(net, "int8").modules())
    assert not any(isinstance(part, Int8) for part in net.modules())


@pytest.mark.parametrize("position", ["rope", "none", "alibi", "t5", "sinusoid", "learned"])
def test_every_position_computes_in_bfloat16(position: str) -> None:
    torch.manual_seed(0)
    net = presets.encoder(50, 32, 2, 4, position=position, max_len=32).eval()
    ids, real = torch.randint(0, 50, (2, 9)), torch.arange(9) < torch.tensor([[9], [5]])
    made = for_batches(net, "bfloat16")
    assert made.stack.layers[0].mixer.query.weight.dtype == torch.bfloat16
    with torch.inference_mode():
        plain = net.states(ids, real)[real]
        with torch.autocast("cpu", torch.bfloat16):
            half = made.states(ids, real)[real]
    assert half.dtype == torch.float32
    assert 0 < float((half - plain).abs().max()) < 0.1


def test_int8_errs_by_half_a_level() -> None:
    torch.manual_seed(0)
    layer = Dense(64, 32)
    x = torch.randn(5, 64)
    spread = float(x.max() - x.min()) / 127 / 2 * layer.weight.abs().sum(1)
    weights = layer.weight.abs().amax(1) / 127 / 2 * x.abs().sum(1, keepdim=True)
    assert bool(((Int8(layer)(x) - layer(x)).abs() <= 1.2 * (spread + weights)).all())


def test_what_is_kept_is_made_anew_after_any_change() -> None:
    net, ready, made = decoder(None), Ready(), []

    def make(given: SequenceModel) -> SequenceModel:
        made.append(for_batches(given))
        return made[-1]

    first = ready(net, "a", make)
    assert ready(net, "a", make) is first
    with torch.no_grad():
        net.stack.layers[0].mixer.query.weight.add_(1.0)  # trained further
    second = ready(net, "a", make)
    assert second is not first
    net.stack.layers[1].channel = None  # a part taken out
    assert ready(net, "a", make) is not second
    assert len(made) == 3
    handle = net.stack.layers[0].register_forward_hook(lambda *_: None)
    assert ready(net, "a", make) is net  # somebody listens
    handle.remove()
    assert copy.deepcopy(ready)._kept == {}
