"""STAT: the properties that its entry promises."""

import copy

import numpy as np
import pytest
import torch

from twofold.catalog import configure
from twofold.data.rows import Rows
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import build, decoder
from twofold.surgery import Heads, Neurons, block_flops, find, unit_flops
from twofold.tasks import Model
from twofold.tasks.examples import small_model, small_rows


@pytest.fixture(scope="module")
def rows():
    return small_rows()


@pytest.fixture
def model():
    return small_model()


def applied(model, rows, **options):
    return configure("stat", **options).small().apply(model, rows)


def report(model):
    return model.history[-1]["report"]


def distance(a, b, rows):
    texts = rows.columns["text"][:40]
    return float((a.encode(texts).values - b.encode(texts).values).norm())


def share_of(model, kept):
    """The share of operations that stays when each part keeps so many units."""
    length = report(applied(model, small_rows()))["length"]
    cut = sum((u.count - kept(u)) * unit_flops(u, length) for u in find(model.net))
    return 1 - cut / block_flops(model.net, length)


def doubled(model):
    """Every neuron and head of the first half overwrites one of the second half; what reads them stays different."""
    with torch.no_grad():
        for unit in find(model.net):
            half = unit.count // 2
            for name, layer in unit.part.named_children():
                if name in ("up", "gate", "query", "key", "value"):
                    rows = layer.weight.shape[0] // 2
                    for tensor in layer.parameters():
                        tensor[rows:] = tensor[:rows]
            assert half * 2 == unit.count
    return model


def test_keep_all_is_bit_equal(model, rows):
    small = applied(model, rows, keep=1.0)
    assert all(torch.equal(t, small.net.state_dict()[n]) for n, t in model.net.state_dict().items())


def test_of_equal_units_one_stays_at_no_error(model, rows):
    doubled(model)
    keep = share_of(model, lambda u: u.count // 2)
    small = applied(model, rows, keep=keep)
    assert [layer["kept"] * 2 for layer in report(small)["layers"]] == [u.count for u in find(model.net)]
    assert all(layer["error"] < 1e-4 for layer in report(small)["layers"])
    texts = rows.columns["document"][:40]
    torch.testing.assert_close(small.encode(texts).values, model.encode(texts).values, rtol=1e-4, atol=1e-5)
    plain = applied(model, rows, keep=keep, correct=False)
    assert distance(plain, model, rows) > 100 * distance(small, model, rows)


def test_the_correction_is_worth_it(model, rows):
    with_it = applied(model, rows, keep=0.6)
    without = applied(model, rows, keep=0.6, correct=False)
    for a, b in zip(report(with_it)["layers"], report(without)["layers"], strict=True):
        assert a["kept"] == b["kept"]
    first = [next(layer for layer in report(m)["layers"] if "error" in layer)["error"] for m in (with_it, without)]
    assert first[0] < first[1]
    assert distance(with_it, model, rows) < distance(without, model, rows)


def test_the_network_is_really_smaller_and_needs_no_masks(model, rows):
    small = applied(model, rows, keep=0.5)
    assert small.parameters < model.parameters
    again = build(small.net.spec())
    again.load_state_dict(small.net.state_dict())
    other = copy.copy(small)
    other._net = again.eval()
    texts = rows.columns["document"][:8]
    assert torch.equal(small.encode(texts).values, other.encode(texts).values)


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("heads", [False, True])
def test_the_budget_is_met_within_one_unit(model, rows, heads, uniform):
    small = applied(model, rows, keep=0.66, heads=heads, uniform=uniform)
    found = report(small)
    share = block_flops(small.net, found["length"]) / block_flops(model.net, found["length"])
    unit = unit_flops(find(model.net, heads=False)[0], found["length"]) / block_flops(model.net, found["length"])
    assert 0.66 - unit * (2 if uniform else 1) < share <= 0.66
    assert {layer["kind"] for layer in found["layers"]} == ({"head", "neuron"} if heads else {"neuron"})
    if uniform:
        assert len({(layer["kind"], layer["kept"]) for layer in found["layers"]}) == (2 if heads else 1)


def test_later_layers_see_what_was_cut_before(model, rows):
    one, other = (applied(model, rows, keep=0.6, sequential=s) for s in (True, False))
    first, last = find(one.net)[0].reader.weight, find(one.net)[-1].reader.weight
    torch.testing.assert_close(first, find(other.net)[0].reader.weight)
    assert last.shape == find(other.net)[-1].reader.weight.shape
    assert not torch.allclose(last, find(other.net)[-1].reader.weight)


def test_padding_has_no_say(model, rows):
    lengths = {"text": [t[: 3 + 7 * (i % 5)] for i, t in enumerate(rows.columns["text"])]}
    mixed = Rows.of(lengths)
    a = applied(model, mixed, keep=0.8)
    order = np.argsort([len(t) for t in lengths["text"]], kind="stable")
    assert report(a)["tokens"] == sum(len(s) for s in model.tokenizer.encode(_drawn(mixed, a), max_len=32))
    assert len(order) == len(mixed)


def _drawn(rows, model):
    count = report(model)["texts"]
    return [rows.columns["text"][i] for i in np.random.default_rng(0).permutation(len(rows))[:count]]


def test_decoders_lose_whole_groups(rows):
    torch.manual_seed(0)
    net = decoder(ByteTokenizer().vocab_size, 36, 2, 6, kv_heads=3, hidden=40).eval()
    model = Model(net, ByteTokenizer())
    small = applied(model, rows, keep=0.6)
    assert any(u.count < 3 for u in find(small.net, neurons=False))
    for unit in find(small.net):
        if isinstance(unit, Heads):
            assert unit.part.heads == 2 * unit.part.kv_heads
        else:
            assert isinstance(unit, Neurons)
            assert unit.part.gate.weight.shape == unit.part.up.weight.shape
    ids = torch.arange(10)[None]
    assert torch.isfinite(small.net(ids)).all()


def test_too_few_tokens_are_refused_with_the_numbers(model):
    with pytest.raises(
        UserError, match=r"\d+ calibration tokens \(from 2 texts\) are too few for the 88 .*raise samples"
    ):
        applied(model, Rows.of({"text": ["a few words", "more"]}))


def test_damaged_weights_are_named(model, rows):
    with torch.no_grad():
        model.net.model.stack.layers[1].channel.up.weight[3, 3] = float("nan")
    with pytest.raises(
        UserError, match=r"model\.stack\.layers\.1\.channel\.up\.weight holds values that are not finite"
    ):
        applied(model, rows)


def test_rows_without_text_are_refused(model):
    with pytest.raises(UserError, match="'text'"):
        applied(model, Rows.of({"label": ["a", "b"]}))
    with pytest.raises(UserError, match="empty"):
        applied(model, Rows.of({"text": ["", " "]}))


def test_the_seed_chooses_the_sample(model, rows):
    a, b, c = (configure("stat", samples=64, tokens=32).apply(model, rows, seed=s) for s in (0, 0, 1))
    assert distance(a, b, rows) == 0
    assert distance(a, c, rows) > 0
