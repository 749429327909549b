"""The quantization grid and the range search."""

from __future__ import annotations

import pytest
import torch

from twofold.errors import UserError
from twofold.surgery import Fp4Grid, IntGrid, Nf4Grid, TableGrid, best_scale, factorise, quantize, relative_error
from twofold.surgery.quantize import spread

GRIDS = {
    "int4": IntGrid(4),
    "int8": IntGrid(8),
    "int2": IntGrid(2),
    "int4-zero": IntGrid(4, symmetric=False),
    "int3-zero": IntGrid(3, symmetric=False),
    "fp4": Fp4Grid(),
    "nf4": Nf4Grid(),
    "rows": TableGrid(torch.randn(12, 16, generator=torch.Generator().manual_seed(1)).sort().values, zero=True),
}


@pytest.fixture
def weight():
    return torch.randn(12, 50, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize("group", [None, 10, 16, 1])
@pytest.mark.parametrize("name", GRIDS)
def test_every_weight_gets_its_nearest_level(name, group, weight):
    grid = GRIDS[name]
    found = quantize(weight, grid, group)
    size = group or 50
    assert found.codes.dtype == torch.uint8
    assert found.scale.shape == (12, -(-50 // size))
    assert found.scale.dtype == torch.float16
    levels = grid.levels(torch.arange(2**grid.bits, dtype=torch.uint8).expand(12, -1))
    if name.startswith("int") and not grid.zero:
        levels = levels[:, 1:]  # the lowest code is never used
    values = levels[:, None] * spread(found.scale.float(), size, 50)[..., None]
    if found.zero is not None:
        values = values + spread(found.zero.float(), size, 50)[..., None]
    nearest = (values - weight[..., None]).abs().amin(-1)
    torch.testing.assert_close((found.dense() - weight).abs(), nearest, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_packed_matrices_are_the_same_matrix(name, weight):
    found = quantize(weight, GRIDS[name], 16)
    torch.testing.assert_close(found.packed().dense(), found.dense(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_errors_stay_within_half_a_step(bits, symmetric, weight):
    found = quantize(weight, IntGrid(bits, symmetric), 16)
    # Scales are rounded to float16, which the farthest level feels most.
    slack = 2**bits * 2**-11 + 1e-3
    assert ((found.dense() - weight).abs() <= spread(found.scale.float(), 16, 50) * (0.5 + slack)).all()


def test_eight_bits_one_by_one_are_exact_to_the_scale(weight):
    # Scales below 6e-5 are subnormal in float16: there the step between them, 6e-8, is what is left.
    torch.testing.assert_close(quantize(weight, IntGrid(8), 1).dense(), weight, rtol=2**-10, atol=127 * 2**-25)


def test_symmetric_codes_leave_the_lowest_out(weight):
    assert quantize(weight, IntGrid(4), 16).codes.min() == 1
    assert quantize(-weight, IntGrid(4), 16).codes.max() <= 15


def test_rows_of_zeros_stay_zeros(weight):
    weight[3] = 0
    for grid in GRIDS.values():
        found = quantize(weight, grid)
        assert torch.isfinite(found.dense()).all()
        assert (found.dense()[3] == 0).all()
    assert best_scale(weight, IntGrid(4))[3] == 0


def test_constant_rows_with_an_offset_are_exact(weight):
    weight[3] = 0.25
    assert (quantize(weight, IntGrid(4, symmetric=False)).dense()[3] == 0.25).all()


def test_blocks_of_32_with_scale_and_minimum_come_back_as_they_were():
    """A matrix that was stored in GGUF's Q4_1 is reproduced by an aligned quantizer of its kind: no loss to measure."""
    made = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (8, 64), generator=made)
    codes.view(8, 2, 32)[..., :2] = torch.tensor([0, 15])
    scale, least = torch.rand(8, 2, generator=made).half(), torch.randn(8, 2, generator=made).half()
    stored = spread(scale.float(), 32, 64) * codes + spread(least.float(), 32, 64)
    aligned = quantize(stored, IntGrid(4, symmetric=False), 32)
    assert relative_error(stored, aligned.dense()) < 1e-8
    assert relative_error(stored, quantize(stored, IntGrid(4, symmetric=False), 24).dense()) > 1e-4


def test_formats_that_others_know():
    assert Fp4Grid().tables[0, :15].tolist() == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]
    published = [-1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0]
    published += [0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1]
    torch.testing.assert_close(Nf4Grid().tables[0], torch.tensor(published), rtol=0, atol=2e-4)


@pytest.mark.parametrize("how", ["grad", "alternate", "absmax"])
@pytest.mark.parametrize("group", [None, 16])
def test_no_group_gets_worse_by_the_search(how, group, weight):
    weight[3] = 0
    grid = IntGrid(4)
    size = group or 50

    def losses(found):
        lost = (found.dense() - weight).square()
        return torch.nn.functional.pad(lost, (0, -50 % size)).unflatten(1, (-1, size)).sum(2)

    before = losses(quantize(weight, grid, group))
    after = losses(quantize(weight, grid, group, best_scale(weight, grid, group, how)))
    assert (after <= before * (1 + 1e-5)).all()
    if how == "absmax":
        assert torch.equal(after, before)
    else:
        assert after.sum() < 0.97 * before.sum()


def test_the_search_finds_a_scale_that_is_there():
    """Whole multiples of a step and one weight in between that widens the range: the step is found again."""
    codes = torch.randint(-7, 8, (4, 200), generator=torch.Generator().manual_seed(0)).float()
    weight = codes * 0.125
    weight[:, 0] = 1.0
    found = best_scale(weight, IntGrid(4), how="alternate").float()
    torch.testing.assert_close(found, torch.full_like(found, 0.125), rtol=2e-3, atol=0)


@pytest.mark.parametrize("bits", [0, 1, 9])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(UserError, match="bits"):
        IntGrid(bits)


def test_other_bad_input_is_refused(weight):
    with pytest.raises(UserError, match="group is 0"):
        quantize(weight, IntGrid(4), 0)
    with pytest.raises(UserError, match="ascending"):
        TableGrid(torch.tensor([1.0, 0.0]))
    with pytest.raises(UserError, match="too large"):
        quantize(weight * 1e8, IntGrid(4))
    with pytest.raises(ValueError, match="symmetric"):
        best_scale(weight, IntGrid(4, symmetric=False))


def test_factorising_packed_weights_is_refused():
    from twofold.catalog import configure
    from twofold.tasks.examples import small_model

    packed = configure("absmax").apply(small_model())
    with pytest.raises(UserError, match=r"embedding\.tokens is packed already .* factorise needs plain weights"):
        factorise(packed.net, 4)
