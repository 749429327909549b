"""Validation while training, and keeping the best."""

import pytest
import torch

from twofold.catalog.claims import Steps
from twofold.errors import UserError
from twofold.training import Validation, train

from .tiny import Tiny, batches, loss, same


def test_it_is_called_when_due_in_evaluation_mode_without_gradients():
    seen = []

    def measure(net):
        seen.append((net.training, net.mix[2].training, torch.is_grad_enabled()))
        return {"figure": torch.tensor(len(seen))}

    net = Tiny()
    history = train(net, loss, batches, Steps(10), validate=Validation(measure, at=(0.1, 0.45, 0.5, 1.0)))
    assert seen == [(False, False, False)] * 3
    assert [v["step"] for v in history.validation] == [1, 5, 10]  # two fall due together
    assert [v["figure"] for v in history.validation] == [1.0, 2.0, 3.0]


def test_it_changes_nothing_about_training():
    watched, alone = Tiny(), Tiny()
    train(watched, loss, batches, Steps(8), validate=lambda net: {"noise": torch.rand(())})
    train(alone, loss, batches, Steps(8))
    assert same(watched, alone)


def test_modules_that_stay_in_evaluation_mode_come_back_so():
    class Stubborn(Tiny):
        def train(self, mode=True):
            super().train(mode)
            self.mix.eval()
            return self

    modes = []

    def watched(net, batch):
        modes.append((net.training, net.mix.training))
        return loss(net, batch)

    train(Stubborn(), watched, batches, Steps(4), validate=lambda net: {})
    assert modes == [(True, False)] * 4


@pytest.mark.parametrize(("direction", "best"), [("higher", 2), ("lower", 4)])
def test_the_best_weights_are_kept_even_when_interrupted(tmp_path, direction, best):
    figures = {2: 0.9, 4: 0.5, 6: 0.7, 8: 0.5}
    weights = {}

    def validation(folder_is_new):
        steps = iter([2, 4, 6, 8] if folder_is_new else [6, 8])

        def measure(net):
            step = next(steps)
            weights[step] = net.embed.weight.clone()
            return {"score": figures[step]}

        return Validation(measure, keep="score", direction=direction)

    net = Tiny()
    train(Tiny(), loss, batches, Steps(8), validate=validation(True), folder=tmp_path, until=0.5)
    history = train(net, loss, batches, Steps(8), validate=validation(False), folder=tmp_path)
    assert history.best["step"] == best  # the first of equals
    assert torch.equal(net.embed.weight, weights[best])
    assert not torch.equal(net.embed.weight, weights[8])
    again = Tiny(seed=1)
    assert train(again, loss, batches, Steps(8), validate=validation(False), folder=tmp_path) == history
    assert same(again, net)


def test_a_figure_that_is_not_measured_cannot_be_kept():
    with pytest.raises(UserError, match=r"no figure 'mrr'.*\['score'\]"):
        train(Tiny(), loss, batches, Steps(4), validate=Validation(lambda net: {"score": 1.0}, keep="mrr"))
