"""Classifying: what a column of labels means, parts that hold every class, figures, and models that are used."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score

from twofold.catalog import Steps
from twofold.data import read
from twofold.data.images import pixels
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure import classification
from twofold.objectives import classification as losses
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.classify import ClassifySystem, ManyLabels, Number, OneLabel, Target, from_rows

WORDS = {"money": ("pay", "bank", "refund"), "travel": ("train", "ticket", "hotel"), "food": ("bread", "soup", "lunch")}


def texts(count: int = 90, **extra: list[object]) -> Rows:
    made = np.random.default_rng(0)
    names = list(WORDS)
    labels = [names[i % 3] for i in range(count)]
    lines = [f"{made.choice(WORDS[label])} number {i} {made.choice(WORDS[label])}" for i, label in enumerate(labels)]
    return Rows.of({"text": lines, "label": labels, **extra})


class Plain(ClassifySystem):
    """Only for these tests: what `ClassifySystem` does by itself."""

    id = "plain"  # type: ignore[assignment]


def plain() -> ClassifySystem:
    return Plain(backbone="encoder-1x32", tokens=16, batch=16, lr=3e-3)


# -- what labels mean


def test_names_are_classes_and_every_part_holds_every_class() -> None:
    data = from_rows(texts())
    assert isinstance(data.target, OneLabel)
    assert data.target.labels == ("food", "money", "travel")
    for part in ("train", "validation", "test"):
        assert set(data.part(part)[1]) == {0, 1, 2}
    again = from_rows(texts())
    assert (again.parts == data.parts).all()
    assert again.fingerprint == data.fingerprint


def test_numeric_names_sort_as_numbers() -> None:
    labels = [str(i % 12) for i in range(120)]
    data = from_rows(Rows.of({"text": [f"row {i}" for i in range(120)], "label": labels}))
    assert data.target.labels == tuple(str(i) for i in range(12))


def test_lists_are_sets_of_labels() -> None:
    cells = [["a"], ["a", "b"], [], ["b"]] * 20
    data = from_rows(Rows.of({"text": [f"row {i}" for i in range(80)], "label": cells}))
    assert isinstance(data.target, ManyLabels)
    assert data.values.sum(0).tolist() == [40, 40]
    split = from_rows(Rows.of({"text": [f"row {i}" for i in range(80)], "labels": ["a", "a|b", "", "b"] * 20}))
    assert (split.values == data.values).all()


def test_fractions_are_numbers_and_the_notes_say_so() -> None:
    data = from_rows(Rows.of({"text": [f"row {i}" for i in range(60)], "label": [i / 7 for i in range(60)]}))
    assert isinstance(data.target, Number)
    assert "look like numbers" in data.notes[0]
    named = from_rows(Rows.of({"text": [f"row {i}" for i in range(60)], "number": [i % 3 for i in range(60)]}))
    assert isinstance(named.target, Number)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": ["same"] * 40}, "needs two or more"),
        ({"label": [f"name {i}" for i in range(40)]}, "fewer than two examples each"),
        ({"category": ["a", "b"] * 20}, "--columns label=category"),
        ({"label": ["a", "b"] * 20, "number": [1, 2] * 20}, "one is predicted"),
        ({"number": [1, "x"] * 20}, "row 2"),
        ({"number": [3] * 40}, "nothing to predict"),
        ({"labels": [""] * 40}, "no row has any label"),
        ({"label": [None] * 40}, "every row has an empty"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_rows(Rows.of({"text": [f"row {i}" for i in range(40)], **columns}))


def test_rows_without_text_or_label_are_counted() -> None:
    rows = texts()
    rows.columns["label"][4] = None
    data = from_rows(rows)
    assert data.notes[0].startswith("1 rows with an empty text or label")


def test_uneven_classes_are_weighted_and_reported() -> None:
    labels = ["common"] * 200 + ["rare"] * 12
    data = from_rows(Rows.of({"text": [f"row {i}" for i in range(212)], "label": labels}))
    assert isinstance(data.target, OneLabel)
    assert data.target.metric == "balanced_accuracy"
    assert data.target.weights[1] > 10 * data.target.weights[0]
    assert "uneven" in data.notes[-1]
    assert task_named("classify").metric_of(data) == "balanced_accuracy"
    assert from_rows(texts()).target.metric == "accuracy"


def test_their_own_parts_and_groups_are_kept() -> None:
    groups = [f"g{i // 9}" for i in range(90)]
    data = from_rows(texts(group=groups))
    for part in ("train", "validation", "test"):
        here = {groups[i] for i in data.indices(part)}
        assert not here & {groups[i] for i in np.flatnonzero(data.parts != part)}
    own = from_rows(texts(split=["train"] * 60 + ["dev"] * 15 + ["test"] * 15))
    assert len(own.indices("validation")) == 15


def test_a_class_without_training_rows_is_left_out_with_a_note() -> None:
    rows = texts(split=["train"] * 60 + ["dev"] * 15 + ["test"] * 15)
    rows.columns["label"][-1] = "unheard of"
    data = from_rows(rows)
    assert len(data.indices("test")) == 14
    assert "no training row" in data.notes[0]


def test_a_cut_keeps_every_class_and_is_nested() -> None:
    data = from_rows(texts(300))
    small, large = data.cut(0.1), data.cut(0.3)
    assert set(small.inputs) < set(large.inputs) < set(data.inputs)
    assert set(small.part("train")[1]) == {0, 1, 2}


# -- figures


def test_figures_equal_scikit_learns() -> None:
    made = np.random.default_rng(1)
    logits, truth = made.normal(size=(80, 4)), made.choice(4, 80, p=(0.7, 0.1, 0.1, 0.1))
    target = OneLabel(tuple("abcd"))
    decoded = target.decode(logits)
    figures, items = classification.one_label(decoded, truth)
    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, logits.argmax(1)))
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, logits.argmax(1)))
    assert items["balanced_accuracy"].mean() == pytest.approx(figures["balanced_accuracy"])
    number, spread = classification.numbers(logits[:, 0], logits[:, 1])
    assert number["r2"] == pytest.approx(r2_score(logits[:, 1], logits[:, 0]))
    assert spread["r2"].mean() == pytest.approx(number["r2"])


def test_calibration_error_of_a_hand_made_case() -> None:
    # Two bins: 0.9 where half is right, and 0.5 where all is right.
    confidence, right = np.array([0.9, 0.9, 0.5, 0.5]), np.array([1.0, 0.0, 1.0, 1.0])
    assert classification.calibration_error(confidence, right) == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)
    assert classification.calibration_error(np.ones(3), np.ones(3)) == 0


def test_sets_of_labels_by_hand() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0]], bool)
    told = np.array([[0.9, 0.8], [0.9, 0.9], [0.1, 0.2]])
    figures, items = classification.many_labels(told, truth)
    assert items["sample_f1"].tolist() == pytest.approx([2 / 3, 1, 1])
    assert figures["exact"] == pytest.approx(2 / 3)


def test_confusion_counts_rows_as_true() -> None:
    table = classification.confusion(np.array([1, 1, 0]), np.array([0, 1, 0]), 2)
    assert table.tolist() == [[1, 1], [0, 1]]
    assert classification.most_confused(table, ("a", "b")) == [("a", "b", 1, 2)]


def test_weighted_loss_equals_torchs_and_numbers_are_scaled() -> None:
    torch.manual_seed(0)
    logits, truth, weights = torch.randn(8, 3), torch.randint(3, (8,)), torch.tensor([1.0, 2.0, 5.0])
    expected = torch.nn.functional.cross_entropy(logits, truth, weights)
    assert losses.classes(logits, truth, weights).value == pytest.approx(expected.item(), rel=1e-6)
    target = Number(10.0, 2.0)
    assert target.loss(torch.tensor([[1.0]]), torch.tensor([12.0])).value == 0
    assert target.decode(np.array([[1.0]]))[0] == 12


@pytest.mark.parametrize("target", [OneLabel(("a", "b"), (1.0, 2.0)), ManyLabels(("a", "b")), Number(1.0, 2.0)])
def test_targets_are_made_again_from_their_spec(target: Target) -> None:
    again = Target.of(json.loads(json.dumps(target.spec())))
    assert again == target
    assert again.outputs == (1 if target.kind == "number" else 2)


# -- models


def test_texts_are_learned_saved_and_predicted(tmp_path) -> None:
    data = from_rows(texts())
    model = plain().fit(data, Steps(60)).model
    task = task_named("classify")
    before = task.evaluate(model, data)
    assert before.figures["accuracy"] > 0.9
    assert before.items.mean() == pytest.approx(before.figures["accuracy"])
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert task.evaluate(again, data).figures == before.figures
    told = again.predict("a refund from the bank")
    assert told.answer == "money"
    assert told.probability == pytest.approx(max(told.probabilities.values()))
    assert sum(told.probabilities.values()) == pytest.approx(1, abs=1e-5)
    many = again.predict(["soup and bread", "a train ticket to the hotel"])
    assert [each.answer for each in many] == ["food", "travel"]
    with pytest.raises(UserError, match="text 2 is empty"):
        again.predict(["soup", " "])


def test_a_text_system_refuses_images() -> None:
    data = from_rows(read("digits"))
    assert data.inputs.shape == (1797, 8, 8, 1)
    with pytest.raises(UserError, match="reads texts, and these are images"):
        plain().start(data, 0)


# -- images


@pytest.fixture
def folder(tmp_path):
    made = np.random.default_rng(0)
    for name, base in (("dark", 40), ("light", 200)):
        place = tmp_path / "pictures" / name
        place.mkdir(parents=True)
        for i in range(12):
            noise = made.integers(-30, 30, (20, 24, 3)) + base
            Image.fromarray(noise.astype(np.uint8)).save(place / f"{i}.png")
    return tmp_path / "pictures"


def test_a_folder_of_images_is_read_by_class(folder) -> None:
    (folder / "dark" / "notes.txt").write_text("not an image")
    with pytest.warns(UserWarning, match="1 files are no images"):
        rows = read(folder)
    assert rows.columns["label"] == ["dark"] * 12 + ["light"] * 12
    data = from_rows(rows)
    assert data.modality == "image"
    assert data.inputs.shape == (24, 20, 24, 3)
    assert data.inputs[:12].mean() < 100 < data.inputs[12:].mean()


def test_parts_of_an_image_folder_are_kept(folder, tmp_path) -> None:
    for part in ("train", "test"):
        (tmp_path / "parted").mkdir(exist_ok=True)
        (tmp_path / "parted" / part).symlink_to(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = read(tmp_path / "parted")
    assert rows.splits is not None
    assert rows.splits.count("test") == rows.splits.count("train") == 24


def test_a_broken_image_is_named(folder) -> None:
    (folder / "dark" / "3.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UserError, match=r"3\.png is not an image that can be read"):
        from_rows(read(folder))


def test_pixels_come_in_one_size() -> None:
    wide, grey = np.zeros((40, 80, 3), np.uint8), np.full((8, 8), 7, np.uint8)
    both = pixels([wide, grey])
    assert both.shape == (2, 32, 32, 3)
    assert (both[1] == 7).all()
    assert pixels([grey, grey]).shape == (2, 8, 8, 1)
    assert pixels([wide], (16, 16, 1)).shape == (1, 16, 16, 1)
    with pytest.raises(UserError, match="image 1 is an array"):
        pixels([np.zeros((4, 4), np.float32)])
