"""Banyan [107]: weights, merges, sharing, one sentence by itself, bracketing, graded similarity."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.parts import DiagonalComposition, LinearComposition, TreeEncoder, grow, spread
from twofold.systems.mixers.banyan import bracketing
from twofold.tasks import task
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.search.graded import agreement, graded_pairs
from twofold.tasks.search.trees import sentences

IDS = torch.tensor([[3, 4, 5, 6, 7], [3, 4, 5, 0, 0], [9, 0, 0, 0, 0], [3, 4, 5, 6, 7]])
REAL = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()


def encoder(width=2):
    torch.manual_seed(0)
    return TreeEncoder(12, 16, DiagonalComposition(width)).double().eval()


def by_hand(net, ids):
    """One sentence's tree, merge by merge: its vectors and its children."""
    front = [(net.leaves[i], i) for i in ids]
    while len(front) > 1:
        alike = [float(F.cosine_similarity(a[0], b[0], dim=0)) for a, b in itertools.pairwise(front)]
        best = int(np.argmax(alike))
        (a, x), (b, y) = front[best : best + 2]
        front[best : best + 2] = [(net.composition.up(a[None], b[None])[0], (x, y))]
    return front[0]


def test_fourteen_weights_and_the_formulas() -> None:
    net = encoder()
    own = sum(p.numel() for n, p in net.named_parameters() if n.startswith("composition"))
    assert own == 14
    composition = DiagonalComposition(2).double()
    left, right = torch.randn(3, 8).double(), torch.randn(3, 8).double()
    gates = composition.gates.sigmoid()
    expected = left * gates[:2].repeat(4) + right * gates[2:4].repeat(4) + composition.biases[:2].repeat(4)
    torch.testing.assert_close(composition.up(left, right), expected)
    down = composition.down(left)
    torch.testing.assert_close(down[1], left * gates[6:].repeat(4) + composition.biases[4:].repeat(4))
    assert float(composition.gates.detach().min()) >= 0.6


def test_trees_are_those_merged_by_hand() -> None:
    net = encoder()
    for shared in (True, False):
        forest, _ = net.forest(IDS, REAL, shared)
        for row in range(4):
            vector, _ = by_hand(net, IDS[row, REAL[row]].tolist())
            torch.testing.assert_close(forest.vectors[forest.roots[row]], vector, rtol=1e-10, atol=1e-12)
    assert len(forest.children) == int((REAL.sum(1) - 1).sum())  # n leaves, n - 1 merges, each by itself
    torch.testing.assert_close(net(IDS[2:3], REAL[2:3])[0], F.normalize(net.leaves[9], dim=0))


def test_equal_constituents_are_one_node_whatever_the_order() -> None:
    net = encoder()
    forest, tokens = net.forest(IDS, REAL, shared=True)
    alone, _ = net.forest(IDS[:3], REAL[:3], shared=True)
    assert forest.roots[0] == forest.roots[3]
    assert len(forest.vectors) == len(alone.vectors)
    assert sorted(tokens.tolist()) == [3, 4, 5, 6, 7, 9]
    order = torch.tensor([2, 1, 3, 0])
    other, _ = net.forest(IDS[order], REAL[order], shared=True)
    one, two = (x.vectors[x.vectors[:, 0].argsort()] for x in (forest, other))
    torch.testing.assert_close(one, two)
    down, down_other = net.told(forest), net.told(other)
    torch.testing.assert_close(down[down[:, 0].argsort()], down_other[down_other[:, 0].argsort()])


def test_one_sentence_without_repeats_is_a_tree_by_itself() -> None:
    net = encoder()
    found = []
    for shared in (True, False):
        forest, tokens = net.forest(IDS[:1], REAL[:1], shared)
        down = net.told(forest)[: forest.leaves]
        found.append(down[tokens.argsort()])
        assert forest.roots[0] == len(forest.vectors) - 1
        torch.testing.assert_close(net.told(forest)[-1], forest.vectors[-1])
    torch.testing.assert_close(*found)


def test_messages_of_several_parents_are_averaged() -> None:
    composition = LinearComposition(2).double()
    leaves = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1.0]], dtype=torch.float64)
    nodes = torch.tensor([[0, 1], [0, 2]])
    forest = grow(nodes, torch.ones(2, 2, dtype=torch.bool), leaves, composition)
    assert forest.sizes == (3, 2)
    assert forest.children.tolist() == [[0, 1], [0, 2]]
    down = spread(forest, composition)
    left, right = composition.down(forest.vectors[3:])
    torch.testing.assert_close(down[0], left.mean(0))
    torch.testing.assert_close(down[1:3], right)


def test_ties_go_to_the_first_pair() -> None:
    leaves = torch.ones(1, 4)
    forest = grow(
        torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool), leaves, DiagonalComposition(2)
    )
    assert forest.children[0].tolist() == [0, 0]
    assert forest.children[1].tolist() in ([1, 0], [1, 1])
    with pytest.raises(UserError, match="multiple"):
        TreeEncoder(10, 15, DiagonalComposition(2))


def test_sentences_are_bracketed_and_searched() -> None:
    assert sentences(["One. Two! Three", "One."]) == ["One.", "Two!", "Three"]
    data = task("search").read(small_rows())
    for name in ("banyan", "self-strae"):
        model = configure(name).small().fit(data, Steps(2)).model
        tree = bracketing(model, "red lamp")
        assert isinstance(tree, tuple)
        assert len(tree) == 2
    with pytest.raises(UserError, match="builds no trees"):
        bracketing(small_model(), "red lamp")


def test_similarity_is_held_against_a_grader() -> None:
    texts = sorted(set(small_rows().columns["document"]))[:40]
    grader = small_model()
    assert agreement(grader, texts, grader)[0] == pytest.approx(1.0)
    assert agreement(small_model(5), texts, grader)[0] < 0.999
    pairs, grades = graded_pairs(texts, grader)
    assert pairs.shape == (80, 2)
    assert (grades[40:] >= grades[:40] - 1e-9).all()
    with pytest.raises(UserError, match="at least 8"):
        agreement(grader, texts[:5], grader)
