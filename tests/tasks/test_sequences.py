"""Made sequences with labels, and stacks by name in every text system."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from twofold.api import fit
from twofold.catalog import Steps, configure
from twofold.cli.values import settings
from twofold.data.made import sequences
from twofold.errors import UserError
from twofold.parts import Attention, CausalConv, Convolved
from twofold.tasks import load, task
from twofold.tasks.backbones import choose
from twofold.tasks.examples import small_rows


def sample(text, n=64):
    kind = sequences.parse(text)
    ids, labels = kind.sample(n, np.random.default_rng(0))
    assert ids.shape == labels.shape == (n, kind.length)
    assert ids.min() >= 0
    assert max(ids.max(), labels.max()) < kind.vocab
    return kind, ids, labels


def test_recall_asks_for_the_values_of_its_keys() -> None:
    kind, ids, labels = sample("mqar(time=32, pairs=4, symbols=16)")
    assert kind.vocab == 17
    for row, wanted in zip(ids, labels, strict=True):
        pairs = dict(zip(row[0:8:2], row[1:8:2], strict=True))
        assert len(pairs) == 4
        assert (row[8:16] == 0).all()
        assert (row[17::2] == 0).all()
        assert [pairs[key] for key in row[16::2]] == wanted[16::2].tolist()
        assert (np.delete(wanted, np.arange(16, 32, 2)) == -100).all()


def test_the_other_sequences_answer_rightly() -> None:
    _, ids, labels = sample("copy-memory(delay=5, count=3)")
    assert (labels[:, -3:] == ids[:, :3]).all()
    _, ids, labels = sample("selective-copy(time=9, count=3)")
    assert all((row[:9][row[:9] > 0] == wanted[-3:]).all() for row, wanted in zip(ids, labels, strict=True))
    _, ids, labels = sample("chase(hops=3, size=5, asked=4)")
    for row, wanted in zip(ids, labels, strict=True):
        follow = dict(zip(row[0:10:2], row[1:10:2], strict=True))
        assert row[10] == 0
        assert [follow[follow[follow[start]]] for start in row[11:]] == wanted[11:].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mqar(pears=3)", "pairs"),
        ("mqar(pairs=x)", "whole number"),
        ("mqar(time=16, pairs=8)", "quarter"),
        ("chase(hops=0)", "at least 1"),
        ("selective-copy(time=2)", "use fewer"),
    ],
)
def test_unfit_sizes_are_refused(text, message) -> None:
    with pytest.raises(UserError, match=message):
        sequences.parse(text)
    assert sequences.parse("pydoc") is None
    assert sequences.parse("./mqar.csv") is None


def test_a_stack_learns_labels_and_can_be_saved(tmp_path) -> None:
    solve = task("solve")
    data = solve.read("mqar(time=16, pairs=2, symbols=4)").cut(0.1)
    system = configure("backbone", dim=16, heads=2, layers=1, length=16, batch=8, conv=3)
    model = system.fit(data, Steps(30)).model
    mixer = model.net.stack.layers[0].mixer
    assert isinstance(mixer, Convolved)
    assert isinstance(mixer.conv, CausalConv)
    assert mixer.conv.kernel == 3
    figures = solve.evaluate(model, data).figures
    assert 0 <= figures["accuracy"] <= 1
    model.save(tmp_path / "model")
    assert solve.evaluate(load(tmp_path / "model"), data).figures == figures
    assert (
        solve.describe(data)["fingerprint"]
        == solve.describe(solve.read("mqar(time=16, pairs=2, symbols=4)"))["fingerprint"]
    )
    batches = data.batches(4, 1)
    assert torch.equal(batches(3, 0.0).ids, batches(3, 0.5).ids)
    assert not torch.equal(batches(3, 0.0).ids, batches(4, 0.0).ids)


def test_a_stack_learns_problems() -> None:
    data = task("solve").read("algorithms:copy")
    system = configure("backbone", dim=16, heads=2, layers=1, batch=8)
    model = system.fit(data, Steps(2)).model
    assert model.solve("1 2 3")


EXPERTS = {
    "kind": "moe",
    "router": {"kind": "top-k", "experts": 33, "k": 1},
    "experts": {"kind": "experts", "count": 33, "hidden": 8},
}
BEYOND = [
    ("backbone", {"backbone": [{"mixer": {"kind": "window", "window": 64}}]}, "window=16 or less"),
    ("yoco", {"window": 17}, "window=16 or less"),
    ("backbone", {"conv": 17}, "conv=16 or less"),
    ("backbone", {"backbone": [{"channel": EXPERTS}], "batch": 2}, "at most 32 experts"),
]


@pytest.mark.parametrize(("id", "options", "fix"), BEYOND)
def test_what_is_longer_than_a_made_sequence_is_refused_before_training(id, options, fix, tmp_path) -> None:
    data = task("solve").read("count3(time=16, prefix=4)")
    system = configure(id, **options)
    system.check()
    assert fix in (system.serves(data) or "")
    with pytest.raises(UserError, match=fix):
        system.start(data, 0)
    with pytest.raises(UserError, match=fix):
        fit(id, "count3(time=16, prefix=4)", task="solve", out=tmp_path / "model", **options)
    assert not list(tmp_path.iterdir())


AS_LONG = [
    ("masked-mixer", {}),
    ("gmlp", {}),
    ("backbone", {"backbone": {"position": "learned", "layers": [{"mixer": "attention"}]}}),
    ("yoco", {"window": 10, "conv": 10}),
]


@pytest.mark.parametrize(("id", "options"), AS_LONG)
@pytest.mark.parametrize("source", ["count3(time=300)", "algorithms:copy"])
def test_networks_are_as_long_as_the_problems_however_short_texts_would_be(id, options, source) -> None:
    data = task("solve").read(source).cut(0.05) if "(" in source else task("solve").read(source)
    system = configure(id, dim=32, layers=2, heads=2, batch=4, length=8, **options)
    system.check()
    assert system.serves(data) is None
    model = system.fit(data, Steps(1)).model
    task("solve").evaluate(model, data, "validation")


LAYERS = [{"mixer": {"kind": "window", "window": 8}}, {"mixer": "attention", "position": "alibi", "channel": "gelu"}]


@pytest.mark.parametrize("id", ["gtr", "splade-plus", "poly-encoder"])
@pytest.mark.parametrize("backbone", ["attention-2x32", LAYERS, {"dim": 32, "heads": 2, "layers": LAYERS}])
def test_text_systems_take_any_backbone(id, backbone) -> None:
    system = replace(configure(id).small(), backbone=backbone)
    model = system.fit(task("search").read(small_rows()), Steps(1)).model
    assert sum(isinstance(m, Attention) for m in model.net.modules()) >= 2


def test_a_mixer_alone_is_a_backbone_of_four_layers() -> None:
    texts = ["open a file", "close the file"]
    for name in ("hydra", "urpe"):
        assert len(choose(name, texts, 0, max_len=8).model.stack.layers) == 4
        assert choose(name, texts, 0, 8).model.spec() == choose(f"{name}-4x128", texts, 0, 8).model.spec()
    with pytest.raises(UserError, match="Did you mean 'hydra"):
        choose("hidra", texts, 0, max_len=8)


def test_language_models_take_layers_as_typed() -> None:
    given = settings(["backbone=[{mixer: attention, position: rope, channel: swiglu, times: 2}]"])
    system = configure("backbone", **given, dim=32, heads=2, length=32)
    assert len(system.network(300).stack.layers) == 2
    named = configure("backbone", backbone="window-3x32", heads=2, length=64).network(300)
    assert [layer.mixer.window for layer in named.stack.layers] == [64] * 3
    with pytest.raises(UserError, match="attention"):
        configure("backbone", backbone="atention-2x32").network(300)
    with pytest.raises(UserError, match="attention-2x128"):
        configure("gtr", backbone="atention-2x128").fit(task("search").read(small_rows()), Steps(1))


NAMES_ALONE = [
    ("codet5p", "backbone", "search", {"vocab": 512}),
    ("monot5", "backbone", "search", {"words": ("lamp", "table")}),
    ("modernbert", "start_from", "classify", {}),
]


@pytest.mark.parametrize(("id", "option", "job", "options"), NAMES_ALONE)
def test_systems_that_took_names_alone_take_layers_too(id, option, job, options) -> None:
    given = settings([f"{option}={{dim: 32, heads: 2, layers: [{{mixer: attention, times: 2}}]}}"])
    system = replace(configure(id).small(), **given, **options)
    system.check()
    model = system.fit(task(job).read(small_rows()), Steps(1)).model
    assert sum(isinstance(m, Attention) for m in model.net.modules()) >= 2
