"""The training loop: what it changes, when it stops, what it refuses."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from twofold import progress
from twofold.catalog.claims import Parameters, Seconds, Steps, Tokens
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import add_aux
from twofold.training import Recipe, clock, train
from twofold.training.schedule import learning_rate

from .tiny import Tiny, batches, loss, same


def test_it_takes_the_steps_of_a_loop_written_out():
    recipe = Recipe(lr=0.05, clip=0.1, weight_decay=0.2, accumulate=2)
    x, y = torch.randn(2, 12, 4, 3, generator=torch.Generator().manual_seed(0))
    ours, plain = nn.Linear(3, 3), nn.Linear(3, 3)
    plain.load_state_dict(ours.state_dict())

    def squares(net, index):
        return Loss((net(x[index]) - y[index]).square().mean())

    train(ours, squares, lambda step, share: step, Steps(6), recipe)
    groups = [{"params": [plain.weight], "weight_decay": 0.2}, {"params": [plain.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps, fused=True)
    for step in range(6):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, (step + 1) / 6)
        optimizer.zero_grad()
        for index in (2 * step, 2 * step + 1):
            (squares(plain, index).value / 2).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
        optimizer.step()
    assert same(ours, plain)


def test_two_halves_accumulated_are_one_whole_batch():
    x, y = torch.randn(2, 10, 8, 3, generator=torch.Generator().manual_seed(0))
    nets = [nn.Linear(3, 3), nn.Linear(3, 3)]
    nets[1].load_state_dict(nets[0].state_dict())

    def squares(net, batch):
        return Loss((net(batch[0]) - batch[1]).square().mean())

    def halves(index, share):
        rows = slice(4 * (index % 2), 4 * (index % 2) + 4)
        return x[index // 2, rows], y[index // 2, rows]

    whole = train(nets[0], squares, lambda step, share: (x[step], y[step]), Steps(10))
    half = train(nets[1], squares, halves, Steps(10), Recipe(accumulate=2))
    torch.testing.assert_close(nets[1].weight, nets[0].weight)
    assert [p["loss"] for p in half.curve] == pytest.approx([p["loss"] for p in whole.curve], rel=1e-5)


def test_the_seed_decides_and_the_callers_randomness_stays():
    nets = [Tiny(), Tiny(), Tiny()]
    state = torch.get_rng_state()
    for net, seed in zip(nets, (3, 3, 4), strict=True):
        train(net, loss, batches, Steps(5), seed=seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])


def test_what_batches_draw_beside_does_not_reach_the_network():
    def greedy(step, share):
        batch = batches(step, share)
        torch.rand(step + 1)
        return batch

    plain, other = Tiny(), Tiny()
    train(plain, loss, batches, Steps(5))
    train(other, loss, greedy, Steps(5))
    assert same(plain, other)


def test_frozen_parameters_stay_and_the_rest_moves():
    net, before = Tiny(), Tiny()
    net.embed.weight.requires_grad_(False)
    train(net, loss, batches, Steps(3))
    assert torch.equal(net.embed.weight, before.embed.weight)
    assert not torch.equal(net.mix[0].weight, before.mix[0].weight)
    assert not torch.equal(net.mean, before.mean)
    assert not net.training


def test_a_step_budget():
    seen = []
    history = train(Tiny(), loss, lambda s, p: seen.append((s, p)) or batches(s, p), Steps(4))
    assert seen == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]
    assert (history.steps, history.fraction) == (4, 1.0)
    assert history.tokens == 4 * (3 + 4 + 5 + 3)
    assert [p["step"] for p in history.curve] == [1, 2, 3, 4]
    first = history.curve[0]
    assert set(first) == {"step", "seconds", "tokens", "lr", "loss", "double", "gradient_norm"}
    assert first["double"] == pytest.approx(2 * first["loss"])


def test_a_token_budget_ends_with_the_batch_that_fills_it():
    shares = []
    history = train(Tiny(), loss, lambda s, p: shares.append(p) or batches(s, p), Tokens(45))
    assert (history.steps, history.tokens) == (3, 48)  # 12 + 16 + 20
    assert shares == pytest.approx([0, 12 / 45, 28 / 45])
    assert history.curve[0]["lr"] == pytest.approx(learning_rate(Recipe(), 12 / 45))
    assert history.curve[-1]["lr"] == pytest.approx(1e-4)


def test_a_budget_of_seconds_counts_training_alone(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    shares = []

    def slow(step, share):
        now[0] += 0.5
        shares.append(share)
        return batches(step, share)

    def measure(net):
        now[0] += 60.0
        return {"figure": 1.0}

    half = train(Tiny(), loss, slow, Seconds(4), validate=measure, folder=tmp_path, until=0.5)
    now[0] += 3600.0
    history = train(Tiny(), loss, slow, Seconds(4), validate=measure, folder=tmp_path)
    assert (half.steps, half.seconds, half.fraction) == (4, 2.0, 0.5)
    assert (history.steps, history.seconds, history.fraction) == (8, 4.0, 1.0)
    assert shares == [n / 8 for n in range(8)]
    assert [v["step"] for v in history.validation] == [2, 4, 6, 8]
    assert [p["lr"] for p in history.curve] == pytest.approx([learning_rate(Recipe(), n / 8) for n in range(1, 9)])


def test_bfloat16_computes_in_half_and_keeps_weights_whole():
    net, types = Tiny(), []

    def watched(net, batch):
        types.append(net(batch["ids"]).dtype)
        return loss(net, batch)

    train(net, watched, batches, Steps(2), Recipe(dtype="bfloat16"))
    assert types == [torch.bfloat16] * 2
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_auxiliary_losses_are_minimised_and_logged():
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)

    def with_aux(net, batch):
        add_aux("balance", 3 * net.weight.square().sum())
        return Loss(0 * net.weight.sum() + 2.0)

    history = train(net, with_aux, lambda s, p: None, Steps(1), Recipe(warmup=0, weight_decay=0, lr=0.5, clip=0))
    assert history.curve[0]["aux/balance"] == 3.0
    assert history.curve[0]["loss"] == 5.0
    assert net.weight.item() < 1


def test_a_loss_that_is_not_finite_stops_before_it_does_harm(tmp_path):
    net, reference = Tiny(), Tiny()

    def breaks(net, batch):
        result = loss(net, batch)
        return Loss(result.value * torch.nan) if batch["step"] == 3 else result

    def numbered(step, share):
        return {**batches(step, share), "step": step}

    with pytest.raises(UserError, match=r"step 4: the loss is nan \(learning rate 0\.000\d+\); lower the learning"):
        train(net, breaks, numbered, Steps(8), folder=tmp_path, save_every=0)
    train(reference, loss, numbered, Steps(8), until=3 / 8)
    assert torch.equal(net.embed.weight, reference.embed.weight)
    kept = Tiny(seed=5)
    assert train(kept, loss, numbered, Steps(8), folder=tmp_path, until=3 / 8).steps == 3
    assert same(kept, reference)


@pytest.mark.parametrize(("clip", "named"), [(1.0, "the gradient norm is"), (0.0, "the parameter weight is not")])
def test_a_gradient_that_is_not_finite_is_no_checkpoint(tmp_path, clip, named):
    net = nn.Linear(1, 1, bias=False)

    def steep(net, batch):
        return Loss((net.weight * 0.0).sqrt().sum())  # value 0, slope 0 · ∞

    with pytest.raises(UserError, match=named):
        train(net, steep, lambda s, p: None, Steps(1), Recipe(clip=clip), folder=tmp_path, save_every=0)
    assert not list(tmp_path.iterdir())


def test_what_makes_no_sense_is_refused():
    frozen = Tiny().requires_grad_(False)
    with pytest.raises(UserError, match="every parameter is frozen"):
        train(frozen, loss, batches, Steps(1))
    with pytest.raises(UserError, match="Parameters"):
        train(Tiny(), loss, batches, Parameters(5))
    with pytest.raises(UserError, match=r"until 1\.5"):
        train(Tiny(), loss, batches, Steps(1), until=1.5)
    with pytest.raises(UserError, match="no tokens to count"):
        train(nn.Linear(1, 1), lambda n, b: Loss(n(b).sum()), lambda s, p: torch.ones(1, 1), Tokens(5))


class Listener:
    def __init__(self):
        self.heard = []

    def began(self, stage):
        self.heard.append(("began", stage.label, stage.total, stage.done))

    def changed(self, stage):
        self.heard.append((stage.done, stage.remaining, stage.text))

    def ended(self, stage):
        self.heard.append(("ended", stage.done))


def test_progress_and_time_left(tmp_path):
    listener = Listener()
    train(Tiny(), loss, batches, Steps(8), folder=tmp_path, until=0.25)
    with progress.listening(listener):
        train(Tiny(), loss, batches, Steps(8), folder=tmp_path, until=0.5)
    assert listener.heard[0] == ("began", "train", 4.0, 0)
    assert listener.heard[-1] == ("ended", 4)
    already, third, fourth = listener.heard[1:-1]
    assert already == (2, None, "")
    assert (third[0], fourth[0]) == (3, 4)
    assert third[1] > 0
    assert fourth[1] == 0
    assert fourth[2].startswith("loss ")
