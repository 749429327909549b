"""Python source taken apart and written another way: names, statements, trees, and the data sets made of them."""

from __future__ import annotations

import ast
import sysconfig
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from twofold.data.code_pairs import distinct
from twofold.data.python_names import places, renamed, tokens, words
from twofold.data.python_rewrites import body_alone, skeleton, with_other_names, with_other_statements
from twofold.data.python_trees import Node, flatten, leaves, pruned, tree_of, unflatten
from twofold.data.rows import Rows
from twofold.errors import UserError

LIBRARY = Path(sysconfig.get_path("stdlib"))
FILES = [(LIBRARY / name).read_text(encoding="utf-8") for name in ("bisect.py", "graphlib.py", "textwrap.py")]

SOURCE = '''def weigh(items, scale=2, *, base=0):
    """Weigh the items."""
    import math as m
    from os import sep
    found = []
    for item, size in items:
        if size > base:
            found.append(m.floor(item.width * size) * scale)  # scale it
    kept = [abs(one) for one in found if one]
    def inner(part):
        return dict(scale=part, base=base), sep, len(kept)
    return max(kept, default=base), inner(scale)
'''


class Item:
    width = 3


def run(source: str, name: str):
    space: dict = {}
    exec(compile(source, "<test>", "exec"), space)
    return space[name]([(Item, 4), (Item, 1), (Item, 0)], base=0)


def test_names_that_belong_to_the_source() -> None:
    found = Counter(place.name for place in places(SOURCE))
    assert set(found) == {
        "weigh", "items", "scale", "base", "m", "found", "item", "size", "kept", "one", "inner", "part",
    }  # fmt: skip
    assert found["scale"] == 3  # parameter, factor, argument: not the keyword, the attribute's kin or the comment
    assert all(SOURCE[p.start : p.end] == p.name for p in places(SOURCE))


def test_every_occurrence_is_found_and_nothing_built_in() -> None:
    for source in FILES:
        names = Counter(place.name for place in places(source))
        assert names
        spelled: Counter[str] = Counter()
        for node in ast.walk(ast.parse(source)):
            name = getattr(node, "id", None) or (node.arg if isinstance(node, ast.arg) else getattr(node, "name", None))
            if isinstance(name, str) and not isinstance(node, ast.alias):
                spelled[name] += 1
        assert all(spelled[name] == count for name, count in names.items())
        assert not set(names) & {"len", "None", "self", "for", "return", "ValueError"}


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    return locals()\n",
        "def (:\n",
        "",
        "class A:\n    size = 1\n    def get(self): return self.size\n",
    ],
)
def test_source_without_names_of_its_own(source: str) -> None:
    assert {p.name for p in places(source)} <= {"A"}
    assert with_other_names("def f(a):\n    return eval('a')\n", 0) == "def f(a):\n    return eval('a')\n"


def test_a_parameter_that_own_code_calls_by_name_stays() -> None:
    found = {p.name for p in places("def f(n, k):\n    return f(n, k=k - 1) if k else g(n=n)\n")}
    assert found == {"f", "n"}


def test_other_names_keep_the_behaviour() -> None:
    for seed in range(3):
        changed = with_other_names(SOURCE, seed)
        own = {p.name for p in places(SOURCE)}
        assert not own & {p.name for p in places(changed)}
        assert len(places(changed)) == len(places(SOURCE))
        name = places(changed)[0].name
        keyword = places(changed)[[p.name for p in places(SOURCE)].index("base")].name
        space: dict = {}
        exec(changed, space)
        assert str(space[name]([(Item, 4), (Item, 1), (Item, 0)], **{keyword: 0})) == str(run(SOURCE, "weigh"))
    assert with_other_names(SOURCE, 1) == with_other_names(SOURCE, 1) != with_other_names(SOURCE, 2)
    assert renamed(SOURCE, {}) == SOURCE


def test_other_statements_keep_the_behaviour() -> None:
    changed = with_other_statements(SOURCE)
    assert run(changed, "weigh") == run(SOURCE, "weigh")
    assert "found = [" in changed
    assert "kept.append(abs(one))" in changed
    assert "dict(base=base, scale=part)" in changed
    assert "Weigh" not in changed
    assert "# scale" not in changed


@pytest.mark.parametrize(
    "body",
    [
        "    a = []\n    for i in x:\n        a.append(i + len(a))\n    return a\n",
        "    a = []\n    for i in x:\n        a.append(i)\n    return a, i\n",
        "    i = 5\n    a = [i for i in x]\n    return a, i\n",
        "    a = []\n"
        "    try:\n        for i in x:\n            a.append(1 // i)\n    except ValueError:\n        pass\n"
        "    return a\n",
    ],
)
def test_loops_that_do_more_than_fill_a_list_stay(body: str) -> None:
    source = f"def f(x):\n{body}"
    assert with_other_statements(source) == ast.unparse(ast.parse(source)) + "\n"


def test_the_body_alone() -> None:
    body = body_alone(SOURCE.replace('    """Weigh the items."""\n', ""))
    assert "def weigh" not in body
    assert "return" not in body
    assert body.startswith("import math as m\n")
    assert "def inner(part):\n    pass\n" in body
    ast.parse(body)
    for source in ("def f(x): return x\n", "x = 1\n", "def f(:"):
        assert body_alone(source) == source
    assert body_alone("def f(x):\n    if x: return 1\n    y = x; return y\n") == "if x: pass\ny = x; pass\n"


def test_near_duplicates_are_found() -> None:
    other = with_other_names(SOURCE, 3).replace("# scale it", "").replace("Weigh the items", "Another")
    assert skeleton(other) == skeleton(SOURCE)
    assert skeleton(SOURCE.replace("> base", "< base")) != skeleton(SOURCE)
    rows = Rows.of({"document": [SOURCE, other, "def f(): pass\n"]})
    assert distinct(rows).columns["document"] == [SOURCE, "def f(): pass\n"]


@pytest.mark.parametrize("source", FILES)
def test_a_flat_tree_gives_back_the_tree_and_its_tokens(source: str) -> None:
    tree = tree_of(source)
    assert tree is not None
    assert unflatten(flatten(tree)) == tree
    layout = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER)
    assert list(leaves(tree)) == [t.string for t in tokens(source) if t.type not in layout]


def test_a_small_tree_by_hand() -> None:
    call = Node("Call", (Node("Name", ("f",)), "(", Node("Constant", ("'é'",)), ")"))
    total = Node("BinOp", (call, "+", Node("Constant", ("1",))))
    assert tree_of("x = f('é') + 1  # note\n") == Node("Module", (Node("Assign", (Node("Name", ("x",)), "=", total)),))
    assert flatten(total)[:4] == ["BinOp::left", "Call::left", "Name::left", "f"]
    assert tree_of("def (") is None


def test_cutting_keeps_whole_subtrees() -> None:
    tree = tree_of(SOURCE)
    assert tree is not None
    whole = flatten(tree)
    for room in (2, 10, 50, 200, 10_000):
        cut = flatten(pruned(tree, room))
        assert len(cut) <= room
        assert unflatten(cut) == pruned(tree, room)
        tokens_left = list(leaves(pruned(tree, room)))
        assert tokens_left == list(leaves(tree))[: len(tokens_left)]
    assert flatten(pruned(tree, len(whole))) == whole
    assert len(flatten(pruned(tree, 60, lambda leaf: 5))) <= 60
    with pytest.raises(UserError, match="at least 2"):
        pruned(tree, 1)
    with pytest.raises(UserError, match="do not pair"):
        unflatten(["Module::left", "x"])


def test_words_are_names_alone() -> None:
    assert words("a.b = 'c'  # d\n") == {"a", "b"}
