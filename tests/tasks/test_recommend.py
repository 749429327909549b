"""Recommending: histories from rows, leave-one-out, figures, and the plain baselines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.errors import UserError
from twofold.measure import recommendation
from twofold.tasks import task
from twofold.tasks.examples import small_histories
from twofold.tasks.recommend import from_rows


def rows(**columns: list) -> Rows:
    return Rows.of(columns, name="mine")


def test_histories_are_ordered_by_time_and_ties_keep_their_order() -> None:
    data = from_rows(
        rows(
            userId=["a", "b", "a", "a", "a", "b", "b", "c"],
            movieId=[1, 1, 2, 3, 4, 5, 6, 7],
            timestamp=["5", "1", "3", "3", "9", "2", "10", "1"],
            rating=[1.0] * 8,
        )
    )
    named = {u: [data.items[i] for i in h] for u, h in zip(data.users, data.histories, strict=True)}
    assert named == {"a": ["2", "3", "1", "4"], "b": ["1", "5", "6"]}
    assert data.notes == ("1 users with fewer than 3 events were left out",)
    assert [data.items[i] for i in data.wanted("test")] == ["4" if u == "a" else "6" for u in data.users]
    assert [data.items[i] for i in data.wanted("validation")] == ["1" if u == "a" else "5" for u in data.users]
    learned = [[data.items[i] for i in h] for h in data.known("train")]
    assert sorted(learned, key=len) == [["1"], ["2", "3"]]
    assert [len(h) for h in data.known("validation")] == [len(h) for h in learned]
    assert [len(h) for h in data.known("test")] == [len(h) + 1 for h in learned]
    assert data.counts.sum() == 3


def test_lines_of_two_words_and_dates(tmp_path) -> None:
    (tmp_path / "log.txt").write_text("u1 a\nu1 b\nu1 c\nu2 a\n")
    assert task("recommend").read(tmp_path / "log.txt").items == ("a", "b", "c")
    data = from_rows(rows(user=["u"] * 3, item=["a", "b", "c"], time=["2024-03-01", "2024-01-31", "2024-02-01"]))
    assert [data.items[i] for i in data.histories[0]] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"user": ["a"], "thing": ["x"]}, "no column 'item'"),
        ({"user": ["a", "a"], "item": ["x", "y"]}, "no user has 3 events"),
        ({"user": ["a"] * 3, "item": ["x"] * 3, "time": ["1", "", "3"]}, "time is empty in row 2"),
        (
            {"user": ["a"] * 3, "item": ["x"] * 3, "time": ["1", "Monday", "3"]},
            "the time 'Monday' in row 2 is no number",
        ),
    ],
)
def test_rows_that_are_refused(columns, says) -> None:
    with pytest.raises(UserError, match=says):
        from_rows(rows(**columns))


def test_figures_by_hand() -> None:
    scores = np.array([[0.9, 0.5, 0.7, 0.1], [0.2, 0.2, 0.2, 0.9], [0.1, 0.2, 0.3, 0.4]])
    seen = np.zeros((3, 4), bool)
    seen[0, 0] = True  # what was taken before is not ranked
    seen[2, 0] = True  # but the wanted item always is
    ranks = recommendation.ranks(scores, np.array([1, 0, 0]), seen)
    assert ranks.tolist() == [2.0, 3.0, 4.0]  # equal scores share the mean of ranks 2, 3 and 4
    found = recommendation.figures(ranks)
    assert found["hr@1"].tolist() == [0, 0, 0]
    assert found["hr@5"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(found["ndcg@10"], [1 / np.log2(3), 1 / np.log2(4), 1 / np.log2(5)])
    np.testing.assert_allclose(found["mrr"], [1 / 2, 1 / 3, 1 / 4])
    assert recommendation.figures(np.array([11.0]))["ndcg@10"].tolist() == [0]


def test_sampled_ranks_draw_unseen_items_by_popularity() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(2000, 30))
    popularity = np.array([0] * 10 + [1] * 10 + [9] * 10, float)
    seen = np.zeros(scores.shape, bool)
    seen[:, 29] = True
    wanted = np.zeros(2000, int)
    scores[:, 29] = 99  # seen, so never above
    scores[:, 1:10] = 50  # nobody took them, so never drawn
    ranks = recommendation.sampled_ranks(scores, wanted, seen, popularity, count=5)
    assert ranks.min() >= 1
    assert ranks.max() <= 6
    scores[:, :20], scores[:, 20:29] = 0, 1
    scores[:, 0] = 0.5
    assert recommendation.sampled_ranks(scores, wanted, seen, popularity, count=5).mean() - 1 > 3.5
    everything = recommendation.sampled_ranks(scores, wanted, seen, np.ones(30), count=99)
    np.testing.assert_array_equal(everything, recommendation.ranks(scores, wanted, seen))


def test_evaluation_equals_ranking_by_hand() -> None:
    job = task("recommend")
    data = job.read(small_histories())
    model = configure("item-knn").fit(data, Steps(1)).model
    found = job.evaluate(model, data)
    for user, history in enumerate(data.histories):
        scores = model.scores([history[:-1]])[0]
        again = history[-1] in history[:-1]
        others = [i for i in range(len(data.items)) if i != history[-1] and (again or i not in history[:-1])]
        own = scores[history[-1]]
        rank = 1 + sum(scores[i] > own for i in others) + sum(scores[i] == own for i in others) / 2
        assert found.items[user] == pytest.approx(1 / np.log2(1 + rank) if rank <= 10 else 0)


def test_made_histories_hold_nothing_twice_and_pairs_come_before_what_follows_them() -> None:
    data = task("recommend").read(small_histories())
    assert all(len(set(history)) == len(history) for history in data.histories)
    groups = [[int(data.items[i][1:]) // 6 for i in history] for history in data.histories]
    steps = np.concatenate([np.diff(g) % 4 for g in groups])
    assert (steps == 0).mean() > 0.5  # they stay
    followers = [(h, n) for h in data.histories for n, i in enumerate(h) if int(data.items[i][1:]) % 6 >= 4]
    assert len(followers) > 20
    for history, place in followers:
        name = int(data.items[history[place]][1:])
        before = [int(data.items[i][1:]) for i in history[max(0, place - 6) : place]]
        assert sum(b // 6 == name // 6 for b in before) >= 2


def test_baselines_count_what_they_say() -> None:
    events = {"a": "x y z y q", "b": "x y z x q", "c": "y z x y q", "d": "x z y z q"}
    data = from_rows(
        rows(user=[u for u, h in events.items() for _ in h.split()], item=" ".join(events.values()).split())
    )
    number = {name: i for i, name in enumerate(data.items)}
    popular, markov, near = (
        configure(id, **options).fit(data, Steps(1)).model
        for id, options in (("most-popular", {}), ("markov", {}), ("item-knn", {"shrink": 0.0}))
    )
    learned = data.known("train")
    counts = [sum(history.count(i) for history in learned) for i in range(len(data.items))]
    assert popular.scores([[number["x"]]])[0].tolist() == counts
    follows = [sum(list(pairwise(h)).count((number["x"], i)) for h in learned) for i in range(4)]
    told = markov.scores([[number["z"], number["x"]]])[0]
    assert [int(value) for value in told] == follows  # what is added for popularity stays below 1
    sets = [{u for u, h in enumerate(learned) if i in h} for i in range(len(data.items))]
    told = near.scores([[number["x"], number["z"]]])[0]
    for i in range(len(data.items)):
        cosines = [
            len(sets[i] & sets[j]) / max(1e-9, (len(sets[i]) * len(sets[j])) ** 0.5)
            for j in (number["x"], number["z"])
            if j != i
        ]
        assert told[i] == pytest.approx(sum(cosines), rel=1e-5)


def test_a_cut_keeps_the_same_users() -> None:
    job = task("recommend")
    data = job.read(small_histories())
    few = job.cut(data, 0.5)
    assert len(few.users) == 20
    assert few.users == job.cut(data, 0.5).users
    assert few.items == data.items


def test_an_empty_history_is_refused() -> None:
    data = task("recommend").read(small_histories())
    model = configure("most-popular").fit(data, Steps(1)).model
    with pytest.raises(UserError, match="a history is empty"):
        model.scores([[]])
    with pytest.raises(UserError, match="has no vectors of items"):
        model.embed_items()


def test_items_are_those_of_the_model_by_name() -> None:
    made = task("recommend")
    events = [(f"u{u}", f"i{(3 * u + 5 * k) % 17}", k) for u in range(30) for k in range(6)]

    def read(events, name="{}"):
        users, items, times = zip(*events, strict=True)
        return from_rows(rows(user=[*users], item=[name.format(i) for i in items], time=[*times]))

    data = read(events)
    model = configure("item-knn").fit(data, Steps(1)).model
    exact = made.evaluate(model, data).figures
    other = made.evaluate(model, read(events[::-1])).figures
    assert {k: v for k, v in exact.items() if "sampled" not in k} == pytest.approx(
        {k: v for k, v in other.items() if "sampled" not in k}
    )
    some = made.evaluate(model, read([e for e in events if e[0] in ("u3", "u4")]))
    assert len(some.items) == 2
    new = [(user, f"new-{item}" if time == 5 else item, time) for user, item, time in events]
    with pytest.warns(UserWarning, match="does not know 17 of 34 items"):
        assert set(made.evaluate(model, read(new)).figures.values()) == {0.0}
    with pytest.raises(UserError, match="knows none of the items"):
        made.evaluate(model, read(events, "other-{}"))


def test_dates_are_sorted_as_dates() -> None:
    data = from_rows(
        rows(user=["u"] * 3, item=["a", "c", "b"], time=["2024-01-05", "2024-02-01", "2024-01-31T10:00+02:00"])
    )
    assert [data.items[i] for i in data.histories[0]] == ["a", "b", "c"]
    for times in (["2024-01-31", "2024-1-5", "2024-02-01"], [1, 2, "nan"], [1, 2, "2024-01-31"]):
        with pytest.raises(UserError, match=r"the time .* in row [23] is no"):
            from_rows(rows(user=["u"] * 3, item=["a", "b", "c"], time=times))
