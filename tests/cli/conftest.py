"""A small world for the command line: a register of a few systems, a person's file, models that were never trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from twofold.catalog import index, register
from twofold.cli import main

CARDS: dict[str, list[dict[str, Any]]] = {
    "baselines": [
        {
            "id": "bm25",
            "title": "Okapi at TREC-3",
            "kind": "model",
            "family": "baselines",
            "tasks": ["search"],
            "summary": "BM25: lexical search without training",
            "needs": ["keyword search"],
            "module": "twofold.systems.baselines.bm25",
            "options": {
                "b": {"default": 0.75, "minimum": 0, "maximum": 1, "type": "number", "description": "length"},
            },
        }
    ],
    "compression": [
        {
            "id": "stat",
            "number": 100,
            "title": "STAT: Shrinking Transformers After Training",
            "kind": "transform",
            "family": "compression",
            "tasks": ["search", "language"],
            "summary": "Cuts neurons and heads that the others can replace",
            "source": "https://arxiv.org/abs/2406.00061",
            "year": 2024,
            "needs": ["shrink a BERT without labels"],
            "simplified": ["nothing is approximated"],
            "module": "twofold.systems.compression.stat",
            "options": {
                "keep": {"default": 0.7, "exclusiveMinimum": 0, "maximum": 1, "type": "number", "description": "share"},
                "heads": {"default": True, "type": "boolean", "description": "cut heads too"},
            },
            "claim": {
                "says": "the correction costs nothing and keeps quality",
                "paper": "better on GLUE",
                "arms": [{"id": "kcm", "options": {"keep": 0.7}}, {"id": "stat", "options": {}}],
                "data": "pycode",
                "metric": "mrr@10",
                "by": 0.03,
                "repeats": 3,
                "repeat": "sample",
                "direction": "higher",
                "budget": {"steps": 300},
            },
            "verdict": "holds",
        }
    ],
}

OWN = '''
"""Systems of a person's own."""
from pathlib import Path
from typing import ClassVar, Literal
from pydantic import Field
from twofold.catalog import Arm, Claim, baseline
from twofold.tasks import Fitted, ModelSystem, Plot, Report, StudySystem, Table, TransformSystem
from twofold.tasks.search import LexicalModel


@baseline("pocket", title="Pocket", tasks=("search",), source="https://arxiv.org/abs/1234.56789")
class Pocket(ModelSystem):
    """A model that is trained in no time, once it has been interrupted."""

    trains: ClassVar[bool] = True
    rate: float = Field(0.5, gt=0, lt=10, description="how fast")
    words: tuple[str, ...] = Field((), description="names")
    minutes: float = Field(1.0, gt=0, description="called like an argument of the command")
    interrupted: bool = Field(False, description="stop the first time")

    def fit(self, data, budget, *, seed=0, folder=None, until=None):
        went_on = False
        if self.interrupted:
            went_on = (Path(folder) / "half").exists()
            if not went_on:
                Path(folder).mkdir(parents=True)
                (Path(folder) / "half").touch()
                raise KeyboardInterrupt
        model = LexicalModel(None, None, {"k1": 1.2, "b": 0.75})
        return Fitted(model.remember(self.id, self.options(), {"went_on": went_on}))

    @staticmethod
    def restore(saved):
        return LexicalModel.restore(saved)


class _Mark(TransformSystem):
    def apply(self, model, rows, *, seed=0):
        changed = model.copy()
        layers = [{"layer": "first", "kept": 3}, {"layer": "second", "kept": 4}]
        report = {"rows": len(rows), "size": self.size, "layers": layers}
        return changed.remember(self.id, self.options(), report)


@baseline("mark", title="Mark", tasks=("search",))
class Mark(_Mark):
    """Leaves a mark."""

    size: float = Field(1.0, gt=0, description="of the mark")


@baseline("trace", title="Trace", tasks=("search",))
class Trace(_Mark):
    """Leaves another."""

    size: float = Field(2.0, gt=0, description="of the mark")


@baseline("ponder", title="Ponder", tasks=("search",))
class Ponder(StudySystem):
    """Counts."""

    schemes: tuple[Literal["one", "two", "three"], ...] = Field(("one",), description="what to count")

    def run(self, model, rows, *, seed=0):
        table = Table("Counts", ("scheme", "number"), tuple((s, i + 1) for i, s in enumerate(self.schemes)))
        plot = Plot("Growth", "step", "count", {"a line": ((0.0, 1.0), (1.0, 3.0))})
        texts = rows.columns["text"] if rows is not None else []
        figures = {"schemes": float(len(self.schemes)), "letters": float(sum(map(len, texts)))}
        return Report(figures, (table,), (plot,), "It was counted.")
'''


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A register of two systems in place of the package's."""
    folder = tmp_path / "index"
    folder.mkdir()
    for family, entries in CARDS.items():
        (folder / f"{family}.json").write_text(json.dumps(entries))
    monkeypatch.setattr(index, "FOLDER", folder)
    index.cards.cache_clear()
    yield
    index.cards.cache_clear()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of a person's own systems; they are forgotten after the test."""
    for id in ("bm25", "stat"):  # a module that is first imported below would be forgotten as well
        register.resolve(id)
    monkeypatch.setattr(register._registered, "classes", dict(register._registered.classes))
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    return str(file)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pairs(here: Path) -> str:
    """A person's file of questions and answers."""
    things = ("lamp", "table", "river", "engine", "garden", "letter", "window", "basket")
    rows = [
        {"question": f"where is the {thing} number {i}", "answer": f"The {thing} number {i} stands in room {i % 7}."}
        for i in range(5)
        for thing in things
    ]
    (here / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "pairs.jsonl"


COLUMNS = "--columns=query=question,document=answer"


@pytest.fixture
def lexical(pairs: str, cards: None, run: Callable[..., Ran]) -> str:
    """The folder of a BM25 model with its index."""
    ran = run("fit", "bm25", pairs, COLUMNS, "-o", "lexical")
    assert ran.code == 0, ran.error
    return "lexical"


@pytest.fixture
def encoder(here: Path) -> str:
    """The folder of a random encoder without an index."""
    from twofold.tasks.examples import small_model

    small_model().save(here / "encoder")
    return "encoder"


@pytest.fixture
def several(here: Path) -> Callable[[str], tuple[str, float]]:
    """A small search model by its system's id, untrained: its folder, and what it gives "a lamp" with "a lamp"."""

    def made(id: str) -> tuple[str, float]:
        from twofold.catalog import configure
        from twofold.tasks import task
        from twofold.tasks.examples import small_rows

        model = configure(id).small().start(task("search").read(small_rows()), 0)
        model.save(here / id)
        return id, float(model.pair_scores(["a lamp"], ["a lamp"])[0])

    return made


@pytest.fixture
def decoder(here: Path) -> str:
    """The folder of a random language model over bytes."""
    import torch

    from twofold.data.tokenizers import ByteTokenizer
    from twofold.parts import presets
    from twofold.tasks.language import LanguageModel

    torch.manual_seed(0)
    tokenizer = ByteTokenizer()
    net = presets.decoder(vocab=tokenizer.vocab_size, dim=16, layers=1, heads=2, kv_heads=1, max_len=64)
    LanguageModel(net.eval(), tokenizer, {"length": 64}).save(here / "decoder")
    return "decoder"


class Ran(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command line in this process."""

    def go(*words: str) -> Ran:
        capsys.readouterr()
        code = main(list(words))
        return Ran(code, *capsys.readouterr())

    return go
