"""Search: data without leaks, exact indexes, models that come back from their folder."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from twofold.catalog import configure
from twofold.data import Rows
from twofold.errors import UserError
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.inputs import Kept, StateStore, TokenStore
from twofold.tasks.search import LexicalModel, from_rows
from twofold.tasks.search.frozen import frozen_vectors
from twofold.tasks.search.further import train_further
from twofold.tasks.search.lexical import WordSets, hard_negatives, words
from twofold.tasks.search.nested import nested_pairs
from twofold.tasks.search.task import sample
from twofold.tasks.search.vectors import Dense, best


def rows(**columns: list) -> Rows:
    return Rows.of(columns, name="mine")


def test_equal_documents_are_merged_and_keep_every_query() -> None:
    data = from_rows(rows(query=["a", "b", "c"], document=["x", "y", "x"], split=["test"] * 3))
    assert sorted(data.documents) == ["x", "y"]
    asked = {data.queries[i]: {data.documents[d] for d in r} for i, r in enumerate(data.relevant)}
    assert asked == {"a": {"x"}, "b": {"y"}, "c": {"x"}}


def test_a_query_with_two_documents_has_both() -> None:
    data = from_rows(rows(query=["a", "a"], document=["x", "y"], grade=["1", "2"], split=["test", "test"]))
    assert data.queries == ("a",)
    assert sorted(data.relevant[0].values()) == [1, 2]


def test_grade_zero_adds_the_document_and_no_answer() -> None:
    data = from_rows(rows(query=["a", "a"], document=["x", "y"], grade=[1, 0], split=["test"] * 2))
    assert set(data.documents) == {"x", "y"}
    assert sum(len(r) for r in data.relevant) == 1
    (rivals,) = data.rivals
    assert [data.documents[d] for d in rivals] == ["y"]


def test_a_document_without_a_query_is_searched_and_answers_nothing() -> None:
    texts = [f"t{i}" for i in range(40)]
    groups = [f"g{i // 2}" for i in range(40)]
    queries = [f"q{i}" if i < 12 and i % 2 else "" for i in range(40)]
    data = from_rows(rows(query=queries, document=texts, group=groups))
    assert data.documents == tuple(texts)
    assert set(data.queries) == {query for query in queries if query}
    assert {d for relevant in data.relevant for d in relevant} == {1, 3, 5, 7, 9, 11}
    assert all(len(data.asked(part)) for part in ("train", "validation", "test"))  # whatever the others' groups are
    assert [data.document_parts[i] for i in range(0, 40, 2)] == [data.document_parts[i] for i in range(1, 40, 2)]
    (note,) = data.notes
    assert note.startswith("documents without a query")
    assert note.endswith("searched and not asked for: 34")
    alone = from_rows(rows(query=["q1", "q2", "q3"], document=["x", "y", "z"]))
    again = from_rows(rows(query=["", "q1", "q2", "q3"], document=["x", "x", "y", "z"]))  # the same text asked for
    assert again.notes == ()
    assert again.document_parts.tolist() == alone.document_parts.tolist()


def test_documents_without_any_query_are_refused() -> None:
    with pytest.raises(UserError, match=r"none of its 2 documents has a query .* twofold index"):
        from_rows(rows(query=["", None], document=["x", "y"]))


def test_grades_that_tell_nothing_are_refused() -> None:
    with pytest.raises(UserError, match=r"grade '0.9' in row 2 is no whole number"):
        from_rows(rows(query=["a", "b"], document=["x", "y"], grade=["1", "0.9"]))
    with pytest.raises(UserError, match="no query has an answer"):
        from_rows(rows(query=["a", "b"], document=["x", "y"], grade=[0, 0]))


def test_a_part_in_which_nothing_answers_cannot_be_measured() -> None:
    data = from_rows(rows(query=["a", "b"], document=["x", "y"], grade=[1, 0], split=["validation", "test"]))
    with pytest.raises(UserError, match="no query of the part 'test' has an answer"):
        task_named("search").evaluate(LexicalModel(None, None, {}), data)


def test_a_grade_that_is_no_number_is_named() -> None:
    with pytest.raises(UserError, match=r"grade 'good' in row 2"):
        from_rows(rows(query=["a", "b"], document=["x", "y"], grade=["1", "good"]))


def test_no_test_document_is_seen_in_training() -> None:
    data = from_rows(small_rows())
    assert not set(data.pool("train")) & set(data.pool("test"))
    for query, answers in enumerate(data.relevant):
        assert {str(data.document_parts[d]) for d in answers} == {str(data.query_parts[query])}
    assert set(data.pairs[:, 1]) <= set(data.pool("train"))


def test_groups_stay_together() -> None:
    groups = [f"g{i % 20}" for i in range(200)]
    data = from_rows(rows(query=[f"q{i}" for i in range(200)], document=[f"d{i}" for i in range(200)], group=groups))
    parts: dict[str, set[str]] = {}
    for text, part in zip(data.documents, data.document_parts, strict=True):
        parts.setdefault(groups[int(text[1:])], set()).add(str(part))
    assert all(len(p) == 1 for p in parts.values())
    assert len({next(iter(p)) for p in parts.values()}) == 3


def test_limited_keeps_the_same_documents_every_time() -> None:
    data = from_rows(small_rows())
    few = data.limited({"test": 10})
    assert len(few.pool("test")) == 10
    assert few.documents == data.limited({"test": 10}).documents
    assert set(few.documents) <= set(data.limited({"test": 20}).documents)
    for query, answers in enumerate(few.relevant):
        position = data.queries.index(few.queries[query])
        assert {few.documents[d] for d in answers} == {data.documents[d] for d in data.relevant[position]}


def test_samples_of_queries_are_disjoint_and_answered() -> None:
    data = from_rows(small_rows())
    pools, asked = zip(*(sample(data, "test", {"queries": 8, "pool": 16, "sample": n}) for n in range(3)), strict=True)
    assert not set(asked[0]) & set(asked[1])
    for pool, queries in zip(pools, asked, strict=True):
        assert len(pool) == 16
        assert all(d in pool for q in queries for d in data.relevant[q])


def test_words_split_identifiers_and_keep_them() -> None:
    assert words("read_csv the HTTPServer") == ["read_csv", "read", "csv", "httpserver", "http", "server"]


def test_hard_negatives_are_training_documents_that_do_not_answer() -> None:
    data = from_rows(small_rows())
    mined = hard_negatives(data, 2)
    assert mined
    train = set(data.pool("train"))
    for query, negatives in mined.items():
        assert len(negatives) <= 2
        assert set(negatives) <= train
        assert not set(negatives) & set(data.relevant[query])


def mined_texts(answers: list[str], wrong: list[str], refused: tuple[str, ...] = ()) -> list[str]:
    """The hard negatives of one training query; `wrong` answer another one, `refused` were judged not to answer."""
    judged = [("sort big numbers", text, 1, "train") for text in answers]
    judged += [("something else", text, 1, "train") for text in wrong]
    judged += [("sort big numbers", text, 0, "train") for text in refused]
    judged += [("held", "out", 1, part) for part in ("validation", "test")]
    queries, documents, grades, splits = (list(column) for column in zip(*judged, strict=True))
    data = from_rows(rows(query=queries, document=documents, grade=grades, split=splits))
    return [data.documents[d] for d in hard_negatives(data, 9)[data.queries.index("sort big numbers")]]


def test_a_document_far_above_the_answer_is_a_hard_negative() -> None:
    answer, above, below = "numbers in order", "sort big numbers quickly", "numbers drawn by chance from urns"
    assert mined_texts([answer], [below, above]) == [above, below]


def test_near_duplicates_of_an_answer_are_no_hard_negatives() -> None:
    answer = "sort one two three four five six seven eight"  # nine words
    eight_of_ten = "Eight SEVEN six, five, four, three two sort; nine"
    seven_of_eleven = "sort two three four five six seven nine ten"
    assert mined_texts([answer], [eight_of_ten, seven_of_eleven]) == [seven_of_eleven]


def test_near_duplicates_of_any_answer_are_kept_out() -> None:
    first, second = "sort alpha beta gamma delta", "big epsilon zeta eta theta"
    alike = ["the " + second, "of " + first]  # stop words do not count
    assert mined_texts([first, second], [*alike, "numbers"]) == ["numbers"]


def test_what_was_judged_not_to_answer_is_a_hard_negative_however_like_an_answer() -> None:
    answer, judged = "sort one two three four five", "the sort one two three four five"
    assert mined_texts([answer], ["big"], (judged,)) == [judged, "big"]


def test_overlap_is_the_share_of_common_words() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in random.integers(12, size=size)) for size in random.integers(0, 9, 40)]
    first, second = (random.integers(40, size=200) for _ in range(2))
    sets = [set(words(text)) for text in texts]
    by_hand = [len(sets[a] & sets[b]) / max(1, len(sets[a] | sets[b])) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(WordSets(texts).overlap(first, second), by_hand)


def test_exact_search_equals_the_full_product() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, documents = torch.randn(7, 5, generator=generator), torch.randn(30, 5, generator=generator)
    positions, scores = Dense(queries).top(Dense(documents), 6)
    full = (queries @ documents.T).numpy()
    assert (positions == np.argsort(-full, axis=1, kind="stable")[:, :6]).all()
    np.testing.assert_allclose(scores, np.take_along_axis(full, positions, 1), rtol=1e-6)
    assert Dense(queries).top(Dense(documents), 99)[0].shape == (7, 30)


def test_evaluation_equals_ranking_by_hand() -> None:
    task, data, model = task_named("search"), from_rows(small_rows()), small_model()
    evaluation = task.evaluate(model, data, "test", metric="mrr@10")
    pool, asked = data.pool("test"), data.asked("test")
    documents = model.encode([data.documents[i] for i in pool]).values
    queries = model.encode([data.queries[i] for i in asked], side="query").values
    for row, query in enumerate(asked):
        order = [int(pool[i]) for i in torch.argsort(queries[row] @ documents.T, descending=True, stable=True)]
        rank = 1 + min(order.index(d) for d in data.relevant[query])
        assert evaluation.items[row] == pytest.approx(1 / rank if rank <= 10 else 0.0)
    assert evaluation.figures["mrr@10"] == pytest.approx(evaluation.items.mean())


def test_texts_come_back_in_their_order_whatever_their_length() -> None:
    model = small_model()
    texts = ["a", "a much longer text about rivers", "mid size"] * 3
    together = model.encode(texts).values
    for i, text in enumerate(texts):
        torch.testing.assert_close(together[i], model.encode([text]).values[0], rtol=1e-5, atol=1e-6)


def test_a_megabyte_and_an_empty_text() -> None:
    model = small_model()
    assert torch.isfinite(model.encode(["word " * 200_000]).values).all()
    with pytest.raises(UserError, match="document 2 is an empty text"):
        model.encode(["fine", "  "])


@pytest.mark.parametrize("kind", ["encoder", "lexical"])
def test_saved_with_its_index(kind: str, tmp_path) -> None:
    model = small_model() if kind == "encoder" else LexicalModel(None, None, {}).remember("bm25", {})
    documents = small_rows().columns["document"][:20]
    model.index(documents, [f"doc-{i}" for i in range(20)]).save(tmp_path / "m")
    again = load(tmp_path / "m")
    for query in ("paint the red lamp", "zzz"):
        assert again.search(query, 5) == model.search(query, 5)
    assert again.search("paint the red lamp", 1)[0].id.startswith("doc-")


def test_searching_without_an_index_says_what_to_do() -> None:
    with pytest.raises(UserError, match="index documents first"):
        small_model().search("x")
    with pytest.raises(UserError, match="a query is empty"):
        small_model().index(["a"]).search(" ")


def test_a_broken_index_is_refused(tmp_path) -> None:
    small_model().index(["a", "b"]).save(tmp_path / "m")
    (tmp_path / "m" / "index" / "vectors.safetensors").write_bytes(b"garbage")
    with pytest.raises(UserError, match="build the index again"):
        load(tmp_path / "m")
    (tmp_path / "m" / "index" / "documents.jsonl").write_text(json.dumps({"id": 1}))
    with pytest.raises(UserError, match="build it again"):
        load(tmp_path / "m")


def test_given_documents_are_ranked_without_an_index() -> None:
    texts = ["a red lamp", "the river", "a garden with a ladder"]
    for model in (small_model(), LexicalModel(None, None, {})):
        hits = model.rerank("the red lamp", texts)
        assert sorted(hit.text for hit in hits) == sorted(texts)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert texts[int(hits[0].id)] == hits[0].text
        scores = model.pair_scores(["the red lamp", "a river", "the red lamp"], texts)
        assert scores[0] == pytest.approx(next(h.score for h in hits if h.id == "0"), rel=1e-5)
    assert LexicalModel(None, None, {}).rerank("the red lamp", texts, 1)[0].text == "a red lamp"
    with pytest.raises(UserError, match="query is empty"):
        small_model().rerank(" ", texts)


def test_kept_states_give_what_the_whole_network_gives() -> None:
    model = small_model()
    sequences = model.tokens(["a red lamp", "the river", "a garden with a ladder"], "document")
    whole = TokenStore(sequences, 0).take([2, 0, 1]).embed(model.net)
    kept = StateStore(model.net, sequences, 0, 1).take([2, 0, 1]).embed(model.net)
    torch.testing.assert_close(kept, whole, rtol=0.02, atol=0.02)  # kept in bfloat16


def test_vectors_from_kept_states_are_those_of_encode() -> None:
    model, kept = small_model(), Kept(dtype=torch.float32)
    texts = ["a red lamp", "open the door of the old house", "x"]
    whole = model.encode(texts, "query").values
    for layers in (0, 1):
        for _ in range(2):
            found = frozen_vectors(model, texts, "query", kept, layers).values
            torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    assert kept.saved > 0


def test_training_goes_on_in_the_last_layers_alone() -> None:
    model, system = small_model(), replace(configure("gtr").small(), tune_layers=1)
    before = {name: p.clone() for name, p in model.net.named_parameters()}
    history = train_further(system, model, small_rows(), 3, 0)
    assert history.steps == 3
    changed = {name for name, p in model.net.named_parameters() if not torch.equal(p, before[name])}
    last = f"layers.{len(model.net.tower('document').model.stack.layers) - 1}."
    assert any(last in name for name in changed)
    assert not any("embedding" in name for name in changed)
    assert all(p.requires_grad for p in model.net.parameters())
    with pytest.raises(UserError, match="use at most"):
        train_further(replace(system, tune_layers=9), model, small_rows(), 1, 0)


def test_a_loss_of_pairs_at_several_widths_is_their_sum() -> None:
    data, system = from_rows(small_rows()), configure("gtr").small()
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    narrow, whole, both = (nested_pairs(system.loss, model.net, batch, w).value for w in ((8,), (32,), (8, 32)))
    torch.testing.assert_close(both, narrow + whole)
    torch.testing.assert_close(whole, system.loss(model.net, batch).value)


@pytest.mark.parametrize("k", [0, 1, 3, 9, 10, 40, 41, 60])
@pytest.mark.parametrize("kind", ["untied", "tied", "zeros", "odd"])
def test_the_best_are_those_of_a_stable_sort(kind: str, k: int) -> None:
    draw = torch.Generator().manual_seed(k)
    scores = torch.randn(50, 41, generator=draw)
    if kind == "tied":
        scores = scores.mul(2).round()
    if kind == "zeros":
        scores = scores.relu() * (torch.rand(50, 41, generator=draw) < 0.2)
    if kind == "odd":
        odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
        scores = odd[torch.randint(4, (50, 41), generator=draw)]
    wanted = scores.sort(dim=1, descending=True, stable=True)
    index, score = best(scores, k)
    assert (index == wanted.indices[:, :k].numpy()).all()
    np.testing.assert_array_equal(score, wanted.values[:, :k].numpy())
