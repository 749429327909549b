import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest

from twofold.catalog import Arm, Claim, Guard, Saving, Steps
from twofold.measure import reports

from .pages import Page


def row(id: str, mean: float | None, latency: float | None, **given: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": id,
        "title": f"Title of {id}",
        "quality": None if mean is None else {"mean": mean, "low": mean - 0.01, "high": mean + 0.012},
        "parameters": 22_713_216,
        "megabytes": 90.868,
        "train_seconds": 131.2,
        "latency_ms": None if latency is None else {"median": latency, "p95": latency * 1.4},
        "peak_mb": 1104.2,
        "pareto": False,
        "recommended": False,
        "status": "measured",
        "curve": [],
        "validation": [],
    }
    return {**base, **given}


@pytest.fixture
def data() -> dict[str, Any]:
    curve = [{"seconds": i / 4, "loss": 3 * math.exp(-i / 90)} for i in range(300)]
    judged = [{"seconds": float(i), "ndcg@10": 0.2 + i / 100} for i in range(5)]
    return {
        "task": "search",
        "metric": "ndcg@10",
        "data": {
            "name": "pycode <b>",
            "source": "Python 3.12",
            "fingerprint": "3f9a",
            "counts": {"train": {"documents": 3900, "queries": 810}, "test": {"documents": 5016, "queries": 1060}},
        },
        "rows": [
            row("bm25", 0.181, 0.31, parameters=None, pareto=True),
            row(
                "gtr",
                0.312,
                12.4,
                label="gtr (backbone=minilm, layers=2)",
                recommended=True,
                curve=curve,
                validation=judged,
            ),
            row("splade-plus", 0.21, None, status="dropped at 25 % of the budget", curve=curve[:80], peak_mb=None),
            row("mine", None, None, status="failed: <script>alert(1)</script>", parameters=None, megabytes=None),
        ],
        "recommendation": "Use gtr: +0.131 nDCG@10 over bm25.",
        "notes": ["The pool was cut & so on."],
        "environment": {"python": "3.12.4", "cpu": "a cpu", "cores": 2},
        "budget": {"minutes": 5, "minimum": 9.0, "each": {"seconds": 45}, "raced": True},
    }


def test_compare_page(data: dict[str, Any]) -> None:
    page = Page(reports.compare.render(data))
    page.check()
    for piece in (
        "search: 4 systems compared on pycode <b>",
        "5,016 documents, 1,060 queries",
        "budget 5 min in all, 45 s of training each, raced",
        "Use gtr: +0.131 nDCG@10 over bm25.",
        "★ gtr (backbone=minilm, layers=2)",
        "[0.302, 0.324]",
        "22.7 M",
        "90.9 MB",
        "2 min 11 s",
        "1.10 GB",
        "failed: <script>alert(1)</script>",
        "Not shown, for want of a figure: splade-plus, mine.",
        "at most 120 means",
        "The pool was cut & so on.",
        "a cpu",
        "Least for the whole data 9 min",
    ):
        assert piece in page.text, piece
    assert len(page.every("svg")) == 6
    assert len(page.every("figcaption")) == 3


def test_compare_terminal_at_80_columns_shows_everything(data: dict[str, Any]) -> None:
    shown = reports.compare.terminal(data, 80)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in shown
    heading = next(i for i, line in enumerate(lines) if "system" in line)
    (best,) = [line for line in lines if line.startswith("★")][:1]
    for figure in ("0.312 ± 0.011", "22.7 M", "90.9 MB", "131", "12.4", "17.4", "1,100"):
        assert figure in best
    assert sum("system" in line for line in lines) == 1, "folded"
    assert lines[heading].split()[:1] == ["system"]
    for piece in ("● bm25", "↓ splade-plus", "× mine", "splade-plus: dropped at 25 % of the budget"):
        assert piece in " ".join(shown.split())


@pytest.mark.parametrize("width", [40, 60])
def test_compare_terminal_folds_where_it_must(data: dict[str, Any], width: int) -> None:
    shown = reports.compare.terminal(data, width)
    assert max(map(len, shown.splitlines())) <= width
    for figure in ("0.312 ± 0.011", "22.7 M", "90.9 MB", "131", "12.4", "17.4", "1,100"):
        assert figure in shown


def test_compare_shows_what_systems_cost_in_use(data: dict[str, Any]) -> None:
    assert "In use" not in reports.compare.render(data)
    data["rows"][1]["in_use"] = {"training_tokens_per_second": 12_345.0, "cache_bytes@1024": 2_097_152.0}
    data["rows"][2]["in_use"] = {"training_tokens_per_second": 950.0}
    page = Page(reports.compare.render(data)).text
    for piece in ("training tokens/s", "cache behind 1,024", "12.3 k", "2.10 MB", "950", "–"):
        assert piece in page
    lines = reports.compare.terminal(data, width=100, color=False)
    assert "12.3 k" in lines
    assert "behind 1,024" in lines


def test_compare_with_next_to_nothing() -> None:
    bare = {"task": "search", "metric": "mrr@10", "data": {}, "rows": [{"id": "a"}, {"id": "b", "status": "waiting"}]}
    page = Page(reports.compare.render(bare))
    page.check()
    assert page.every("svg") == []
    assert "– " in reports.compare.terminal(bare, 80) or "–" in reports.compare.terminal(bare, 80)
    reports.compare.render({**bare, "rows": []})


def test_compare_takes_races_and_single_validation_figures(data: dict[str, Any]) -> None:
    raced = copy.deepcopy(data)
    for each in raced["rows"]:
        each["validation"] = 0.2
        each["curve"] = []
        each["rungs"] = [{"share": 0.25, "validation": 0.2}, {"share": 0.5, "validation": 0.25}]
    raced["direction"] = "lower"
    page = Page(reports.compare.render(raced))
    page.check()
    assert "share of the training budget" in page.text
    assert len(page.every("svg")) == 4


def arm(id: str, values: list[float], **options: Any) -> dict[str, Any]:
    costs = {"seconds": [30.0, 31.0, 32.0], "parameters": [1.2e6] * 3, "bytes": [4.8e6] * 3}
    return {"id": id, "options": options, "figures": {"mrr@10": values, "recall@100": [0.6] * 3}, "costs": costs}


def recorded(**given: Any) -> dict[str, Any]:
    claim = Claim(
        says="bigger is better",
        paper="0.420 → 0.458",
        arms=(Arm("gtr", layers=1), Arm("gtr", layers=3)),
        data="pydoc",
        metric="mrr@10",
        **{"by": 0.02, "budget": Steps(400), **given},
    )
    return {
        "id": "gtr",
        "verdict": "holds",
        "why": "mean effect +0.03 reaches +0.02",
        "claim": claim.as_dict(),
        "arms": [
            arm("gtr", [0.21, 0.22, 0.2], layers=1),
            {**arm("gtr", [0.24, 0.25, 0.23], lr=0.001), "tuning": {"lr": {"0.001": 0.25}}},
        ],
        "checks": [{"id": "bm25", "options": {}, "figures": {"mrr@10": [0.3]}, "costs": {}}],
        "effect": {"mean": 0.0312, "low": 0.0121, "high": 0.0503, "level": 0.95, "n": 3},
        "tries": [
            {
                "verdict": "fails",
                "effect": {"mean": -0.01, "low": -0.02, "high": 0.005},
                "configuration": ["a_b", "c|d"],
            }
        ],
        "data": {"name": "pydoc", "source": "Python 3.12", "fingerprint": "3f9a" * 10},
        "seeds": [0, 1, 2],
        "commit": "0123456789abcdef",
        "environment": {"twofold": "0.1.0", "cpu": "a cpu", "cores": 2, "threads": 1},
        "timings": {"arms": {"a": {"median_ms": 1.2, "p95_ms": 1.9}}, "ratio": 2.67},
    }


def test_record_markdown() -> None:
    guard = Guard("accuracy", at_least=0.9)
    shown = reports.record.markdown(recorded(guards=(guard,)))
    for piece in (
        "**Holds.** Mean effect +0.03 reaches +0.02.",
        "Paper: 0.420 → 0.458. Asked here: mrr@10 higher by at least 0.02 on pydoc, 400 steps an arm.",
        "On condition of accuracy of the baseline at least 0.9.",
        "| baseline | gtr (layers=1) | 0.210, 0.220, 0.200 | 0.2100 | 1.20 M | 4.80 MB | 31.0 |",
        "| beside | bm25 | 0.300 | 0.3000 | – | – | – |",
        "- recall@100: 0.600 → 0.600",
        "- gtr, lr = 0.001 (0.001 gave 0.250)",
        r"- fails, −0.01 \[−0.02, +0.005\], a\_b → c\|d",
        "seeds 0, 1, 2; commit 0123456789; twofold 0.1.0; a cpu, 2 cores, 1 thread.",
        "ratio ×2.67",
    ):
        assert piece in shown, piece
    assert not shown.startswith("#")


def test_a_try_that_came_out_the_same_is_shown_once() -> None:
    record = recorded()
    (tried,) = record["tries"]
    nearly = {**tried, "effect": {**tried["effect"], "mean": -0.010000001}}
    record["tries"] = [{**tried, "commit": "a" * 40}, {**tried, "commit": "b" * 40}, {**tried, "commit": "b" * 40}]
    lines = [line for line in reports.record.markdown(record).splitlines() if line.startswith("- fails")]
    assert len(lines) == 1
    assert lines[0].endswith(f"(the same at {'a' * 10} and {'b' * 10})")
    record["tries"] = [tried, nearly]
    lines = [line for line in reports.record.markdown(record).splitlines() if line.startswith("- fails")]
    assert len(lines) == 2, "they only look the same once they are rounded"


def test_record_of_a_parity_claim_on_ratios() -> None:
    given = {"by": -0.05, "parity": True, "saving": Saving("bytes", 0.5), "scale": "ratio", "on": "minilm"}
    record = recorded(**given)
    record["effect"] = {"mean": math.log(1.5), "low": math.log(1.25), "high": math.log(2)}
    shown = reports.record.markdown(record)
    assert "mrr@10 worse by at most ×1.05, with bytes at most ×0.5 on pydoc, from minilm" in shown
    assert reports.record.effect(record) == "×1.5 [1.25, 2]"
    assert reports.record.effect({"claim": {}}) == "–"


def test_record_text_cannot_become_markup() -> None:
    record = recorded()
    record["why"] = "<img src=x> [link](javascript:x) `code` | cell\n# heading"
    shown = reports.record.markdown(record)
    assert "<img" not in shown
    assert r"\[link\]" in shown
    assert "\n# heading" not in shown


def test_record_with_next_to_nothing() -> None:
    record = {"id": "x", "verdict": "void", "claim": {"says": "", "paper": "?", "metric": "m", "by": 1}, "arms": []}
    assert reports.record.markdown(record).startswith("**Void.** Effect –.")
    assert "x: void" in reports.record.terminal(record, 80)


def test_record_terminal_fits() -> None:
    shown = reports.record.terminal(recorded(), 80)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("baseline ") == 1
    assert "0.2100" in shown


def test_study() -> None:
    report = SimpleNamespace(
        figures={"copy accuracy": 0.91234},
        text="NoPE <wins>.",
        tables=[SimpleNamespace(title="Ranks", columns=("scheme", "copy"), rows=(("nope", 0.9123), ("t5", None)))],
        plots=[SimpleNamespace(title="Copy", x="length", y="accuracy", lines={"nope": ((1, 1.0), (2, 0.9))})],
    )
    page = Page(reports.study.render(report, "nope"))
    page.check()
    for piece in ("NoPE <wins>.", "Ranks", "0.912", "copy accuracy 0.9123", "length"):
        assert piece in page.text
    shown = reports.study.terminal(report, 80)
    assert "NoPE <wins>." in shown
    assert "0.9123" in shown
    with pytest.raises(AttributeError):
        _ = reports.nothing
