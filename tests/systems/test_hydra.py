"""Hydra: its matrix, its limits and its encoder. The scans it is made of: tests/parts/test_scans.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from twofold.catalog import configure
from twofold.errors import UserError
from twofold.measure.costs import parameters
from twofold.parts import Hydra, Mask
from twofold.parts.scans import ssd_matrix


def made(state: int = 3, **options: Any) -> Hydra:
    torch.manual_seed(0)
    return Hydra(8, state=state, head_dim=4, **options).double()


def drawn(time: int = 24) -> torch.Tensor:
    return torch.randn(2, time, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def inner(mixer: Hydra, x: torch.Tensor, mask: Mask | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """What the matrix mixes, and the output of the block computed from the matrix."""
    z, (u, *_), *_ = mixer.routing(x, mask)
    mixed = torch.einsum("bhij,bjhp->bihp", mixer.implicit(x, mask), u).flatten(2)
    return u, mixer.out(mixer.norm(mixed, z))


@pytest.mark.parametrize("chunk", [5, 64])
def test_the_matrix_gives_the_output(chunk: int) -> None:
    mixer, x = made(chunk=chunk), drawn()
    for mask in (None, Mask.segments(torch.tensor([[0] * 9 + [1] * 15]).expand(2, -1))):
        torch.testing.assert_close(inner(mixer, x, mask)[1], mixer(x, mask), rtol=1e-10, atol=1e-10)


def test_blocks_off_the_diagonal_have_the_rank_of_the_state() -> None:
    matrix = made(state=3).implicit(drawn())
    for split in range(1, 24):
        for block in (matrix[..., split:, :split], matrix[..., :split, split:]):
            values = torch.linalg.svdvals(block)
            assert (values[..., 3:] <= 1e-10 * values[..., :1] + 1e-13).all()
    # With the diagonal inside, the rank is higher: it is free.
    values = torch.linalg.svdvals(matrix[..., 8:, :16])
    assert (values[..., 3] > 1e-6 * values[..., 0]).all()


def test_without_the_way_back_it_is_a_shifted_scan_and_a_diagonal() -> None:
    mixer, x = made(), drawn()
    with torch.no_grad():
        # b of the scan from the end comes before its c: inner, inner, b, c, b', c', steps
        begin = mixer.inner + mixer.inner + 2 * mixer.state
        mixer.enter_map.weight[begin : begin + mixer.state] = 0
        at = mixer.inner + 2 * mixer.state
        mixer.conv.bias[at : at + mixer.state] = 0
        matrix = mixer.implicit(x)
        _, (_, dt, b, c), _, diagonal, _, _ = mixer.routing(x)
        assert matrix.triu(1).abs().max() == 0
        torch.testing.assert_close(matrix.diagonal(dim1=-2, dim2=-1), diagonal.transpose(1, 2))
        below = ssd_matrix(dt, mixer.a, b, c)
        torch.testing.assert_close(matrix[..., 1:, :].tril(0), below[..., :-1, :], rtol=1e-10, atol=1e-12)


def test_it_turns_with_its_input_where_both_directions_share_weights() -> None:
    mixer, x = made(), drawn()
    with torch.no_grad():
        n, h = mixer.state, mixer.heads
        rows = mixer.enter_map.weight
        at = 2 * mixer.inner
        rows[at + 2 * n : at + 4 * n] = rows[at : at + 2 * n]
        rows[-h:] = rows[-2 * h : -h]
        own = mixer.inner
        for held in (mixer.conv.weight, mixer.conv.bias[None]):
            held[:, own + 2 * n :] = held[:, own : own + 2 * n]
        mixer.conv.weight += mixer.conv.weight.flip(0).clone()
        torch.testing.assert_close(mixer(x.flip(1)), mixer(x).flip(1), rtol=1e-10, atol=1e-10)
        mixer.enter_map.weight[-1] += 1.0
        assert not torch.allclose(mixer(x.flip(1)), mixer(x).flip(1))


def test_a_block_is_as_large_as_one_of_attention() -> None:
    counts = [
        parameters(configure(id, dim=64, layers=2).network(1024))  # type: ignore[attr-defined]
        for id in ("encoder", "hydra")
    ]
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_what_cannot_be_is_refused() -> None:
    hydra: Any = configure("hydra").small()
    with pytest.raises(UserError, match="give hidden"):
        replace(hydra, expand=8).network(300)
    with pytest.raises(UserError, match="kernel=9"):
        replace(hydra, kernel=8).network(300)
    with pytest.raises(UserError, match="head_dim"):
        replace(hydra, head_dim=48).network(300)
    with pytest.raises(UserError, match="causal"):
        made()(drawn(), Mask.causal())
    with pytest.raises(UserError, match="whole sequence"):
        made().new_cache(1, 8)
