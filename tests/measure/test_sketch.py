"""Drawings and costs of blocks."""

from __future__ import annotations

import json

import pytest

from twofold import api
from twofold.cli import main
from twofold.errors import UserError
from twofold.measure.sketch import drawing, sketch
from twofold.parts import Pattern


def net(entry, length=64):
    return Pattern.read({"dim": 32, "heads": 2, "layers": [entry]}).network(40, max_len=length)


def test_equal_blocks_are_drawn_once_with_their_paths() -> None:
    top, below = drawing(net({"mixer": "attention", "times": 3}))
    assert top == "x ─┬─ norm ─ attention (rope) ─ + ─┬─ norm ─ ffn (gated) ─ + →  × 3"
    assert [i for i, sign in enumerate(below) if sign == "└"] == [i for i, sign in enumerate(top) if sign == "┬"]
    assert [i for i, sign in enumerate(below) if sign == "┘"] == [i for i, sign in enumerate(top) if sign == "+"]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"mixer": "ssd", "wiring": "single"}, "x ─┬─ norm ─ ssd ─ + →"),
        ({"mixer": "ssd", "channel": "none"}, "x ─┬─ norm ─ ssd ─ + →"),
        ({"channel": "relu", "wiring": "post", "position": "none"}, "x ─┬─ attention ─ + ─ norm ─┬─ ffn ─ + ─ norm →"),
        ({"wiring": "parallel", "channel": "relu"}, "x ─┬─ norm ─ attention (rope), beside it ffn ─ + →"),
        ({"conv": 3, "channel": "none"}, "x ─┬─ norm ─ causal-conv 3 ─ attention (rope) ─ + →"),
        ({"wiring": "sandwich", "channel": "none"}, "x ─┬─ norm ─ attention (rope) ─ norm ─ + →"),
    ],
)  # fmt: skip
def test_wirings_are_drawn_as_they_are(entry, line) -> None:
    assert drawing(net(entry))[0] == line


def test_costs_grow_as_the_theory_says() -> None:
    full = sketch(lambda length: net({"mixer": "attention", "times": 2}, length))
    one, two = full["flops_per_token"]["512"], full["flops_per_token"]["2048"]
    assert two - one == pytest.approx(2 * 2 * 32 * (2048 - 512) * 2)  # scores and sums of two layers, width 32
    assert full["cache"] == {
        "growth": "with the length",
        "bytes": {str(t): 2 * 2 * 32 * 4 * t for t in (512, 2048, 8192)},
    }
    assert full["objectives"] == ["next token", "hidden tokens", "search and classification"]
    window = sketch(lambda length: net({"mixer": {"kind": "window", "window": 8}}, length))
    assert abs(window["exponent"]) < 0.02
    assert len(set(window["cache"]["bytes"].values())) == 1
    state = sketch(lambda length: net({"mixer": "ssd"}, length))
    assert abs(state["exponent"]) < 0.02
    assert state["cache"]["growth"] == "the same for every length"
    assert "embedding" in state["positions"]
    assert sketch(lambda length: net({"mixer": "hydra"}, length))["cache"] is None


def test_show_prints_them(capsys) -> None:
    for name in ("urpe", "ssd"):
        assert main(["show", name]) == 0
        said = capsys.readouterr().out
        assert "x ─┬─ norm ─" in said
        assert "cache grows" in said
        assert "a token costs" in said
        assert "learns by" in said
        assert main(["show", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["network"]["blocks"]
    with pytest.raises(UserError, match="ssdd"):
        api.show("ssdd")
