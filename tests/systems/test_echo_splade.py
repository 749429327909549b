"""Echo-Mistral-SPLADE [142]: what must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import EchoEncoder, MaxTerms, SequenceModel, SparseEncoder, TiedHead, presets
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.backbones import Chosen
from twofold.tasks.examples import small_rows

BEFORE, BETWEEN = [1, 2], [3]


@pytest.fixture(scope="module")
def data():
    return task_named("search").read(small_rows())


@pytest.fixture(scope="module")
def system():
    return configure("echo-splade").small()


def decoder() -> SequenceModel:
    torch.manual_seed(0)
    bare = presets.decoder(60, 32, 2, 2)
    return SequenceModel(bare.embedding, bare.stack, TiedHead(60, bias=True)).eval()


def twice(text: list[int]) -> torch.Tensor:
    return torch.tensor([[*BEFORE, *text, *BETWEEN, *text]])


def test_the_second_copy_has_seen_the_end_and_the_first_has_not() -> None:
    model, text = decoder(), [10, 11, 12, 13]
    plain, other = torch.tensor([text]), torch.tensor([[*text[:-1], 20]])
    assert torch.equal(model(plain)[:, :-1], model(other)[:, :-1])
    start = len(BEFORE) + len(text) + len(BETWEEN)
    echoed = twice(text)
    changed = echoed.clone()
    changed[0, len(BEFORE) + len(text) - 1] = 20  # the end of the first copy alone
    assert not torch.allclose(model(echoed)[0, start], model(changed)[0, start], atol=1e-4)
    net = EchoEncoder(model, MaxTerms(), frame=3)
    assert not torch.allclose(net(echoed), net(changed), atol=1e-4)


def test_only_the_second_copy_counts() -> None:
    net = EchoEncoder(decoder(), MaxTerms(), silent=[0], frame=3)
    real = torch.tensor([[True] * 11, [True] * 7 + [False] * 4])  # texts of 4 and of 2 tokens
    expected = torch.tensor([[False] * 7 + [True] * 4, [False] * 5 + [True] * 2 + [False] * 4])
    assert torch.equal(net.counted(real), expected)
    shifted = EchoEncoder(decoder(), MaxTerms(), silent=[0], frame=3, shift=True)
    assert torch.equal(shifted.counted(real), expected.roll(-1, 1))
    states = torch.randn(2, 11, 32, generator=torch.Generator().manual_seed(0))
    loud = torch.where(expected[..., None], states, 50 * states)
    torch.testing.assert_close(net.read(loud, real), net.read(states, real), rtol=1e-5, atol=1e-6)
    assert not net.read(states, real)[:, 0].any()
    with pytest.raises(UserError, match="between"):
        EchoEncoder(decoder(), MaxTerms(), shift=True)


def test_padding_on_either_side_changes_nothing() -> None:
    net = EchoEncoder(decoder(), MaxTerms(), frame=3)
    ids = twice([10, 11, 12])
    real = torch.ones_like(ids, dtype=torch.bool)
    for sides in ((0, 4), (4, 0)):
        padded = torch.nn.functional.pad(ids, sides, value=7), torch.nn.functional.pad(real, sides)
        torch.testing.assert_close(net(*padded), net(ids), rtol=1e-5, atol=1e-5)


def test_both_copies_are_cut_at_the_same_token(system, data) -> None:
    model = dataclasses.replace(system, document_tokens=6).start(data, 0)
    before, between = model.spec["echo"]["before"], model.spec["echo"]["between"]
    long, short = model.tokens([" ".join(data.documents[:3]), "lamp"], "document")
    for ids, length in ((long, 6), (short, None)):
        copy = (len(ids) - len(before) - len(between)) // 2
        assert length is None or copy == length
        assert ids == [*before, *ids[-copy:], *between, *ids[-copy:]]
    assert model.net.frame == len(before) + len(between)


def test_without_the_echo_it_reads_a_text_once(system, data) -> None:
    model = dataclasses.replace(system, echo=False).start(data, 0)
    assert type(model.net) is SparseEncoder
    assert "echo" not in model.spec
    assert len(model.tokens(["lamp"], "query")[0]) < len(system.start(data, 0).tokens(["lamp"], "query")[0]) / 2


def test_frozen_layers_give_what_the_whole_network_gives(data) -> None:
    net = EchoEncoder(decoder(), MaxTerms(), frame=3)
    ids = twice([10, 11, 12, 13])
    real = torch.ones_like(ids, dtype=torch.bool)
    torch.testing.assert_close(net.upper(net.lower(ids, real, 1), real, 1), net(ids, real), rtol=1e-5, atol=1e-6)


def test_it_is_saved_with_its_frame(system, data, tmp_path) -> None:
    model = system.fit(data, Steps(2)).model
    texts = list(data.documents[:5])
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert isinstance(again.net, EchoEncoder)
    assert abs(again.encode(texts).values - model.encode(texts).values).max() == 0
    assert model.encode(texts).values.min() >= 0


def test_what_cannot_be_is_refused(system, data) -> None:
    with pytest.raises(UserError, match="leave it out"):
        dataclasses.replace(system, echo=False, shift=True).start(data, 0)
    made = presets.bert(260, 32, 1, 2, hidden=64, max_len=64)
    chosen = Chosen(SequenceModel(made.embedding, made.stack), ByteTokenizer(), True, {})
    with pytest.raises(UserError, match="lower document_tokens"):
        system.network(chosen)
