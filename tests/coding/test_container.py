"""The chunked container: exact, the same for any number of threads, and safe to open whatever is in it."""

import io

import numpy as np
import pytest

from twofold.coding import Container, Entry, Layout, write
from twofold.coding.container import CHUNK, GROUP
from twofold.errors import UserError

made = np.random.default_rng(0)


def weights(count):
    raw = (made.standard_normal(count).astype(np.float32) * 0.05).view(np.uint32) & 0xFFFF0000
    return np.frombuffer((raw >> 16).astype("<u2").tobytes(), np.uint8)


ENTRIES = [
    Entry("a", weights(GROUP * CHUNK // 2 + 70_001), Layout(2, True)),
    Entry("empty", np.zeros(0, np.uint8), Layout(4, True)),
    Entry("b", weights(3), Layout(2, True)),
    Entry("zeros", np.zeros(400_000, np.uint8), Layout(8)),
    Entry("noise", made.integers(0, 256, 3 * CHUNK, dtype=np.uint8), Layout(1)),
]


def coded(entries=ENTRIES, **options):
    file = io.BytesIO()
    write(file, entries, b"kept", **options)
    return file.getvalue()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.tfz"
    path.write_bytes(coded())
    return path


def test_all_comes_back(file):
    with Container(file) as found:
        assert found.head == b"kept"
        assert list(found.entries) == [e.name for e in ENTRIES]
        arrays = found.read(list(found.entries))
        assert all(np.array_equal(arrays[e.name], e.data) for e in ENTRIES)
        assert b"".join(p.tobytes() for p in found.pieces(threads=2)) == b"".join(e.data.tobytes() for e in ENTRIES)


def test_one_is_read_without_the_rest(file):
    data = bytearray(file.read_bytes())
    with Container(file) as found:
        other = found.entries["a"].offsets
    data[int(other[0]) : int(other[-1])] = bytes(int(other[-1] - other[0]))
    file.write_bytes(data)
    with Container(file) as found:
        assert np.array_equal(found.read(["noise"])["noise"], ENTRIES[-1].data)
        with pytest.raises(UserError, match=r"chunk 1 of 9 of 'a'"):
            found.read(["a"])
        with pytest.raises(UserError, match="holds no tensor 'c'"):
            found.read(["c"])


def test_threads_do_not_change_the_bytes(file):
    assert coded(threads=4) == file.read_bytes()
    with Container(file) as found:
        assert np.array_equal(found.read(["a"], threads=4)["a"], ENTRIES[0].data)


def test_it_is_never_much_larger():
    noise = [Entry("n", made.integers(0, 256, 2_000_000, dtype=np.uint8), Layout(4, True))]
    assert len(coded(noise)) < 2_000_000 * 1.001 + 200


@pytest.mark.parametrize("part", [0, 5, 40, 120, 0.3, 0.9, -1])
def test_a_file_that_is_cut_off_names_where(file, part):
    data = file.read_bytes()
    end = int(part * len(data)) if isinstance(part, float) else part
    file.write_bytes(data[:end])
    where = r"cut off in chunk \d+ of \d+ of '(a|noise|zeros)'" if end > 1000 or end < 0 else "cut off|does not begin"
    with pytest.raises(UserError, match=where):
        Container(file)


def test_damage_anywhere_is_an_error_or_changes_nothing(file):
    """Every byte may be any other: reading ends in a UserError; the checksums leave no other way."""
    whole = file.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        place = int(made.integers(0, len(data))) if made.random() < 0.5 else int(made.integers(0, 600))
        data[place] ^= int(made.integers(1, 256))
        file.write_bytes(data)
        with pytest.raises(UserError), Container(file) as found:
            found.read(list(found.entries))


@pytest.mark.parametrize("seed", range(20))
def test_garbage_is_refused(tmp_path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, 50 * seed, dtype=np.uint8).tobytes()
    for data in (noise, coded()[: 8 + seed] + noise, coded()[:300] + noise):
        (tmp_path / "g.tfz").write_bytes(data)
        with pytest.raises(UserError):
            Container(tmp_path / "g.tfz")


def test_a_difference_is_taken_where_it_is_smaller(tmp_path):
    near = ENTRIES[0].data.copy()
    near[:: 2 * 97] ^= 1
    other = [Entry("a", near, Layout(2, True)), Entry("noise", weights(CHUNK), Layout(2, True))]
    bases = {"a": ENTRIES[0].data, "noise": made.integers(0, 256, 2 * CHUNK, dtype=np.uint8)}
    path = tmp_path / "d.tfz"
    path.write_bytes(coded(other, base=bases.get, base_name="base.tfz"))
    assert path.stat().st_size < 0.6 * len(coded(other))
    with Container(path) as found:
        assert found.base == "base.tfz"
        assert [e.base is None for e in found.entries.values()] == [False, True]
        assert np.array_equal(found.read(["a"], bases.get)["a"], near)
        for wrong in (None, {}.get, {"a": near}.get):
            with pytest.raises(UserError, match=r"difference to base\.tfz"):
                found.read(["a"], wrong)
