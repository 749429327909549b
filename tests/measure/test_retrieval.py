import math

import numpy as np
import pytest

from twofold.errors import UserError
from twofold.measure import retrieval

ALL = ("ndcg@10", "ndcg", "mrr@10", "mrr", "recall@3", "recall@100", "precision@5", "map", "map@4", "ndcg@3")


def test_hand_case() -> None:
    qrels = {"q": {"a": 2, "b": 1, "c": 0, "d": 1}}
    run = {"q": {"c": 0.9, "b": 0.8, "x": 0.7, "a": 0.6}}  # ranks: c b x a, d is missed
    found = retrieval.from_run(run, qrels, ("ndcg@10", "mrr@10", "recall@2", "recall@100", "map", "precision@2"))
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg@10"][0] == pytest.approx((1 / math.log2(3) + 2 / math.log2(5)) / ideal)
    assert found["mrr@10"][0] == pytest.approx(1 / 2)
    assert found["recall@2"][0] == pytest.approx(1 / 3)
    assert found["recall@100"][0] == pytest.approx(2 / 3)
    assert found["map"][0] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert found["precision@2"][0] == pytest.approx(1 / 2)


def test_queries_without_results_or_relevant_documents_count_as_zero() -> None:
    qrels = {
        "good": {"a": 1},
        "none relevant": {"a": 0},
        "no judgements": {},
        "not in run": {"a": 1},
        "empty": {"b": 1},
    }
    run = {
        "good": {"a": 1.0},
        "none relevant": {"a": 1.0},
        "no judgements": {"a": 1.0},
        "empty": {},
        "unjudged": {"a": 1.0},
    }
    for name, values in retrieval.from_run(run, qrels, ALL).items():
        assert len(values) == len(qrels), name
        assert values[0] > 0
        assert (values[1:] == 0).all(), name


@pytest.mark.parametrize("run", [{}, {"other": {"a": 1.0}}])
def test_empty_run_gives_zeros(run: dict[str, dict[str, float]]) -> None:
    found = retrieval.from_run(run, {"q": {"a": 1}, "r": {"b": 1}})
    assert {name: values.tolist() for name, values in found.items()} == {
        "ndcg@10": [0, 0],
        "mrr@10": [0, 0],
        "recall@100": [0, 0],
    }
    assert retrieval.means(found) == {"ndcg@10": 0, "mrr@10": 0, "recall@100": 0}
    assert retrieval.means(retrieval.from_run({}, {})) == {"ndcg@10": 0, "mrr@10": 0, "recall@100": 0}


def test_ties_go_to_the_later_id_for_every_metric_and_in_any_order() -> None:
    qrels = {"q": {"a": 1}}
    for documents in (("a", "b"), ("b", "a")):
        found = retrieval.from_run({"q": dict.fromkeys(documents, 0.5)}, qrels, ("mrr@10", "mrr", "map", "ndcg@10"))
        assert found["mrr@10"][0] == found["mrr"][0] == found["map"][0] == 0.5
        assert found["ndcg@10"][0] == pytest.approx(1 / math.log2(3))


def test_scores_that_differ_in_the_last_digits_are_no_tie() -> None:
    run = {"q": {"a": 1.0 + 1e-12, "b": 1.0}}  # equal in 32 bits
    assert retrieval.from_run(run, {"q": {"a": 1}}, ("map",))["map"][0] == 1


def test_positions_equal_the_library_on_random_rankings() -> None:
    generator = np.random.default_rng(0)
    documents, queries, k = 60, 40, 20
    positions = np.stack([generator.permutation(documents)[:k] for _ in range(queries)])
    relevant = [
        {int(d): int(generator.integers(0, 4)) for d in generator.choice(documents, generator.integers(0, 8), False)}
        for _ in range(queries)
    ]
    short = generator.integers(0, k + 1, size=queries)
    for query, length in enumerate(short[:10]):
        positions[query, length:] = -1
    run = {
        f"q{q}": {f"d{d:03}": float(k - place) for place, d in enumerate(row) if d >= 0}
        for q, row in enumerate(positions)
    }
    qrels = {f"q{q}": {f"d{d:03}": g for d, g in judged.items()} for q, judged in enumerate(relevant)}
    expected = retrieval.from_run(run, qrels, ALL)
    found = retrieval.from_positions(positions, relevant, ALL)
    for name in ALL:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-12, err_msg=name)
    assert all(0 < values.mean() < 1 for values in found.values())


def test_positions_without_anything_relevant_or_found() -> None:
    assert retrieval.from_positions([[0, 1]], [{}], ALL)["map"].tolist() == [0]
    assert retrieval.from_positions([[-1, -1]], [{3: 1}], ALL)["ndcg@10"].tolist() == [0]
    assert retrieval.from_positions(np.zeros((2, 0), int), [{3: 1}, {}], ALL)["mrr@10"].tolist() == [0, 0]
    assert retrieval.from_positions(np.zeros((0, 5), int), [], ALL)["recall@3"].tolist() == []


def test_a_negative_judgement_is_not_relevant() -> None:
    found = retrieval.from_positions([[0, 1]], [{0: -1, 1: 1}], ("mrr@10", "ndcg@10"))
    library = retrieval.from_run({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": -1, "b": 1}}, ("mrr@10", "ndcg@10"))
    assert found["mrr@10"][0] == library["mrr@10"][0] == 0.5
    assert found["ndcg@10"][0] == pytest.approx(library["ndcg@10"][0])


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"unknown retrieval metric 'ndgc@10'.*'ndcg@10'"):
        retrieval.from_run({}, {}, ("ndgc@10",))
    with pytest.raises(UserError, match="recall@100"):
        retrieval.from_positions([[0]], [{}], ("recall",))
    with pytest.raises(UserError, match="cutoff"):
        retrieval.from_positions([[0]], [{}], ("ndcg@0",))
    with pytest.raises(ValueError, match="twice"):
        retrieval.from_positions([[1, 1]], [{}])
    with pytest.raises(ValueError, match="2 queries"):
        retrieval.from_positions([[1, 2]], [{}, {}])
    with pytest.raises(ValueError, match="integers"):
        retrieval.from_positions([[1.0, 2.0]], [{}])
    with pytest.raises(ValueError, match="not a number"):
        retrieval.from_run({"q": {"a": math.nan}}, {"q": {"a": 1}})
