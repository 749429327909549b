"""NoPE: what its theorems say of hand-set weights, and what its report says of schemes that did not learn."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from twofold.catalog import configure
from twofold.data import Rows
from twofold.errors import UserError
from twofold.parts import Alibi, Attention, Mask, Rope, T5Bias
from twofold.systems.mixers.nope import SCHEMES, Nope
from twofold.systems.mixers.nope_report import Result, ranks, report
from twofold.systems.mixers.nope_scratchpad import STEP_PARTS, addition
from twofold.systems.mixers.nope_theory import (
    counted,
    nope_construction,
    with_bias,
    with_slopes,
)
from twofold.tasks.solve import Scores, SolveData

DIM, HEADS = 8, 2


def content(vocab: int = 7, seed: int = 0) -> Tensor:
    return torch.randn(vocab, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain_attention(position: T5Bias | Alibi | None = None) -> Attention:
    torch.manual_seed(0)
    return Attention(DIM, HEADS, causal=True, position=position).double().requires_grad_(False)


def tokens(length: int, start: bool = True) -> Tensor:
    ids = torch.randint(1, 7, (2, length), generator=torch.Generator().manual_seed(1))
    if start:
        ids[:, 0] = 0
    return ids


def t5(seed: int = 3) -> T5Bias:
    bias = T5Bias(HEADS).double()
    torch.nn.init.normal_(bias.weight, generator=torch.Generator().manual_seed(seed))
    return bias.requires_grad_(False)


def by_distance(position: T5Bias | Alibi, longest: int) -> Tensor:
    """The bias of each head at distances 0, 1, …, `[H, longest]`."""
    places = torch.arange(longest)[None]
    return position.bias(places[:, -1:], places)[0, :, 0].flip(-1)


def test_a_network_without_positions_counts_exactly() -> None:
    net = nope_construction(content(), with_slopes(plain_attention(), [0.0, 0.0], 256), 256)
    found = counted(net.states(tokens(256), stop=1), DIM)
    assert (found - torch.arange(1, 257)).abs().max() < 1e-6


def test_without_a_start_token_it_cannot_count() -> None:
    net = nope_construction(content(), with_slopes(plain_attention(), [0.0, 0.0], 256), 256)
    found = counted(net.states(tokens(256, start=False), stop=1), DIM)
    assert (found == found[0, 0]).all()


def test_it_reproduces_a_t5_bias() -> None:
    longest, bias = 150, t5()
    biased = with_bias(plain_attention(), by_distance(bias, longest))
    net = nope_construction(content(), biased, longest)
    ids = tokens(longest)
    x = content()[ids]
    reference = plain_attention(bias)
    torch.testing.assert_close(net.states(ids)[..., :DIM], x + reference(x), rtol=1e-9, atol=1e-9)
    maps = biased.matrix(net.states(ids, stop=1))
    torch.testing.assert_close(maps, reference.matrix(x), rtol=1e-9, atol=1e-9)
    assert (maps - plain_attention().matrix(x)).abs().max() > 0.01


def test_two_features_a_head_are_enough_for_a_linear_bias() -> None:
    position = Alibi(HEADS).double()
    net = nope_construction(content(), with_slopes(plain_attention(), position.slopes, 200), 200)
    ids = tokens(200)
    x = content()[ids]
    expected = x + plain_attention(position)(x)
    torch.testing.assert_close(net.states(ids)[..., :DIM], expected, rtol=1e-9, atol=1e-9)
    assert net.stack.layers[1].mixer.head_dim == DIM // HEADS + 2  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("position", [Rope(), Alibi(HEADS)])
def test_logits_depend_on_the_distance_only(position: Rope | Alibi) -> None:
    torch.manual_seed(0)
    attention = Attention(DIM, HEADS, causal=True, position=position)
    x = torch.randn(1, 6, DIM)

    def logits(offset: int) -> Tensor:
        mask = Mask.causal().at(torch.arange(6)[None] + offset)
        q, k, _, queries, keys = attention.project(x, mask, None)
        return attention.logits(q, k, mask, queries, keys)

    torch.testing.assert_close(logits(0), logits(37), rtol=1e-4, atol=1e-5)
    unplaced = Attention(DIM, HEADS, causal=True)
    unplaced.load_state_dict(attention.state_dict())
    assert not torch.allclose(attention.matrix(x), unplaced.matrix(x), atol=1e-3)


def result(scheme: str, in_range: float, unseen: tuple[float, ...], task: str = "sort") -> Result:
    token = np.array([in_range, in_range, *unseen])
    data = SolveData.made("sort", 2, 3, train=4, each=2)
    net = Nope(dim=16, heads=2, layers=1).network(len(data.names), "alibi", 0)
    return Result(task, scheme, 2, Scores(np.arange(1, len(token) + 1), token, token / 2), -1.0, net, data)


def test_ranks_leave_out_what_was_not_learned() -> None:
    given = [
        result("none", 0.95, (0.8,) * 5 + (0.1,) * 5),
        result("rope", 1.0, (0.5,) * 5 + (0.4,) * 5),
        result("t5", 0.89, (0.9,) * 10),
        result("alibi", 0.99, (0.5,) * 5 + (0.0,) * 5),
    ]
    assert ranks(given) == {
        ("sort", "3 to 7"): {"none": 1, "rope": 2, "alibi": 2},
        ("sort", "8 to 12"): {"none": 2, "rope": 1, "alibi": 3},
    }
    told = report(given)
    assert told.figures["mean_reciprocal_rank.none"] == pytest.approx((1 + 1 / 2) / 2)
    assert "mean_rank.t5" not in told.figures
    rows = {row[1]: row for row in told.tables[0].rows}
    assert rows["t5"][2:5:2] == (0.89, 0.9)
    assert rows["t5"][-1] == "not learned in range"
    assert rows["none"][-1] == ""
    assert "sort with t5" in told.text
    assert told.tables[1].rows[0][2:] == (1, 2, "no rank", 2)


def test_figures_of_one_scheme_have_plain_names() -> None:
    figures = report([result("none", 0.9, (0.5, 0.1)), result("none", 0.8, (0.1, 0.1), "copy")]).figures
    assert figures["accuracy_unseen"] == pytest.approx(0.2)
    assert figures["accuracy_in_range"] == pytest.approx(0.85)
    assert figures["exact_unseen"] == pytest.approx(0.1)


@pytest.mark.parametrize("left", [None, *STEP_PARTS])
def test_scratchpads_show_the_parts_asked_for_and_end_with_the_sum(left: str | None) -> None:
    random.seed(0)
    show = tuple(p for p in STEP_PARTS if p != left)
    signs = {"input": ",", "computation": ":", "output": ">", "variables": "c", "remaining": "|"}
    for length in range(1, 9):
        prompt, answer = addition(length, show=show)
        a, b = re.fullmatch(r"(\d+)\+(\d+)=", prompt).groups()  # type: ignore[union-attr]
        assert len(a) + len(b) == max(2, length)
        steps, _, total = answer.partition("#")
        assert int(total) == int(a) + int(b)
        assert steps.count(";") == max(len(a), len(b))
        assert {p for p, sign in signs.items() if sign in steps} == set(show)
    assert addition(3)[1][0] == "#"


def small(**options: object) -> Nope:
    return replace(configure("nope", **options).small(), steps=3)


def test_the_same_seed_gives_the_same_report() -> None:
    study = small(schemes="nope, sinusoidal")
    assert study.schemes == ("none", "sinusoidal")
    first, second = study.run(None, None, seed=1), study.run(None, None, seed=1)
    assert first == second
    assert first.figures != study.run(None, None, seed=2).figures
    assert first.plots[0].lines.keys() == {"none", "sinusoidal"}
    assert [x for x, _ in first.plots[0].lines["none"]] == [1, 2, 3, 4]


def test_addition_with_a_scratchpad_is_judged_by_its_result() -> None:
    (exercise,) = small(tasks=("addition",), scratchpad="input,output").exercises(None, 0)
    assert exercise.name == "addition (input, output)"
    assert exercise.data.marker == "#"


def test_full_means_every_scheme_and_every_format() -> None:
    study = replace(small(), full=True)
    names = [e.name for e in study.exercises(None, 0)]
    assert len([n for n in names if n.startswith("addition")]) == 7
    assert {"copy", "reverse", "sort", "sum_mod", "parity"} <= set(names)
    for scheme in SCHEMES:
        study.network(10, scheme, 0)


def test_a_generator_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import random\n"
        "def double(length):\n"
        "    text = ''.join(random.choice('abc') for _ in range(length))\n"
        "    return text, text + text\n"
        "def bad(length):\n"
        "    return 3\n"
    )
    study = replace(small(schemes="none"), problems=f"{file}:double")
    state = random.getstate()
    (exercise,) = study.exercises(None, 0)
    assert exercise.data.names[4:] == ("a", "b", "c")
    assert random.getstate() == state
    assert study.run(None, None).figures.keys() >= {"accuracy_unseen"}
    for reference, message in (
        (f"{file}:bad", "must give a prompt and an answer"),
        (f"{file}:doubel", "Did you mean 'double'"),
        (f"{tmp_path}/none.py:x", "no file"),
    ):
        with pytest.raises(UserError, match=message):
            replace(study, problems=reference).exercises(None, 0)


def test_rows_of_ones_own() -> None:
    prompts = ["a", "b", "ab", "ba", "aa", "abab", "bbaa", "baba"]
    splits = ["train"] * 5 + ["test"] * 3
    rows = Rows.of({"prompt": prompts, "answer": prompts}, name="echo", splits=["validation", *splits[1:]])
    told = small(schemes=("none",)).run(None, rows)
    assert told.tables[0].rows[0][0] == "echo"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schemes": "roap"}, "schemes"),
        ({"tasks": ("sorrt",)}, "Did you mean 'sort'"),
        ({"train_len": 5, "test_len": 5}, "raise test_len"),
        ({"dim": 12, "heads": 4}, "does not divide into 4 heads"),
        ({"stepps": 3}, "steps"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure("nope", **{"steps": 1, **options}).run(None, None)
