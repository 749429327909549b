"""The task `segment`: data of one's own, missing labels, figures, and answers as images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from twofold.catalog import Steps, configure
from twofold.cli import main
from twofold.data import Rows, read
from twofold.data.dense import class_map, marks, numbers, resized, shape_of
from twofold.data.made.scenes import CLASSES, scenes
from twofold.errors import UserError
from twofold.measure.dense import class_maps, mark_maps, number_maps
from twofold.objectives.dense import pixel_classes, pixel_marks, pixel_numbers
from twofold.tasks import load, task
from twofold.tasks.segment import Classes, fitting, from_rows

ROWS = scenes(train=24, validation=6, test=6, side=12)


def written(folder: Path, rows: Rows, lacking: tuple[int, ...] = (), suffixes: bool = False) -> Path:
    """Rows as files: sub-folders, or files with endings."""
    for i in range(len(rows)):
        answers = {
            "images": Image.fromarray(rows.columns["image"][i]),
            "segmentation": Image.fromarray(rows.columns["segmentation"][i]),
            "depth": Image.fromarray(rows.columns["depth"][i]),
            "edges": Image.fromarray(rows.columns["edges"][i].astype(np.uint8) * 255),
        }
        for name, image in answers.items():
            if name == "segmentation" and i in lacking:
                continue
            ending = "tiff" if name == "depth" else "png"
            own = f"{i:03}" if name == "images" else f"{i:03}_{name}"
            path = folder / f"{own}.{ending}" if suffixes else folder / name / f"{i:03}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return folder


@pytest.mark.parametrize("suffixes", [False, True])
def test_a_folder_is_read_as_it_was_made(tmp_path, suffixes: bool) -> None:
    rows = read(written(tmp_path / "mine", ROWS, lacking=(2, 5), suffixes=suffixes))
    assert set(rows.columns) == {"image", "segmentation", "depth", "edges", "id"}
    assert [i for i, cell in enumerate(rows.columns["segmentation"]) if cell is None] == [2, 5]
    data = from_rows(rows)
    made = from_rows(ROWS)
    assert (data.images == made.images).all()
    for name in ("depth", "edges"):
        np.testing.assert_array_equal(data.values[name], made.values[name])
    known = [i for i in range(len(rows)) if i not in (2, 5)]
    assert data.targets["segmentation"].labels == ("0", "1", "2", "3", "4")
    np.testing.assert_array_equal(data.values["segmentation"][known], made.values["segmentation"][known])
    assert (data.values["segmentation"][[2, 5]] == -100).all()
    assert data.notes == ("2 of 36 images have no segmentation and do not count there",)
    assert {"train", "validation", "test"} == set(data.parts)


def test_parts_and_names_of_classes(tmp_path) -> None:
    written(tmp_path / "mine" / "train", ROWS.part("train"))
    written(tmp_path / "mine" / "test", ROWS.part("test"))
    (tmp_path / "mine" / "classes.txt").write_text("\n".join(CLASSES))
    data = from_rows(read(tmp_path / "mine"))
    assert (data.parts == "test").sum() == 6
    assert data.targets["segmentation"].labels == CLASSES
    (tmp_path / "mine" / "classes.txt").write_text("sky\nsea")
    with pytest.raises(UserError, match="name every class"):
        from_rows(read(tmp_path / "mine"))


def test_a_table_of_paths(tmp_path) -> None:
    written(tmp_path, ROWS)
    lines = [f"images/{i:03}.png,{f'edges/{i:03}.png' if i else ''}" for i in range(36)]
    (tmp_path / "mine.csv").write_text("\n".join(["picture,border", *lines]))
    data = task("segment").read(tmp_path / "mine.csv", columns={"image": "picture", "edges": "border"})
    assert list(data.targets) == ["edges"]
    assert np.isnan(data.values["edges"][0]).all()
    assert not np.isnan(data.values["edges"][1:]).any()
    with pytest.raises(UserError, match="says nothing of pixels"):
        task("segment").read(tmp_path / "mine.csv", columns={"image": "picture"})


def test_folders_of_classes_are_still_that(tmp_path) -> None:
    for label in ("images", "cat"):
        (tmp_path / label).mkdir()
        Image.fromarray(ROWS.columns["image"][0]).save(tmp_path / label / f"{label}.png")
    assert sorted(read(tmp_path).columns["label"]) == ["cat", "images"]


def test_files_become_arrays(tmp_path) -> None:
    Image.fromarray(np.array([[0, 3], [255, 3]], np.uint8)).save(tmp_path / "a.png")
    assert class_map(tmp_path / "a.png", (2, 2)).tolist() == [[0, 3], [-1, 3]]
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).save(tmp_path / "b.png")
    assert class_map(tmp_path / "b.png", (2, 2)).tolist() == [[0, 255], [255, 0]]
    Image.fromarray(np.array([[[255, 0, 1], [0, 0, 2]]], np.uint8)).save(tmp_path / "c.png")
    assert class_map(tmp_path / "c.png", (1, 2)).tolist() == [[(255 << 16) + 1, 2]]
    palette = Image.fromarray(np.array([[7, 1]], np.uint8))
    palette.putpalette([i for n in range(256) for i in (n, 255 - n, 0)])
    palette.save(tmp_path / "p.png")
    assert class_map(tmp_path / "p.png", (1, 2)).tolist() == [[7, 1]]
    Image.fromarray(np.array([[0, 1500]], np.uint16)).save(tmp_path / "d.png")
    found = numbers(tmp_path / "d.png", (1, 2))
    assert np.isnan(found[0, 0])
    assert found[0, 1] == 1500
    line = np.zeros((9, 9), np.uint8)
    line[4] = 255
    Image.fromarray(line).save(tmp_path / "e.png")
    assert marks(tmp_path / "e.png", (3, 3)).tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert resized(np.eye(4, dtype=np.int64), (2, 2)).tolist() == [[1, 0], [0, 1]]
    assert shape_of([np.zeros((128, 64, 3), np.uint8)] * 2) == (64, 32, 3)
    assert shape_of([np.zeros((20, 30), np.uint8)] * 2) == (20, 30, 1)
    assert shape_of([np.zeros((20, 30), np.uint8), np.zeros((9, 9, 3), np.uint8)]) == (64, 64, 3)
    with pytest.raises(UserError, match="one number a pixel"):
        numbers(tmp_path / "c.png", (1, 2))
    with pytest.raises(UserError, match="no class map"):
        class_map(np.zeros((2, 2), np.float32), (2, 2))
    with pytest.raises(UserError, match="there is no image"):
        class_map(tmp_path / "z.png", (2, 2))


def test_losses_count_labelled_pixels_only() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator, requires_grad=True)
    truth = torch.randint(0, 3, (2, 4, 5), generator=generator)
    truth[0] = -100
    alone = pixel_classes(logits[1:], truth[1:]).value
    assert float(pixel_classes(logits, truth).value.detach()) == pytest.approx(float(alone.detach()))
    by_hand = -logits[1].detach().log_softmax(0).gather(0, truth[1][None]).mean()
    assert float(alone.detach()) == pytest.approx(float(by_hand), rel=1e-5)
    for loss, own in ((pixel_numbers, torch.randn(2, 4, 5)), (pixel_marks, torch.rand(2, 4, 5).round())):
        own[0], own[1, 0, 0] = torch.nan, torch.nan
        given = logits[:, :1]
        value = loss(given, own).value
        assert torch.isfinite(value)
        grad = torch.autograd.grad(value, logits, retain_graph=True)[0]
        assert (grad[0] == 0).all()
        assert grad[1, 0, 0, 0] == 0
        assert grad[1, 0].abs().sum() > 0
        if loss is pixel_marks:  # a mark counts twice: a loss of its own more
            more = loss(given, torch.where(own == 1, own, torch.nan)).value * (own == 1).sum() / (~own.isnan()).sum()
            twice = loss(given, own, 2.0).value - value
            assert float(twice.detach()) == pytest.approx(float(more.detach()), rel=1e-5)
        nothing = loss(given, torch.full_like(own, torch.nan)).value
        assert float(nothing.detach()) == 0
        assert torch.equal(torch.autograd.grad(nothing, logits)[0], torch.zeros_like(logits))


def test_figures_by_hand() -> None:
    truth = np.array([[[0, 0, 1, -100]], [[-100] * 4]])
    said = np.array([[[0, 1, 1, 1]], [[0] * 4]])
    figures, each = class_maps(said, truth, 3)
    assert figures["miou"] == pytest.approx(0.5)  # class 0: 1 of 2, class 1: 1 of 2, class 2 is nowhere
    assert figures["pixel_accuracy"] == pytest.approx(2 / 3)
    assert each[0] == pytest.approx(0.5)
    assert np.isnan(each[1])
    numbered = np.array([[[1.0, 3.0, np.nan]]], np.float32)
    figures, each = number_maps(np.array([[[2.0, 3.0, 9.0]]], np.float32), numbered)
    assert figures["rmse"] == pytest.approx(0.5**0.5)
    assert figures["mae"] == pytest.approx(0.5)
    assert figures["r2"] == pytest.approx(0.5) == each[0]
    marked = np.array([[[1, 0, 1, np.nan]], [[0, 0, 0, 0]]], np.float32)
    figures, each = mark_maps(np.array([[[1, 1, 0, 1]], [[0, 0, 0, 0]]], bool), marked)
    assert figures == {"f1": pytest.approx(0.5), "precision": pytest.approx(0.5), "recall": pytest.approx(0.5)}
    assert each.tolist() == [0.5, 1.0]


def test_scores_and_what_they_are_divided_by() -> None:
    data, job = from_rows(ROWS), task("segment")
    model = configure("mean-map").fit(data, Steps(1)).model
    found = job.evaluate(model, data, relative="mean-map", relative_steps=1)
    assert found.figures["relative_score"] == pytest.approx(1.0)
    mains = [found.figures[name] for name in ("segmentation_miou", "depth_r2", "edges_f1")]
    assert found.figures["score"] == pytest.approx(np.mean(mains))
    assert len(found.items) == 6
    half = replace(data, values={**data.values, "edges": np.full_like(data.values["edges"], np.nan)})
    assert np.isfinite(job.evaluate(model, half).items).all()
    assert len(job.cut(data, 0.5).images) < len(data.images)
    with pytest.raises(UserError, match="no training image has depth"):
        from_rows(replace(ROWS, columns={**ROWS.columns, "depth": [None] * len(ROWS)}))


def test_a_model_reads_other_rows_by_its_own_classes() -> None:
    data = from_rows(ROWS)
    other = replace(ROWS, columns={"image": ROWS.columns["image"], "segmentation": ROWS.columns["segmentation"]})
    batch = fitting(other, data.shape, {"segmentation": Classes(("none", "cross"), (0, 4))})
    assert set(np.unique(batch.values["segmentation"])) <= {-100, 0, 1}
    assert (batch.values["segmentation"].numpy() == 1).sum() == (data.values["segmentation"] == 4).sum()
    with pytest.raises(UserError, match="which the model predicts"):
        fitting(other, data.shape, {"depth": data.targets["depth"]})


def test_answers_are_images_in_the_terms_of_the_data(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("mine"), ROWS)
    assert main(["fit", "mean-map", "mine", "-o", "model", "--task", "segment", "--quiet"]) == 0
    assert main(["predict", "model", "mine/images", "-o", "out", "--quiet"]) == 0
    model, data = load("model"), from_rows(read("mine"))
    told = model.predict("mine/images/000.png")
    np.testing.assert_array_equal(np.asarray(Image.open("out/segmentation/000.png")), told["segmentation"])
    np.testing.assert_array_equal(np.asarray(Image.open("out/depth/000.tiff")), told["depth"])
    np.testing.assert_array_equal(np.asarray(Image.open("out/edges/000.png")) > 0, told["edges"])
    (tmp_path / "mine" / "images").rename("out/images")
    again = from_rows(read("out"))
    assert (again.values["depth"] == model.answers(data.images)["depth"]).all()
    capsys.readouterr()
    assert main(["predict", "model", "out/images/000.png", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["segmentation", "depth", "edges"]
    assert "%" in lines[0]
    assert main(["predict", "model", "out/images/000.png", "-o", "out.csv", "--quiet"]) == 2
    assert "give -o a folder" in capsys.readouterr().err
    Image.fromarray(np.zeros((30, 50, 3), np.uint8)).save("large.png")
    assert {name: answer.shape for name, answer in model.predict("large.png").items()} == dict.fromkeys(told, (30, 50))
    assert len(model.predict([data.images[0], "large.png"])) == 2
    assert len(model.predict(data.images[:3])) == 3
    Path("again").mkdir()
    Image.open("large.png").save("again/large.png")
    with pytest.raises(UserError, match="several images are called 'large'"):
        model.write(["large.png", "again/large.png"], "out2")
