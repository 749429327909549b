"""CRATE [164]: the coding rate's gradient, a step of sparse coding, symmetric logits, images and texts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.parts import ISTA, MSSA, Headed, Mask, PatchEncoder, Pattern
from twofold.tasks import task
from twofold.tasks.classify import from_rows
from twofold.tasks.examples import small_images, small_rows


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_step_lowers_what_it_should() -> None:
    torch.manual_seed(0)
    channel = ISTA(16, step=0.1, sparsity=0.2).double()
    with torch.no_grad():
        channel.dictionary /= torch.linalg.matrix_norm(channel.dictionary, 2) * 0.1**0.5  # η = 1 / ‖D‖²
    z = drawn(1, 50, 16).abs()

    def cost(x):
        return 0.5 * (z - x @ channel.dictionary.T).square().sum(-1) + 0.2 * x.abs().sum(-1)

    with torch.no_grad():
        y = channel(z)
        assert (cost(y) <= cost(z) + 1e-12).all()
        assert (y >= 0).all()
        assert (y == 0).any()
        by_hand = (z + 0.1 * (z - z @ channel.dictionary.T) @ channel.dictionary - 0.1 * 0.2).clamp_min(0)
    torch.testing.assert_close(y, by_hand, rtol=1e-10, atol=1e-12)
    with pytest.raises(UserError, match="step above 0"):
        ISTA(8, step=0.0)


def test_logits_are_symmetric_and_tokens_may_change_places() -> None:
    torch.manual_seed(0)
    mixer, x = MSSA(16, 4).double(), drawn(2, 7, 16)
    q, k, v, queries, keys = mixer.project(x, Mask.bidirectional(), None)
    logits = mixer.logits(q, k, Mask.bidirectional(), queries, keys)
    torch.testing.assert_close(logits, logits.mT, rtol=1e-12, atol=0)
    assert torch.equal(q, v)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mixer(x)[:, order], mixer(x[:, order]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mixer.subspaces.flatten(0, 1), mixer.query.weight)


def test_a_layer_is_compression_with_and_sparse_coding_without_residual() -> None:
    block = configure("crate", dim=16, heads=2, layers=1, length=8).network(20).stack.layers[0]
    x = torch.randn(2, 8, 16)
    half = x + block.mixer(block.mixer_norm(x))
    torch.testing.assert_close(block(x), block.channel(block.channel_norm(half)), rtol=1e-6, atol=1e-7)
    assert sum(p.numel() for n, p in block.named_parameters() if "norm" not in n) == 3 * 16**2


def test_patches_are_squares_in_rows() -> None:
    stack = Pattern.read([{"mixer": "none", "channel": "none"}], dim=4).stack()
    encoder = PatchEncoder(stack, (4, 6, 1), 2, 4)
    image = torch.arange(24.0).view(1, 4, 6, 1)
    tokens = encoder.tokens(image)
    assert tokens[0].tolist() == [
        [0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11], [12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23]
    ]  # fmt: skip
    with pytest.raises(UserError, match="do not fill images of 4 x 6"):
        PatchEncoder(stack, (4, 6, 1), 3, 4)


def test_images_and_texts_are_classified_and_explained() -> None:
    system = configure("crate", dim=16, heads=2, layers=2, length=16, batch=8)
    for rows in (small_images(), small_rows()):
        model = system.fit(from_rows(rows), Steps(2)).model
        assert len(model.predict(list(from_rows(rows).part("test")[0][:3]))) == 3
        report = system.run(model, rows)
        assert len(report.tables[0].rows) == 2
        assert -1 <= report.figures["falling rate trained"] <= 1
    assert isinstance(configure("vit").small().start(from_rows(small_images()), 0).net, Headed)
    with pytest.raises(UserError, match="texts"):
        configure("vit").start(from_rows(small_rows()), 0)


def test_a_language_model_of_it_is_explained_and_others_are_refused() -> None:
    data = task("language").read(small_rows())
    system = configure("crate", dim=16, heads=2, layers=2, length=16, batch=4)
    assert replace(system).run(system.fit(data, Steps(1)).model, small_rows()).figures["orthogonality trained"] > 0
    with pytest.raises(UserError, match="twofold fit crate"):
        system.run(configure("decoder").small().fit(data, Steps(1)).model, small_rows())
