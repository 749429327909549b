"""Linear shortcuts: exact where layers are linear, identity on a layer itself, exits at both ends, clear refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from twofold.catalog import configure
from twofold.cli import main
from twofold.data import Rows
from twofold.errors import UserError
from twofold.parts import FFN, StandIn, Tap, blocks, replaced
from twofold.surgery import LeastSquares, Recording, r_squared
from twofold.surgery.least_squares import read_maps
from twofold.systems.inference.linear_shortcuts import shortcuts
from twofold.systems.inference.linear_submodules import stand_ins, submodules
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.passages import Recorded, Subject, recorded, small_language_model
from twofold.tasks.readouts import LAMBDAS, Readings, exits, readings

SIZES = {"fit": 160, "test": 60, "positions": 8, "length": 24}


def subject(linear: bool = False) -> Subject:
    model = small_language_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.net.parameters():
            p.add_(0.05 * torch.randn_like(p))
        if linear:  # blocks that are linear in their states: x + W x
            for _, block in blocks(model.net):
                block.mixer, block.channel = None, StandIn(16)
                block.channel_norm = type(block)(None).channel_norm
                block.channel.map.weight.normal_(0, 0.3)
    return Subject.of(model)


def drawn(who: Subject, seed: int = 0) -> tuple[Recorded, Recording, Recording]:
    pool = recorded(who, small_rows(), **SIZES)
    return pool, *pool.draw(160, 60, seed)


def states(recording: Recording, layer: int) -> torch.Tensor:
    return torch.as_tensor(recording.values[:, layer])


def test_a_layer_maps_to_itself_by_the_identity() -> None:
    _, fit, _ = drawn(subject())
    for layer in range(4):
        same = LeastSquares()
        same.add(states(fit, layer), states(fit, layer))
        assert np.abs(same.solve()[0] - np.eye(16)).max() < 1e-4


def test_linear_layers_are_recovered() -> None:
    who = subject(linear=True)
    pool, fit, test = drawn(who)
    maps = shortcuts(fit, pool.layers, None)
    assert set(maps) == {(a, b) for a in range(4) for b in range(a + 1, 4)}
    for (a, b), matrix in maps.items():
        assert r_squared(states(test, a) @ matrix, states(test, b)) > 1 - 1e-6
    one = next(block.channel.map.weight for _, block in blocks(who.net))
    torch.testing.assert_close(maps[0, 1], torch.eye(16) + one.detach().T, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(maps[0, 1] @ maps[1, 3], maps[0, 3], rtol=1e-3, atol=1e-3)
    read = readings(who, test, pool.layers, {layer: maps[layer, 3] for layer in range(3)})
    assert (read.precision(1) == 1).all()


def test_it_explains_no_less_than_the_identity_where_it_was_fitted() -> None:
    pool, fit, _ = drawn(subject())
    for (a, b), matrix in shortcuts(fit, pool.layers, None).items():
        assert r_squared(states(fit, a) @ matrix, states(fit, b)) >= r_squared(states(fit, a), states(fit, b)) - 1e-9


def test_readings_by_hand() -> None:
    who = subject()
    pool, _, test = drawn(who)
    read = readings(who, test, pool.layers, dict.fromkeys(range(3)))
    net = who.net
    logits = net.apply_head(net.stack.final_norm(states(test, 1))).detach()
    final = net.apply_head(net.stack.final_norm(states(test, 3))).detach().argmax(-1)
    assert torch.equal(read.target, final)
    ranked = logits.argsort(-1, descending=True)
    for k in (1, 5, 10):
        assert float(read.precision(k)[1]) == float((ranked[:, :k] == final[:, None]).any(1).double().mean())
    own = -logits.log_softmax(-1).gather(1, final[:, None])[:, 0]
    torch.testing.assert_close(read.surprisal[:, 1], own, rtol=1e-4, atol=1e-5)
    top = logits.softmax(-1).sort(-1, descending=True).values
    torch.testing.assert_close(read.gap[:, 1], top[:, 0] - top[:, 1], rtol=1e-4, atol=1e-6)


def read_by_hand() -> tuple[Readings, Recording]:
    gap = torch.tensor([[0.9, 0.2, 0.6], [0.9, 0.7, 0.8], [0.1, 0.1, 0.1]])
    top = torch.tensor([[5, 9, 5], [5, 6, 7], [1, 2, 3]])
    target = torch.tensor([5, 7, 4])
    none = torch.zeros(3, 3)
    place = np.array([1, 1, 1])
    return Readings((0, 1, 2), top, gap, none, none, target), Recording(none.numpy(), (), place, place, place * 8)


def test_exits_at_both_ends_and_between() -> None:
    read, test = read_by_hand()
    found = exits(read, 4, test)
    assert (found.agreement[0], found.saved[0]) == (0.0, 0.75)  # threshold 0: everything leaves at layer 1
    above = LAMBDAS > 1
    assert (found.agreement[above] == 1).all()
    assert (found.saved[above] == 0).all()
    half = int(np.abs(LAMBDAS - 0.5).argmin())  # rows leave at 2 (right), 1 (wrong) and not at all
    assert found.agreement[half] == pytest.approx(2 / 3)
    assert found.saved[half] == pytest.approx(1 - (2 + 1 + 4) / 12)
    three_quarters = int(np.abs(LAMBDAS - 0.75).argmin())  # only the second, at 2, rightly
    assert found.at_agreement == found.saved[three_quarters] == pytest.approx(1 - (4 + 2 + 4) / 12)
    fallen = exits(read, 4, test, falling=True)
    assert fallen.agreement[-1] == 1
    assert fallen.saved[-1] == 0


def test_stand_ins_are_exact_for_linear_parts() -> None:
    who = subject(linear=True)
    pool, _, _ = drawn(who)
    parts = stand_ins(who, pool.passages["train"], 160, None)
    assert {tap.part for tap in parts} == {"channel"} | {tap.part for tap in parts if "norm" in tap.part}
    for layer, (_, block) in enumerate(blocks(who.net)):
        torch.testing.assert_close(
            parts[Tap(layer, "channel")].map.weight, block.channel.map.weight, rtol=1e-3, atol=1e-4
        )
    ids = torch.tensor([pool.passages["test"][0]])
    whole = who.net(ids)
    with replaced(who.net, {tap: part for tap, part in parts.items() if tap.part == "channel"}):
        torch.testing.assert_close(who.net(ids), whole, rtol=1e-3, atol=1e-3)


def test_replacing_parts_is_measured_and_undone() -> None:
    who = subject()
    pool, _, _ = drawn(who)
    before = {n: t.clone() for n, t in who.net.state_dict().items()}
    found = submodules(who, pool, 160, None)
    kinds = ("attention", "feed_forward", "norm")
    assert set(found.figures) == {f"{f}.{k}" for f in ("agreement", "loss_increase") for k in kinds}
    assert len(found.tables[0].rows) == 9
    after = who.net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(t, after[n]) for n, t in before.items())


def test_seeds_draw_from_one_recording() -> None:
    who = subject()
    pool, fit, _ = drawn(who)
    again, other, _ = drawn(who, seed=1)
    assert again is pool
    assert len(fit) == len(other) == 160
    assert set(fit.rows) != set(other.rows)
    assert len(pool.fit) >= 200
    assert not set(map(tuple, pool.passages["train"])) & set(map(tuple, pool.passages["test"]))


def test_an_encoder_without_a_head_is_explained_only() -> None:
    report = configure("linear-shortcuts", fit=100, test=40, length=24).run(small_model(), small_rows())
    assert set(report.figures) == {"r2", "r2.logit_lens"}
    assert report.figures["r2"] > report.figures["r2.logit_lens"]


def test_every_few_layers() -> None:
    report = configure("linear-shortcuts", fit=100, test=40, every=2, parts=False).run(
        small_language_model(), small_rows()
    )
    assert [row[0] for row in report.tables[0].rows] == [0, 2]
    assert set(report.tensors["shortcuts.safetensors"]) == {"0.to.3", "2.to.3"}


def test_too_few_texts_are_refused() -> None:
    rows = Rows.of({"text": [f"line {i}" for i in range(12)]}, name="few", source="few")
    system = configure("linear-shortcuts")
    with pytest.raises(UserError, match="too few to fit a map of 16 features, which takes 32"):
        replace(system, positions=2).run(small_language_model(), rows)
    assert replace(system, positions=2, ridge=0.1).run(small_language_model(), rows).figures
    lone = Rows.of({"text": ["a single text"] * 9}, name="one", source="one.txt", splits=["train"] * 9)
    with pytest.raises(UserError, match=r"one\.txt: no test texts; give more rows"):
        system.run(small_language_model(), lone)
    with pytest.raises(UserError, match="no sequence model over text"):
        Subject.of(SimpleNamespace(net=FFN(4, 4), tokenizer=None, name="ffn"))  # type: ignore[arg-type]


def test_the_command_line_writes_maps(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model")
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(small_rows().columns["text"]))
    out = tmp_path / "out"
    options = ["--set", "fit=100", "--set", "test=40", "--set", "length=24", "--quiet"]
    assert main(["study", "linear-shortcuts", str(tmp_path / "model"), str(file), "-o", str(out), *options]) == 0
    assert set(read_maps(out / "shortcuts.safetensors", 32)) == {(0, 2), (1, 2)}
    assert "r2" in json.loads((out / "report.json").read_text())["figures"]
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 4  # the heat map and the curve, wide and narrow
    assert "from layer" in page


def test_parts_that_blow_up_have_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    from twofold.systems.inference import linear_submodules

    plain = linear_submodules._stand_in

    def huge(matrix, who):
        made = plain(matrix, who)
        made.map.weight.data.fill_(1e30)
        return made

    monkeypatch.setattr(linear_submodules, "_stand_in", huge)
    report = configure("linear-shortcuts").small().run(None, None, seed=0)
    assert all(np.isfinite(value) for value in report.figures.values())
    assert not any(name.startswith("loss_increase.norm") for name in report.figures)
    table = next(t for t in report.tables if t.title.startswith("Parts replaced"))
    assert any(row[-1] is None for row in table.rows if row[0] == "norm")
