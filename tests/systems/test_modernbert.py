"""ModernBERT as a system: what it trains, how it classifies, what it refuses. Its equations: tests/parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.errors import UserError
from twofold.objectives import IGNORED, mask_tokens
from twofold.parts import Mask, MLMHead, SequenceModel, presets
from twofold.surgery.tiling import tile_init, tiled
from twofold.tasks import load, task
from twofold.tasks.classify import LabelledBatch
from twofold.tasks.examples import small_images, small_rows
from twofold.tasks.represent import MaskedModel, WindowBatch
from twofold.tasks.represent.system import fill_in
from twofold.training.schedule import learning_rate


def small(**options: Any) -> Any:
    return replace(configure("modernbert").small(), **options)


@pytest.fixture(scope="module")
def texts() -> Any:
    return task("represent").read(small_rows())


@pytest.fixture(scope="module")
def fitted(texts: Any) -> MaskedModel:
    model = small(dropout=0.0).fit(texts, Steps(60)).model
    assert isinstance(model, MaskedModel)
    return model


def test_both_trunks_have_as_many_parameters() -> None:
    counts = [
        sum(p.numel() for p in configure(id).network(2048).parameters())  # type: ignore[attr-defined]
        for id in ("bert", "modernbert")
    ]
    assert counts[1] == pytest.approx(counts[0], rel=0.02)


def test_texts_of_a_window_do_not_see_each_other(texts: Any) -> None:
    system = small(dropout=0.0)
    model = system.start(texts, 0)
    batch = system.batches(model, texts, 0)(0, 0.0)
    assert isinstance(batch, WindowBatch)
    assert batch.segments[:, -1].max() > batch.segments.min()
    row = int(batch.segments[:, -1].argmax())
    last = batch.segments[row] == batch.segments[row, -1]
    with torch.inference_mode():
        whole = model.net.eval().states(batch.ids[row : row + 1], Mask.segments(batch.segments[row : row + 1]))
        alone = model.net.states(batch.ids[row : row + 1, last])
    torch.testing.assert_close(whole[:, last], alone, rtol=1e-4, atol=1e-5)


def test_the_loss_is_over_hidden_tokens_alone(texts: Any) -> None:
    system = small(dropout=0.0)
    model = system.start(texts, 0)
    batch = system.batches(model, texts, 0)(0, 0.0)
    torch.manual_seed(5)
    found = fill_in(model.net, batch, 0.3)
    torch.manual_seed(5)
    hidden, labels = mask_tokens(batch.ids, 0.3, **batch.hide.arguments())
    logits = model.net(hidden, batch.mask)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(found.value, expected)
    share = (labels != IGNORED).float().mean()
    assert 0.25 < share < 0.31


def test_training_fills_in_more_and_a_folder_keeps_it(texts: Any, fitted: MaskedModel, tmp_path: Path) -> None:
    judge = task("represent")
    before = judge.evaluate(small().start(texts, 0), texts).figures["masked_accuracy"]
    after = judge.evaluate(fitted, texts)
    assert after.figures["masked_accuracy"] > before + 0.2
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert judge.evaluate(again, texts).figures == after.figures


def test_masks_are_filled_in_and_texts_become_vectors(fitted: MaskedModel) -> None:
    row = fitted.fill("The lamp number 7 is<mask>.", k=3)
    assert len(row) == 1
    assert len(row[0]) == 3
    assert row[0][0][1] >= row[0][1][1] > 0
    vectors = fitted.encode(["The lamp", "A table"]).values
    assert vectors.shape == (2, 96)
    states = fitted.token_states("The lamp")[0]
    torch.testing.assert_close(states.mean(0), vectors[0], rtol=1e-4, atol=1e-5)


def test_long_empty_and_maskless_texts_are_refused(fitted: MaskedModel) -> None:
    with pytest.raises(UserError, match=r"max_length is 32.*truncate=True"):
        fitted.encode(["short", "very long " * 50])
    assert fitted.encode("very long " * 50, truncate=True).values.shape == (1, 96)
    with pytest.raises(UserError, match="text 2 is empty"):
        fitted.encode(["a", " "])
    with pytest.raises(UserError, match="no <mask>"):
        fitted.fill("nothing is missing")


def test_windows_longer_than_what_is_classified_are_read() -> None:
    long = Rows.of({"text": [f"{'a long text ' * 20}{n}" for n in range(60)], "label": ["a", "b"] * 30})
    system = small(start_from="bert-1x32", tokens=8, length=32)
    assert system.fit(task("classify").read(long), Steps(4)).history.steps == 4


def test_the_trapezoid_is_its_schedule() -> None:
    recipe = configure("modernbert").recipe()  # type: ignore[attr-defined]
    assert (recipe.optimizer, recipe.betas, recipe.eps, recipe.weight_decay) == (
        "stable-adamw",
        (0.9, 0.98),
        1e-6,
        1e-5,
    )
    assert learning_rate(recipe, 0.5) == recipe.lr
    assert learning_rate(recipe, 1.0) == 0.0


def test_it_goes_on_from_a_model(texts: Any, fitted: MaskedModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    system = small(start_from=str(tmp_path / "model"))
    again = system.start(texts, 3)
    assert all(torch.equal(a, b) for a, b in zip(again.net.parameters(), fitted.net.parameters(), strict=True))
    learner = system.start(task("classify").read(small_rows()), 3)
    for own, given in zip(learner.net.model.stack.parameters(), fitted.sequence.stack.parameters(), strict=True):
        assert torch.equal(own, given)
    short = presets.bert(fitted.sequence.vocab, 16, 1, 2, hidden=16, max_len=8, head="mlm")
    MaskedModel(short, fitted.tokenizer, {"length": 8}).save(tmp_path / "short")
    with pytest.raises(UserError, match="reads 8 tokens and length is 32"):
        small(start_from=str(tmp_path / "short")).start(texts, 0)


@pytest.mark.parametrize(
    ("name", "value"), [("size", "base"), ("every", 2), ("window", None), ("dropout", 0.0)], ids=str
)
def test_a_network_to_go_on_from_keeps_its_shape(texts: Any, name: str, value: Any) -> None:
    for data in (texts, task("classify").read(small_rows())):
        with pytest.raises(UserError, match=f"leave out {name} or start_from"):
            small(start_from="modernbert-1x32", **{name: value}).start(data, 0)


def test_it_classifies_after_filling_in() -> None:
    data = task("classify").read(small_rows())
    system = small()
    model = system.start(data, 0)
    batches = system.batches(model, data, 0)
    assert isinstance(batches(0, 0.0), WindowBatch)
    assert isinstance(batches(0, system.pretrain), LabelledBatch)
    assert isinstance(small(pretrain=0.0).batches(model, data, 0)(0, 0.0), LabelledBatch)
    fitted = system.fit(data, Steps(60)).model
    assert isinstance(fitted.net.model, SequenceModel)
    assert fitted.net.model.head is None
    assert task("classify").evaluate(fitted, data).figures["accuracy"] > 0.5


def test_few_short_texts_are_classified_all_the_same() -> None:
    texts, labels = [f"a {name} {i}" for i in range(4) for name in ("lamp", "river")], ["light", "water"] * 4
    parts = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    data = task("classify").read(Rows.of({"text": texts, "label": labels, "split": parts}, name="few"))
    system = replace(configure("modernbert").small(), length=64)
    model = system.fit(data, Steps(4)).model
    assert set(model.labels) == {"light", "water"}


def test_images_are_refused() -> None:
    with pytest.raises(UserError, match="reads texts"):
        small().start(task("classify").read(small_images()), 0)


def test_texts_too_short_for_a_window_are_refused() -> None:
    data = task("represent").read(Rows("few", {"text": ["a", "b", "c"] * 4}, "f", "made"))
    with pytest.raises(UserError, match="a window needs 32"):
        small().fit(data, Steps(1))


def test_centre_tiles() -> None:
    assert tiled(torch.tensor([1, 2, 3]), (7,)).tolist() == [2, 3, 1, 2, 3, 1, 2]
    grid = tiled(torch.tensor([[1, 2], [3, 4]]), (4, 4))
    assert grid[1:3, 1:3].tolist() == [[1, 2], [3, 4]]
    assert grid[0].tolist() == [4, 3, 4, 3]
    with pytest.raises(UserError, match="does not tile"):
        tiled(torch.zeros(3), (2,))


def test_a_large_network_starts_from_a_small_one() -> None:
    torch.manual_seed(0)
    small_net = presets.modernbert(30, 16, 4, 2, hidden=12, head="mlm")
    with torch.no_grad():
        for parameter in small_net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    large = presets.modernbert(30, 32, 6, 4, hidden=24, head="mlm")
    tile_init(small_net, large)
    own, given = large.tensors(), small_net.tensors()
    # One layer before, then the small network's own, each matrix in the middle; the middle heads are its heads.
    torch.testing.assert_close(
        own["stack.layers.1.mixer.query.weight"][8:24, 8:24], given["stack.layers.0.mixer.query.weight"]
    )
    torch.testing.assert_close(
        own["stack.layers.0.channel.up.weight"][6:18, 8:24], given["stack.layers.3.channel.up.weight"]
    )
    torch.testing.assert_close(own["embedding.tokens.weight"][:, 8:24], given["embedding.tokens.weight"])
    assert isinstance(large.head, MLMHead)
    same = presets.modernbert(30, 16, 4, 2, hidden=12, head="mlm")
    tile_init(small_net, same)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), small_net.parameters(), strict=True))
    with pytest.raises(UserError, match="vocabularies of 30 and 31"):
        tile_init(small_net, presets.modernbert(31, 32, 6, 4, hidden=24))
    with pytest.raises(UserError, match="fewer layers"):
        tile_init(large, small_net)
