"""Taps see what goes through a network; edits and stand-ins change it, and leave nothing behind."""

from __future__ import annotations

import pytest
import torch

from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel, StandIn, Tap, bert, blocks, decoder, replaced, trace
from twofold.parts.trace import states

IDS = torch.randint(0, 20, (2, 7), generator=torch.Generator().manual_seed(0))


def made(wiring: str = "pre") -> SequenceModel:
    torch.manual_seed(0)
    return decoder(20, 16, 3, 2, wiring=wiring).eval()


def hooks(net: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_states_are_those_of_partial_passes() -> None:
    net = made()
    with torch.no_grad(), trace(net, states(net)) as seen:
        whole = net(IDS)
    assert len(seen) == 4
    for stop, tap in enumerate(states(net)):
        torch.testing.assert_close(seen[tap], net.states(IDS, stop=stop))
    torch.testing.assert_close(net.apply_head(net.stack.final_norm(seen[Tap(2)])), whole)
    assert not hooks(net)


@pytest.mark.parametrize("wiring", ["pre", "post", "parallel", "sandwich"])
def test_parts_add_up_to_their_block(wiring: str) -> None:
    net = made(wiring)
    block = blocks(net)[1][1]
    taps = [Tap(1, side="in"), Tap(1, "mixer", "in"), Tap(1, "mixer"), Tap(1, "channel_norm"), Tap(1, "channel")]
    with torch.no_grad(), trace(net, [*taps, Tap(1), Tap(1, "mixer", "matrix")]) as seen:
        net(IDS)
    x, inner, mixed, _, channel = (seen[tap] for tap in taps)
    torch.testing.assert_close(block.mixer(inner, Mask.of(None)), mixed)
    matrix = seen[Tap(1, "mixer", "matrix")]
    torch.testing.assert_close(block.mixer.merge(matrix @ block.mixer.values(inner)), mixed)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(2, 2, 7))
    if wiring in ("pre", "parallel"):
        torch.testing.assert_close(x + mixed + channel, seen[Tap(1)])


def test_a_pass_may_stop_early() -> None:
    net, ran = made(), []
    net.stack.layers[2].register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad(), trace(net, [Tap(0), Tap(1)], stop=True) as seen:
        net(IDS)
        ran.append(2)  # the pass ends the block
    assert set(seen) == {Tap(0), Tap(1)}
    assert not ran


def test_edits_go_on_through_the_network() -> None:
    net = made()
    with torch.no_grad():
        patched = net.states(IDS, stop=2) * 2
        with trace(net, [Tap(1)], {Tap(1): lambda x: x * 2}) as seen:
            out = net(IDS)
        torch.testing.assert_close(seen[Tap(1)], patched)
        torch.testing.assert_close(out, net.apply_head(net.stack(patched, start=2)))
        with trace(net, [], {Tap(2, side="in"): lambda x: x * 2}):
            torch.testing.assert_close(net(IDS), out)
    assert not hooks(net)


def test_stand_ins_leave_no_trace() -> None:
    net = made()
    before, names = net(IDS), list(net.state_dict())
    nothing = StandIn(16)
    torch.nn.init.zeros_(nothing.map.weight)
    with (
        trace(net, [Tap(1, side="in"), Tap(1)]) as seen,
        replaced(net, {Tap(1, "mixer"): nothing, Tap(1, "channel"): nothing}),
    ):
        net(IDS)
    torch.testing.assert_close(seen[Tap(1)], seen[Tap(1, side="in")])
    with pytest.raises(ZeroDivisionError), replaced(net, {Tap(1, "mixer"): nothing}):
        raise ZeroDivisionError
    assert torch.equal(net(IDS), before)
    assert list(net.state_dict()) == names


def test_what_is_not_there_is_refused() -> None:
    net = made()
    with pytest.raises(UserError, match="no block 3 to tap; the network has blocks 0 to 2"), trace(net, [Tap(3)]):
        pass
    with pytest.raises(UserError, match="has no mixing matrix"), trace(net, [Tap(0, "channel", "matrix")]):
        pass
    net.stack.layers[0].channel = None
    with pytest.raises(UserError, match="block 0 has no channel to tap"), trace(net, [Tap(0, "channel")]):
        pass
    with pytest.raises(UserError, match="cannot be edited"), trace(net, [], {Tap(0, "mixer", "matrix"): abs}):
        pass
    shared = bert(20, 16, 2, 2, 32)
    shared.stack.layers[1] = shared.stack.layers[0]
    with pytest.raises(UserError, match="one shared block"):
        blocks(shared)
