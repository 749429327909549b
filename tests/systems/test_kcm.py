"""KCM: the properties that its entry promises, and what it shares with its rival."""

import copy

import numpy as np
import pytest
import torch

from twofold.catalog import configure
from twofold.data.rows import Rows
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import Mean, TextEncoder, encoder
from twofold.surgery import block_flops, find, unit_flops
from twofold.systems.compression.kcm import gaussian, objective, representative, update
from twofold.tasks.calibration import calibrate
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.search.model import EncoderModel


@pytest.fixture(scope="module")
def rows():
    return small_rows()


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def features():
    return torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_kernel_is_gaussian_on_unit_vectors(features):
    features[3] = 0
    unit = features / features.norm(dim=1, keepdim=True).clamp_min(1e-30)
    expected = torch.exp(-torch.cdist(unit, unit).square() / 2)
    torch.testing.assert_close(gaussian(features), expected)


def test_the_objective_never_rises_and_c_stays_non_negative(features):
    kernel = gaussian(features)
    c = torch.full_like(kernel, 1 / len(kernel))
    values = [float(objective(kernel, c))]
    for _ in range(60):
        c = update(kernel, c)
        assert (c >= 0).all()
        values.append(float(objective(kernel, c)))
    assert (np.diff(values) <= 1e-12).all()
    assert values[-1] < 0.9 * values[0]


def test_the_objective_is_the_distance_in_feature_space(features):
    kernel = gaussian(features)
    root = torch.linalg.cholesky(kernel).T  # φ(F), up to a rotation
    c = torch.rand_like(kernel)
    torch.testing.assert_close(objective(kernel, c), (root - root @ c).square().sum())


def test_duplicates_share_their_score(features):
    single = representative(features, rounds=200, change=0)
    pair = representative(torch.cat([features, features[5:6]]), rounds=200, change=0)
    assert pair[5] == pytest.approx(float(pair[-1]), rel=1e-9)
    assert pair[5] < 0.75 * single[5]


def test_what_others_cannot_represent_scores_highest():
    crowd = torch.tensor([1.0, 0, 0]) + 0.05 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    alone = torch.tensor([[0.0, 0, -1]])
    assert representative(torch.cat([crowd, alone])).argmax() == 20


def test_compact_is_masked(model, rows):
    small = configure("kcm", keep=0.7).small().apply(model, rows)
    masked = copy.deepcopy(model)
    for whole, cut in zip(find(masked.net, heads=False), find(small.net, heads=False), strict=True):
        stays = (whole.incoming[:, None] == cut.incoming[None]).all(-1).any(1)
        assert int(stays.sum()) == cut.count
        with torch.no_grad():
            whole.reader.weight[:, ~stays] = 0
    texts = rows.columns["document"][:20]
    torch.testing.assert_close(small.encode(texts).values, masked.encode(texts).values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("id", ["kcm", "weight-norm"])
@pytest.mark.parametrize("keep", [0.5, 0.7, 0.93])
@pytest.mark.parametrize("uniform", [False, True])
def test_the_budget_is_met_within_one_neuron(model, rows, id, keep, uniform):
    small = configure(id, keep=keep, uniform=uniform).small().apply(model, rows)
    report = small.history[-1]["report"]
    share = block_flops(small.net, report["length"]) / block_flops(model.net, report["length"])
    assert report["keep"] == pytest.approx(share, abs=1e-6)
    neuron = unit_flops(find(model.net, heads=False)[0], report["length"]) / block_flops(model.net, report["length"])
    assert keep - neuron * (len(report["layers"]) if uniform else 1) < share <= keep
    widths = {layer["kept"] for layer in report["layers"]}
    assert len(widths) == 1 or not uniform
    assert min(widths) >= 8


def test_keep_all_is_bit_equal(model, rows):
    small = configure("kcm", keep=1.0).small().apply(model, rows)
    assert all(torch.equal(t, small.net.state_dict()[n]) for n, t in model.net.state_dict().items())


def test_labels_are_never_read(model, rows):
    class Unread(list):
        def __getitem__(self, index):
            raise AssertionError("a label was read")

        __iter__ = __getitem__

    columns = {**rows.columns, "label": Unread(["x"] * len(rows)), "grade": Unread([1] * len(rows))}
    labelled = Rows(rows.name, columns, rows.fingerprint, rows.source, rows.splits)
    a = configure("kcm").small().apply(model, labelled)
    b = configure("kcm").small().apply(model, rows)
    assert all(torch.equal(t, b.net.state_dict()[n]) for n, t in a.net.state_dict().items())


def test_neurons_that_never_speak_go_first(model, rows):
    silent = find(model.net, heads=False)[1]
    with torch.no_grad():
        silent.part.up.weight[::2] = 0
        silent.part.gate.weight[::2] = 0
    expected = silent.incoming[1::2]
    small = configure("kcm", keep=0.8).small().apply(model, rows)
    kept = find(small.net, heads=False)[1]
    assert (kept.incoming.abs().sum(1) > 0).all()
    assert kept.count <= len(expected)


@pytest.mark.parametrize(
    "options", [{"rank": "sum"}, {"rank": "r2"}, {"rank": "d2"}, {"vector": "incoming"}, {"weighted": True}]
)
def test_options_change_what_stays(model, rows, options):
    plain = configure("kcm").small().apply(model, rows)
    other = configure("kcm", **options).small().apply(model, rows)
    texts = rows.columns["document"][:4]
    assert not torch.equal(plain.encode(texts).values, other.encode(texts).values)


def test_repairs_bring_the_output_nearer(model, rows):
    errors = {}
    for repair in ("none", "scale"):
        small = configure("kcm", keep=0.5, repair=repair).small().apply(model, rows)
        texts = rows.columns["text"][:40]
        errors[repair] = float((small.encode(texts).values - model.encode(texts).values).square().mean())
    assert errors["scale"] < errors["none"]
    layers = small.history[-1]["report"]["layers"]
    assert all(0 < layer["error"] < 1 for layer in layers)


def test_shift_keeps_the_mean_output(rows):
    torch.manual_seed(0)
    tokenizer = ByteTokenizer()
    net = TextEncoder(encoder(tokenizer.vocab_size, 32, 1, 4, hidden=64, gate=False, bias=True), Mean()).eval()
    model = EncoderModel(net, tokenizer, {"query_tokens": 32, "document_tokens": 32})
    means = {}
    for name, repair in (("whole", None), ("none", "none"), ("shift", "shift")):
        cut = model if repair is None else configure("kcm", keep=0.7, repair=repair).small().apply(model, rows)
        outputs = []
        part = find(cut.net, heads=False)[0].part
        hook = part.register_forward_hook(lambda _, __, out, kept=outputs: kept.append(out))
        for ids, real in calibrate(model, rows, 64, 32, 0).batches:
            with torch.no_grad():
                cut.net(ids, real)
            outputs[-1] = outputs[-1][real]
        hook.remove()
        means[name] = torch.cat(outputs).mean(0)
    torch.testing.assert_close(means["shift"], means["whole"], rtol=1e-5, atol=1e-6)
    assert (means["none"] - means["whole"]).abs().max() > 1e-3


def test_shift_needs_a_bias(model, rows):
    with pytest.raises(UserError, match=r"shift needs a bias.*repair=scale"):
        configure("kcm", repair="shift").small().apply(model, rows)


def test_an_unreachable_share_names_the_smallest(model, rows):
    with pytest.raises(UserError, match=r"keep=0\.2 cannot be reached: with 8 neurons .* use keep=0\.\d+ or more"):
        configure("kcm", keep=0.2).small().apply(model, rows)


@pytest.mark.parametrize("weights", ["outgoing", "incoming", "all"])
def test_the_rival_cuts_the_smallest_weights(model, rows, weights):
    small = configure("weight-norm", keep=0.7, weights=weights).small().apply(model, rows)
    kept, cut = [], []
    for whole, left in zip(find(model.net, heads=False), find(small.net, heads=False), strict=True):
        stays = (whole.incoming[:, None] == left.incoming[None]).all(-1).any(1)
        columns = {"outgoing": [whole.outgoing], "incoming": [whole.incoming]}
        norms = torch.cat(columns.get(weights, [whole.incoming, whole.outgoing]), 1).norm(dim=1)
        kept += norms[stays].tolist()
        cut += norms[~stays].tolist()
    assert min(kept) > max(cut)
