"""Drawings and costs of blocks."""

from __future__ import annotations

import json
import re

import pytest

from twofold import api
from twofold.cli import main
from twofold.errors import UserError
from twofold.measure.sketch import drawing, sketch
from twofold.parts import Pattern
from twofold.parts.named import names
from twofold.parts.positions import Position


def net(entry, length=64):
    return Pattern.read({"dim": 32, "heads": 2, "layers": [entry]}).network(40, max_len=length)


def test_equal_blocks_are_drawn_once_with_their_paths() -> None:
    top, below = drawing(net({"mixer": "attention", "times": 3}))
    assert top == "x ─┬─ norm ─ attention (rope) ─ + ─┬─ norm ─ ffn (gated) ─ + →  × 3"
    assert [i for i, sign in enumerate(below) if sign == "└"] == [i for i, sign in enumerate(top) if sign == "┬"]
    assert [i for i, sign in enumerate(below) if sign == "┘"] == [i for i, sign in enumerate(top) if sign == "+"]


SIZES = {"log-scale": {"trained": 64}, "axis-positions": {"sizes": [8, 8]}}


@pytest.mark.parametrize("name", sorted(names(Position).keys() - {"none", "no-position", "interpolated"}))
def test_combiner_names_the_positions_that_build_with_it(name: str) -> None:
    line = sketch(lambda length: net({"mixer": "combiner"}, length))["positions"]
    in_layers, at_embedding = (set(re.findall(r"[a-z0-9-]+", part)) for part in line.split(":")[0].split(";"))
    given = {"kind": name, **SIZES.get(name, {})}

    def builds(layer: dict, whole: dict) -> bool:
        try:
            pattern = {"dim": 32, "heads": 2, "layers": [{"mixer": "combiner", **layer}], **whole}
            return Pattern.read(pattern).network(40, max_len=64) is not None
        except UserError:
            return False

    assert (name in in_layers) == (names(Position)[name].needs_qk and builds({"position": given}, {}))
    assert (name in at_embedding) == builds({}, {"position": given})


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


def test_what_holds_blocks_is_drawn_with_them() -> None:
    inner = {"mixer": "ssd", "wiring": "single"}
    loop = drawing(net({"loop": [inner], "iterations": 3, "inject": True}))
    assert loop == ["x ─ 3 times, x added again each time →", "    x ─┬─ norm ─ ssd ─ + →", "       └───────────────┘"]
    assert drawing(net({"loop": [inner]}))[0] == "x ─ 2 times →"
    shared = drawing(net({"shared": [{"channel": "none", "times": 2}]}))
    assert shared[0] == "x ─ keys and values made once, which all of these read →"
    assert shared[1] == "    x ─┬─ norm ─ shared-attention (rope) ─ + →  × 2"


def test_every_mixers_system_is_drawn() -> None:
    drawn = {card["id"]: card.get("network") for card in api.list(family="mixers")}
    assert not [id for id, found in drawn.items() if found is None]
    assert len({tuple(found["blocks"]) for found in drawn.values()}) > len(drawn) / 2
    for id, words in (
        ("mblm", ["patches of 8 tokens", "ssd", "inside a patch", "attention"]),
        ("byt5", ["reads:", "× 3", "writes:", "cross-attention"]),
        ("banyan", ["most alike", "diagonal-composition", "until one is left"]),
        ("vcc", ["first 1 whole", "128 means", "attention"]),
        ("pixelbytes", ["two-way lstm"]),
        ("nope", ["attention"]),
    ):
        blocks = "\n".join(drawn[id]["blocks"])
        assert all(word in blocks for word in words), blocks
    assert "rope" not in str(drawn["nope"]["blocks"])


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
