"""Ternary networks [7]: trained, rounded afterwards, packed, applied to other models, saved."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from twofold import api
from twofold.catalog import Steps, configure, index
from twofold.cli import main
from twofold.errors import UserError
from twofold.parts import BitLinear, Dense, MedianBitLinear, PackedBitLinear
from twofold.tasks import load, task
from twofold.tasks.examples import small_images, small_model, small_rows


@pytest.fixture(scope="module")
def data():
    return task("classify").read(small_images())


def small(**options):
    return replace(configure("bitlinear").small(), **options)


def kinds_of(net):
    return [type(m) for m in net.modules() if isinstance(m, BitLinear | PackedBitLinear | Dense)]


def test_all_maps_but_the_head_are_ternary_and_then_packed(data) -> None:
    assert kinds_of(small().start(data, 0).net) == [BitLinear, BitLinear, Dense]
    assert kinds_of(small(scale="median").start(data, 0).net) == [MedianBitLinear, MedianBitLinear, Dense]
    assert kinds_of(small(rounded="after").start(data, 0).net) == [Dense, Dense, Dense]
    for rounded in ("during", "after"):
        fitted = small(rounded=rounded).fit(data, Steps(2)).model
        assert kinds_of(fitted.net) == [PackedBitLinear, PackedBitLinear, Dense]


def test_packing_leaves_every_answer_as_it_was(data) -> None:
    system = small()
    model = system.fit(data, Steps(5)).model
    plain = system.start(data, 0)
    images = data.part("test")[0]
    assert (model.probabilities(images) != plain.probabilities(images)).any()
    before = plain.probabilities(images)
    system.finish(plain)
    assert (plain.probabilities(images) == before).all()


def test_the_claims_layers_take_an_eighth_of_half_precision() -> None:
    for inputs, outputs in ((64, 256), (256, 256)):
        packed = BitLinear(inputs, outputs).pack()
        stored = packed.weight.digits.numel() + 4
        assert stored <= 2 * inputs * outputs / 8
    method = configure("bitlinear").claim.arms[1]
    assert method.options == {"hidden": 256, "dim": 256}


def test_a_ternary_network_learns(data) -> None:
    found = task("classify").evaluate(small(lr=1e-2).fit(data, Steps(60)).model, data)
    assert found.figures["accuracy"] > 0.8


def test_applied_to_a_search_model(tmp_path) -> None:
    model = small_model()
    made = api.apply("bitlinear", model, small_rows())
    assert made.history[-1]["report"]["layers"] == 14
    assert made.history[-1]["report"]["bits_per_weight"] < 1.8
    assert all(isinstance(m, Dense) for m in model.net.modules() if hasattr(m, "inputs"))
    texts = ["find the red lamp", "paint the small river"]
    made.save(tmp_path / "model")
    assert torch.equal(load(tmp_path / "model").encode(texts).values, made.encode(texts).values)
    with pytest.raises(UserError, match="packed"):
        api.apply("bitlinear", made, small_rows())


def test_one_id_is_a_model_and_a_transform() -> None:
    assert index.kinds(index.card("bitlinear")) == ("model", "transform")
    with pytest.raises(UserError, match="activation_bits"):
        configure("bitlinear", activation_bits=9)
    with pytest.raises(UserError, match="activation_bits is 1"):
        small(activation_bits=1).start(task("classify").read(small_images()), 0)


def test_decoders_take_ternary_maps_by_name(tmp_path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(small_rows().columns["text"]))
    out = str(tmp_path / "model")
    sets = ["--set=dim=16", "--set=heads=2", "--set=layers=1", "--set=length=16", "--set=linear.ffn=bit158"]
    assert main(["fit", "decoder", str(file), "-o", out, "--steps", "2", "--quiet", *sets]) == 0
    block = load(out).net.stack.layers[0]
    assert isinstance(block.channel.up, BitLinear)
    assert isinstance(block.mixer.query, Dense)
