"""EasyQuant: the properties that its entry promises; and its rivals, absmax and GPTQ."""

import numpy as np
import pytest
import torch

import twofold
from twofold.catalog import configure
from twofold.checkpoints import export_hf, open_checkpoint
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import Dense, Packed, PackedLinear, PackedTable, bert, packed_layers
from twofold.surgery import IntGrid, quantize, relative_error
from twofold.systems.baselines.gptq import corrected
from twofold.tasks import Model, load
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.quantize import linear_layers
from twofold.tasks.search.task import drift


@pytest.fixture
def weight():
    made = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 60, generator=made) * 0.1 + 0.01
    weight[torch.rand(40, 60, generator=made) < 0.004] *= 8
    return weight


def packed(weight, **options):
    return configure("easyquant", **options).pack(weight)


def by_rows(weight, other):
    return (weight - other).square().sum(1)


def test_outliers_are_bit_exact_and_the_rest_is_not(weight):
    for given in (weight, weight.bfloat16()):
        found = packed(given)
        chosen = (given.float() - given.float().mean()).abs() > 3 * given.float().std(correction=0)
        assert 0 < chosen.sum() < 0.01 * chosen.numel()
        assert found.matrix.outliers.count == chosen.sum()
        assert found.figures["outliers"] == pytest.approx(float(chosen.float().mean()), abs=1e-6)
        assert found.matrix.outliers.values.dtype == given.dtype
        assert torch.equal(found.matrix.outliers.values, given[chosen])
        dense = found.matrix.dense()
        assert torch.equal(dense[chosen], given.float()[chosen])
        assert (dense[~chosen] != given.float()[~chosen]).float().mean() > 0.9
    half = packed(weight, values="half").matrix
    assert torch.equal(half.outliers.values, weight[(weight - weight.mean()).abs() > 3 * weight.std()].half())


@pytest.mark.parametrize("group", [None, 16])
@pytest.mark.parametrize("search", ["alternate", "grad"])
def test_no_row_ends_worse_than_it_starts(weight, search, group):
    start = packed(weight, range="absmax", group=group).matrix.dense()
    found = packed(weight, range=search, group=group).matrix.dense()
    plain = quantize(weight, IntGrid(4), group).dense()
    assert (by_rows(weight, found) <= by_rows(weight, start) * (1 + 1e-5)).all()
    assert by_rows(weight, found).sum() < by_rows(weight, start).sum() < by_rows(weight, plain).sum()


def test_without_outliers_and_search_it_is_absmax(weight):
    found = packed(weight, n_sigma=None, range="absmax").matrix
    plain = configure("absmax").pack(weight).matrix
    assert found.spec() == plain.spec()
    assert all(torch.equal(t, plain.state_dict()[n]) for n, t in found.state_dict().items())


def test_everything_an_outlier_is_the_matrix_itself(weight):
    assert torch.equal(packed(weight, n_sigma=0, cap=1).matrix.dense(), weight)
    assert torch.equal(packed(weight, n_sigma=0, cap=1, values="half").matrix.dense(), weight.half().float())


def test_the_range_is_taken_after_the_outliers_are_gone(weight):
    found = packed(weight, range="absmax").matrix
    chosen = (weight - weight.mean()).abs() > 3 * weight.std(correction=0)
    rest = weight.masked_fill(chosen, 0).abs().amax(1) / 7
    torch.testing.assert_close(found.scale[:, 0].float(), rest, rtol=1e-3, atol=0)
    assert (found.scale[:, 0] < weight.abs().amax(1) / 7 * 0.9).any()


def test_heavy_tails_are_capped_and_reported():
    weight = torch.distributions.StudentT(2.0).sample((50, 60))
    found = packed(weight, cap=0.005)
    assert found.figures["capped"]
    assert found.matrix.outliers.count == 15
    assert found.matrix.outliers.values.abs().min() >= weight.abs().flatten().topk(20).values[-1]
    assert not packed(weight, cap=0.5).figures["capped"]


def test_matrices_without_variance(weight):
    for flat in (torch.zeros(4, 8), torch.full((4, 8), 0.1)):
        found = packed(flat)
        assert found.matrix.outliers is None
        torch.testing.assert_close(found.matrix.dense(), flat, rtol=1e-3, atol=0)
    weight[5] = 0
    assert (packed(weight).matrix.dense()[5] == 0).all()


def test_the_network_is_packed_and_the_rest_is_untouched():
    model = small_model()
    small = configure("easyquant").apply(model)
    assert not any(isinstance(part, Dense) for part in small.net.modules())
    kinds = [type(layer) for _, layer in packed_layers(small.net)]
    assert kinds.count(PackedTable) == 1
    assert kinds.count(PackedLinear) == len(linear_layers(model.net)) == 14
    report = small.history[-1]["report"]
    assert [row["layer"] for row in report["layers"]] == list(linear_layers(model.net))
    for row, layer in zip(report["layers"], linear_layers(model.net).values(), strict=True):
        matrix = small.net.get_submodule(row["layer"]).weight
        assert row["error"] == pytest.approx(relative_error(layer.weight.detach(), matrix.dense()), abs=1e-6)
        assert row["bits"] == pytest.approx(matrix.bits_per_weight, abs=1e-4)
        assert 0 <= row["outliers"] <= 0.01
    assert small.parameters == model.parameters
    assert small.bytes < 0.4 * model.bytes
    kept = configure("easyquant", embedding="dense").apply(model)
    assert torch.equal(kept.net.model.embedding.tokens.weight, model.net.model.embedding.tokens.weight)


def test_more_bits_come_nearer():
    model, texts = small_model(), small_rows().columns["document"][:40]
    whole = model.encode(texts).values
    away = [float((configure("easyquant", bits=b).apply(model).encode(texts).values - whole).norm()) for b in (3, 4, 8)]
    assert away[0] > away[1] > 5 * away[2] > 0


def test_no_data_is_read(tmp_path, monkeypatch):
    small_model().save(tmp_path / "m")
    monkeypatch.setattr("twofold.data.read", lambda *_, **__: pytest.fail("data were read"))
    small = twofold.apply("easyquant", tmp_path / "m", out=tmp_path / "small")
    texts = ["a lamp", "a river"]
    assert torch.equal(load(tmp_path / "small").encode(texts).values, small.encode(texts).values)
    assert (tmp_path / "small" / "tensors.safetensors").stat().st_size < 0.5 * (
        tmp_path / "m" / "tensors.safetensors"
    ).stat().st_size


@pytest.mark.parametrize("id", ["stat", "kcm", "weight-norm", "easyquant", "absmax", "gptq"])
def test_packed_models_are_refused_where_plain_weights_are_needed(id):
    small = configure("easyquant").apply(small_model())
    with pytest.raises(UserError, match=rf"embedding\.tokens is packed already .* {id} needs plain weights: .*before"):
        configure(id).small().apply(small, small_rows())
    configure(id).small().apply(small.unpacked(), small_rows())


def test_export_is_refused_naming_the_layer_and_the_way_out(tmp_path):
    torch.manual_seed(0)
    net, tokenizer = bert(ByteTokenizer().vocab_size, 16, 2, 2, 24, max_len=16).eval(), ByteTokenizer()
    small = configure("easyquant", embedding="dense").apply(Model(net, tokenizer))
    with pytest.raises(UserError, match=r"stack\.layers\.0\.mixer\.query is packed, .*--dense"):
        export_hf(small.net, tokenizer, tmp_path / "hf")
    export_hf(small.net, tokenizer, tmp_path / "hf", dense=True)
    ids = torch.arange(6)[None]
    torch.testing.assert_close(open_checkpoint(tmp_path / "hf").net(ids), small.net(ids), rtol=1e-4, atol=1e-5)


def test_damaged_weights_are_named():
    model = small_model()
    with torch.no_grad():
        model.net.model.stack.layers[1].channel.up.weight[3, 3] = float("inf")
    with pytest.raises(UserError, match=r"layers\.1\.channel\.up\.weight holds values that are not finite"):
        configure("easyquant").apply(model)
    with torch.no_grad():
        model.net.model.stack.layers[1].channel.up.weight[3, 3] = 1e30
    with pytest.raises(UserError, match=r"layers\.1\.channel\.up: .*too large"):
        configure("absmax").apply(model)


def test_options_out_of_range_are_refused():
    for wrong in ({"bits": 1}, {"n_sigma": -1}, {"n_sigma": float("inf")}, {"cap": 0}, {"range": "best"}, {"group": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            configure("easyquant", **wrong)


def correlated():
    made = torch.Generator().manual_seed(0)
    x = torch.randn(400, 12, generator=made) @ torch.randn(12, 150, generator=made)
    return x + 0.2 * torch.randn(400, 150, generator=made), torch.randn(6, 150, generator=made)


@pytest.mark.parametrize("group", [None, 40])
def test_gptq_keeps_the_outputs_better_than_rounding(group):
    x, weight = correlated()
    rounded = corrected(weight, (x.double().T @ x.double()).numpy(), IntGrid(4), group)
    plain = quantize(weight, IntGrid(4), group)
    lost = [float((x @ (weight - w.dense()).T).square().sum()) for w in (rounded, plain)]
    assert lost[0] < 0.2 * lost[1]
    assert isinstance(rounded.packed(), Packed)


def test_gptq_is_the_best_answer_to_each_rounding():
    """Each error is made good by the least-squares best change of all later columns (more than a block of them)."""
    x, weight = correlated()
    gram = (x.double().T @ x.double()).numpy()
    h = torch.as_tensor(gram) + 0.01 * float(np.diag(gram).mean()) * torch.eye(150, dtype=torch.float64)
    w, scale = weight.double().clone(), quantize(weight, IntGrid(4)).scale.double()[:, 0]
    for c in range(150):
        rounded = (w[:, c] / scale).round().clamp(-7, 7) * scale
        error = w[:, c] - rounded
        w[:, c] = rounded
        if c < 149:
            w[:, c + 1 :] += error[:, None] * torch.linalg.solve(h[c + 1 :, c + 1 :], h[c + 1 :, c])
    found = corrected(weight, gram, IntGrid(4)).dense().double()
    # In float32 a weight in the middle between two levels may fall to the other side.
    assert ((found - w).abs() < 1e-5).double().mean() > 0.99


def test_gptq_without_correlation_is_rounding():
    weight = torch.randn(8, 30)
    rounded = corrected(weight, np.eye(30), IntGrid(4))
    assert torch.equal(rounded.codes, quantize(weight, IntGrid(4)).codes)


def test_gptq_needs_data():
    with pytest.raises(UserError, match="calibrates on data"):
        configure("gptq").apply(small_model())


def test_drift_by_hand():
    dense = np.eye(4)
    turned = np.eye(4)[[1, 0, 2, 3]]
    assert drift(dense * 3, dense, 2)["cosine_loss"] == 0
    assert drift(turned, dense)["cosine_loss"] == 0.5
    near = np.array([[1, 0.0], [0.9, 0.1], [0, 1], [0.1, 0.9]])
    assert drift(near, near, 1)["neighbour_loss"] == 0
    assert drift(near[[0, 2, 1, 3]], near, 1)["neighbour_loss"] == 1
