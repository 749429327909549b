"""InfoNCE against numbers worked out by hand."""

import math

import pytest
import torch

from twofold.objectives import info_nce

# exp(score) of three queries with three documents, asymmetric on purpose.
ODDS = [[4.0, 1.0, 3.0], [2.0, 2.0, 4.0], [1.0, 1.0, 6.0]]
ONE_WAY = -(math.log(4 / 8) + math.log(2 / 8) + math.log(6 / 8)) / 3
OTHER_WAY = -(math.log(4 / 7) + math.log(2 / 4) + math.log(6 / 13)) / 3


def vectors(odds, temperature=1.0):
    """Queries and documents whose products over the temperature are the logarithms of `odds`."""
    scores = torch.tensor(odds, dtype=torch.float64).log()
    return scores * temperature, torch.eye(scores.shape[1], dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_three_by_three(temperature):
    queries, documents = vectors(ODDS, temperature)
    one = info_nce(queries, documents, temperature, two_way=False)
    both = info_nce(queries, documents, temperature)
    assert one.value.item() == pytest.approx(ONE_WAY)
    assert both.value.item() == pytest.approx(ONE_WAY + OTHER_WAY)
    assert both.figures["loss"] == both.value
    assert both.figures["accuracy"].item() == pytest.approx(2 / 3)


def test_hard_negatives_are_candidates_but_do_not_search():
    queries, documents = vectors([[4.0, 1.0, 5.0], [2.0, 2.0, 4.0]])
    loss = info_nce(queries, documents, 1.0)
    there = -(math.log(4 / 10) + math.log(2 / 8)) / 2
    back = -(math.log(4 / 6) + math.log(2 / 3)) / 2
    assert loss.value.item() == pytest.approx(there + back)
    assert loss.figures["accuracy"] == 0


def test_equal_documents_are_no_negatives():
    queries, documents = vectors(ODDS)
    ids = torch.tensor([7, 8, 7])  # documents 0 and 2 are the same
    there = -(math.log(4 / 5) + math.log(2 / 8) + math.log(6 / 7)) / 3
    back = -(math.log(4 / 6) + math.log(2 / 4) + math.log(6 / 10)) / 3
    assert info_nce(queries, documents, 1.0, document_ids=ids, two_way=False).value.item() == pytest.approx(there)
    assert info_nce(queries, documents, 1.0, document_ids=ids).value.item() == pytest.approx(there + back)


def test_documents_of_an_equal_query_are_no_negatives():
    queries, documents = vectors(ODDS)
    ids = torch.tensor([5, 5, 9])  # queries 0 and 1 are the same
    there = -(math.log(4 / 7) + math.log(2 / 6) + math.log(6 / 8)) / 3
    back = -(math.log(4 / 5) + math.log(2 / 3) + math.log(6 / 13)) / 3
    assert info_nce(queries, documents, 1.0, query_ids=ids).value.item() == pytest.approx(there + back)


def test_a_hard_negative_that_answers_an_equal_query_is_none():
    # Query 0 asks what query 1 asks, and the hard negative is query 1's document.
    queries, documents = vectors([[4.0, 1.0, 5.0], [2.0, 2.0, 4.0]])
    loss = info_nce(
        queries,
        documents,
        1.0,
        two_way=False,
        query_ids=torch.tensor([5, 5]),
        document_ids=torch.tensor([1, 2, 2]),
    )
    assert loss.value.item() == pytest.approx(0.0, abs=1e-12)


def test_different_ids_change_nothing():
    queries, documents = vectors(ODDS)
    loss = info_nce(queries, documents, 1.0, query_ids=torch.arange(3), document_ids=torch.arange(3) + 9)
    assert torch.equal(loss.value, info_nce(queries, documents, 1.0).value)


def test_two_ways_are_symmetric_and_the_sum_of_one_each():
    queries, documents = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([0, 1, 1, 2, 3])
    forth = info_nce(queries, documents, 0.1, document_ids=ids).value
    back = info_nce(documents, queries, 0.1, query_ids=ids).value
    ways = [info_nce(a, b, 0.1, two_way=False).value for a, b in ((queries, documents), (documents, queries))]
    torch.testing.assert_close(forth, back)
    torch.testing.assert_close(sum(ways), info_nce(queries, documents, 0.1).value)


def test_gradients():
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    documents = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    temperature = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    query_ids, document_ids = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2, 1, 4])

    def value(q, d, t):
        return info_nce(q, d, t, query_ids=query_ids, document_ids=document_ids).value

    assert torch.autograd.gradcheck(value, (queries, documents, temperature))


def test_autocast_and_half_vectors_do_not_coarsen_the_products():
    queries, documents = torch.nn.functional.normalize(torch.randn(2, 16, 32), dim=-1)
    exact = info_nce(queries, documents, 0.01).value
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(queries, documents, 0.01).value, exact)
    assert info_nce(queries.bfloat16(), documents.bfloat16(), 0.01).value.dtype == torch.float32


def test_fewer_documents_than_queries_are_refused():
    with pytest.raises(ValueError, match="3 queries need at least as many documents, got 2"):
        info_nce(torch.ones(3, 2), torch.ones(2, 2), 1.0)
