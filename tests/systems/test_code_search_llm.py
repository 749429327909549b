"""Code search with language models [10]: what must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.data.code_collections import code_search
from twofold.errors import UserError
from twofold.parts import Dense, Last, LowRank, Mean, TextEncoder, blocks, presets
from twofold.surgery import add_adapters, merge_adapters
from twofold.surgery.attention import change_attention
from twofold.systems.retrieval.code_search_llm import _KEPT
from twofold.systems.retrieval.code_search_report import figures_of
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.inputs import Kept, keeping
from twofold.tasks.passages import small_language_model
from twofold.tasks.search import from_rows

TEXTS = [[2, 3, 4], [5, 6], [7, 8, 9, 10]]


def decoder(seed: int = 0, layers: int = 3) -> TextEncoder:
    torch.manual_seed(seed)
    return TextEncoder(presets.decoder(20, 16, layers, 2), Mean(), normalise=True).eval()


def test_mrr_and_map_of_a_hand_made_case() -> None:
    columns = {
        "query": ["one", "one", "two"],
        "document": ["a", "b", "c"],
        "split": ["test", "test", "test"],
    }
    extra = {"query": ["t", "v"], "document": ["x", "y"], "split": ["train", "validation"]}
    data = from_rows(Rows.of({k: [*columns[k], *extra[k]] for k in columns}))
    # query one has answers a and b, at ranks 1 and 3; query two has c, at rank 2
    found = figures_of(np.array([[0, 2, 1], [0, 2, 1]]), data, "test")
    np.testing.assert_allclose(found["mrr"], [1, 1 / 2])
    np.testing.assert_allclose(found["map"], [(1 + 2 / 3) / 2, 1 / 2])


def test_an_adapter_is_the_map_at_the_start_and_the_formula_after() -> None:
    torch.manual_seed(0)
    inner = Dense(6, 4)
    made, x = LowRank(inner, 2, alpha=8.0), torch.randn(3, 5, 6)
    assert torch.equal(made(x), inner(x))
    with torch.no_grad():
        made.up.normal_()
    torch.testing.assert_close(made(x), inner(x) + 4 * (x @ made.down.T @ made.up.T))
    torch.testing.assert_close(made.merge()(x), made(x), rtol=1e-5, atol=1e-6)
    assert made.flops(3) == inner.flops(3) + 2 * 3 * 2 * 10
    again = made.rebuilt()
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(x), made(x))
    for rank in (0, 5):
        with pytest.raises(UserError, match="rank"):
            LowRank(inner, rank)


def test_adapters_train_alone_and_merge_to_the_same_function() -> None:
    net = decoder()
    ids = torch.randint(0, 20, (2, 5))
    before, plain = net(ids), {n: t.clone() for n, t in net.state_dict().items()}
    add_adapters(net.model, 2, top=1)
    torch.testing.assert_close(net(ids), before, rtol=0, atol=0)
    trained = [n for n, p in net.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.startswith("model.stack.layers.2.") and n.endswith((".up", ".down")) for n in trained)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        net(ids)[0, 0].backward()
        optimizer.step()
    changed = net(ids)
    assert not torch.allclose(changed, before)
    assert all(torch.equal(t, plain[n.replace(".inner.", ".")]) for n, t in net.state_dict().items() if ".inner." in n)
    merge_adapters(net)
    torch.testing.assert_close(net(ids), changed, rtol=1e-5, atol=1e-6)
    assert set(net.state_dict()) == set(plain)
    with pytest.raises(UserError, match="at most"):
        add_adapters(decoder().model, 2, top=4)


def test_kept_states_give_what_a_whole_pass_gives() -> None:
    net, kept = decoder(), Kept(dtype=torch.float32)
    states = kept.store(net, TEXTS, 0, 2).take([2, 0, 1])
    ids = torch.tensor([[7, 8, 9, 10], [2, 3, 4, 0], [5, 6, 0, 0]])
    real = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    torch.testing.assert_close(states.embed(net), net(ids, real), rtol=1e-4, atol=1e-5)
    with keeping(kept) as used:
        assert used is kept


def test_the_last_real_token_on_either_side_of_padding() -> None:
    states = torch.randn(2, 4, 3)
    right = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    left = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]).bool()
    assert torch.equal(Last()(states, right), torch.stack([states[0, 1], states[1, 3]]))
    assert torch.equal(Last()(states, left), torch.stack([states[0, 3], states[1, 3]]))


def test_without_the_causal_mask_the_first_token_sees_the_last() -> None:
    net, ids = decoder().model, torch.tensor([[2, 3, 4]])
    other = torch.tensor([[2, 3, 5]])
    assert torch.equal(net.states(ids)[:, 0], net.states(other)[:, 0])
    change_attention(net, range(3), options={"causal": False})
    assert not torch.allclose(net.states(ids)[:, 0], net.states(other)[:, 0])
    system = dataclasses.replace(configure("adapted").small(), backbone="attention-2x32", two_way=True)
    made = system.start(from_rows(small_rows()), 0).net
    assert {block.mixer.causal for _, block in blocks(made)} == {"no"}


def test_the_instruction_takes_no_room_from_the_query_and_training_leaves_no_adapter() -> None:
    data = from_rows(small_rows())
    system = dataclasses.replace(configure("adapted").small(), instruction="find the small lamp: ")
    model = system.start(data, 0)
    bare = dataclasses.replace(system, instruction="").start(data, 0)
    told = len(model.tokenizer.encode([system.instruction], specials=False)[0])
    query = ["open the red door " * 20]
    assert len(model.tokens(query, "query")[0]) == len(bare.tokens(query, "query")[0]) + told
    for learns in ("supervised", "unsupervised"):
        trained = dataclasses.replace(system, learns=learns).fit(data, Steps(3)).model
        assert not any(isinstance(part, LowRank) for part in trained.net.modules())
        assert not torch.equal(trained.encode(["a lamp"]).values, model.encode(["a lamp"]).values)


def test_collections_become_queries_and_codes() -> None:
    code = 'def add(a, b):\n    """Add two numbers.\n\n    Return the sum."""\n    return a + b\n'
    net = Rows.of(
        {
            "docstring": ["Add two\nnumbers.\n\nReturn the sum."] * 2,
            "code": [code, "func add() {}"],
            "partition": ["train", "valid"],
            "repo": ["r", "s"],
        }
    )
    found = code_search(net).columns
    assert found["query"] == ["Add two numbers."] * 2
    assert found["document"] == ["def add(a, b):\n    return a + b\n", "func add() {}"]
    assert found["split"] == ["train", "valid"]
    many = code_search(Rows.of({"query": ["q", "q"], "code": ["x", "y"], "label": [1, 1]}))
    assert many.columns["grade"] == [1, 1]
    plain = small_rows()
    assert code_search(plain) is plain


def test_the_report_has_every_arm_and_repeats_reuse_states() -> None:
    study = configure("code-search-llm").small()
    first = study.run(small_model(), None)
    assert [row[0] for row in first.tables[0].rows] == ["bm25", "search", "t5-2x32", "t5-2x32"]
    saved = _KEPT.saved
    assert study.run(None, None).figures["mrr.t5-2x32.zero-shot.mean"] == first.figures["mrr.t5-2x32.zero-shot.mean"]
    assert _KEPT.saved > saved
    assert len(first.extra["queries"]) == len(first.extra["reciprocal_ranks"]["bm25, as it is"])
    with pytest.raises(UserError, match="give one for search"):
        study.run(small_language_model(), None)


def test_typed_names_are_a_list() -> None:
    assert configure("code-search-llm", models="minilm, smollm2").models == ("minilm", "smollm2")
