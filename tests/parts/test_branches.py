"""Starting values of residual branches."""

from __future__ import annotations

import pytest
import torch

from twofold.errors import UserError
from twofold.parts import Pattern, presets, scale_branches


def test_branches_start_smaller_where_there_are_more() -> None:
    torch.manual_seed(0)
    plain = presets.decoder(40, 64, 3, 4)
    torch.manual_seed(0)
    scaled = scale_branches(presets.decoder(40, 64, 3, 4))
    a, b = plain.stack.layers[1], scaled.stack.layers[1]
    torch.testing.assert_close(b.mixer.out.weight, a.mixer.out.weight / 6**0.5)
    torch.testing.assert_close(b.channel.down.weight, a.channel.down.weight / 6**0.5)
    assert torch.equal(b.channel.up.weight, a.channel.up.weight)


def test_other_branches_are_refused_and_meta_networks_are_left() -> None:
    with torch.device("meta"):
        scale_branches(presets.decoder(40, 64, 2, 4))
    with pytest.raises(UserError, match="no last map to scale"):
        scale_branches(Pattern.read([{"mixer": "fourier-transform"}], dim=16, heads=2).network(12))
