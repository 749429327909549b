"""Pictures with captions: every form in which people have them, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from twofold.data import captions
from twofold.data.captions import Pictures
from twofold.errors import UserError

SAID = {"dog.png": ("a dog runs", "a brown dog"), "cat.png": ("a cat sleeps", "a grey cat")}


def draw(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (len(name), 0, 0)).save(path)
    return folder


def found(source: Path, columns: dict[str, str] | None = None) -> Pictures:
    pictures = captions.find(source, columns)
    assert pictures is not None
    return pictures


def lines(*rows: dict[str, object]) -> str:
    return "\n".join(map(json.dumps, rows))


COCO = {
    "info": {"year": 2017},
    "images": [{"id": 7, "file_name": "dog.png"}, {"id": 9, "file_name": "cat.png"}],
    "annotations": [
        {"image_id": 9, "id": 1, "caption": "a cat sleeps"},
        {"image_id": 7, "id": 2, "caption": "a dog runs"},
        {"image_id": 9, "id": 3, "caption": "a grey cat"},
        {"image_id": 7, "id": 4, "caption": "a brown dog"},
    ],
}


def table(names: str, row: str) -> str:
    """A line of names, if any, and a row for each caption: its picture, its number and its text."""
    rows = [row.format(name, number, text) for name, said in SAID.items() for number, text in enumerate(said)]
    return "".join(f"{line}\n" for line in [names, *rows] if line)


FORMS = {
    "metadata.csv": table("file_name,text", "{0},{2}"),
    "captions.txt": table("image,caption", "{0},{2}"),
    "results.csv": table("image_name| comment_number| comment", "{0}| {1}| {2}"),
    "Flickr8k.token.txt": table("", "{0}#{1}\t{2}"),
    "list.tsv": table("path\tdescription", "./{0}\t {2} "),
    "metadata.jsonl": lines(*({"file_name": name, "captions": [*said]} for name, said in SAID.items())),
    "all.json": json.dumps([{"filename": name, "caption": text} for name, said in SAID.items() for text in said]),
    "captions_val.json": json.dumps(COCO),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table(form: str, tmp_path: Path) -> None:
    draw(tmp_path, *SAID)
    (tmp_path / form).write_text(FORMS[form])
    assert found(tmp_path).captions == SAID
    assert found(tmp_path / form).captions == SAID
    assert found(tmp_path).notes == ()


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    draw(tmp_path, *SAID)
    table = {"image": [*SAID], "caption": [[*said] for said in SAID.values()]}
    parquet.write_table(arrow.table(table), tmp_path / "some.parquet")
    assert found(tmp_path).captions == SAID


def test_a_text_beside_each_picture(tmp_path: Path) -> None:
    draw(tmp_path, "pets/dog.png", "pets/cat.png", "bare.png")
    for name, said in SAID.items():
        (tmp_path / "pets" / name).with_suffix(".txt").write_text("\n".join(said) + "\n\n")
    (tmp_path / "fox.txt").write_text("a fox")
    (tmp_path / "README.md").write_text("about these")
    pictures = found(tmp_path)
    assert pictures.captions == {f"pets/{name}": said for name, said in SAID.items()}
    assert pictures.notes == (
        "captions without a picture, left out: 1 (fox.txt)",
        "pictures without a caption, left out: 1 (bare.png)",
    )


def test_texts_among_which_a_picture_has_one_of_its_name_are_texts(tmp_path: Path) -> None:
    draw(tmp_path, "intro.png")
    for name in ("intro.txt", "more.md", "most.md"):
        (tmp_path / name).write_text("a page")
    assert captions.find(tmp_path) is None


def test_pictures_in_folders_that_the_table_does_not_name(tmp_path: Path) -> None:
    draw(tmp_path / "Images", "dog.png", "cat.png")
    draw(tmp_path, "one/twin.png", "two/twin.png")
    (tmp_path / "captions.txt").write_text(FORMS["captions.txt"] + "twin.png,one of two\ntwo/twin.png,the second\n")
    pictures = found(tmp_path)
    assert pictures.captions == {
        "Images/cat.png": SAID["cat.png"],
        "Images/dog.png": SAID["dog.png"],
        "two/twin.png": ("the second",),
    }
    assert pictures.notes == (
        "pictures that have captions and are not there, left out: 1 (twin.png)",
        "pictures without a caption, left out: 1 (one/twin.png)",
    )


def test_columns_of_other_names(tmp_path: Path) -> None:
    draw(tmp_path, *SAID)
    (tmp_path / "list.csv").write_text("photo,legend\ndog.png,a dog\n")
    with pytest.raises(
        UserError, match=r"pictures \(cat\.png, dog\.png\) and no captions \(list\.csv has the columns photo, legend\)"
    ):
        captions.find(tmp_path)
    assert found(tmp_path, {"image": "photo", "caption": "legend"}).captions == {"dog.png": ("a dog",)}
    (tmp_path / "list.csv").write_text("file_name,text\ndog.png,a dog\n")
    assert captions.find(tmp_path, {"document": "text"}) is None  # asked for as texts


def test_coco_in_its_folders_with_boxes_beside_it(tmp_path: Path) -> None:
    draw(tmp_path, "train2017/dog.png", "val2017/cat.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_all.json").write_text(json.dumps(COCO))
    boxes = {"images": COCO["images"], "annotations": [{"image_id": 7, "bbox": [0, 0, 1, 1]}]}
    (tmp_path / "annotations" / "instances_all.json").write_text(json.dumps(boxes))
    pictures = found(tmp_path)
    assert set(pictures.captions) == {"train2017/dog.png", "val2017/cat.png"}
    assert pictures.parts == {"train2017/dog.png": "train", "val2017/cat.png": "validation"}
    (tmp_path / "annotations" / "captions_all.json").unlink()
    with pytest.raises(UserError, match=r"holds pictures \(.*\) and no captions"):
        captions.find(tmp_path)


def test_a_split_column_is_kept(tmp_path: Path) -> None:
    draw(tmp_path, *SAID)
    (tmp_path / "list.csv").write_text("image,caption,split\ndog.png,a,test\ndog.png,b,test\ncat.png,c,train\n")
    pictures = found(tmp_path)
    assert pictures.parts == {"dog.png": "test", "cat.png": "train"}
    assert pictures.rows().columns["split"] == ["train", "test"]


def test_one_caption_is_held_whatever_their_order(tmp_path: Path) -> None:
    draw(tmp_path, "dog.png", "cat.png", "fox.png")
    (tmp_path / "fox.txt").write_text("a fox\nno cub")
    said = [f"a dog, as number {i} says" for i in range(5)]
    held = []
    for order in (said, said[::-1], said[2:] + said[:2]):
        (tmp_path / "dog.txt").write_text("\n".join(order))
        (tmp_path / "cat.txt").write_text("a cat\nA cat\na cat")  # the same twice is one
        rows = found(tmp_path).rows()
        assert rows.columns["name"] == rows.columns["group"] == ["cat.png", "dog.png", "fox.png"]
        query, document = rows.columns["query"][1], rows.columns["document"][1]
        assert [text for text in order if text != query] == document.split("\n")
        assert {rows.columns["query"][0], rows.columns["document"][0]} == {"a cat", "A cat"}
        held.append(query)
    assert len(set(held)) == 1


def test_one_caption_each_leaves_none_to_ask(tmp_path: Path) -> None:
    draw(tmp_path, "dog.png", "cat.png")
    (tmp_path / "list.csv").write_text("image,caption\ndog.png,a dog\ncat.png,a cat\n")
    pictures = found(tmp_path)
    assert pictures.texts() == {"cat.png": "a cat", "dog.png": "a dog"}
    with pytest.raises(UserError, match=r"each picture has one caption.* twofold index"):
        pictures.rows()
    (tmp_path / "list.csv").write_text("image,caption\ndog.png,a dog\ncat.png,a cat\ncat.png,a tom\n")
    with pytest.raises(
        UserError, match="1 pictures have more than one caption, too few for train, validation and test"
    ):
        found(tmp_path).rows()
    draw(tmp_path, "fox.png", "owl.png")
    more = "".join(f"{name}.png,{text}\n" for name in ("cat", "fox", "owl") for text in ("one", "two"))
    (tmp_path / "list.csv").write_text("image,caption\ndog.png,a dog\n" + more)
    rows = found(tmp_path).rows()
    assert [name for name, query in zip(rows.columns["name"], rows.columns["query"], strict=True) if not query] == [
        "dog.png"
    ]


def test_what_is_counted(tmp_path: Path) -> None:
    draw(tmp_path, *SAID, "bare.png", "blank.png")
    (tmp_path / "list.csv").write_text(
        FORMS["captions.txt"] + "gone.png,not there\ngone.png,nor there\nblank.png, \n,a caption of nothing\n"
    )
    pictures = found(tmp_path)
    assert pictures.captions == SAID
    assert pictures.notes == (
        "pictures that have captions and are not there, left out: 1 (gone.png)",
        "captions without a picture, left out: 1 (row 8 of list.csv)",
        "pictures without a caption, left out: 2 (bare.png, blank.png)",
    )


def test_no_picture_that_is_named_is_there(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,text\ngone.png,a dog\n")
    with pytest.raises(UserError, match=r"none of the 1 pictures .* is there \(the first: gone\.png\)"):
        captions.find(tmp_path / "list.csv")
    draw(tmp_path, "other.png")
    with pytest.raises(UserError, match=r"none of the 1 pictures"):
        captions.find(tmp_path)
    (tmp_path / "list.csv").write_text("image,text\nother.png, \n")
    with pytest.raises(UserError, match="no picture has a caption with a text in it"):
        captions.find(tmp_path)


def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    draw(tmp_path, *SAID)
    (tmp_path / "captions.txt").write_text(FORMS["captions.txt"])
    (tmp_path / "bare.png").write_bytes(b"nobody asks")
    assert found(tmp_path).captions == SAID  # without a caption it is none of the documents
    (tmp_path / "dog.png").write_bytes(b"not even an image")
    with pytest.raises(UserError, match=r"dog\.png is not an image that can be read .*; remove or replace it"):
        captions.find(tmp_path)
    (tmp_path / "cat.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"2 files are not images that can be read \(cat\.png, dog\.png\)"):
        captions.find(tmp_path)


def test_only_the_beginnings_of_pictures_are_read(tmp_path: Path) -> None:
    Image.effect_noise((400, 400), 80).save(tmp_path / "dog.png")
    whole = (tmp_path / "dog.png").read_bytes()
    (tmp_path / "dog.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog.txt").write_text("half a dog")
    assert found(tmp_path).captions == {"dog.png": ("half a dog",)}


@pytest.mark.parametrize(
    "files",
    [
        {"a.csv": "image,text\nnot a file,some text\n"},  # nothing that is called as pictures are
        {"a.csv": "query,document\nq,d\n"},
        {"a.md": "a page"},
        {"a.csv": "text,label\nx,1\n", "a.json": '{"images": 3, "annotations": []}'},
    ],
)
@pytest.mark.parametrize("pictured", [False, True])
def test_what_is_no_captions(files: dict[str, str], pictured: bool, tmp_path: Path) -> None:
    draw(tmp_path, *["logo.png"] * pictured)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert captions.find(tmp_path) is None
    assert captions.find(tmp_path / "a.csv") is None
    assert captions.find(Path("pycode")) is None
