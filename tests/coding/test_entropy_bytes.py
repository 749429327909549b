"""Byte planes and how each is coded."""

import numpy as np
import pytest
import torch

from twofold.coding import Coder, Layout, in_order, join, layout, split
from twofold.coding.entropy_bytes import Probe, decode, encode, entropy

made = np.random.default_rng(0)
LAYOUTS = [Layout(1), *(Layout(w, r) for w in (2, 4, 8) for r in (False, True))]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("numbers", [0, 1, 5, 1000])
def test_planes_come_together_again(layout, numbers):
    raw = made.integers(0, 256, numbers * layout.width, dtype=np.uint8)
    planes = split(raw, layout)
    assert [len(p) for p in planes] == [numbers] * layout.width
    assert np.array_equal(join(planes, layout), raw)


@pytest.mark.parametrize(("dtype", "bias"), [(torch.bfloat16, 127), (torch.float32, 127)])
def test_the_highest_plane_is_the_exponent(dtype, bias):
    numbers = torch.tensor([1.0, -1.0, 2.0, -0.5, 0.0, -0.0, float("inf"), 1.5], dtype=dtype)
    kind = layout("BF16" if dtype is torch.bfloat16 else "F32")
    planes = split(np.frombuffer(numbers.view(torch.uint8).numpy().tobytes(), np.uint8), kind)
    assert planes[-1].tolist() == [bias, bias, bias + 1, bias - 1, 0, 0, 255, bias]
    assert (planes[0] & 1).tolist() == [0, 1, 0, 1, 0, 1, 0, 0]  # the sign


def test_two_planes_of_float16_are_its_bytes():
    assert [p.tolist() for p in split(np.array([1, 2, 3, 4], np.uint8), layout("F16"))] == [[1, 3], [2, 4]]


def test_a_length_that_does_not_divide_is_one_plane():
    assert layout("F32", 6) == Layout(1)
    assert layout("F8_E4M3") == layout("U8") == layout("SOMETHING_NEW") == Layout(1)


def exponents(count):
    return np.clip(made.geometric(0.5, count), 1, 40).astype(np.uint8)


@pytest.mark.parametrize("coder", list(Coder))
@pytest.mark.parametrize(
    "plane", [exponents(50_000), made.integers(0, 256, 999, dtype=np.uint8), np.zeros(0, np.uint8)]
)
def test_coders_are_exact(coder, plane):
    assert np.array_equal(decode(encode(plane, coder), coder, len(plane)), plane)


def test_a_frame_of_another_length_is_refused():
    bomb = encode(np.zeros(1 << 24, np.uint8), Coder.ZSTD)
    with pytest.raises(ValueError, match="16777216 bytes in place of 100"):
        decode(bomb, Coder.ZSTD, 100)
    with pytest.raises(ValueError, match="in place of"):
        decode(b"abc", Coder.RAW, 2)


def test_the_coded_plane_is_near_the_entropy():
    plane = exponents(1 << 17)
    assert entropy(np.array([0, 1, 2, 3] * 8, np.uint8)) == 8
    assert entropy(plane) < len(Probe().encode(plane)[1]) < 1.01 * entropy(plane)


def test_the_probe_decides_for_the_others():
    noise, skewed = made.integers(0, 256, 1 << 16, dtype=np.uint8), exponents(1 << 16)
    normal = np.abs(made.normal(0, 3, 1 << 16)).astype(np.uint8)
    again = noise[:1500].reshape(300, 5)[made.integers(0, 300, 13_000)].reshape(-1)  # words of five bytes
    chosen = {}
    for name, first in {"noise": noise, "normal": normal, "skewed": skewed, "again": again}.items():
        probe = Probe()
        chosen[name] = [probe.encode(plane)[0] for plane in (first, skewed, noise)]
    raw, huffman, zstd, deflate = Coder
    assert chosen["noise"] == [raw, raw, raw]
    assert chosen["normal"] == [huffman, huffman, raw]
    assert chosen["skewed"] == [deflate, deflate, raw]
    assert chosen["again"] == [zstd, huffman, raw]


@pytest.mark.parametrize("threads", [1, 3])
def test_results_are_in_order(threads):
    assert list(in_order(lambda x: x * x, range(50), threads)) == [x * x for x in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda x: 1 // x, range(5), threads))
