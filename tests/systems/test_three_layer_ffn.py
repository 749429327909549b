"""Depth of feed-forward parts [185]: sizes by the formula, the standard block, the study on a person's text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from twofold import api
from twofold.catalog import configure
from twofold.cli import main
from twofold.errors import UserError
from twofold.measure.costs import cost, parameters
from twofold.parts import FFN, presets
from twofold.surgery import blocks
from twofold.tasks.examples import small_model, small_rows

STUDY = configure("three-layer-ffn")


@pytest.mark.parametrize(("k", "weights"), [(0, 0), (1, 1), (2, 8), (3, 24)])
def test_weights_of_a_block_are_the_formula(k: int, weights: int) -> None:
    net = STUDY.network(260, k, 3)
    norms = 64 * (2 if k else 1)
    for _, block in blocks(net):
        assert parameters(block) == (4 + weights) * 64**2 + norms
    length = 128
    assert cost(net, length).flops == 3 * 2 * ((4 + weights) * 64**2 + length * 64) + 2 * 260 * 64


def test_the_claims_arms_have_60_and_56_squares() -> None:
    cells = ((2, 5), (3, 2), (0, 14), (1, 11), (2, 4), (3, 3))
    sizes = []
    for k, count in cells:
        every = (p for _, block in blocks(STUDY.network(260, k, count)) for p in block.parameters())
        sizes.append(sum(p.numel() for p in every if p.ndim == 2))
    assert [size / 64**2 for size in sizes] == [60, 56, 56, 55, 48, 84]
    baseline, method = (configure(arm) for arm in STUDY.claim.arms)
    assert (baseline.k, baseline.blocks, method.k, method.blocks) == ((2,), (5,), (3,), (2,))
    assert replace(baseline, k=(3,), blocks=(2,)) == method


def test_two_maps_are_the_standard_block() -> None:
    torch.manual_seed(0)
    ours = STUDY.network(40, 2, 2)
    standard = presets.decoder(40, 64, 2, 4, activation="gelu", gate=False)
    assert ours.spec() == standard.spec()
    assert all(type(block.channel) is FFN for _, block in blocks(ours))
    standard.load_state_dict(ours.state_dict())
    ids = torch.arange(20)[None]
    assert torch.equal(ours(ids), standard(ids))


def test_without_maps_a_block_is_attention_alone() -> None:
    net = STUDY.network(40, 0, 1)
    (block,) = [b for _, b in blocks(net)]
    x = torch.randn(1, 6, 64)
    torch.testing.assert_close(block(x), x + block.mixer(block.mixer_norm(x)))


def test_the_study_on_a_persons_text(tmp_path, capsys) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(small_rows().columns["text"]))
    options = STUDY.small().options() | {"k": "0,1,2,3", "blocks": "1,2", "steps": 3}
    line = ["study", "three-layer-ffn", str(file), "--json", "--quiet"]
    assert main([*line, *(f"--set={name}={value}" for name, value in options.items())]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = report["tables"][0]["rows"]
    assert [row[:2] for row in rows] == [[k, n] for k in range(4) for n in (1, 2)]
    assert len(report["plots"][0]["lines"]) == 8
    assert report["figures"]["parameters.3x1"] > report["figures"]["parameters.2x1"]


def test_one_decoder_has_plain_figures_that_repeat() -> None:
    small = replace(STUDY.small(), k=(3,), steps=4)
    first, second = (small.run(None, small_rows(), seed=1).figures for _ in range(2))
    for name in ("training_loss", "bits_per_byte", "validation_loss", "parameters"):
        assert first[name] == second[name]
    other = small.run(None, small_rows(), seed=2).figures
    assert first["training_loss"] != other["training_loss"]


def test_refusals() -> None:
    with pytest.raises(UserError, match="0 to 3 linear maps, not 4"):
        api.study("three-layer-ffn", None, small_rows(), k=(2, 4), steps=1)
    with pytest.raises(UserError, match="trains its own decoders"):
        api.study("three-layer-ffn", small_model(), small_rows())
    with pytest.raises(UserError, match="dim=60 does not divide into 4 heads of even width"):
        api.study("three-layer-ffn", None, small_rows(), dim=60)
