"""Packed matrices and the layers that read them."""

from __future__ import annotations

import json

import pytest
import torch

from twofold.checkpoints import folder
from twofold.errors import UserError
from twofold.parts import (
    Dense,
    Outliers,
    Packed,
    PackedLinear,
    PackedTable,
    bert,
    bits_per_weight,
    build,
    count_weights,
    decoder,
    pack,
    packed_layers,
    unpack,
    unpacked,
)
from twofold.parts.linear import linear
from twofold.parts.packed import PRODUCTS, put, use_product

IDS = torch.tensor([[1, 2, 3, 4, 0], [5, 6, 0, 0, 0]])


def random_matrix(rows, columns, bits=4, *, seed=0, outliers=False, **arguments):
    """A matrix with random content, as a quantizer would leave it."""
    made = torch.Generator().manual_seed(seed)
    chosen = torch.rand(rows, columns, generator=made) < 0.1
    kept = Outliers.of(torch.randn(rows, columns, generator=made), chosen) if outliers else None
    matrix = Packed(rows, columns, bits, outliers=kept.count if kept else 0, **arguments)
    matrix.outliers = kept
    matrix.codes = pack(torch.randint(0, 2**bits, (rows, columns), generator=made, dtype=torch.uint8), bits)
    for own in (matrix.scale, matrix.zero, matrix.table):
        if own is not None:
            own.copy_(torch.randn(own.shape, generator=made))
    return matrix


MATRICES = {
    "int4": {},
    "int3": {"bits": 3},
    "int2-groups": {"bits": 2, "group": 4},
    "ragged": {"group": 5},
    "zero": {"group": 5, "zero": True},
    "int8": {"bits": 8},
    "table": {"tables": 1},
    "tables": {"tables": 6, "zero": True, "group": 4},
    "outliers": {"outliers": True},
    "all": {"bits": 3, "group": 5, "zero": True, "tables": 6, "outliers": True},
}


def test_order_of_bits_by_hand():
    codes = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 0], [15, 0, 0, 15, 8, 1, 9, 10]], dtype=torch.uint8)
    assert pack(codes, 4).tolist() == [[0x21, 0x43, 0x65, 0x07], [0x0F, 0xF0, 0x18, 0xA9]]
    # 1, 2, 3, 4, 5, 6, 7, 0 at 3 bits is the number 0o07654321, lowest byte first.
    assert pack(codes[:1], 3).tolist() == [list(0o07654321.to_bytes(3, "little"))]
    assert pack(codes[:1] & 3, 2).tolist() == [[0b00111001, 0b00111001]]


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 13])
def test_codes_survive_packing(bits, count):
    codes = torch.randint(0, 2**bits, (3, 2, count), dtype=torch.uint8)
    stored = pack(codes, bits)
    assert stored.shape == (3, 2, -(-count * bits // 8))
    assert torch.equal(unpack(stored, bits, count), codes)


@pytest.mark.parametrize("name", MATRICES)
def test_entries_are_what_the_documentation_says(name):
    matrix = random_matrix(6, 13, **MATRICES[name])
    codes = unpack(matrix.codes, matrix.bits, 13)
    expected = torch.empty(6, 13)
    kept = {}
    if matrix.outliers is not None:
        for r in range(6):
            for e in range(int(matrix.outliers.starts[r]), int(matrix.outliers.starts[r + 1])):
                kept[r, int(matrix.outliers.places[e])] = matrix.outliers.values[e]
        assert kept
    for r in range(6):
        for c in range(13):
            code, g = int(codes[r, c]), c // matrix.group
            if matrix.table is not None:
                level = matrix.table[r if len(matrix.table) > 1 else 0, code]
            else:
                level = code - (0 if matrix.zero is not None else 2 ** (matrix.bits - 1))
            zero = 0 if matrix.zero is None else matrix.zero[r, g].float()
            expected[r, c] = kept.get((r, c), matrix.scale[r, g].float() * level + zero)
    torch.testing.assert_close(matrix.dense(), expected, rtol=1e-6, atol=1e-6)
    some = torch.tensor([4, 0, 4, 5])
    assert torch.equal(matrix.take(some, torch.float32), matrix.dense()[some])
    assert torch.equal(matrix.take(slice(2, 5), torch.float32), matrix.dense()[2:5])


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("name", MATRICES)
def test_products_agree_with_the_plain_matrix(name, product, monkeypatch):
    monkeypatch.setattr("twofold.parts.packed._TILE", 30)  # several tiles, the last one shorter
    layer = PackedLinear(random_matrix(6, 13, **MATRICES[name]))
    layer.bias.data = torch.randn(6)
    use_product(layer, product)
    plain = layer.merge()
    assert isinstance(plain, Dense)
    x = torch.randn(2, 3, 13)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.mapped(x) + layer.bias, layer(x), rtol=1e-5, atol=1e-5)


def test_gradients_pass_through_to_what_goes_in():
    layer = PackedLinear(random_matrix(6, 13, outliers=True))
    x = torch.randn(2, 13, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.matrix().sum(0).expand(2, -1))


def packed_network():
    net = decoder(20, 16, 2, 4, max_len=8).eval()
    new = {}
    for n, layer in enumerate(part for part in net.modules() if isinstance(part, Dense)):
        kind = list(MATRICES.values())[n % 4]
        name = next(k for k, v in net.named_modules() if v is layer)
        new[name] = PackedLinear.of(layer, random_matrix(layer.outputs, layer.inputs, outliers=n % 2 == 0, **kind))
    put(net, new)
    put(net, {"embedding.tokens": PackedTable(random_matrix(20, 16, 8))})
    return net


def test_networks_are_written_and_read_as_they_are(tmp_path):
    net = packed_network()
    expected = net(IDS)
    folder.write(tmp_path / "m", network=net.spec(), tensors=net.state_dict(), task={"name": "language"})
    again = folder.load_network(folder.read(tmp_path / "m"))
    assert torch.equal(again(IDS), expected)
    assert again.spec() == net.spec() == json.loads(json.dumps(net.spec()))
    assert {n: (t.dtype, t.shape) for n, t in again.state_dict().items()} == {
        n: (t.dtype, t.shape) for n, t in net.state_dict().items()
    }
    assert (tmp_path / "m" / "tensors.safetensors").stat().st_size < 0.6 * 4 * count_weights(net)


def test_unpacked_networks_compute_the_same_and_count_the_same():
    net = packed_network()
    plain = unpacked(net)
    assert not list(packed_layers(plain))
    assert list(packed_layers(net))
    torch.testing.assert_close(plain(IDS), net(IDS), rtol=1e-4, atol=1e-4)
    assert count_weights(plain) == count_weights(net) == sum(p.numel() for p in plain.parameters())
    assert count_weights(decoder(20, 16, 2, 4, max_len=8)) == count_weights(net)
    assert bits_per_weight(plain) == 32
    assert 2 < bits_per_weight(net) < 16


def test_bits_per_weight_are_the_bytes_of_the_file(tmp_path):
    from safetensors.torch import save_file

    matrix = random_matrix(64, 100, 4, group=32, zero=True, outliers=True)
    save_file(dict(matrix.state_dict()), tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    assert matrix.bits_per_weight * 64 * 100 / 8 == len(data) - header


def test_tied_heads_use_packed_vectors():
    net = packed_network()
    states = torch.randn(2, 16)
    torch.testing.assert_close(net.apply_head(states), states @ net.embedding.tokens.weight.dense().T)


def test_kind_of_the_factory():
    layer = linear(16, 6, True, "packed(3, 8)")
    assert isinstance(layer, PackedLinear)
    assert (layer.weight.bits, layer.weight.group, layer.inputs, layer.outputs) == (3, 8, 16, 6)
    assert build(layer.spec()).spec() == layer.spec()
    assert torch.equal(layer(torch.ones(16)), layer.bias)


@pytest.mark.parametrize(
    "arguments",
    [{"bits": 9}, {"bits": 0}, {"tables": 3}, {"group": 0}, {"outliers": 1000}, {"rows": 0}, {"outliers": -1}],
)
def test_impossible_matrices_are_refused(arguments):
    with pytest.raises(UserError, match=r"Packed|Outliers"):
        build({"part": "Packed", "rows": 6, "columns": 13, "bits": 4, **arguments})


def damaged(net, change):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    change(state)
    return folder.furnish(folder.built(net.spec(), "it"), state, "it")


def test_damaged_outliers_are_refused_when_they_are_read():
    net = PackedLinear(random_matrix(6, 13, outliers=True))
    kept = "weight.outliers."

    def too_far(state):
        state[kept + "places"][0] = 13

    def backwards(state):
        state[kept + "starts"][2] = 100

    def negative(state):
        state[kept + "starts"][0] = -1

    for change in (too_far, backwards, negative):
        with pytest.raises(UserError, match="outside their matrix"):
            damaged(net, change)
    with pytest.raises(UserError, match="are bytes"):
        damaged(net, lambda state: state.update({"weight.codes": state["weight.codes"].int()}))
    assert torch.equal(damaged(net, lambda state: None).matrix(), net.matrix())


def test_any_bytes_decode():
    matrix = random_matrix(6, 13, 4, tables=1)
    matrix.codes = torch.randint(0, 256, matrix.codes.shape, dtype=torch.uint8)
    assert torch.isfinite(matrix.dense()).all()


def test_embeddings_start_as_they_always_did():
    torch.manual_seed(0)
    net = bert(11, 8, 1, 2, 16)
    torch.manual_seed(0)
    positions = torch.randn(512, 8)
    assert net.embedding.position.weight.shape == positions.shape
    assert set(net.state_dict()) >= {"embedding.tokens.weight", "embedding.token_types.weight"}


def test_unknown_products_are_refused():
    with pytest.raises(UserError, match="fast"):
        use_product(packed_network(), "fast")
