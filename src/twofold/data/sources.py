"""One door for data: a name or a path in, `Rows` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from twofold.data import standard_library
from twofold.data.code_pairs import renamed_code, rewritten_code
from twofold.data.columns import TEXT_COLUMNS, Table, clean, rename
from twofold.data.digits import digits
from twofold.data.files import UNITS, Unit, missing, read_file
from twofold.data.folders import read_folder
from twofold.data.hub import read_hub
from twofold.data.made.concepts import concepts
from twofold.data.made.histories import histories
from twofold.data.made.languages import languages
from twofold.data.made.respell import respell
from twofold.data.made.scenes import scenes
from twofold.data.made.spread import spread
from twofold.data.made.statements import statements
from twofold.data.made.text_tasks import TEXT_TASKS
from twofold.data.rows import Rows
from twofold.data.splits import adopt
from twofold.errors import UserError, did_you_mean

NAMES: dict[str, Callable[[], Rows]] = {
    "pydoc": standard_library.pydoc,
    "pydoc:texts": standard_library.texts,
    "pycode": standard_library.pycode,
    "pycode:renamed": renamed_code,
    "pycode:rewritten": rewritten_code,
    "statements": statements,
    "concepts": concepts,
    "concepts:gap": partial(concepts, gap=0.5),
    "spread": spread,
    "languages": languages,
    "histories": histories,
    "digits": digits,
    "scenes": scenes,
    "respell": respell,
    **TEXT_TASKS,
}


def read(name_or_path: str | Path, columns: Mapping[str, str] | None = None, *, unit: Unit = "line") -> Rows:
    """Rows from an embedded set, a file, a folder or `hf:<name or folder>[:split]`.

    Args:
        name_or_path: an embedded set such as "pydoc" or "intents"; a csv, tsv, jsonl, json or txt file (gzipped or
            not), a parquet file; a folder; or `hf:` and what `datasets` can load. A path wins over a name when
            written with a separator, as `./pydoc`.
        columns: wanted name → name in the data, as {"query": "question"}. Where all names are numbers, as in
            {"text": "1", "label": "2"}, csv and tsv files have no line of names, and columns are counted.
        unit: what one row of a txt file is: a "line", a "paragraph" (between blank lines) or the whole "file".

    Rows in which a `document` or `text` is empty are left out with a warning that counts them. So are those with an
    empty `query`, but where there is a `document`: what no query asks for can be searched among. A `split` column and
    train/validation/test files fill `Rows.splits`. The page docs/data-formats.md has the details.

    Raises:
        UserError: in one line, what is wrong, where, and what to do.
    """
    if unit not in UNITS:
        raise UserError(f"unit {unit!r} is none of {', '.join(UNITS)}.{did_you_mean(unit, UNITS)}")
    given = str(name_or_path)
    if isinstance(name_or_path, str) and given in NAMES:
        rows = NAMES[given]()
        return rows if not columns else _rows(rename(rows.columns, columns, given), given, rows.source, None)
    if given.startswith("hf:"):
        table, splits = read_hub(given.removeprefix("hf:"))
        return _rows(rename(table, columns, given), given, given, splits)
    path = Path(given).expanduser()
    header = not columns or not all(str(name).isdecimal() for name in columns.values())
    table, splits = _from_path(path, unit, header)
    return _rows(rename(table, columns, given), _stem(path), given, splits)


def _rows(table: Table, name: str, source: str, splits: list[str] | None) -> Rows:
    rows = Rows.of(clean(table, source), name=name, source=source, splits=splits)
    texts = [column for column in TEXT_COLUMNS if column in table and (column != "query" or "document" not in table)]
    return adopt(rows.filled(*texts) if texts else rows)


def _from_path(path: Path, unit: Unit, header: bool) -> tuple[Table, list[str] | None]:
    if path.is_dir():
        return read_folder(path, unit, header)
    if path.exists():
        return read_file(path, unit, header), None
    if path.parent == Path() and not path.suffix and (near := did_you_mean(str(path), NAMES)):
        raise UserError(f"there is no data set, file or folder {str(path)!r}.{near} Known: {', '.join(NAMES)}")
    raise missing(path)


def _stem(path: Path) -> str:
    return path.absolute().name.removesuffix(".gz").split(".")[0] or path.absolute().name
