"""PixelBytes [254]: the vocabulary, what stands around a pixel, windows, the embedding, an LSTM, drawing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.tokenizers.mixed import IMAGE, PAD, ROW, MixedTokenizer, cells
from twofold.errors import UserError
from twofold.parts import LSTM, PxByEmbedding, TwoWay
from twofold.parts.mixers import Attention
from twofold.tasks import load, task
from twofold.tasks.draw import DrawData, WindowsBefore
from twofold.tasks.examples import small_images, small_rows

PALETTE = [[0, 0, 0], [255, 0, 0], [0, 255, 0]]


def image(seed=0, height=3, width=4):
    drawn = np.random.default_rng(seed).integers(3, size=(height, width))
    return np.array(PALETTE, np.uint8)[drawn]


def test_captions_and_images_come_back() -> None:
    mixed = MixedTokenizer(PALETTE)
    ids = mixed.encode("ein Fuß", image())
    text, drawn = mixed.decode(ids)
    assert text == "ein Fuß"
    assert np.array_equal(drawn, image())
    assert len(ids) == len(mixed.prompt("ein Fuß")) + 3 * 5 + 1
    made = MixedTokenizer.trained(np.stack([image(s) for s in range(5)]), 3)
    assert np.array_equal(made.decode(made.encode("x", image()))[1], image())
    greys = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    assert len(MixedTokenizer.trained(greys, 8).palette) == 8
    assert mixed.decode([3, ROW])[1].size == 0
    with pytest.raises(UserError, match="at least one colour"):
        MixedTokenizer([])


def test_neighbours_are_those_of_the_page() -> None:
    mixed = MixedTokenizer(PALETTE)
    ids = mixed.encode("ab", image())
    begin = ids.tolist().index(IMAGE) + 1
    grid = ids[begin:-1].reshape(3, 5)[:, :4]
    found = cells(ids)
    assert (found[:, 4] == ids).all()
    assert (found[:, 5:] == PAD).all()
    for y in range(3):
        for x in range(4):
            around = [
                grid[y + dy, x + dx] if y + dy >= 0 and 0 <= x + dx < 4 else PAD
                for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1))
            ]
            assert found[begin + y * 5 + x, :4].tolist() == around
    assert found[2, :4].tolist() == [PAD, PAD, PAD, ids[1]]  # text: what came before
    assert found[0, 3] == PAD


def test_windows_hold_nothing_from_the_target_on() -> None:
    mixed = MixedTokenizer(PALETTE)
    one = WindowsBefore(mixed, ["ab"], image()[None], 6, False)
    for n in range(len(one)):
        changed = image().reshape(-1, 3).copy()
        batch = one.take(np.array([n]))
        place = n + 1
        ids = mixed.encode("ab", image())
        assert batch.targets.tolist() == [ids[place]]
        assert batch.cells[0, -1, 4] == ids[place - 1]
        assert batch.cells[0, max(0, 6 - place) :, 4].tolist() == ids[max(0, place - 6) : place].tolist()
        begin = len(mixed.prompt("ab"))
        if place >= begin:
            row, column = divmod(place - begin, 5)
            changed[row * 4 + min(column, 4) :] = 255 - changed[row * 4 + min(column, 4) :]
            other = WindowsBefore(mixed, ["ab"], changed.reshape(1, 3, 4, 3), 6, False)
            assert torch.equal(other.take(np.array([n])).cells, batch.cells)
    only = WindowsBefore(mixed, ["ab", "c"], np.stack([image(), image(1)]), 6, True)
    assert len(only) == 24
    assert mixed.is_colour(only.targets).all()


def test_large_alpha_leaves_the_vectors_alone() -> None:
    torch.manual_seed(0)
    part = PxByEmbedding(20, 12, 9)
    given = torch.randint(20, (2, 5, 9))
    mixed = part(given)
    with torch.no_grad():
        part.alpha.fill_(40.0)
        plain = part.norm(part.out(part.tokens(given).transpose(2, 3).flatten(2)))
    torch.testing.assert_close(part(given), plain, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(mixed, plain, atol=1e-3)
    assert PxByEmbedding(20, 180).channels == 20


def test_an_lstm_is_the_librarys() -> None:
    torch.manual_seed(0)
    mixer, other = LSTM(6), torch.nn.LSTM(6, 6, batch_first=True)
    with torch.no_grad():
        other.weight_ih_l0.copy_(mixer.enter)
        other.weight_hh_l0.copy_(mixer.weight)
        other.bias_ih_l0.copy_(mixer.bias)
        other.bias_hh_l0.zero_()
        x = torch.randn(3, 7, 6)
        torch.testing.assert_close(mixer(x), other(x)[0], rtol=1e-5, atol=1e-6)
        loop = mixer.run(x, torch.zeros(3, 12), torch.ones(3, 7, dtype=torch.bool), None)[..., :6]
        torch.testing.assert_close(loop, mixer(x), rtol=1e-5, atol=1e-6)
        both = TwoWay(mixer)
        torch.testing.assert_close(both(x), mixer(x) + mixer(x.flip(1)).flip(1))
    with pytest.raises(UserError, match="causal mixer"):
        TwoWay(Attention(6, 2))


def test_a_persons_images_are_learned_and_drawn(tmp_path) -> None:
    data = task("draw").read(small_images())
    system = configure("pixelbytes").small()
    model = system.fit(data, Steps(3)).model
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    drawn = model.draw("row", temperature=1.0, seed=3)
    assert drawn.shape[2] == 1
    assert np.array_equal(again.draw("row", temperature=1.0, seed=3), drawn)
    begun = data.images[0][:2]
    gone_on = model.draw("row", begun)
    assert np.array_equal(gone_on[:2], model.mixed.decode(model.mixed.encode("row", begun))[1])
    with pytest.raises(UserError, match="up to 8 rows of 8"):
        model.draw("row", begun[:, :3])
    with pytest.raises(UserError, match="image"):
        DrawData.from_rows(small_rows())
    sizes = [configure(name).start(data, 0).parameters for name in ("mixed-lstm", "pixelbytes")]
    assert abs(sizes[1] / sizes[0] - 1) < 0.1
