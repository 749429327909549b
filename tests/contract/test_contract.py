"""The contract that every registered system keeps. One suite over the register, so that nothing is special."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from twofold import computing
from twofold.catalog import Arm, Steps, configure, index, resolve
from twofold.cli import main
from twofold.errors import UserError
from twofold.tasks import Report, TrainedSystem, load
from twofold.tasks import task as task_named
from twofold.tasks.examples import rows_for, small_model, small_rows
from twofold.trials import traces

CARDS = list(index.cards())
IDS = [card["id"] for card in CARDS]
NEEDS_WEIGHTS = {"minilm", "minilm-knn"}  # baselines that are a real checkpoint: tests/test_pretrained.py runs them


def of_kind(kind: str) -> list[str]:
    return [c["id"] for c in CARDS if c["kind"] == kind and c["id"] not in NEEDS_WEIGHTS]


def studies() -> list[str]:
    """Studies, and models and transforms that offer one under the same id."""
    return [c["id"] for c in CARDS if "study" in index.kinds(c)]


def trained() -> list[str]:
    return [id for id in of_kind("model") if issubclass(resolve(id), TrainedSystem)]


@pytest.fixture(scope="module")
def rows() -> Any:
    return small_rows()


@pytest.mark.parametrize("id", IDS)
def test_card_is_complete(id: str) -> None:
    card = index.card(id)
    assert card["title"]
    assert card["summary"]
    assert card["tasks"]
    assert card["kind"] in {"model", "transform", "study"}
    for name, option in card["options"].items():
        assert option.get("description"), f"option {name} is not described"
    if "number" in card:
        assert card["needs"]
        assert card["source"].startswith("https://")
        claim = card["claim"]
        assert claim["says"]
        assert claim["paper"]
        for arm in claim["arms"]:
            configure(Arm(arm["id"], **arm["options"]))


@pytest.mark.parametrize("id", IDS)
def test_bad_options_are_refused_by_name(id: str) -> None:
    with pytest.raises(UserError, match="unknown option of"):
        configure(id, no_such_option=1)
    for name, option in index.card(id)["options"].items():
        if option.get("type") in {"integer", "number"}:
            with pytest.raises(UserError, match=name):
                configure(id, **{name: "not a number"})


@pytest.mark.parametrize("id", IDS)
def test_numbers_are_finite(id: str) -> None:
    for name, option in index.card(id)["options"].items():
        ways = (option, *option.get("anyOf", []))
        for wrong in (float("nan"), float("inf"), -float("inf")):
            for way in ways:
                if way.get("type") == "number":
                    with pytest.raises(UserError, match=f"{id}: option '{name}"):
                        configure(id, **{name: wrong})
                if way.get("items", {}).get("type") == "number":
                    with pytest.raises(UserError, match=f"{id}: option '{name}"):
                        configure(id, **{name: [wrong, *(option.get("default") or [])[1:]]})


@pytest.mark.parametrize("id", [i for i in IDS if i not in NEEDS_WEIGHTS])
def test_same_seed_same_result(id: str) -> None:
    arm = Arm(id)
    first, second = traces.trace(arm), traces.trace(arm)
    assert first
    assert first == second
    assert np.isfinite(first).all()


@pytest.mark.parametrize("id", trained())
def test_loss_falls_on_one_batch(id: str) -> None:
    system = configure(id).small()
    data = task_named(system.card.tasks[0]).read(rows_for(system))
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    optimizer = torch.optim.AdamW([p for p in model.net.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    torch.manual_seed(0)
    for _ in range(20):
        optimizer.zero_grad()
        loss = system.loss(model.net, batch).value
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("id", trained())
def test_it_trains_in_bfloat16_and_keeps_its_weights_whole(id: str) -> None:
    system = configure(id).small()
    data = task_named(system.card.tasks[0]).read(rows_for(system))
    with computing.on(dtype="bfloat16"):
        assert system.recipe_for(data).dtype == "bfloat16"
        fitted = system.fit(data, Steps(2))
    assert fitted.history is not None
    assert fitted.history.steps == 2
    assert all(p.dtype == torch.float32 for p in fitted.model.net.parameters())
    assert all(p.isfinite().all() for p in fitted.model.net.parameters())


@pytest.mark.parametrize("id", of_kind("model"))
def test_save_and_load_give_the_same_figures(id: str, tmp_path: Any) -> None:
    system = configure(id).small()
    task = task_named(system.card.tasks[0])
    data = task.read(rows_for(system))
    model = system.fit(data, Steps(3)).model
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.history == model.history
    before, after = task.evaluate(model, data), task.evaluate(again, data)
    assert before.figures == after.figures
    assert (before.items == after.items).all()


@pytest.mark.parametrize("id", of_kind("transform"))
def test_transform_leaves_its_input_alone(id: str, rows: Any) -> None:
    model = small_model()
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    changed = configure(id).small().apply(model, rows)
    assert all(torch.equal(v, before[k]) for k, v in model.net.state_dict().items())
    assert changed.history[-1]["id"] == id
    assert changed.history[-1]["report"]


def test_transformed_models_open_in_a_fresh_process(rows: Any, tmp_path: Any) -> None:
    texts = rows.columns["document"][:8]
    expected = {}
    for id in of_kind("transform"):
        model = configure(id).small().apply(small_model(), rows)
        model.save(tmp_path / id)
        expected[id] = model.encode(texts).values
    script = (
        "import sys, json, torch\n"
        "from twofold.tasks import load\n"
        "folder, ids, texts = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])\n"
        "torch.save({i: load(f'{folder}/{i}').encode(texts).values for i in ids}, f'{folder}/out.pt')\n"
    )
    arguments = [str(tmp_path), json.dumps(list(expected)), json.dumps(texts)]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True)
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for id, values in expected.items():
        torch.testing.assert_close(found[id], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("id", studies())
def test_study_reports(id: str) -> None:
    report = configure(id).small().run(None, None, seed=0)
    assert isinstance(report, Report)
    assert report.figures
    assert all(isinstance(v, float) for v in report.figures.values())
    assert report.tables
    for table in report.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize("id", [i for i in of_kind("model") if "search" in index.card(i)["tasks"]])
def test_command_line_on_a_persons_file(id: str, rows: Any, tmp_path: Any, capsys: Any) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [
        json.dumps({"query": q, "document": d})
        for q, d in zip(rows.columns["query"], rows.columns["document"], strict=True)
    ]
    file.write_text("\n".join(lines))
    options = configure(id).small().options()
    settings = [f"--set={k}={json.dumps(v)}" for k, v in options.items() if v is not None]
    assert main(["fit", id, str(file), "-o", str(tmp_path / "model"), "--steps", "2", "--quiet", *settings]) == 0
    assert main(["search", str(tmp_path / "model"), "paint the small river", "--json", "--quiet"]) == 0
    hits = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert hits


@pytest.mark.parametrize("id", [i for i in of_kind("model") if "classify" in index.card(i)["tasks"]])
def test_classifiers_predict_from_a_persons_table(id: str, rows: Any, tmp_path: Any, capsys: Any) -> None:
    if "text" not in resolve(id).reads:
        pytest.skip("it reads images; tests/systems/test_classifiers.py gives it a folder of them")
    table = tmp_path / "mine.csv"
    lines = zip(rows.columns["text"], rows.columns["label"], strict=True)
    table.write_text("text,label\n" + "\n".join(f'"{text}",{label}' for text, label in lines))
    options = configure(id).small().options()
    settings = [f"--set={k}={json.dumps(v)}" for k, v in options.items() if v is not None]
    model = str(tmp_path / "model")
    fit = ["fit", id, str(table), "-o", model, "--task", "classify", "--steps", "2", "--quiet", *settings]
    assert main(fit) == 0
    out = tmp_path / "out.csv"
    assert main(["predict", model, str(table), "-o", str(out), "--quiet"]) == 0
    written = out.read_text().splitlines()
    assert written[0] == "text,label,prediction,probability"
    assert len(written) == 1 + len(rows)
    assert {line.split(",")[-2] for line in written[1:]} <= set(rows.columns["label"])
