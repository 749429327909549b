"""Folders of parts, shards, texts and code; data sets of the `datasets` library."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from twofold.data import Rows, read, split
from twofold.data.hub import _parse
from twofold.errors import UserError


def filled(folder: Path, **files: str | bytes) -> Path:
    """A folder with files; `a__b_csv` stands for `a/b.csv`."""
    for name, content in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


FUNCTION = 'def add(a, b):\n    """Give the sum of two numbers."""\n    return a + b\n'


def test_parts_by_file(tmp_path: Path) -> None:
    filled(
        tmp_path, train_csv="text,label\na,0\nb,1\n", dev_csv="text,label\nc,0\n", test_csv="text\nd\n", README_md="x"
    )
    rows = read(tmp_path)
    assert rows.columns == {"text": ["c", "d", "a", "b"], "label": ["0", None, "0", "1"]}
    assert rows.splits == ["validation", "test", "train", "train"]
    assert split(rows).splits == rows.splits
    assert rows.name == tmp_path.name


def test_parts_in_shards_and_the_rest_is_mentioned(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001", "extra"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"text": name}))
    with pytest.warns(UserWarning, match=r"not read, as they name no part: extra\.jsonl"):
        rows = read(folder)
    assert rows.splits == ["test", "train", "train"]


def test_parts_by_folder(tmp_path: Path) -> None:
    rows = read(filled(tmp_path, train__a_md="a", train__b_md="b", test__c_md="c"))
    assert rows.columns["text"] == ["c", "a", "b"]
    assert rows.splits == ["test", "train", "train"]


def test_parts_in_two_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"several formats \(test\.jsonl, train\.csv\); keep one format"):
        read(filled(tmp_path, train_csv="text\na\n", test_jsonl='{"text": "b"}'))


def test_shards_of_one_table(tmp_path: Path) -> None:
    assert read(filled(tmp_path, b_csv="text\nb\n", a_csv="text\na\n")).columns == {"text": ["a", "b"]}


def test_texts_one_document_a_file(tmp_path: Path) -> None:
    filled(tmp_path, a_md="A\n\nmore", sub__b_txt="B", sub__c_js="C", sub__d_bin="D", package_json="{}")
    filled(tmp_path / ".git", x_txt="hidden")
    rows = read(tmp_path)
    assert rows.columns["id"] == ["a.md", "sub/b.txt", "sub/c.js"]
    assert rows.columns["text"] == ["A\n\nmore", "B", "C"]
    filled(tmp_path, bad_txt=b"\xff\x00")
    with pytest.warns(UserWarning, match=r"1 of 4 files left out; the first: .*bad\.txt is binary data"):
        assert len(read(tmp_path)) == 3


def test_python_folders_give_functions(tmp_path: Path) -> None:
    bare = "class Less:\n    @staticmethod\n    def sub(a, b):\n        return a - b\n"
    filled(tmp_path, pkg__ops_py=FUNCTION + bare, pkg__names_py="X = 1\n", broken_py="def f(:")
    filled(tmp_path, NOTES_md="x", README_md="about")
    with pytest.warns(UserWarning, match="left out") as said:
        rows = read(tmp_path)
    assert [str(each.message).removeprefix(f"{tmp_path}: ") for each in said] == [
        "1 Python files left out, this Python cannot parse them: broken.py",
        "1 Python files left out, as no function is in them: pkg/names.py",
        "1 texts left out, beside the code: NOTES.md",
    ]
    assert rows.columns["name"] == rows.columns["id"] == ["pkg/ops.py:add", "pkg/ops.py:Less.sub"]
    assert rows.columns["query"] == ["Give the sum of two numbers.", ""]
    assert rows.columns["document"] == [
        "def add(a, b):\n    return a + b\n",
        "@staticmethod\ndef sub(a, b):\n    return a - b\n",
    ]
    assert rows.columns["group"] == ["pkg.ops", "pkg.ops"]


def test_a_document_without_a_query_stays_and_one_without_text_does_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("query,document\nq,d\n,e\nr,\n")
    with pytest.warns(UserWarning, match="1 of 3 rows left out, empty 'document' in row 3"):
        assert read(tmp_path / "a.csv").columns == {"query": ["q", ""], "document": ["d", "e"]}
    (tmp_path / "a.csv").write_text("query,group\nq,d\n,e\n")
    with pytest.warns(UserWarning, match="1 of 2 rows left out, empty 'query' in row 2"):
        assert read(tmp_path / "a.csv").columns["query"] == ["q"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no file that can be read \(found: none\)"),
        ({"a_bin": "x"}, r"holds no file that can be read \(found: a\.bin\)"),
        ({"a_csv": "text\nx\n", "b_md": "y"}, r"holds tables \(a\.csv\) and texts \(b\.md, …\); name one"),
        ({"a_csv": "text\nx\n", "b_tsv": "text\nx\n"}, r"tables of several formats \(csv, tsv\); name one"),
        (
            {"films_csv": "film,title\n1,x\n", "ratings_csv": "film,user,time\n1,2,3\n"},
            r"different tables: films\.csv has the column 'title', ratings\.csv does not; name one",
        ),
        ({"a_py": "x = 1\n"}, "hold no function; add some"),
        ({"a_txt": b"\xff\x00"}, r"none of the 1 files in .* can be read; the first: .* is binary data"),
        ({"train_csv": "text\nx\n", "test_csv": ""}, r"test\.csv is empty"),
    ],
)
def test_folders_that_cannot_be_read(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(filled(tmp_path, **files))


def test_hub_names() -> None:
    assert _parse("owner/set:train") == ("owner/set", "train")
    assert _parse("owner/set/config") == ("owner/set/config", None)
    assert _parse("C:\\data\\set") == ("C:\\data\\set", None)


def test_hub_sets_from_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = {
        "train": datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features),
        "validation": datasets.Dataset.from_dict({"text": ["c"], "label": [-1]}, features=features),
        "unlabelled": datasets.Dataset.from_dict({"text": ["d"], "label": [0]}, features=features),
    }
    datasets.DatasetDict(made).save_to_disk(tmp_path / "all")
    made["train"].save_to_disk(tmp_path / "one")
    rows = read(f"hf:{tmp_path / 'all'}")
    assert rows.columns == {"text": ["a", "b", "c"], "label": ["no", "yes", None]}
    assert rows.splits == ["train", "train", "validation"]
    only = read(f"hf:{tmp_path / 'all'}:unlabelled", columns={"document": "text"})
    assert (only.columns, only.splits) == ({"document": ["d"], "label": ["no"]}, None)
    one = read(f"hf:{tmp_path / 'one'}")
    assert (one.columns["text"], one.splits) == (["a", "b"], None)
    assert isinstance(one, Rows)
    with pytest.raises(UserError, match=r"no split 'tain'\. Did you mean 'train'\? It has: train, validation"):
        read(f"hf:{tmp_path / 'all'}:tain")
    with pytest.raises(UserError, match=r"cannot be loaded .* check the name, the folder or the network"):
        read("hf:./nothing-here")
    filled(tmp_path / "files", train_csv="text\na\n", test_csv="text\nb\n")
    assert read(f"hf:{tmp_path / 'files'}").splits == ["train", "test"]


def test_hub_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the datasets library; pip install 'twofold\[hub\]'"):
        read("hf:owner/set")
