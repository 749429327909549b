"""Packed weight files: the safetensors file comes back to the last bit, and nothing else is trusted."""

import json
import math
import os

import numpy as np
import pytest
import torch
import zstandard
from safetensors.torch import save_file

from twofold.checkpoints import folder, packed
from twofold.checkpoints import tensors as weights
from twofold.checkpoints.layout import header
from twofold.errors import UserError
from twofold.tasks import load
from twofold.tasks.examples import small_model

SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40, 3.4e38]


def every_type():
    made = torch.Generator().manual_seed(0)
    floats = torch.cat([torch.tensor(SPECIAL), torch.randn(3000, generator=made) * 0.03])
    tensors = {
        str(kind).split(".")[1]: floats.to(kind)
        for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn)
    }
    bits = torch.randint(-(2**31), 2**31 - 1, (500,), dtype=torch.int32, generator=made)
    tensors |= {
        "payloads": bits.clone().view(torch.float32),
        "int32": bits,
        "int8": bits.to(torch.int8),
        "bool": bits > 0,
    }
    tensors |= {"int16": bits.to(torch.int16), "int64": bits.to(torch.int64), "uint8": bits.to(torch.uint8)}
    tensors |= {"empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5), "cube": torch.randn(2, 3, 4, generator=made)}
    return tensors


@pytest.fixture
def plain(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file(every_type(), file, metadata={"format": "pt", "mine": "ü"})
    return file


@pytest.mark.parametrize("suffix", packed.SUFFIXES)
def test_the_file_comes_back_to_the_last_bit(plain, suffix):
    target, again = plain.with_suffix(suffix), plain.with_name("again.safetensors")
    found = packed.pack(plain, target)
    packed.unpack(target, again)
    assert again.read_bytes() == plain.read_bytes()
    assert found.raw == plain.stat().st_size
    assert found.coded == target.stat().st_size <= 1.01 * found.raw + 200
    assert sorted(p.name for p in plain.parent.iterdir()) == sorted([plain.name, target.name, again.name])


@pytest.mark.parametrize("suffix", packed.SUFFIXES)
def test_tensors_are_read_without_unpacking(plain, suffix):
    target = plain.with_suffix(suffix)
    packed.pack(plain, target)
    found, expected = weights.load(target), weights.load(plain)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    one, metadata = packed.load(target, ["bfloat16"])
    assert list(one) == ["bfloat16"]
    assert one["bfloat16"].view(torch.int16).equal(expected["bfloat16"].view(torch.int16))
    assert metadata["mine"] == "ü"
    with pytest.raises(UserError, match="no tensor 'other'"):
        packed.load(target, ["other"])


def test_bytes_do_not_depend_on_threads(plain):
    save_file({"w": torch.randn(1500, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()}, plain)
    made = []
    for threads in (1, 4):
        target = plain.with_name(f"{threads}.tfz")
        packed.pack(plain, target, threads=threads)
        made.append(target.read_bytes())
    assert made[0] == made[1]
    assert len(made[0]) < 0.68 * plain.stat().st_size


def test_an_empty_file_of_no_tensors(tmp_path):
    save_file({}, tmp_path / "none.safetensors")
    packed.pack(tmp_path / "none.safetensors", tmp_path / "none.tfz")
    packed.unpack(tmp_path / "none.tfz", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "none.safetensors").read_bytes()


@pytest.mark.parametrize("data", [b"", b"abc", b"\x05" + bytes(7) + b"[1,2]", b"\xff" * 40])
def test_only_safetensors_are_packed(tmp_path, data):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="damaged or no safetensors"):
        packed.pack(tmp_path / "x.safetensors", tmp_path / "x.tfz")
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(
    "told",
    [
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "F32", "shape": [1]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, -4]}},
        {"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}},
        {"__metadata__": 3},
    ],
)
def test_headers_that_lie_are_refused(told):
    text = json.dumps(told).encode()
    with pytest.raises(ValueError, match=r"header|gap"):
        header(len(text).to_bytes(8, "little") + text + bytes(8))


@pytest.mark.parametrize("suffix", packed.SUFFIXES)
def test_damage_is_named(plain, suffix):
    target = plain.with_suffix(suffix)
    packed.pack(plain, target)
    whole = target.read_bytes()
    for data in (whole[: len(whole) // 2], b"", os.urandom(300), whole[:-40] + bytes(40)):
        target.write_bytes(data)
        for reading in (lambda: weights.load(target), lambda: packed.unpack(target, plain.with_name("y.safetensors"))):
            with pytest.raises(UserError, match=r"chunk \d+ of \d+ of|is cut off|does not begin|damaged"):
                reading()
    assert not plain.with_name("y.safetensors").exists()


def test_a_frame_of_something_else_is_no_weight_file(tmp_path):
    (tmp_path / "x.zst").write_bytes(zstandard.compress(b"hello" * 100))
    with pytest.raises(UserError, match="safetensors"):
        weights.load(tmp_path / "x.zst")
    with pytest.raises(UserError, match="no safetensors"):
        packed.unpack(tmp_path / "x.zst", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


@pytest.fixture
def pair(tmp_path):
    """Two bfloat16 checkpoints, one a little further than the other."""
    first = torch.randn(400, 1000, generator=torch.Generator().manual_seed(0)) * 0.02
    second = first + torch.randn(400, 1000, generator=torch.Generator().manual_seed(1)) * 1e-6
    for name, tensor in (("one", first), ("two", second)):
        extra = {"new": torch.ones(70)} if name == "two" else {}
        save_file({"w": tensor.bfloat16(), **extra}, tmp_path / f"{name}.safetensors")
    return tmp_path / "one.safetensors", tmp_path / "two.safetensors"


def test_a_difference_is_smaller_and_finds_its_base(pair):
    one, two = pair
    alone = packed.pack(two, two.with_name("alone.tfz")).coded
    found = packed.pack(two, two.with_suffix(".tfz"), base=one)
    assert found.coded < 0.5 * alone
    tensors = weights.load(two.with_suffix(".tfz"))
    assert torch.equal(tensors["w"], weights.load(two)["w"])
    packed.pack(one, one.with_suffix(".tfz"))
    one.rename(one.with_name("moved.safetensors"))  # the packed base serves as well
    packed.unpack(two.with_suffix(".tfz"), two.with_name("again.safetensors"))
    assert two.with_name("again.safetensors").read_bytes() == two.read_bytes()


def test_a_base_that_is_gone_or_another_is_refused(pair):
    one, two = pair
    target = two.with_suffix(".tfz")
    packed.pack(two, target, base=one)
    moved = one.rename(one.with_name("moved.safetensors"))
    with pytest.raises(UserError, match=r"difference to one\.safetensors, which is not there"):
        weights.load(target)
    again = two.with_name("again.safetensors")
    packed.unpack(target, again, base=moved)
    assert again.read_bytes() == two.read_bytes()
    with pytest.raises(UserError, match="'w' there is another"):
        packed.unpack(target, again, base=two)
    with pytest.raises(UserError, match="difference itself"):
        packed.pack(two, two.with_name("z.tfz"), base=target)
    with pytest.raises(UserError, match="cannot hold a difference"):
        packed.pack(two, two.with_name("z.zst"), base=moved)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.txt", "/x/y.safetensors"])
def test_a_file_cannot_name_any_base(pair, name):
    from twofold.coding import Entry, layout, write

    target = pair[0].with_name("evil.tfz")
    data = np.zeros(4, np.uint8)
    with open(target, "wb") as file:
        write(file, [Entry("w", data, layout("F32"))], b"", base=lambda n: data, base_name=name)
    with pytest.raises(UserError, match="it refers to"):
        weights.load(target)


@pytest.mark.parametrize("suffix", packed.SUFFIXES)
def test_a_model_folder_may_be_packed(tmp_path, suffix):
    model = small_model()
    model.stored = suffix
    model.save(tmp_path / "model")
    assert (tmp_path / "model" / f"tensors{suffix}").is_file()
    assert not list((tmp_path / "model").glob("*.safetensors"))
    again = load(tmp_path / "model")
    assert again.stored == suffix
    assert all(torch.equal(t, model.net.state_dict()[n]) for n, t in again.net.state_dict().items())
    again.stored = packed.PLAIN
    again.save(tmp_path / "model")
    assert not (tmp_path / "model" / f"tensors{suffix}").exists()
    assert load(tmp_path / "model").stored == packed.PLAIN
    (tmp_path / "model" / folder.WEIGHTS).unlink()
    with pytest.raises(UserError, match="incomplete"):
        load(tmp_path / "model")
