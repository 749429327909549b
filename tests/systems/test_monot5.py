"""monoT5 [31]: what must hold."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.parts import WordScorer
from twofold.systems.retrieval.monot5 import one_token
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_rows
from twofold.tasks.search import PairModel
from twofold.tasks.search.pairs import LowerStates, windows
from twofold.tasks.search.task import pairs_of

QUERIES = ["find the red lamp", "sell the old table quickly", "open it"]
DOCUMENTS = ["The lamp is red. People find it.", "A table.", "It opens beside the river, they say, every day."]


@pytest.fixture(scope="module")
def data() -> Any:
    return task_named("search").read(small_rows())


@pytest.fixture(scope="module", params=["t5-1x32", "encoder-1x32"])
def model(request: Any, data: Any) -> PairModel:
    made = dataclasses.replace(configure("monot5").small(), backbone=request.param).start(data, 0)
    assert isinstance(made, PairModel)
    return made


def test_the_score_is_the_log_softmax_over_two_logits(model: PairModel) -> None:
    net = model.net
    assert isinstance(net, WordScorer)
    (ids,) = model.template.join(model.tokenizer, QUERIES[:1], DOCUMENTS[:1])
    logits = net(torch.tensor([ids]))[0].double()
    by_hand = logits[net.yes] - torch.logaddexp(logits[net.yes], logits[net.no])
    assert model.pair_scores(QUERIES[:1], DOCUMENTS[:1])[0] == pytest.approx(by_hand.item(), rel=1e-5)


def test_swapped_words_negate_the_log_odds(model: PairModel) -> None:
    net = model.net
    assert isinstance(net, WordScorer)
    swapped = WordScorer(net.model, net.no, net.yes)

    def odds(scores: np.ndarray) -> np.ndarray:
        return scores - np.log1p(-np.exp(scores))

    other = PairModel(swapped, model.tokenizer, model.spec)
    there, back = (odds(m.pair_scores(QUERIES, DOCUMENTS).astype(np.float64)) for m in (model, other))
    np.testing.assert_allclose(there, -back, rtol=1e-3, atol=1e-5)


def test_padding_in_a_batch_changes_no_score(model: PairModel) -> None:
    together = model.pair_scores(QUERIES, DOCUMENTS)
    alone = [model.pair_scores([q], [d])[0] for q, d in zip(QUERIES, DOCUMENTS, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_a_document_of_one_window_scores_as_a_whole_and_others_as_their_best(model: PairModel) -> None:
    split = PairModel(model.net, model.tokenizer, {**model.spec, "window": 2, "stride": 1})
    text = "The lamp is red. People find it. It is old. A river runs there."
    one = split.pair_scores(QUERIES[:1], DOCUMENTS[:1])
    np.testing.assert_array_equal(one, model.pair_scores(QUERIES[:1], DOCUMENTS[:1]))
    parts = ["The lamp is red. People find it.", "People find it. It is old.", "It is old. A river runs there."]
    assert windows(text, 2, 1) == parts
    best = model.pair_scores(QUERIES[:1] * 3, parts).max()
    assert split.pair_scores(QUERIES[:1], [text])[0] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(("count", "size", "stride"), [(1, 10, 5), (10, 10, 5), (11, 10, 5), (23, 10, 5), (7, 2, 2)])
def test_windows_hold_every_sentence(count: int, size: int, stride: int) -> None:
    made = [w.split(". ") for w in windows(" ".join(f"s{i}." for i in range(count)), size, stride)]
    held = [[s.rstrip(".") for s in w] for w in made]
    assert {s for w in held for s in w} == {f"s{i}" for i in range(count)}
    assert all(len(w) == min(size, count) for w in held)
    assert all(int(b[0][1:]) - int(a[0][1:]) <= stride for a, b in itertools.pairwise(held))


def test_only_query_and_document_are_cut(model: PairModel) -> None:
    template, tokenizer = model.template, model.tokenizer
    assert tokenizer is not None
    short, long = template.join(tokenizer, ["a", "a " * 50], ["b", "b " * 500])
    ending = short[-3:]
    assert long[-3:] == ending
    assert len(long) == len(short) + template.query_tokens + template.document_tokens - 2
    with pytest.raises(UserError, match="a document is an empty text"):
        template.join(tokenizer, ["a"], [" "])


def test_a_two_way_network_answers_at_its_mask(data: Any) -> None:
    system = configure("monot5")

    class Tokens:
        mask = 7

    assert system.asks(Tokens(), causal=True) == ()
    assert system.asks(Tokens(), causal=False) == (7,)


def test_the_loss_is_teacher_forcing_of_the_right_word(model: PairModel, data: Any) -> None:
    system = configure("monot5").small()
    batch = system.batches(model, data, 0)(0, 0.0)
    net = model.net
    assert isinstance(net, WordScorer)
    logs = batch.pairs.embed(net).log_softmax(1)
    flat = batch.grades[batch.counted]
    assert (flat > 0).any()
    assert (flat == 0).any()
    by_hand = -torch.where(flat > 0, logs[:, net.yes], logs[:, net.no]).mean()
    torch.testing.assert_close(system.loss(net, batch).value, by_hand)


def test_states_behind_frozen_layers_are_kept_and_change_nothing(model: PairModel) -> None:
    kept = LowerStates(1)
    sequences = model.template.join(model.tokenizer, QUERIES, DOCUMENTS)
    whole = LowerStates(0).inputs(model.net, sequences, 0).embed(model.net)
    for _ in range(2):
        torch.testing.assert_close(kept.inputs(model.net, sequences, 0).embed(model.net), whole, rtol=1e-5, atol=1e-5)
    assert LowerStates(1, limit=1).inputs(model.net, sequences, 0).embed(model.net).shape == whole.shape


def test_pairs_are_told_apart(model: PairModel, data: Any) -> None:
    made = pairs_of(data, "test", 40)
    assert [g for _, _, g in made] == [1, 0] * 20
    assert all((d in data.relevant[q]) == bool(g) for q, d, g in made)
    found = task_named("search").evaluate(model, data, "test", pairs=40)
    scores = model.pair_scores([data.queries[q] for q, _, _ in made], [data.documents[d] for _, d, _ in made])
    wins = [(a > b) + 0.5 * (a == b) for a in scores[::2] for b in scores[1::2]]
    assert found.figures["auc"] == pytest.approx(np.mean(wins))
    with pytest.raises(UserError, match="ask for fewer"):
        pairs_of(data, "test", 4000)


def test_a_saved_model_searches_and_scores_alike(data: Any, tmp_path: Any) -> None:
    model = configure("monot5").small().fit(data, Steps(2)).model
    model.index(data.documents[:30])
    again = load(model.save(tmp_path / "model"))
    assert isinstance(again, PairModel)
    assert again.search("find the red lamp", 5) == model.search("find the red lamp", 5)


def test_bad_input_is_refused_with_a_way_out(data: Any) -> None:
    system = configure("monot5").small()
    tokenizer = system.start(data, 0).tokenizer
    assert tokenizer is not None
    with pytest.raises(UserError, match=r"the word 'redold' is \d tokens \('red', .*choose another word"):
        one_token(tokenizer, "redold")
    with pytest.raises(UserError, match="'ŋ' is not in the vocabulary"):
        one_token(tokenizer, "ŋ")
    with pytest.raises(UserError, match="are the same token"):
        dataclasses.replace(system, words=("red", "red")).start(data, 0)
    with pytest.raises(UserError, match=r"needs \{query\} and then \{document\}"):
        dataclasses.replace(system, template="{document} {query}").start(data, 0)
    with pytest.raises(UserError, match="skips sentences"):
        dataclasses.replace(system, window=2, stride=3).fit(data, Steps(1))
    with pytest.raises(UserError, match="queries with negatives"):
        dataclasses.replace(system, examples=10**6).fit(data, Steps(1))
