"""xVLM2Vec [4]: what must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from twofold import api
from twofold.catalog import configure
from twofold.data.made.languages import LANGUAGES, caption, languages
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import TwoTowers
from twofold.tasks import load, task
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.inputs import TokenInputs
from twofold.tasks.search.parallel import ParallelBatch

PAIRS = Rows.of(
    {"text": [f"the lamp {i} is red" for i in range(20)], "translation": [f"die Lampe {i} ist rot" for i in range(20)]},
    name="pairs",
    source="made",
)


def system(id: str = "xvlm2vec", **options):
    return dataclasses.replace(configure(id).small(), **{"tune_layers": 0, **options})


def batch(model, first: list[str], second: list[str]) -> ParallelBatch:
    from twofold.data.batches import pad

    made = [TokenInputs(*pad(model.tokens(texts, "document"), 0)) for texts in (first, second)]
    return ParallelBatch(*made)


def test_at_the_start_english_is_where_it_is() -> None:
    model = small_model()
    given = batch(model, PAIRS.columns["text"], PAIRS.columns["translation"])
    student = model.copy().net
    loss = system().loss(student, model.net, given)
    assert loss.figures["kept"].item() == 0
    apart = model.encode(PAIRS.columns["text"]).values - model.encode(PAIRS.columns["translation"]).values
    assert loss.value.item() == pytest.approx(apart.square().sum(1).mean().item(), rel=1e-4)


def test_the_teacher_stays_and_the_student_comes_nearer() -> None:
    model = small_model()
    before = {name: t.clone() for name, t in model.net.state_dict().items()}
    changed = system(steps=60, lr=3e-3, batch=20).apply(model, PAIRS)
    assert all(torch.equal(t, before[name]) for name, t in model.net.state_dict().items())
    assert all(p.requires_grad for p in model.net.parameters())
    target = model.encode(PAIRS.columns["text"]).values

    def off(of, name):
        return (of.encode(PAIRS.columns[name]).values - target).square().sum(1).mean().item()

    assert off(changed, "translation") < 0.3 * off(model, "translation")
    assert off(changed, "text") < 0.3 * off(model, "translation")
    assert changed.history[-1]["report"]["pairs"] == 20


def test_equal_texts_change_nothing() -> None:
    same = Rows.of({"text": PAIRS.columns["text"], "translation": PAIRS.columns["text"]}, name="same", source="made")
    model = small_model()
    changed = system(steps=10, lr=1e-2).apply(model, same)
    texts = ["the table is old", *PAIRS.columns["text"][:3]]
    torch.testing.assert_close(changed.encode(texts).values, model.encode(texts).values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("id", ["xvlm2vec", "contrastive-languages"])
def test_documents_stay_as_they_were(id, tmp_path) -> None:
    model = small_model()
    changed = api.apply(id, model, PAIRS, steps=5, batch=8, tune_layers=0, lr=1e-2, keep_documents=True)
    assert isinstance(changed.net, TwoTowers)
    texts = PAIRS.columns["text"]
    assert torch.equal(changed.encode(texts).values, model.encode(texts).values)
    assert not torch.equal(changed.encode(texts, side="query").values, model.encode(texts, side="query").values)
    changed.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert torch.equal(again.encode(texts, side="query").values, changed.encode(texts, side="query").values)


def test_frozen_layers_stay() -> None:
    model = small_model()
    changed = system(steps=3, lr=1e-2, tune_layers=1).apply(model, small_rows())
    before, after = model.net.state_dict(), changed.net.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any("embedding" in name or ".layers.0." in name for name in moved)


def test_captions_agree() -> None:
    star, square = (0, 1, 3), (1, 0, 1)
    told = {language: caption(language, star, 0, square) for language in LANGUAGES}
    assert told == {
        "en": "a small blue star left of a large red square",
        "fr": "une petite étoile bleue à gauche d'un grand carré rouge",
        "de": "ein kleiner blauer Stern links von einem großen roten Quadrat",
        "it": "una piccola stella blu a sinistra di un grande quadrato rosso",
        "es": "una estrella pequeña azul a la izquierda de un cuadrado grande rojo",
    }
    rows = languages(train=10, validation=4, test=6)
    assert len(rows) == 100
    data = task("search").read(rows)
    assert len(data.pool("test")) == 6
    assert len(data.asked("test")) == 30


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="document"):
        system().apply(small_model(), Rows.of({"text": ["a"]}, name="one", source="made"))
    two = system(steps=0, keep_documents=True).apply(small_model(), PAIRS)
    with pytest.raises(UserError, match="a network for each side"):
        system().apply(two, PAIRS)
    sparse = configure("bm25").fit(task("search").read(small_rows()), None).model
    with pytest.raises(UserError, match="dense encoders"):
        system().apply(sparse, PAIRS)
