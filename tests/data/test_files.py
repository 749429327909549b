"""Files as people have them: right ones are read, wrong ones get one line that names the fix."""

from __future__ import annotations

import csv
import gzip
import json
import random
import sys
import warnings
from pathlib import Path

import pytest

from twofold.data import read
from twofold.data.rows import Rows
from twofold.errors import UserError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


PAIRS = {"query": ["q 1", "q, 2"], "document": ["d\n1", 'd "2"']}


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "csv.gz", "tsv.gz", "jsonl.gz", "json.gz"])
def test_tables_come_back(tmp_path: Path, ending: str) -> None:
    records = [dict(zip(PAIRS, values, strict=True)) for values in zip(*PAIRS.values(), strict=True)]
    path = tmp_path / f"pairs.{ending}"
    with gzip.open(path, "wt", newline="") if ending.endswith("gz") else open(path, "w", newline="") as file:
        if "sv" in ending:
            writer = csv.DictWriter(file, list(PAIRS), delimiter="\t" if "tsv" in ending else ",")
            writer.writeheader()
            writer.writerows(records)
        elif "jsonl" in ending:
            file.writelines(json.dumps(record) + "\n" for record in records)
        else:
            json.dump(records, file)
    rows = read(path)
    assert rows.columns == PAIRS
    assert (rows.name, rows.source, rows.splits) == ("pairs", str(path), None)
    assert rows.fingerprint == read(str(path)).fingerprint


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({**PAIRS, "grade": [1, None]}), tmp_path / "pairs.parquet")
    assert read(tmp_path / "pairs.parquet").columns == {**PAIRS, "grade": [1, None]}
    with pytest.raises(UserError, match="not a whole parquet file"):
        read(written(tmp_path, "cut.parquet", (tmp_path / "pairs.parquet").read_bytes()[:-20]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow; pip install 'twofold\[parquet\]'"):
        read(tmp_path / "pairs.parquet")


def test_txt_by_line_paragraph_and_file(tmp_path: Path) -> None:
    path = written(tmp_path, "t.txt", "one\r\n\r\ntwo\r\nmore\u2028x\n \n\n")
    assert read(path).columns == {"text": ["one", "two", "more\u2028x"]}
    assert read(path, unit="paragraph").columns == {"text": ["one", "two\nmore\u2028x"]}
    assert read(path, unit="file").columns == {"text": [path.read_bytes().decode()]}
    with pytest.raises(UserError, match="Did you mean 'line'"):
        read(path, unit="lines")  # type: ignore[arg-type]
    packed = written(tmp_path, "t.txt.gz", gzip.compress(b"one\ntwo"))
    assert read(packed).columns == {"text": ["one", "two"]}


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("query;document\nq1;a, b\nq2;c\n", {"query": ["q1", "q2"], "document": ["a, b", "c"]}),
        ("query|document\nq1|a;b\n", {"query": ["q1"], "document": ["a;b"]}),
        ("\ufeffquery,document\r\nq1,a\r\n\r\n", {"query": ["q1"], "document": ["a"]}),
        ("query,document,\nq1,a,x\n", {"query": ["q1"], "document": ["a"], "column 3": ["x"]}),
        ("query,document,note\nq1,a\n", {"query": ["q1"], "document": ["a"], "note": [""]}),
        ("text\nhello there\n", {"text": ["hello there"]}),
        ('query,document\n"foo" bar,5" disk\n', {"query": ["foo bar"], "document": ['5" disk']}),
    ],
)
def test_kinds_of_csv(tmp_path: Path, content: str, columns: dict[str, list]) -> None:
    assert read(written(tmp_path, "t.csv", content)).columns == columns


def test_quotation_marks_in_tsv_are_characters_where_they_are_no_marks(tmp_path: Path) -> None:
    rows = read(written(tmp_path, "t.tsv", 'query\tdocument\n"foo\tbar\nb\t"x" y\n'))
    assert rows.columns == {"query": ['"foo', "b"], "document": ["bar", '"x" y']}


def test_a_text_of_a_megabyte(tmp_path: Path) -> None:
    long = "word " * 250_000
    limit = csv.field_size_limit()
    assert read(written(tmp_path, "t.csv", f"text\n{long}\n")).columns["text"] == [long]
    assert csv.field_size_limit() == limit
    assert read(written(tmp_path, "t.jsonl", json.dumps({"text": long}))).columns["text"] == [long]


def test_columns_are_renamed(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "text,body,label\na,b,c\n")
    rows = read(path, {"text": "body", "body": "text"})
    assert rows.columns == {"text": ["b"], "body": ["a"], "label": ["c"]}
    assert read(path, {"text": "label"}).columns == {"text": ["c"], "body": ["b"]}
    with pytest.raises(UserError, match=r"no column 'lable' to use as 'text'\. Did you mean 'label'\?"):
        read(path, {"text": "lable"})


def test_a_split_column_is_respected(tmp_path: Path) -> None:
    rows = read(written(tmp_path, "t.csv", "text,split\na,train\nb,dev\nc,test\nd,train\n"))
    assert rows.splits == ["train", "validation", "test", "train"]
    with pytest.raises(UserError, match=r"'split' says 'foo' in row 1"):
        read(written(tmp_path, "u.csv", "text,split\na,foo\n"))
    assert read(tmp_path / "u.csv", {"other": "split"}).splits is None


def test_odd_values_in_text_columns(tmp_path: Path) -> None:
    content = '{"text": "a \\ud83d b", "x": "\\udc00"}\n{"text": 5}\n{"text": NaN}\n{"x": 1}\n'
    with pytest.warns(UserWarning, match="2 of 4 rows left out, empty 'text' in row 3 and others"):
        rows = read(written(tmp_path, "t.jsonl", content))
    assert rows.columns == {"text": ["a \ufffd b", "5"], "x": ["\ufffd", None]}


def fails(path: Path, content: str | bytes | None) -> str:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), path.name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", None, "there is no file or folder a.csv; check the path"),
        ("a.csv", "", "a.csv is empty; give a file with data in it"),
        ("a.csv", "\n \n", "a.csv is empty; give a file with data in it"),
        ("a.csv", "query,document\n", "a.csv holds no rows; add some, or give another file"),
        (
            "a.csv",
            "text\nok\ncaf\u00e9 x\n".encode("latin1"),
            "a.csv is not UTF-8: line 3, byte 4 is 0xE9; re-encode it: iconv -f LATIN1 -t UTF-8 a.csv > utf8-a.csv",
        ),
        (
            "a.csv",
            b"\xef\xbb\xbftext\n\xff\n",
            "a.csv is not UTF-8: line 2, byte 1 is 0xFF; re-encode it: iconv -f LATIN1 -t UTF-8 a.csv > utf8-a.csv",
        ),
        (
            "a.csv",
            b"PK\x03\x04more",
            "a.csv is a zip archive (as spreadsheets are: save the sheet as csv), not text; give a file of text, "
            "such as csv or jsonl",
        ),
        (
            "a.csv",
            b"\x1f\x8bmore",
            "a.csv is packed by gzip (let its name end in .gz), not text; give a file of text, such as csv or jsonl",
        ),
        ("a.csv", b"text\n\0\1\xff\n", "a.csv is binary data, not text; give a file of text, such as csv or jsonl"),
        (
            "a.txt",
            "text".encode("utf-16"),
            "a.txt is not UTF-8 but UTF-16; re-encode it: iconv -f UTF-16 -t UTF-8 a.txt > utf8-a.txt",
        ),
        (
            "a.csv",
            'query,document\nq,"a\nq2,b\nq3,c\n',
            "a.csv, line 2: a quotation mark opens in this row and is never closed; close or double it",
        ),
        (
            "a.csv",
            "query,document\nq,a\nq,a, b\n",
            "a.csv, line 3: 3 fields where the first line names 2; put quotation marks around fields that contain ','",
        ),
        ("a.csv", "x,x\n1,2\n", "a.csv, line 1: column 'x' stands twice in the first line; rename one of them"),
        (
            "a.csv",
            "query,document\nq,\nr, \n",
            "a.csv: each of its 2 rows has an empty 'document'; fill them in",
        ),
        (
            "a.jsonl",
            '{"text": "a"}\n\n{"text": \n',
            "a.jsonl, line 3, column 10: not JSON (Expecting value); mend or remove that line",
        ),
        ("a.jsonl", "[1]\n", 'a.jsonl, line 1: a list where an object is needed; write {"text": …}'),
        ("a.json", '{"text": "a"}', "a.json holds an object; a list of objects is needed: [{…}, {…}]"),
        ("a.json", '[{"text": "a"}, 3]', "a.json: item 2 is a number; a list of objects is needed"),
        ("a.json", "[]", "a.json holds no rows; add some, or give another file"),
        (
            "a.jsonl",
            '{"text": ["x"]}',
            "a.jsonl: column 'text' holds a list in row 1 (['x']), a text is needed; give that column as text, "
            "or another one with --columns text=OTHER",
        ),
        (
            "a.doc",
            "x",
            "a.doc is of no kind that can be read ('.doc' is unknown); "
            "use .csv, .tsv, .jsonl, .json, .parquet or .txt (all but parquet also with .gz)",
        ),
        (
            "a.csv.gz",
            b"text",
            "a.csv.gz is not a whole gzip file (Not a gzipped file (b'te')); pack or fetch it again",
        ),
    ],
)
def test_errors_name_the_place_and_the_fix(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    assert fails(tmp_path / name, content) == message


def test_more_that_cannot_be_read(tmp_path: Path) -> None:
    assert "not a whole gzip file" in fails(tmp_path / "a.txt.gz", gzip.compress(b"text " * 1000)[:-6])
    assert "line 1: JSON that cannot be read" in fails(tmp_path / "a.jsonl", "[" * 200_000)
    assert "line 1: JSON that cannot be read" in fails(tmp_path / "b.jsonl", '{"text": ' + "9" * 5000 + "}")
    (tmp_path / "pairs.csv").write_text("a,b\n1,2\n")
    assert "Did you mean 'pairs.csv'?" in fails(tmp_path / "pair.csv", None)
    with pytest.raises(UserError, match=r"'pycod'\. Did you mean 'pycode'\?"):
        read("pycod")


def test_json_that_is_jsonl(tmp_path: Path) -> None:
    assert read(written(tmp_path, "t.json", '{"text": "a"}\n{"text": "b"}\n')).columns == {"text": ["a", "b"]}


def test_garbage_is_read_or_refused_but_never_crashes(tmp_path: Path) -> None:
    chance = random.Random(0)
    alphabet = [*'{}[]",;:\t|\n\r\\ aé0.-', "text", "query", '"text":', "null", "\ud7ff", "\0", "\ufeff"]
    read_well, messages = 0, []
    for trial in range(600):
        kind = chance.choice(["csv", "tsv", "jsonl", "json", "txt", "parquet", "csv.gz", "jsonl.gz"])
        if trial % 3:
            content = "".join(chance.choices(alphabet, k=chance.randrange(80))).encode("utf-8", "surrogatepass")
        else:
            content = chance.randbytes(chance.randrange(80))
        if trial % 2 and kind.endswith("gz"):
            content = gzip.compress(content)
        path = tmp_path / f"garbage.{kind}"
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                rows = read(path)
            except UserError as error:
                messages.append(str(error))
            else:
                assert len(rows) > 0
                read_well += 1
    assert min(read_well, len(messages)) > 30
    assert not [message for message in messages if "\n" in message or len(message) > 1500]


def test_tables_without_a_line_of_names_are_counted(tmp_path) -> None:
    folder = tmp_path / "parted"
    folder.mkdir()
    for part, line in (("train", "good film\t1"), ("dev", "bad film\t0"), ("test", "fine\t1")):
        (folder / f"{part}.tsv").write_text(line + "\n")
    rows = read(folder, columns={"text": "1", "label": "2"})
    assert rows.columns == {"text": ["bad film", "fine", "good film"], "label": ["0", "1", "1"]}
    assert rows.splits == ["validation", "test", "train"]
    with pytest.raises(UserError, match=r"no line of names, count its columns: --columns text=1"):
        Rows.of({"good film": ["x"], "1": ["0"]}, source="train.tsv").require("text")
