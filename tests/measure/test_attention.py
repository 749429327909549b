"""Where networks attend, and the distance between two of them."""

from __future__ import annotations

import math

import pytest
import torch

from twofold.errors import UserError
from twofold.measure.attention import attention_distance, attention_maps
from twofold.parts import Pattern, SequenceModel, presets


def decoder(position: str, seed: int) -> SequenceModel:
    torch.manual_seed(seed)
    return presets.decoder(12, 16, 2, 2, position=position)


def test_maps_are_the_probabilities_of_each_layer() -> None:
    net, ids = decoder("rope", 0), torch.randint(0, 12, (3, 9))
    maps = attention_maps(net, ids)
    assert [tuple(m.shape) for m in maps] == [(3, 2, 9, 9)] * 2
    for layer, found in enumerate(maps):
        block = net.stack.layers[layer]
        given = block.mixer_norm(net.states(ids, stop=layer))  # type: ignore[operator, union-attr]
        torch.testing.assert_close(found, block.mixer.matrix(given))  # type: ignore[operator, union-attr]
        torch.testing.assert_close(found.sum(-1), torch.ones(3, 2, 9))
    assert not any(block.mixer._forward_hooks for block in net.stack.layers)  # type: ignore[union-attr]


def test_a_mixer_without_a_matrix_is_refused() -> None:
    net = Pattern.read([{"mixer": "fourier-transform"}], dim=16, heads=2).network(12)
    with pytest.raises(UserError, match="no mixing matrix"):
        attention_maps(net, torch.zeros(1, 4, dtype=torch.long))


def test_the_distance_matches_heads() -> None:
    ids = torch.randint(0, 12, (3, 9))
    maps, other = attention_maps(decoder("rope", 0), ids), attention_maps(decoder("alibi", 1), ids)
    assert attention_distance(maps, [m.flip(1) for m in maps]) == pytest.approx([0, 0], abs=1e-6)
    there = attention_distance(maps, other)
    assert there == pytest.approx(attention_distance(other, maps))
    assert all(0 < d < math.log(2) for d in there)
    first, last = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    first[..., 0], last[..., 3] = 1, 1
    assert attention_distance([first], [last]) == pytest.approx([math.log(2)])
    with pytest.raises(UserError, match="2 and 1 layers"):
        attention_distance(maps, maps[:1])
