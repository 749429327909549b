"""Made sequences of numbers, and of embedded data, as the task's data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.made import sequences
from twofold.errors import UserError
from twofold.parts import NumberEmbedding, SequenceModel, Stack, reading_numbers
from twofold.tasks import load, task
from twofold.tasks.solve import NumberBatch, NumberData, NumberModel


class Told(NumberModel):
    """Says at every token what it is told."""

    def __init__(self, said: torch.Tensor) -> None:
        self.said = said

    def answer(self, given: torch.Tensor) -> torch.Tensor:
        return self.said


def judged(text: str, how):
    data = NumberData(sequences.parse(text))
    targets = data.part("test").targets.double()
    return data.evaluate(Told(how(targets)), "test")


def test_figures_of_known_answers() -> None:
    right = judged("adding(time=10)", lambda targets: targets)
    assert right.figures == {"r2": 1.0, "mse": 0.0, "mse_last": 0.0}
    assert not right.tables
    constant = judged("adding(time=10)", lambda t: torch.full_like(t, float(t[:, -1].mean())))
    assert constant.figures["r2"] == pytest.approx(0, abs=1e-9)
    off = judged("icl-linear(dim=2, points=4)", lambda t: t + torch.arange(t.shape[1]))
    assert [row[1] for row in off.tables[0].rows] == pytest.approx([0, 4, 16, 36])
    assert off.figures["mse_last"] == pytest.approx(36)
    assert off.figures["mse"] == pytest.approx(14)
    assert off.items.mean() == pytest.approx(off.figures["r2"])


def test_the_loss_is_the_squared_error_where_a_number_is_asked_for() -> None:
    values, targets = torch.zeros(2, 3, 1), torch.tensor([[float("nan"), 1.0, 2.0], [float("nan"), 0.0, -1.0]])
    loss = NumberBatch(values, targets).loss(lambda given, mask: torch.ones(2, 3, 1))
    assert float(loss.value) == pytest.approx((0 + 1 + 1 + 4) / 4)


def test_blocks_are_taken_over_and_numbers_go_through_a_linear_map() -> None:
    plain = configure("backbone", dim=16, heads=2, layers=1).network(1)
    net = reading_numbers(plain, 3)
    assert isinstance(net, SequenceModel)
    assert isinstance(net.stack, Stack)
    assert net.stack is plain.stack
    values = torch.randn(2, 5, 3)
    states = net.embedding(values)
    torch.testing.assert_close(states, values @ net.embedding.numbers.weight.T + net.embedding.numbers.bias)
    assert net(values).shape == (2, 5, 1)
    with pytest.raises(UserError, match="made for 3"):
        net(torch.randn(1, 5, 2))
    placed = reading_numbers(
        configure("backbone", backbone={"dim": 16, "position": "learned", "layers": [{}]}, length=8).network(1), 2
    )
    assert isinstance(placed.embedding, NumberEmbedding)
    assert placed.max_len == 8


@pytest.mark.parametrize("text", ["adding(time=12)", "icl-linear(dim=2, points=4)", "seq-digits", "needle(time=90)"])
def test_a_stack_learns_them_and_can_be_saved(text: str, tmp_path) -> None:
    solve = task("solve")
    data = solve.read(text).cut(0.05)
    system = configure("backbone", dim=16, heads=2, layers=1, length=96, batch=8, conv=3)
    net, batch = system.start(data, 0).net, data.batches(8, 3)(0, 0.0)
    optimizer, losses = torch.optim.Adam(net.parameters(), 1e-2), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = batch.loss(net).value
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-10:]) < 0.9 * losses[0]
    fitted = system.fit(data, Steps(2))
    figures = solve.evaluate(fitted.model, data).figures
    assert solve.metric_of(data) in figures
    fitted.model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert solve.evaluate(again, data).figures == pytest.approx(figures)
    serve, requests = solve.requests(again, data)
    assert serve(requests[0]).shape == (1, data.length)
    said = solve.describe(data)
    assert said["counts"]["test"]["sequences"] == data.part("test").rows
    assert np.isfinite(list(again.costs().values())).all()


def test_recurrent_networks_take_numbers_too() -> None:
    data = task("solve").read("adding(time=12)").cut(0.05)
    model = configure("wave-rnn", channels=2, positions=8, batch=8).fit(data, Steps(2)).model
    assert task("solve").evaluate(model, data).figures["mse"] > 0


def test_an_encoder_of_any_layers_fills_in_hidden_tokens() -> None:
    from twofold.tasks.examples import small_rows

    represent = task("represent")
    data = represent.read(small_rows())
    assert configure("masked-backbone").mask_rate == 0.15
    for backbone in ("hydra", [{"mixer": "attention", "position": "alibi"}, {"mixer": "centred-conv"}]):
        system = configure("masked-backbone", backbone=backbone).small()
        model = system.fit(data, Steps(2)).model
        assert represent.evaluate(model, data, rate=0.15).figures["masked_loss"] > 0
