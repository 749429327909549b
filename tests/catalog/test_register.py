"""How classes become systems, ids become classes, and options are checked."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from twofold.catalog import Arm, Card, add_file, baseline, configure, register, resolve, system
from twofold.errors import UserError

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def toy(registered: None) -> Any:
    @system(
        "toy",
        number=1,
        title="A Toy",
        tasks=("search", "language"),
        source="https://arxiv.org/abs/1",
        year=2020,
        needs=("play",),
        simplified=("it is a toy",),
    )
    class Toy:
        """A toy that does nothing.

        More about it.
        """

        kind: ClassVar[str] = "model"
        claim: ClassVar[None] = None
        rate: float = Field(0.5, gt=0, le=1, description="how fast")
        size: Literal["small", "large"] = "small"
        widths: tuple[int, ...] = (1, 2)
        name: str | None = None

    return Toy


def test_the_card_is_made_from_class_and_decorator(toy) -> None:
    assert toy.card == Card(
        id="toy",
        title="A Toy",
        kind="model",
        family="own",
        tasks=("search", "language"),
        summary="A toy that does nothing",
        number=1,
        source="https://arxiv.org/abs/1",
        year=2020,
        needs=("play",),
        simplified=("it is a toy",),
    )
    assert toy.card.as_dict()["tasks"] == ("search", "language")


def test_a_baseline_has_no_number() -> None:
    @baseline("plain", title="Plain", tasks=("search",))
    class Plain:
        """Plain."""

        kind: ClassVar[str] = "model"

    assert Plain.card.number is None
    assert "number" not in Plain.card.as_dict()


def test_options_are_frozen_and_have_defaults(toy) -> None:
    made = configure("toy")
    assert (made.rate, made.size, made.widths, made.name) == (0.5, "small", (1, 2), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.rate = 0.1
    assert configure("toy") == configure("toy")
    assert configure("toy") != configure("toy", rate=0.1)


def test_options_come_from_an_arm_or_by_name(toy) -> None:
    assert configure(Arm("toy", rate=0.1)).rate == 0.1
    assert configure(Arm("toy", rate=0.1), rate=0.2).rate == 0.2
    assert configure("toy", widths=[3]).widths == (3,)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rat": 1}, "unknown option of toy 'rat'. Did you mean 'rate'?"),
        ({"rate": 2}, "toy: option 'rate' is 2: input should be less than or equal to 1"),
        ({"rate": "fast"}, "toy: option 'rate' is 'fast': input should be a valid number"),
        ({"size": "smal"}, "toy: option 'size' is 'smal': input should be 'small' or 'large'"),
        ({"widths": ["x"]}, "toy: option 'widths.0' is 'x'"),
    ],
)
def test_what_is_not_allowed_is_named_in_one_line(toy, options, says) -> None:
    with pytest.raises(UserError) as caught:
        configure("toy", **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_options_are_options(toy) -> None:
    with pytest.raises(UserError, match="unknown option of toy 'kind'"):
        configure("toy", kind="study")
    with pytest.raises(UserError, match="Known: name, rate, size, widths"):
        configure("toy", no_such_option=1)


def test_an_option_that_is_needed() -> None:
    @baseline("needy", title="Needy", tasks=("search",))
    class Needy:
        """Needy."""

        kind: ClassVar[str] = "model"
        what: str

    with pytest.raises(UserError, match=r"needy: option 'what' is needed; give it with --set what="):
        configure("needy")


def test_annotated_options_are_checked() -> None:
    @baseline("noted", title="Noted", tasks=("search",))
    class Noted:
        """Noted."""

        kind: ClassVar[str] = "model"
        count: Annotated[int, Field(ge=1)] = 1

    with pytest.raises(UserError, match="option 'count' is 0"):
        configure("noted", count=0)


def test_a_system_says_what_it_is() -> None:
    class Silent:
        kind: ClassVar[str] = "model"

    Silent.__module__ = "silent"
    sys.modules["silent"] = type(sys)("silent")
    try:
        with pytest.raises(ValueError, match="silent: a system says what it is"):
            baseline("silent", title="Silent", tasks=())(Silent)
    finally:
        del sys.modules["silent"]


def test_resolve_imports_the_module_that_the_index_names(shelve, tmp_path, monkeypatch) -> None:
    (tmp_path / "shelved.py").write_text(
        "from typing import ClassVar\nfrom twofold.catalog import baseline\n"
        "@baseline('shelved', title='Shelved', tasks=('search',))\n"
        "class Shelved:\n    '''Shelved.'''\n    kind: ClassVar[str] = 'model'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    shelve({"id": "shelved", "family": "x", "module": "shelved"})
    assert "shelved" not in sys.modules
    assert resolve("shelved").__name__ == "Shelved"
    monkeypatch.delitem(sys.modules, "shelved")


def test_an_unknown_id_names_the_nearest(shelve) -> None:
    shelve({"id": "lamp", "family": "x", "module": "nowhere"}, {"id": "river", "family": "x", "module": "nowhere"})
    with pytest.raises(UserError, match=r"unknown system 'lmap'. Did you mean 'lamp'\? Known: "):
        resolve("lmap")


FILE = """
from typing import ClassVar
from twofold.catalog import baseline

@baseline("mine", title="Mine", tasks=("search",))
class Mine:
    '''Mine.'''
    kind: ClassVar[str] = "model"
    size: int = 1

class Bare:
    pass
"""


def test_add_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    assert add_file(f"{tmp_path}/mine.py:Mine") == "mine"
    assert configure("mine", size=2).size == 2
    assert "mine" in register.own()


@pytest.mark.parametrize(
    ("content", "reference", "says"),
    [
        (None, "nothing.py:Mine", "no file"),
        (FILE, "mine.py", "no file"),
        (FILE, "mine.py:Bare", "has no registered system 'Bare'; decorate the class"),
        (FILE, "mine.py:Other", "has no registered system 'Other'"),
        ("1 / 0", "mine.py:Mine", "could not be imported: ZeroDivisionError: division by zero"),
        ("def (", "mine.py:Mine", "could not be imported: SyntaxError"),
    ],
)
def test_a_file_without_a_system(tmp_path, monkeypatch, content, reference, says) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UserError) as caught:
        add_file(reference)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def plugin(tmp_path, monkeypatch, shelve):
    """An installed package that offers a system by entry point."""
    (tmp_path / "twofold_plugin.py").write_text(FILE.replace('"mine"', '"plugged"'))
    information = tmp_path / "twofold_plugin-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: twofold-plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[twofold.systems]\nplugged = twofold_plugin:Mine\nmisnamed = twofold_plugin:Mine\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("twofold_plugin", None)


def test_an_installed_plug_in_is_found_by_name(plugin) -> None:
    assert resolve("plugged").__name__ == "Mine"
    with pytest.raises(UserError, match="Did you mean 'plugged'"):
        resolve("pluged")


def test_a_plug_in_must_register_what_it_is_named(plugin) -> None:
    with pytest.raises(UserError, match="is named 'misnamed' but registers no such system"):
        resolve("misnamed")
