"""Ternary maps: three values, exact products, gradients as if nothing were rounded, five weights a byte."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import BitLinear, Dense, MedianBitLinear, PackedBitLinear, Ternary, build, decoder, fused, unpacked
from twofold.parts.linear import linear
from twofold.parts.packed import PRODUCTS, use_product
from twofold.parts.ternary import activation_levels, pack_digits, table_product, ternary_levels, unpack_digits
from twofold.surgery import pack_bit158, to_bit158
from twofold.tasks import load
from twofold.tasks.language import LanguageModel


def made(cls=BitLinear, inputs=13, outputs=7, **options):
    torch.manual_seed(0)
    return cls(inputs, outputs, True, **options)


@pytest.mark.parametrize("cls", [BitLinear, MedianBitLinear])
def test_weights_take_three_values(cls) -> None:
    part = made(cls, 200, 300)
    values = part.matrix().unique()
    size = part.weight.abs()
    scale = (size.mean() if cls is BitLinear else size.flatten().sort().values[(size.numel() - 1) // 2]) + 1e-5
    torch.testing.assert_close(values, torch.tensor([-1.0, 0.0, 1.0]) * scale)
    nearest = (part.weight / scale).round().clamp(-1, 1) * scale
    torch.testing.assert_close(part.matrix(), nearest)


def test_the_output_by_hand() -> None:
    part, x = made(norm=False), torch.randn(3, 13)
    scale = part.weight.abs().mean() + 1e-5
    rounded = (part.weight / scale).round().clamp(-1, 1)
    most = x.abs().amax(-1, keepdim=True)
    tokens = (127 * x / most).round().clamp(-127, 127)
    torch.testing.assert_close(part(x), tokens @ rounded.T * scale * most / 127 + part.bias)
    plain = made(activation_bits=0, norm=False)
    torch.testing.assert_close(plain(x), F.linear(x, plain.matrix(), plain.bias))


def test_a_tokens_size_passes_through_or_not_at_all() -> None:
    x = torch.randn(4, 13)
    off, on = made(norm=False), made()
    torch.testing.assert_close(off.mapped(8 * x), 8 * off.mapped(x))
    torch.testing.assert_close(on.mapped(8 * x), on.mapped(x))


def test_gradients_are_those_of_the_plain_map_at_the_rounded_point() -> None:
    part, x = made(norm=False), torch.randn(5, 13, requires_grad=True)
    levels, step = activation_levels(x.detach(), norm=False)
    weight, token = part.matrix().detach().requires_grad_(), (levels * step).requires_grad_()
    (F.linear(token, weight, part.bias.detach()) ** 3).sum().backward()
    (part(x) ** 3).sum().backward()
    torch.testing.assert_close(part.weight.grad, weight.grad)
    torch.testing.assert_close(x.grad, token.grad)


def test_nothing_but_zeros_is_still_a_number() -> None:
    part = made()
    x = torch.zeros(2, 13, requires_grad=True)
    assert torch.equal(part(x), part.bias.expand(2, -1))
    torch.nn.init.zeros_(part.weight)
    out = part(torch.randn(2, 13)).sum() + part(x).sum()
    out.backward()
    assert torch.isfinite(part.weight.grad).all()
    assert torch.isfinite(x.grad).all()
    assert torch.equal(part.matrix(), torch.zeros(7, 13))


@pytest.mark.parametrize("count", [1, 4, 5, 11])
def test_digits_come_back(count: int) -> None:
    levels = torch.randint(-1, 2, (6, count)).float()
    stored = pack_digits(levels)
    assert stored.shape == (6, -(-count // 5))
    assert int(stored.max()) < 243
    assert torch.equal(unpack_digits(stored, count), levels)
    assert int(pack_digits(torch.tensor([[1.0, -1, 0, 1, 1]]))) == 2 + 0 + 1 * 9 + 2 * 27 + 2 * 81


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(
    ("cls", "options"), [(BitLinear, {}), (MedianBitLinear, {"norm": False}), (BitLinear, {"activation_bits": 4})]
)
def test_packed_is_the_same_to_the_last_bit(cls, options, product: str) -> None:
    part, x = made(cls, 640, 70, **options), torch.randn(2, 9, 640)
    packed = use_product(part.pack(), product)
    assert torch.equal(packed(x), part(x))
    assert torch.equal(packed.matrix(), part.matrix())
    assert packed.weight.bits_per_weight == 1.6
    assert packed.flops(3) == part.flops(3)


@pytest.mark.parametrize("columns", [5, 13, 640])
@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("compiled", [False, True])
def test_looking_up_is_the_same_product_to_the_last_bit(rows: int, columns: int, compiled: bool, monkeypatch) -> None:
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(fused, "_LONG", 0 if compiled else 1 << 60)
    part = made(inputs=columns, outputs=33)
    packed = part.pack()
    x = torch.randint(-127, 128, (rows, columns)).float()
    assert torch.equal(table_product(packed.weight, x), x @ packed.weight.dense().T)
    few, many = torch.randn(rows, columns), torch.randn(9, columns)
    assert torch.equal(packed(few), part(few))
    assert torch.equal(packed(few[0]), part(few[0]))
    assert torch.equal(packed(torch.cat((few, many)))[:rows], packed(few))
    assert packed(few[None]).shape == (1, rows, 33)


def test_many_rows_are_looked_up_in_pieces(monkeypatch) -> None:
    pytest.importorskip("numba")
    from twofold.parts import fused_ternary

    torch.manual_seed(0)
    codes, worth = torch.randint(0, 243, (7, 50), dtype=torch.uint8), torch.randn(2, 7, 256)
    whole = fused_ternary.look_up(codes, worth)
    monkeypatch.setattr(fused_ternary, "_PIECE", 7 * 8)
    assert torch.equal(fused_ternary.look_up(codes, worth), whole)
    expected = torch.stack([worth[:, k][:, codes[k].long()] for k in range(7)]).sum(0)
    torch.testing.assert_close(whole, expected)


def test_packed_models_are_saved_and_opened(tmp_path) -> None:
    torch.manual_seed(0)
    net = decoder(11, 16, 2, 2, hidden=24, linear="bit158")
    ids = torch.arange(9)[None]
    before = net(ids)
    assert pack_bit158(net) == 14
    assert torch.equal(net(ids), before)
    with torch.device("meta"):
        again = build(json.loads(json.dumps(net.spec())))
    again.assign({name: tensor.detach() for name, tensor in net.tensors().items()})
    assert torch.equal(again(ids), before)
    LanguageModel(net, ByteTokenizer(), {"length": 16}).save(tmp_path / "model")
    assert torch.equal(load(tmp_path / "model").net(ids), before)


def test_a_trained_network_becomes_ternary() -> None:
    net = decoder(11, 16, 1, 2, hidden=24, head="lm")
    assert to_bit158(net, skip=("head", "mixer")) == 3
    assert isinstance(net.stack.layers[0].channel.up, BitLinear)
    assert isinstance(net.stack.layers[0].mixer.query, Dense)
    assert to_bit158(net, scale="median") == 4
    assert isinstance(net.stack.layers[0].mixer.query, MedianBitLinear)
    net(torch.arange(5)[None]).sum().backward()
    assert net.stack.layers[0].channel.up.weight.grad.abs().sum() > 0
    with pytest.raises(UserError, match="no plain linear maps"):
        to_bit158(net)


def test_refusals() -> None:
    with pytest.raises(UserError, match="activation_bits is 9"):
        linear(8, 8, True, "bit158(9)")
    assert isinstance(linear(8, 8, True, "bit158(0)"), BitLinear)
    assert isinstance(linear(8, 8, True, "bit158-median"), MedianBitLinear)
    with pytest.raises(UserError, match="also rounds what it reads"):
        made().merge()
    with pytest.raises(UserError, match="also rounds what it reads"):
        unpacked(made().pack())
    broken = Ternary(2, 5)
    broken.digits.fill_(250)
    with pytest.raises(UserError, match="below 243"):
        broken.check_tensors()
    assert isinstance(made().pack(), PackedBitLinear)


def test_a_stack_of_matrices_has_a_scale_each() -> None:
    weights = torch.randn(3, 4, 6) * torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    levels, scale = ternary_levels(weights)
    for i in range(3):
        one, own = ternary_levels(weights[i])
        torch.testing.assert_close(scale[i], own)
        assert torch.equal(levels[i], one)


def test_bytes_in_the_order_of_rows_are_refused_even_where_their_shape_fits() -> None:
    with pytest.raises(RuntimeError, match="digits"):
        Ternary(2, 10).load_state_dict({"codes": torch.full((2, 2), 121, dtype=torch.uint8)})
