"""The task `solve`: packed batches that do not leak, and scores that mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from twofold.catalog import Steps
from twofold.data import Rows
from twofold.data.made.algorithms import END, FIRST, problems
from twofold.errors import UserError
from twofold.objectives import causal
from twofold.parts import Mask, presets
from twofold.tasks import task
from twofold.tasks.solve import Packed, SolveData, SolveModel, solve_loss
from twofold.training import Recipe, train


def solver(vocab: int, position: str = "rope", names: tuple[str, ...] = (), marker: str | None = None) -> SolveModel:
    torch.manual_seed(0)
    net = presets.decoder(vocab, 32, 2, 4, position=position)
    return SolveModel(net.eval(), None, {"names": list(names), "marker": marker})


@pytest.mark.parametrize("position", ["none", "sinusoid", "t5", "alibi", "rope"])
@pytest.mark.parametrize("batch", [8, 7])
def test_a_packed_batch_costs_what_its_problems_cost_alone(position: str, batch: int) -> None:
    given = problems("copy", (1, 6), batch, 0)
    packed = Packed(given, batch, 0)(0, 0.0)
    net = solver(given.vocabulary.size, position).net
    ids, real, counted = given.sequences()
    total, count = 0.0, 0
    net.requires_grad_(False)
    for row, here, answer in zip(ids, real, counted, strict=True):
        alone = torch.from_numpy(row[here])[None]
        loss = causal(net(alone, Mask.causal()), alone, torch.from_numpy(answer[here])[None])
        total, count = total + float(loss.value) * answer.sum(), count + answer.sum()
    assert float(solve_loss(net, packed).value) == pytest.approx(total / count, rel=1e-5)
    assert int(packed.counted.sum()) == count


def test_packing_wastes_little_and_depends_on_the_step_alone() -> None:
    given = problems("copy", (1, 10), 640, 0)
    batches = Packed(given, 64, 1)
    batch = batches(3, 0.2)
    assert torch.equal(batch.ids, batches(3, 0.8).ids)
    assert batch.ids.shape[0] == 32
    assert (batch.ids != 0).float().mean() > 0.9
    assert not torch.equal(batch.ids, batches(4, 0.2).ids)


def scored(answers: list[list[int]], marker: str | None = None) -> tuple[float, float]:
    """Scores of a model that answers as told, on one set of copying problems of length 3: 0 1 2, twice."""
    given = problems("copy", 3, 2, 0, symbols=5)
    given.answers[:] = [[FIRST, FIRST + 1, FIRST + 2, END]] * 2
    model = solver(given.vocabulary.size, names=tuple(given.vocabulary.names()), marker=marker)
    model._answers = lambda prompts, limit: answers  # type: ignore[method-assign]
    scores = model.score([given])
    assert scores.lengths.tolist() == [3]
    return float(scores.token[0]), float(scores.exact[0])


@pytest.mark.parametrize(
    ("first", "token", "exact"),
    [
        ([4, 5, 6, END], 1, 1),
        ([4, 5, 6, 7], 1, 0),  # does not end
        ([4, 5, END], 2 / 3, 0),
        ([5, 4, 6, END], 1 / 3, 0),
        ([], 0, 0),
    ],
)
def test_token_accuracy_and_exact_match(first: list[int], token: float, exact: float) -> None:
    right = [4, 5, 6, END]
    assert scored([first, right]) == pytest.approx(((token + 1) / 2, (exact + 1) / 2))


def test_with_a_marker_only_the_result_counts() -> None:
    # The answer 0 1 2 with marker "1" holds the working 0 and the result 2.
    assert scored([[8, 5, 6, END], [4, 5, 5, 6, END]], marker="1") == (1, 1)
    assert scored([[4, 5, 7, END], [4, 6, 6, END]], marker="1") == (0, 0)


def test_a_trained_model_solves_problems() -> None:
    def echo(length: int) -> tuple[str, str]:
        text = "".join(np.random.choice(list("abc"), length))
        return text, text

    data = SolveData.from_function("echo", echo, 1, 2, train=64, each=16)
    model = solver(len(data.names), names=data.names)
    before = model.log_likelihood(data.validation)
    train(model.net, solve_loss, Packed(data.train, 16, 0), Steps(60), Recipe(lr=1e-2))
    assert model.log_likelihood(data.validation) > before
    figures = task("solve").evaluate(model, data).figures
    assert figures["token_accuracy_in_range"] > 0.9
    assert figures["token_accuracy"] == pytest.approx(
        (figures["token_accuracy_in_range"] + figures["token_accuracy_unseen"]) / 2
    )
    assert model.solve(["a", ["c"]]) == [["a"], ["c"]]
    assert model.solve("b") == ["b"]
    with pytest.raises(UserError, match="unknown symbol 'd'"):
        model.solve("abd")


def test_made_problems_repeat_and_parts_differ() -> None:
    one, two = (SolveData.made("sort", 3, 6, train=50, each=5, seed=4) for _ in range(2))
    assert one.fingerprint == two.fingerprint
    assert np.array_equal(one.train.prompts, two.train.prompts)
    assert [int(p.lengths[0]) for p in one.test] == [1, 2, 3, 4, 5, 6]
    assert [len(p) for p in one.validation] == [5, 5, 5]
    assert not np.array_equal(one.validation[2].prompts, one.test[2].prompts)
    assert one.train_len == 3


def test_rows_of_problems() -> None:
    columns = {
        "prompt": ["1 2", "2 1", "1 2 3", "3 2 1"],
        "answer": ["1 2", "1 2", "1 2 3", "1 2 3"],
        "split": ["train", "validation", "test", "test"],
    }
    work = task("solve")
    data = work.read(Rows.of(columns, splits=columns["split"]))
    assert data.names[4:] == ("1", "2", "3")
    assert data.train_len == 2
    assert [int(p.lengths[0]) for p in data.test] == [3]
    assert work.describe(data)["counts"]["test"] == {"problems": 2}
    texts = work.read(
        Rows.of({**columns, "prompt": ["ab", "ba", "abc", "cba"], "answer": ["x"] * 4}, splits=columns["split"])
    )
    assert texts.names[4:] == ("a", "b", "c", "x")
    with pytest.raises(UserError, match="answer"):
        work.read(Rows.of({"prompt": ["a"]}))
    with pytest.raises(UserError, match="whole numbers"):
        work.read(Rows.of({**columns, "length": ["two"] * 4}, splits=columns["split"]))


def test_embedded_names_and_cuts() -> None:
    work = task("solve")
    data = work.read("algorithms:reverse")
    assert data.name == "reverse"
    assert len(work.cut(data, 0.1).train) == len(data.train) // 10
    with pytest.raises(UserError, match="Did you mean 'reverse'"):
        work.read("algorithms:revers")


def test_sums_that_are_asked_were_never_trained_on() -> None:
    work = task("solve")
    data = work.read("algorithms:add(length=3, train=500)")
    assert work.describe(data)["counts"] == {part: {"problems": n} for part, n in _SIZES.items()}
    assert data.name == "add(length=3, train=500)"
    parts = (data.train, *data.validation, *data.test)
    asked = [{frozenset((tuple(r[1:4]), tuple(r[5:8]))) for r in given.prompts.tolist()} for given in parts]
    assert [len(part) for part in asked] == [500, 1000, 1000]
    assert len(set.union(*asked)) == 2500
    assert data.names[FIRST:] == (*map(str, range(10)), "+")
    batch = Packed(data.train, 8, 0)(0, 0.0)
    assert batch.counted.sum(1).tolist() == [10] * 4  # four digits and the end, two sums a row
    longer = work.read("algorithms:add")
    assert (longer.train_len, len(longer.test)) == (10, 20)


def test_digits_of_a_sum_are_scored_alone() -> None:
    data = SolveData.unseen("add", 2, 20, each=2)
    right = [row.tolist() for row in data.test[0].answers]
    model = solver(len(data.names), names=data.names)
    model._answers = lambda prompts, limit: [[*right[0][:3], FIRST], [right[1][0], *[END] * 3]]  # type: ignore[method-assign]
    figures = task("solve").evaluate(model, data).figures
    assert figures["token_accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    assert figures["exact_match"] == 0


_SIZES = {"train": 500, "validation": 1000, "test": 1000}


def test_functions_are_called_with_seeded_generators() -> None:
    def noisy(length: int) -> tuple[list[int], list[float]]:
        values = np.random.randint(0, 3, length).tolist()
        return values, values[::-1]

    one, two = (SolveData.from_function("noisy", noisy, 2, 3, train=9, each=4, seed=s) for s in (0, 0))
    other = SolveData.from_function("noisy", noisy, 2, 3, train=9, each=4, seed=1)
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.names[4:] == ("0", "1", "2")
    assert replace(one, name="x").train_len == 2
