"""Generation: with a cache as without, row by row as in a batch, and it ends where it should."""

from __future__ import annotations

import pytest
import torch

from twofold.decoding import Forbid, generate, greedy, sampling
from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel, presets

PROMPTS = [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10, 11]]


def network(position: str = "rope", **options: object) -> SequenceModel:
    torch.manual_seed(0)
    net = presets.decoder(40, 32, 2, 4, position=position, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)  # far from uniform, so that rows differ and arg max is not a near tie
    return net.eval()


def plain(net: SequenceModel, prompt: list[int], limit: int) -> list[int]:
    """The definition: take the most likely next token, read everything again."""
    ids = list(prompt)
    for _ in range(limit):
        logits = net(torch.tensor([ids]), mask=Mask.causal())
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("position", ["rope", "none", "alibi", "t5", "sinusoid", "learned"])
@torch.inference_mode()
def test_greedy_with_cache_and_left_padding_equals_the_plain_loop(position: str) -> None:
    net = network(position, max_len=40)
    made = generate(net, PROMPTS, 12)
    assert made.ids.tolist() == [plain(net, prompt, 12) for prompt in PROMPTS]
    assert torch.equal(made.ids, generate(net, PROMPTS, 12, cached=False).ids)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    net = network()
    together = generate(net, PROMPTS, 8)
    alone = [generate(net, [prompt], 8) for prompt in PROMPTS]
    assert torch.equal(together.ids, torch.cat([a.ids for a in alone]))
    torch.testing.assert_close(together.nats, torch.cat([a.nats for a in alone]), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_nats_are_the_cost_of_what_was_made() -> None:
    net = network()
    made = generate(net, [PROMPTS[0]], 6)
    whole = torch.tensor([PROMPTS[0] + made.ids[0].tolist()])
    log_probability = net(whole, mask=Mask.causal()).log_softmax(-1)[0, 2:-1]
    expected = -log_probability.gather(1, made.ids[0][:, None]).sum()
    torch.testing.assert_close(made.nats[0].float(), expected, rtol=1e-5, atol=1e-5)


def test_rows_end_at_a_stop_token_and_are_padded() -> None:
    net = network()
    free = generate(net, PROMPTS, 12).ids
    stop = int(free[0, 3])
    made = generate(net, PROMPTS, 12, stop=[stop], pad=39)
    for row, tokens in enumerate(free.tolist()):
        length = tokens.index(stop) + 1 if stop in tokens else 12
        assert made.lengths[row] == length
        assert made.stopped[row] == (stop in tokens)
        assert made.ids[row, :length].tolist() == tokens[:length]
        assert (made.ids[row, length:] == 39).all()
        assert made.sequences()[row] == tokens[: length - (stop in tokens)]
    assert made.ids.shape[1] == made.lengths.max()


def test_it_stops_when_every_row_has_ended() -> None:
    calls = []

    def counting(logits: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.full((len(logits),), 7)

    made = generate(network(), PROMPTS, 50, choose=counting, stop=[7])
    assert len(calls) == 1
    assert made.ids.tolist() == [[7], [7], [7]]
    assert made.sequences() == [[], [], []]


def test_the_cache_is_made_once_and_each_step_reads_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    caches, reads = [], []
    make, states = net.new_cache, net.states
    monkeypatch.setattr(net, "new_cache", lambda *a, **k: caches.append(a) or make(*a, **k))
    monkeypatch.setattr(net, "states", lambda ids, *a, **k: reads.append(ids.shape[1]) or states(ids, *a, **k))
    generate(net, PROMPTS, 9)
    assert caches == [(3, 15)]
    assert reads == [6] + [1] * 8


def test_processors_see_tokens_so_far_and_change_the_choice() -> None:
    net = network()
    seen = []

    def watch(logits: torch.Tensor, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        seen.append((ids.shape[1], real.sum(1).tolist()))
        return logits

    first = int(generate(net, PROMPTS[:1], 1).ids)
    made = generate(net, PROMPTS[:1], 5, processors=[watch, Forbid([first])])
    assert first not in made.ids
    assert seen == [(3 + n, [3 + n]) for n in range(5)]


def test_sampling_is_seeded_and_temperature_zero_is_greedy() -> None:
    net = network()

    def draw(**settings: float) -> list[list[int]]:
        choose, processors = sampling(**settings)  # type: ignore[arg-type]
        return generate(net, PROMPTS, 16, choose=choose, processors=processors).ids.tolist()

    assert draw(temperature=1.0, seed=3) == draw(temperature=1.0, seed=3)
    assert draw(temperature=1.0, seed=3) != draw(temperature=1.0, seed=4)
    assert draw(temperature=0.0) == generate(net, PROMPTS, 16, choose=greedy).ids.tolist()
    assert draw(temperature=5.0, top_k=1) == draw(temperature=0.0)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(UserError, match="prompt 2 is empty"):
        generate(network(), [[1], []], 3)
    with pytest.raises(UserError, match="need 12 positions, the network has 10"):
        generate(network("learned", max_len=10), [[1, 2]], 10)
    assert generate(network(), [[1, 2]], 0).sequences() == [[]]
