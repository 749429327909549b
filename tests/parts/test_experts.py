"""Routers, experts, the two ways to dispatch, mixtures of experts as channel mixers, and what is reported of them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from twofold.errors import UserError
from twofold.measure.costs import active_parameters, flops, parameters
from twofold.measure.experts import expert_report
from twofold.parts import (
    FFN,
    ROUTERS,
    Balanced,
    Experts,
    Mask,
    MoE,
    MultiHead,
    Routing,
    SharedExpert,
    Switch,
    TopK,
    balance_loss,
    build,
    capacity_of,
    collect_aux,
    z_loss,
)
from twofold.parts.routing import balanced_assignment

DIM, HIDDEN, COUNT = 8, 12, 4


def moe(count=COUNT, k=2, seed=0, capacity=None, balance=0.01, **options) -> MoE:
    torch.manual_seed(seed)
    return MoE(TopK(DIM, count, k), Experts(DIM, HIDDEN, count, **options), capacity, balance)


X = torch.randn(3, 7, DIM, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gate", [False, True])
def test_one_expert_is_the_dense_network(gate: bool) -> None:
    mixture, dense = moe(1, 1, gate=gate), FFN(DIM, HIDDEN, gate=gate, bias=False)
    dense.load_state_dict({name: t[0] for name, t in mixture.experts.state_dict().items()})
    torch.testing.assert_close(mixture(X), dense(X))
    assert mixture.experts.flops(5) == dense.flops(5)


def test_answers_are_the_weighted_sum_of_the_chosen_experts() -> None:
    mixture = moe(gate=True)
    routing = mixture.router(X.flatten(0, 1))
    torch.testing.assert_close(routing.weight.sum(-1), torch.ones(21))
    torch.testing.assert_close(routing.probabilities.sum(-1), torch.ones(21))
    rows = X.flatten(0, 1)
    all_answers = mixture.experts.run(rows.expand(COUNT, -1, -1))
    expected = sum(routing.weight[:, i, None] * all_answers[routing.index[:, i], torch.arange(21)] for i in range(2))
    torch.testing.assert_close(mixture(X), expected.view_as(X))


@pytest.mark.parametrize("capacity", [None, 1, 3, 100])
@pytest.mark.parametrize("linear", ["dense", "bit158"])
def test_both_dispatches_agree_with_their_gradients(capacity, linear: str) -> None:
    mixture = moe(gate=True, linear=linear)
    found = []
    for name in ("sort", "einsum"):
        mixture.zero_grad()
        mixture.experts.dispatch = name
        x = X.flatten(0, 1).clone().requires_grad_()
        out = mixture.experts(x, mixture.router(x), capacity)
        (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
        found.append([out.detach(), x.grad, *(p.grad.clone() for p in mixture.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert mixture.router.gate.weight.grad.abs().sum() > 0  # through the weights, not the choice


def test_first_choices_and_earlier_tokens_come_first() -> None:
    experts = Experts(DIM, HIDDEN, 2)
    rows = torch.randn(3, DIM)
    index = torch.tensor([[0, 1], [0, 1], [1, 0]])
    routing = Routing(index, torch.ones(3, 2), torch.ones(3, 2), torch.ones(3, 2))
    answers = experts.run(rows.expand(2, -1, -1))
    for name in ("sort", "einsum"):
        experts.dispatch = name
        # Expert 0 takes tokens 0 and 1; expert 1 takes token 2 (a first choice), then token 0.
        expected = torch.stack([answers[0, 0] + answers[1, 0], answers[0, 1], answers[1, 2]])
        torch.testing.assert_close(experts(rows, routing, 2), expected)
        expected = torch.stack([answers[0, 0], torch.zeros(DIM), answers[1, 2]])
        torch.testing.assert_close(experts(rows, routing, 1), expected)


def test_dropped_tokens_get_nothing_and_only_while_training() -> None:
    mixture = moe(2, 1, capacity=0.01)
    with torch.no_grad():
        mixture.router.gate.weight[0] = 0
        mixture.router.gate.weight[1] = 0
    out = mixture.train()(X).flatten(0, 1)
    assert out[0].abs().sum() > 0
    assert torch.equal(out[1:], torch.zeros(20, DIM))
    assert (mixture.eval()(X).abs().sum(-1) > 0).all()
    assert capacity_of(2.0, 2, 100, 8) == 50
    assert capacity_of(0.01, 1, 3, 8) == 1


def test_the_order_of_tokens_does_not_matter_without_a_limit() -> None:
    mixture, order = moe(), torch.randperm(21, generator=torch.Generator().manual_seed(2))
    rows = X.flatten(0, 1)
    torch.testing.assert_close(mixture(rows[order][None])[0], mixture(rows[None])[0][order])
    other = X.clone()
    other[0, 3] += 1
    same = torch.ones(3, 7, dtype=torch.bool)
    same[0, 3] = False
    torch.testing.assert_close(mixture(other)[same], mixture(X)[same])


def test_padding_is_not_routed() -> None:
    mixture = moe().train()
    real = torch.arange(7) < torch.tensor([[7], [3], [5]])
    noise = torch.where(real[..., None], X, torch.randn_like(X) * 50)
    with collect_aux() as aux, collect_aux() as other:
        out = mixture(noise, Mask.padding(real))
    with collect_aux() as aux:
        alone = mixture(X[real][None])
    torch.testing.assert_close(out[real], alone[0])
    torch.testing.assert_close(other["balance"], aux["balance"])
    assert torch.equal(out[~real], torch.zeros_like(out[~real]))
    assert torch.equal(mixture(X, torch.zeros(3, 7, dtype=torch.bool)), torch.zeros_like(X))


def test_balance_and_z_loss_by_hand() -> None:
    logits = torch.zeros(8, COUNT)
    even = Routing(torch.arange(8)[:, None] % COUNT, torch.ones(8, 1), logits.softmax(-1), logits)
    assert balance_loss(even) == 1
    one = torch.full((8, COUNT), -1e9)
    one[:, 2] = 0
    collapsed = Routing(torch.full((8, 1), 2), torch.ones(8, 1), one.softmax(-1), one)
    assert balance_loss(collapsed) == COUNT
    torch.testing.assert_close(z_loss(even), torch.tensor(np.log(COUNT) ** 2, dtype=torch.float32))
    assert z_loss(collapsed) == 0


def test_balanced_assignment_fills_all_experts_alike() -> None:
    for count in (1, 3, 12, 14):
        scores = torch.randn(count, COUNT)
        load = torch.bincount(balanced_assignment(scores), minlength=COUNT)
        assert load.max() - load.min() <= 1
    scores = torch.tensor([[9.0, 8.0], [5.0, 0.0]])
    assert balanced_assignment(scores).tolist() == [1, 0]  # 8 + 5 beats 9 + 0
    router = Balanced(DIM, COUNT)
    torch.nn.init.ones_(router.gate.weight)
    rows = torch.randn(12, DIM)
    assert torch.bincount(router.train()(rows).index[:, 0]).tolist() == [3] * 4
    assert (router.eval()(rows).index == 0).all()


@pytest.mark.parametrize(("count", "experts"), [(5, 3), (6, 3), (2, 4), (37, 4), (64, 8), (65, 8)])
def test_balanced_assignment_scores_as_high_as_places_of_one_token_each(count: int, experts: int) -> None:
    for seed in range(5):
        scores = torch.randn(count, experts, generator=torch.Generator().manual_seed(seed)).double()
        scores[:, 0] += seed  # the more, the more tokens want the first expert
        whole, extra = divmod(count, experts)
        best = max(
            _by_places(scores.numpy(), np.array([whole + (e in fuller) for e in range(experts)]))
            for fuller in itertools.combinations(range(experts), extra)
        )
        found = scores.gather(1, balanced_assignment(scores)[:, None]).sum()
        torch.testing.assert_close(found, torch.tensor(best, dtype=torch.float64))


def _by_places(scores: np.ndarray, sizes: np.ndarray) -> float:
    places = scores.repeat(sizes, axis=1)
    return float(places[linear_sum_assignment(places, maximize=True)].sum())


@pytest.mark.parametrize("scores", [torch.zeros(9, 4), torch.full((9, 4), torch.nan), torch.full((9, 4), torch.inf)])
def test_balanced_assignment_ends_whatever_the_scores_are(scores: Tensor) -> None:
    assert torch.bincount(balanced_assignment(scores), minlength=4).sort().values.tolist() == [2, 2, 2, 3]


def test_a_switch_weighs_by_the_probability() -> None:
    router = Switch(DIM, COUNT)
    found = router(torch.randn(5, DIM))
    torch.testing.assert_close(found.weight[:, 0], found.probabilities.max(-1).values)
    half = router.to(torch.bfloat16)(torch.randn(5, DIM, dtype=torch.bfloat16))
    assert half.probabilities.dtype == torch.float32
    assert set(ROUTERS) == {"softmax-topk", "switch", "balanced"}


def test_the_gradient_of_experts_is_scaled() -> None:
    grads = []
    for factor in (1.0, 0.5):
        mixture = moe(gradient=factor)
        mixture(X).square().sum().backward()
        grads.append((mixture.experts.up.weight.grad, mixture.router.gate.weight.grad))
    torch.testing.assert_close(grads[1][0], 0.5 * grads[0][0])
    torch.testing.assert_close(grads[1][1], grads[0][1])


def test_costs_count_the_chosen_experts() -> None:
    mixture = moe(gate=True)
    assert mixture.flops(21) == 2 * 21 * (DIM * COUNT + 2 * 3 * DIM * HIDDEN)
    assert parameters(mixture) == DIM * COUNT + COUNT * 3 * DIM * HIDDEN
    assert active_parameters(mixture) == DIM * COUNT + 2 * 3 * DIM * HIDDEN
    even = Routing(torch.arange(20)[:, None] % COUNT, torch.ones(20, 1), torch.ones(20, COUNT), torch.ones(20, COUNT))
    assert flops(lambda: mixture.experts(torch.randn(20, DIM), even)) == mixture.experts.flops(20)
    heads = MultiHead(mixture, 2)
    assert heads.flops(3) == 2 * 2 * 3 * 16**2 + mixture.flops(6)


def test_heads_of_a_token_go_their_own_ways() -> None:
    inner = moe()
    part = MultiHead(inner, 2)
    x = torch.randn(2, 5, 2 * DIM)
    with torch.no_grad():
        for linear in (part.to_heads, part.from_heads):
            linear.weight.copy_(torch.eye(2 * DIM))
    whole = part(x)
    for head in range(2):
        own = slice(head * DIM, (head + 1) * DIM)
        torch.testing.assert_close(whole[..., own], inner(x[..., own]))
    torch.testing.assert_close(MultiHead(inner, 1, head=False, merge=False)(x[..., :DIM]), inner(x[..., :DIM]))
    changed = x.clone()
    changed[0, 2] += 1
    same = torch.ones(2, 5, dtype=torch.bool)
    same[0, 2] = False
    torch.testing.assert_close(part(changed)[same], whole[same])
    real = torch.arange(5) < torch.tensor([[5], [3]])
    seen: list[int] = []
    inner.router.register_forward_hook(lambda module, given, out: seen.append(len(out.index)))
    torch.testing.assert_close(part(x, Mask.padding(real))[real], whole[real])
    assert seen == [2 * 8]


def test_a_shared_expert_adds() -> None:
    mixture, dense = moe(), FFN(DIM, HIDDEN)
    part = SharedExpert(dense, mixture)
    torch.testing.assert_close(part(X), dense(X) + mixture(X))
    torch.nn.init.zeros_(mixture.experts.down.weight)
    torch.testing.assert_close(part(X), dense(X))
    assert part.flops(4) == dense.flops(4) + mixture.flops(4)
    with torch.device("meta"):
        again = build(json.loads(json.dumps(part.spec())))
    again.assign({name: tensor.detach() for name, tensor in part.tensors().items()})
    assert torch.equal(again(X), part(X))


def test_the_report_tells_how_experts_are_used() -> None:
    mixture = moe(2, 1, capacity=1.0)
    with torch.no_grad():
        mixture.router.gate.weight.zero_()
        mixture.router.gate.weight[0, 0], mixture.router.gate.weight[1, 0] = 1.0, -1.0
    x = torch.zeros(1, 8, DIM)
    x[0, :6, 0], x[0, 6:, 0] = 1.0, -1.0
    types = torch.tensor([5, 5, 5, 7, 7, 7, 9, 9])
    (use,) = expert_report(mixture, lambda: mixture(x), types)
    assert use.load.tolist() == [0.75, 0.25]
    assert use.dropped == 2 / 8
    assert use.specialisation == pytest.approx(1.0)
    assert use.entropy == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))
    (other,) = expert_report(mixture, lambda: mixture(x), torch.tensor([0, 1] * 4))
    assert other.specialisation == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(UserError, match="no mixture of experts"):
        expert_report(FFN(4, 8), lambda: None)
    with pytest.raises(UserError, match="3 token types do not fit 8"):
        expert_report(mixture, lambda: mixture(x), torch.arange(3))


def test_refusals() -> None:
    with pytest.raises(UserError, match="8 experts, top-9"):
        TopK(DIM, 8, 9)
    with pytest.raises(UserError, match="chooses among 4 experts of width 8, and there are 3 of width 8"):
        MoE(TopK(DIM, 4), Experts(DIM, HIDDEN, 3))
    with pytest.raises(UserError, match="capacity is 0"):
        moe(capacity=0.0)
    with pytest.raises(UserError, match="unknown kind of experts' maps 'bit159'"):
        Experts(DIM, HIDDEN, 2, linear="bit159")
    with pytest.raises(UserError, match="widths 8 and 4 differ"):
        SharedExpert(FFN(8, 8), MoE(TopK(4, 2), Experts(4, 4, 2)))
