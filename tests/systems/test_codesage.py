"""CodeSage [91]: what must hold."""

from __future__ import annotations

import ast
import dataclasses

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.data.python_names import places
from twofold.data.tokenizers import train_bpe
from twofold.objectives import info_nce, weighted_info_nce
from twofold.objectives.masked import Tokens
from twofold.systems.retrieval.codesage import NamedBatch, hide_all, hide_names, named
from twofold.tasks import task
from twofold.tasks.search import PairBatch
from twofold.tasks.search.pretraining import TextBatch

CODE = "def scale(items, rate):\n    total = sum(items)\n    return [total * rate for one in items if one]\n"


def unit(seed: int, rows: int = 5) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, 4), dim=1)


def test_every_occurrence_of_a_name_is_hidden_and_nothing_else() -> None:
    tokenizer = train_bpe([CODE] * 3, 300)
    ids = tokenizer.encode([CODE], max_len=200)[0]
    marks = named(tokenizer, CODE, 200)
    assert len(marks) == len(ids)
    hide = Tokens(tokenizer.mask, tokenizer.vocab_size)
    row = torch.tensor([ids])
    batch = NamedBatch(row, torch.ones_like(row, dtype=torch.bool), hide, torch.tensor([marks], dtype=torch.bool))
    hidden, labels = hide_names(batch)
    left = tokenizer.decode(hidden[0].tolist())
    own = {place.name for place in places(CODE)}
    assert own == {"scale", "items", "rate", "total", "one"}
    assert not any(name in left for name in own)
    assert all(word in left for word in ("def", "sum", "return", "for", "in", "if"))
    assert (hidden[0] == tokenizer.mask).sum() == sum(marks) == (labels != -100).sum()
    assert (labels[hidden == tokenizer.mask] == row[hidden == tokenizer.mask]).all()
    for limit in (4, 9, 15):
        assert len(named(tokenizer, CODE, limit)) == len(tokenizer.encode([CODE], max_len=limit)[0])


def test_hidden_tokens_are_all_masks_and_as_many_as_asked() -> None:
    ids = torch.randint(5, 100, (20, 500))
    batch = TextBatch(ids, torch.ones_like(ids, dtype=torch.bool), Tokens(1, 100))
    torch.manual_seed(0)
    hidden, labels = hide_all(batch, 0.15)
    chosen = labels != -100
    assert (hidden[chosen] == 1).all()
    assert torch.equal(hidden[~chosen], ids[~chosen])
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.01 * 0.15)


def test_weights_of_equal_negatives_are_one() -> None:
    queries = torch.eye(4)
    documents = torch.eye(4)
    plain, weighted = info_nce(queries, documents, 0.05), weighted_info_nce(queries, documents, 0.05)
    torch.testing.assert_close(weighted.value, plain.value)


@pytest.mark.parametrize("raw", [False, True])
def test_the_loss_by_hand(raw: bool) -> None:
    queries, documents = unit(0), unit(1)
    scores = (queries @ documents.T / 0.5).exp()

    def way(e):
        total = 0.0
        for i in range(5):
            others = [k for k in range(5) if k != i]
            shares = {k: e[i, k] / sum(e[i, j] for j in others) for k in others}
            gamma = {k: share * (1 if raw else 4) for k, share in shares.items()}
            total -= torch.log(e[i, i] / (e[i, i] + sum(gamma[k] * e[i, k] for k in others)))
        return total / 5

    found = weighted_info_nce(queries, documents, 0.5, raw=raw)
    torch.testing.assert_close(found.value, way(scores) + way(scores.T), rtol=1e-5, atol=1e-6)


def test_known_pairs_and_a_single_pair_do_not_count() -> None:
    queries, documents = unit(2, 3), unit(3, 3)
    same = weighted_info_nce(queries, documents, 0.5, document_ids=torch.tensor([7, 7, 7]))
    assert same.value.item() == pytest.approx(0.0, abs=1e-6)
    q = queries.clone().requires_grad_()
    weighted_info_nce(q, documents, 0.5, document_ids=torch.tensor([7, 7, 7])).value.backward()
    assert q.grad.isfinite().all()


def test_gradients_pass_the_weights_only_where_asked() -> None:
    grads = []
    for through in (False, True):
        queries = unit(4).requires_grad_()
        weighted_info_nce(queries, unit(5), 0.5, through=through).value.backward()
        grads.append(queries.grad)
    assert not torch.allclose(*grads)


@pytest.fixture(scope="module")
def data():
    codes = [CODE.replace("scale", f"scale_{i}").replace("sum", f"sum_{i}") for i in range(24)]
    queries = [f"multiply the values of list {i}" for i in range(24)]
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    return task("search").read(Rows.of({"query": queries, "document": codes, "split": splits}))


def test_training_reads_bodies_that_still_parse_and_the_test_whole_functions(data) -> None:
    system = configure("codesage").small()
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    assert isinstance(batch, PairBatch)
    text = model.tokenizer.decode(batch.documents.ids[0].tolist())
    assert "def" not in text
    assert text.startswith("total")
    whole = dataclasses.replace(system, bodies=0.0).batches(model, data, 0)(0, 0.0)
    assert "def" in model.tokenizer.decode(whole.documents.ids[0].tolist())
    ast.parse(data.documents[0])


def test_names_and_tokens_take_turns_then_pairs(data) -> None:
    system = dataclasses.replace(configure("codesage").small(), pretrain=0.5, document_tokens=40)
    model = system.start(data, 0)
    given = system.batches(model, data, 0)
    assert type(given(0, 0.0)) is TextBatch
    named_batch = given(1, 0.1)
    assert isinstance(named_batch, NamedBatch)
    assert named_batch.names.shape == named_batch.ids.shape
    assert isinstance(given(4, 0.5), PairBatch)
    assert torch.isfinite(system.loss(model.net, named_batch).value)
    trained = system.fit(data, Steps(4)).model
    assert trained.net.model.head is None
    plain = dataclasses.replace(system, weigh=False)
    pairs = given(4, 0.5)
    assert plain.loss(model.net, pairs).value != system.loss(model.net, pairs).value
