"""Stopping and going on: nothing is lost, nothing is mixed up."""

import json
import signal

import pytest
import torch
from torch import nn

from twofold.catalog.claims import Steps, Tokens
from twofold.errors import UserError
from twofold.training import Recipe, checkpoint, train

from .tiny import Tiny, batches, loss, same


def without_times(history):
    return [{k: v for k, v in point.items() if k != "seconds"} for point in history.curve]


@pytest.mark.parametrize("budget", [Steps(20), Tokens(300)])
def test_a_run_in_stages_is_one_run_to_the_bit(tmp_path, budget):
    whole, staged = Tiny(), Tiny()
    expected = train(whole, loss, batches, budget)
    for number, until in enumerate((0.1, 1 / 3, 0.8, 0.8, None)):
        staged = Tiny(seed=number)  # the folder knows better
        history = train(staged, loss, batches, budget, folder=tmp_path, until=until)
        if until:
            assert until <= history.fraction < until + 0.08
    assert same(staged, whole)
    assert without_times(history) == without_times(expected)
    assert (history.steps, history.tokens) == (expected.steps, expected.tokens)


def test_a_finished_run_is_not_run_again(tmp_path):
    first = Tiny()
    history = train(first, loss, batches, Steps(4), folder=tmp_path)
    second = Tiny(seed=1)

    def never(*anything):
        raise AssertionError("training went on")

    assert train(second, never, never, Steps(4), folder=tmp_path) == history
    assert same(first, second)


def test_the_folder_holds_one_checkpoint_and_no_pickle(tmp_path):
    train(Tiny(), loss, batches, Steps(7), folder=tmp_path / "new" / "folder", save_every=0)
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["checkpoint-7.safetensors", "checkpoint.json"]
    written = json.loads((tmp_path / "new" / "folder" / "checkpoint.json").read_text())
    assert written["tensors"] == names[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": Recipe(lr=0.5)}, r"recipe\.lr = 0\.001, this run has 0\.5"),
        ({"budget": Steps(9)}, r"budget\.amount = 4, this run has 9"),
        ({"budget": Tokens(4)}, r"budget\.kind = Steps, this run has Tokens"),
        ({"seed": 1}, r"seed = 0, this run has 1"),
        ({"identity": {"data": "b"}}, r"identity\.data = a, this run has b"),
        ({"net": nn.Linear(1, 1)}, r"network = 249 trained numbers \(.*\), this run has 2 trained numbers"),
    ],
)
def test_another_configuration_is_refused_with_the_fix(tmp_path, change, named):
    given = {"net": Tiny(), "budget": Steps(4), "identity": {"data": "a"}}

    def run(net, budget, **options):
        return train(net, loss, batches, budget, folder=tmp_path, **options)

    run(**given)
    with pytest.raises(UserError, match=named) as refused:
        run(**(given | change))
    assert f"delete {tmp_path} to start again" in str(refused.value)


def test_damage_is_named(tmp_path):
    train(Tiny(), loss, batches, Steps(2), folder=tmp_path)
    tensors, description = tmp_path / "checkpoint-1.safetensors", tmp_path / "checkpoint.json"
    content = tensors.read_bytes()

    def refused(match):
        with pytest.raises(UserError, match=match):
            train(Tiny(), loss, batches, Steps(2), folder=tmp_path)

    tensors.write_bytes(content[: len(content) // 2])
    refused("cannot be read")
    tensors.write_bytes(b"\x80\x04\x95" + content)  # how a pickle begins
    refused("cannot be read")
    tensors.unlink()
    refused("cannot be read .*checkpoint-1.safetensors")
    tensors.write_bytes(content)
    text = description.read_text()
    description.write_text(text[: len(text) // 2])
    refused("cannot be read")
    description.write_text("{}")
    refused("cannot be read")
    description.write_text(text.replace('"format": 1', '"format": 99'))
    refused("format 99.*upgrade twofold")


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    half = Tiny()
    train(half, loss, batches, Steps(8), folder=tmp_path, until=0.5)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(tensors, path):
        path.write_bytes(b"the beginning of the fi")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(UserError, match=r"No space left on device.*still there"):
            train(Tiny(), loss, batches, Steps(8), folder=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    whole, rest = Tiny(), Tiny()
    train(whole, loss, batches, Steps(8))
    train(rest, loss, batches, Steps(8), folder=tmp_path)
    assert same(whole, rest)


@pytest.fixture
def interruptible():
    """The handler of a program that a person runs; one started in the background is given none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_finishes_the_step_saves_and_is_raised(tmp_path, interruptible):
    def pressed(net, batch):
        if batch["step"] == 5:
            signal.raise_signal(signal.SIGINT)
        return loss(net, batch)

    def numbered(step, share):
        return {**batches(step, share), "step": step}

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(Tiny(), pressed, numbered, Steps(9), folder=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert json.loads((tmp_path / "checkpoint.json").read_text())["state"]["spent"]["steps"] == 6
    whole, rest = Tiny(), Tiny()
    expected = train(whole, loss, numbered, Steps(9))
    history = train(rest, loss, numbered, Steps(9), folder=tmp_path)
    assert same(whole, rest)
    assert without_times(history) == without_times(expected)


@pytest.mark.parametrize("where", ["batch", "loss", "validation"])
def test_an_interrupt_raised_from_within_saves_the_last_whole_step(tmp_path, where):
    stopped = []

    def stop(place, step):
        if place == where and step == 3 and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt

    def stopping_batches(step, share):
        stop("batch", step)
        return {**batches(step, share), "step": step}

    def stopping_loss(net, batch):
        stop("loss", batch["step"])
        return loss(net, batch)

    def measure(net):
        stop("validation", 3)
        return {"sum": net.embed.weight.sum()}

    whole, rest = Tiny(), Tiny()
    expected = train(whole, loss, batches, Steps(8), validate=lambda net: {"sum": net.embed.weight.sum()})
    with pytest.raises(KeyboardInterrupt):
        train(Tiny(), stopping_loss, stopping_batches, Steps(8), validate=measure, folder=tmp_path)
    steps = json.loads((tmp_path / "checkpoint.json").read_text())["state"]["spent"]["steps"]
    assert steps == (2 if where == "validation" else 3)
    history = train(rest, stopping_loss, stopping_batches, Steps(8), validate=measure, folder=tmp_path)
    assert same(whole, rest)
    figures = [[(v["step"], v["sum"]) for v in h.validation] for h in (history, expected)]
    assert figures[0] == figures[1]


def test_a_tensor_that_is_a_view_is_saved_alone(tmp_path):
    big = torch.arange(12.0)
    checkpoints = checkpoint.Checkpoints(tmp_path, {})
    checkpoints.save(checkpoint.Checkpoint({}, {"part": big[3:5], "turned": big.view(3, 4).T}))
    loaded = checkpoints.load().tensors
    assert torch.equal(loaded["part"], big[3:5])
    assert torch.equal(loaded["turned"], big.view(3, 4).T)
    assert (tmp_path / "checkpoint-1.safetensors").stat().st_size < 400


def test_what_a_killed_process_left_behind_is_removed(tmp_path):
    for name in (".checkpoint.json.part", ".tmpVcANpk"):
        (tmp_path / name).write_bytes(b"half")
    train(Tiny(), loss, batches, Steps(2), folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1.safetensors", "checkpoint.json"]
