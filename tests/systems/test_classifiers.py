"""The plain classifiers against the libraries they stand on, and the whole comparison on a person's own files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from twofold.catalog import Steps, configure
from twofold.cli import main
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import LogLink, Neighbours
from twofold.systems.baselines.pixel_boosting import as_part
from twofold.systems.baselines.tfidf_logistic import vectorizer
from twofold.tasks import load
from twofold.tasks.classify import ManyLabels, Number, OneLabel, from_rows
from twofold.tasks.classify.knowing import neighbours
from twofold.tasks.examples import small_images, small_rows


@pytest.mark.parametrize("classes", [2, 3])
def test_trees_equal_scikit_learns(classes: int) -> None:
    made = np.random.default_rng(0)
    x = made.integers(0, 256, (200, 12)).astype(np.float32) / 255
    y = (x[:, 0] * classes).astype(int) % classes
    fitted = HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=7).fit(x, y)
    target = OneLabel(tuple("abc"[:classes]))
    net = as_part([fitted], target)
    found = target.decode(net(torch.from_numpy(x)).numpy())
    np.testing.assert_allclose(found, fitted.predict_proba(x), atol=1e-5)


def test_trees_of_numbers_and_constant_labels() -> None:
    made = np.random.default_rng(0)
    x = made.random((150, 5), dtype=np.float32)
    fitted = HistGradientBoostingRegressor(max_iter=5).fit(x, x[:, 1])
    found = as_part([fitted], Number(0.0, 1.0))(torch.from_numpy(x))[:, 0]
    np.testing.assert_allclose(found, fitted.predict(x), atol=1e-5)
    constant = as_part([20.0, -20.0], ManyLabels(("always", "never")))(torch.from_numpy(x))
    assert constant[3].tolist() == [20.0, -20.0]


def test_linear_words_equal_scikit_learns() -> None:
    rows = small_rows()
    data = from_rows(rows)
    fitted = configure("tfidf-logistic").fit(data, Steps(1))
    (texts, values), (judged, _) = data.part("train"), data.part("test")
    counter = vectorizer(2)
    linear = LogisticRegression(C=fitted.model.history[-1]["report"]["strength"], max_iter=400)
    linear.fit(counter.fit_transform(texts), values)
    expected = linear.predict_proba(counter.transform(judged))
    np.testing.assert_allclose(fitted.model.probabilities(judged), expected, atol=1e-4)


def test_neighbours_by_hand() -> None:
    head = Neighbours(3, 2, 2, k=2, temperature=1.0, link=LogLink())
    head.know(torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    found = head(torch.tensor([[1.0, 0.0]])).exp()[0]
    near, far = np.exp(1.0), np.exp(0.0)
    assert found.tolist() == pytest.approx([near / (near + far), far / (near + far)], rel=1e-5)
    for wrong in (0.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"temperature is .* above 0"):
            Neighbours(3, 2, 2, temperature=wrong)


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (OneLabel(("a", "b")), np.array([0, 1, 1])),
        (ManyLabels(("a", "b")), np.array([[True, False], [True, True], [False, False]])),
        (Number(2.0, 3.0), np.array([1.0, 2.0, 6.0], np.float32)),
    ],
)
def test_one_neighbour_says_what_it_is(target, values) -> None:
    vectors = torch.eye(3)
    decoded = target.decode(neighbours(vectors, values, target, 1)(vectors).numpy())
    assert target.judge(decoded, values).items.mean() == pytest.approx(1, abs=1e-3)


def test_most_frequent_gives_the_shares() -> None:
    data = from_rows(Rows.of({"text": [f"row {i}" for i in range(100)], "label": ["a"] * 75 + ["b"] * 25}))
    model = configure("most-frequent").fit(data, Steps(1)).model
    told = model.predict("anything")
    assert told.answer == "a"
    assert told.probability == pytest.approx(0.75, abs=0.05)
    assert model.parameters == model.bytes == 0


def test_boosting_learns_images_and_opens_again(tmp_path) -> None:
    data = from_rows(small_images(240))
    model = configure("pixel-boosting", rounds=20).fit(data, Steps(1)).model
    images, truth = data.part("test")
    right = np.mean([p.answer == data.target.labels[t] for p, t in zip(model.predict(images), truth, strict=True)])
    assert right > 0.7
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").logits(images), model.logits(images))


@pytest.fixture
def table(tmp_path):
    rows = small_rows()
    file = tmp_path / "mine.jsonl"
    pairs = zip(rows.columns["text"], rows.columns["label"], strict=True)
    file.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in pairs))
    return file


def test_compare_ends_in_a_model_that_predicts(table, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    arms = "most-frequent,tfidf-logistic"
    assert (
        main(["compare", "classify", str(table), "--systems", arms, "--minutes", "1", "-o", str(out), "--quiet"]) == 0
    )
    shown = capsys.readouterr().out
    assert "macro" in shown
    assert "tfidf-logistic is recommended" in shown
    assert "predict" in shown
    page = (out / "report.html").read_text()
    assert "What was taken for what" in page
    assert main(["predict", str(out / "best"), "The lamp is quiet.", "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["prediction"] == "quiet"
    assert sum(told["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_a_folder_of_images_ends_in_a_model(tmp_path, capsys) -> None:
    rows = small_images(360)
    for number, (image, label) in enumerate(zip(rows.columns["image"], rows.columns["label"], strict=True)):
        place = tmp_path / "pictures" / label
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    words = ["compare", "classify", str(tmp_path / "pictures"), "--minutes", "1", "-o", str(tmp_path / "out")]
    assert main([*words, "--systems", "most-frequent,pixel-boosting(rounds=10)", "--quiet"]) == 0
    capsys.readouterr()
    one = str(next((tmp_path / "pictures" / "row").iterdir()))
    assert main(["predict", str(tmp_path / "out" / "best"), one, "--quiet"]) == 0
    assert one in capsys.readouterr().out
    many = tmp_path / "found.csv"
    assert (
        main(["predict", str(tmp_path / "out" / "best"), str(tmp_path / "pictures"), "-o", str(many), "--quiet"]) == 0
    )
    assert len(many.read_text().splitlines()) == 1 + len(rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "{model}", "x", "--set", "labels=a,b"], "only; leave labels out"),
        (["predict", "{model}", "{table}", "-o", "out.xlsx"], "cannot write out.xlsx"),
        (["search", "{model}", "x"], "cannot search; use it with: twofold predict"),
        (["compare", "classify", "{table}", "--systems", "pixel-boosting"], "reads images, and these are texts"),
    ],
)
def test_mistakes_are_told_in_one_line(words, message, table, tmp_path, capsys) -> None:
    model = configure("most-frequent").fit(from_rows(small_rows()), Steps(1)).model.save(tmp_path / "model")
    filled = [word.format(model=model, table=table) for word in words]
    assert main([*filled, "--quiet"]) == 2
    assert message in capsys.readouterr().err
