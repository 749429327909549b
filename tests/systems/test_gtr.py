"""GTR [256]: what must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from twofold.catalog import configure
from twofold.errors import UserError
from twofold.objectives import info_nce
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_rows


@pytest.fixture(scope="module")
def data():
    return task_named("search").read(small_rows())


@pytest.fixture(scope="module")
def model(data):
    return configure("gtr").small().start(data, 0)


def test_vectors_have_norm_one(model, data) -> None:
    vectors = model.encode(data.documents[:20]).values
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(20), rtol=1e-5, atol=1e-6)


def test_more_padding_changes_nothing(model) -> None:
    ids = torch.tensor(model.tokens(["the red lamp is here"], "document"))
    real = torch.ones_like(ids, dtype=torch.bool)
    wide = torch.nn.functional.pad(ids, (0, 5), value=model.tokenizer.pad)
    padded = torch.nn.functional.pad(real, (0, 5), value=False)
    torch.testing.assert_close(model.net(wide, padded), model.net(ids, real), rtol=1e-5, atol=1e-6)


def test_batch_loss_by_hand() -> None:
    """Three unit pairs: both directions of a 3 x 3 softmax, summed."""
    angles_q, angles_d = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.2, 1.3, 1.8])
    queries = torch.stack([angles_q.cos(), angles_q.sin()], 1)
    documents = torch.stack([angles_d.cos(), angles_d.sin()], 1)
    scores = torch.cos(angles_q[:, None] - angles_d[None, :]) / 0.01
    rows = torch.stack([scores[i].logsumexp(0) - scores[i, i] for i in range(3)]).mean()
    columns = torch.stack([scores[:, i].logsumexp(0) - scores[i, i] for i in range(3)]).mean()
    loss = info_nce(queries, documents, 0.01, two_way=True)
    torch.testing.assert_close(loss.value, rows + columns, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", ["t5-1x32", "t5-2x64"])
def test_width_does_not_depend_on_the_backbone(backbone: str, data) -> None:
    system = dataclasses.replace(configure("gtr").small(), backbone=backbone, bottleneck=48)
    assert system.start(data, 0).encode(["a lamp"]).values.shape == (1, 48)


def test_index_scores_equal_the_full_product(model, data) -> None:
    documents = list(data.documents[:30])
    found = model.build_index(documents).search(data.queries[:5], 30)
    full = model.encode(data.queries[:5], side="query").values @ model.encode(documents).values.T
    torch.testing.assert_close(
        torch.from_numpy(found.scores), full.sort(1, descending=True).values, rtol=1e-5, atol=1e-6
    )


def test_second_stage_brings_hard_negatives(data) -> None:
    system = configure("gtr").small()
    batches = system.batches(system.start(data, 0), data, 0)
    weak, judged = batches(3, 0.1), batches(3, 0.9)
    assert len(weak.documents.ids) == len(weak.queries.ids) == 8
    assert len(judged.documents.ids) > 8
    assert (judged.document_ids[:8] == weak.document_ids).all()
    for row, query in enumerate(judged.query_ids):
        assert int(judged.document_ids[row]) in data.relevant[int(query)]


def test_batches_are_pure_in_the_step(data) -> None:
    system = configure("gtr").small()
    model = system.start(data, 0)
    first, again = (system.batches(model, data, 0)(7, 0.0) for _ in range(2))
    assert torch.equal(first.queries.ids, again.queries.ids)
    assert torch.equal(first.document_ids, again.document_ids)


def test_a_bottleneck_without_projection_is_refused(data) -> None:
    system = dataclasses.replace(configure("gtr").small(), bottleneck=64, projection=False)
    with pytest.raises(UserError, match=r"bottleneck=64 .* projection"):
        system.start(data, 0)


def test_square_projection_starts_as_the_identity(model) -> None:
    assert torch.equal(model.net.project.map.weight, torch.eye(32))


def test_frozen_layers_stay_as_they_were(data, tmp_path) -> None:
    """A pretrained backbone: only the top layers move, and training on kept states is training on tokens."""
    from twofold.catalog import Steps

    system = configure("gtr").small()
    system.fit(data, Steps(2)).model.save(tmp_path / "backbone")
    tuned = dataclasses.replace(system, backbone=str(tmp_path / "backbone"), tune_layers=1)
    with pytest.raises(UserError, match="has 1 layers"):
        dataclasses.replace(tuned, tune_layers=2).start(data, 0)
    deep = dataclasses.replace(system, backbone="t5-2x32")
    deep.fit(data, Steps(2)).model.save(tmp_path / "deep")
    tuned = dataclasses.replace(system, backbone=str(tmp_path / "deep"), tune_layers=1)
    before = {k: v.clone() for k, v in tuned.start(data, 0).net.state_dict().items()}
    after = tuned.fit(data, Steps(3)).model.net.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved
    assert not any("embedding" in k or ".layers.0." in k for k in moved)
