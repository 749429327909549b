"""Reference models, at a size that trains in a second: a pair that differs in mask and objective only, made once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from twofold.data.tokenizers import train_bpe
from twofold.errors import UserError
from twofold.parts import Mask
from twofold.tasks import reference
from twofold.tasks.language import LanguageModel

TEXTS = [f"def add_{n}(x): return x + {n}  # adds {n} to whatever it is given" for n in range(40)]
SMALL = {"dim": 32, "layers": 2, "vocab": 300, "length": 16, "batch": 4, "steps": 4}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small plans, documents and a cache of their own."""
    plans = {name: replace(plan, **SMALL) for name, plan in reference.PLANS.items()}
    plans["tiny-encoder-2"] = replace(plans["tiny-encoder-2"], layers=1)
    monkeypatch.setattr(reference, "PLANS", plans)
    monkeypatch.setattr(reference, "documents", lambda: (TEXTS, "made"))
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path))
    reference._trained.cache_clear()
    yield tmp_path
    reference._trained.cache_clear()


def test_the_plans_are_as_laid_down() -> None:
    decoder, encoder, short = (reference.PLANS[n] for n in ("tiny-decoder", "tiny-encoder", "tiny-encoder-2"))
    assert (decoder.dim, decoder.layers, decoder.vocab) == (128, 4, 4096)
    assert (decoder.steps, decoder.batch * decoder.length) == (1000, 2048)
    assert replace(decoder, two_way=True) == encoder
    assert replace(encoder, layers=2) == short
    assert replace(short, corpus="concepts") == reference.PLANS["tiny-encoder-concepts"]
    # The cache knew these before there was a second corpus.
    assert "corpus" not in short.identity()


def test_made_words_have_an_id_each() -> None:
    texts, fingerprint = reference.concept_documents()
    assert fingerprint.startswith("made")
    tokenizer = reference.PLANS["tiny-encoder-concepts"].tokenizer(texts)
    roles = len(tokenizer.encode([""])[0])
    assert [len(ids) - roles for ids in tokenizer.encode(texts[:20])] == [len(text.split()) for text in texts[:20]]


def test_initial_weights_are_the_same_where_shapes_agree() -> None:
    nets = {name: plan.network(64, seed=3).state_dict() for name, plan in reference.PLANS.items()}
    decoder, encoder, short = nets["tiny-decoder"], nets["tiny-encoder"], nets["tiny-encoder-2"]
    assert decoder.keys() == encoder.keys() > short.keys()
    assert all(torch.equal(decoder[k], encoder[k]) for k in encoder)
    assert all(torch.equal(decoder[k], short[k]) for k in short)
    other = reference.PLANS["tiny-decoder"].network(64, seed=4).state_dict()
    assert not all(torch.equal(decoder[k], other[k]) for k in other)


def test_one_looks_back_and_one_looks_both_ways(small: Path) -> None:
    ids = torch.randint(0, 256, (1, 8))
    changed = ids.clone()
    changed[0, -1] += 1
    decoder, encoder = (reference.model(name).net for name in ("tiny-decoder", "tiny-encoder"))
    with torch.inference_mode():
        first, second = (decoder(x, Mask.causal())[0, :-1] for x in (ids, changed))
        assert torch.equal(first, second)
        assert not torch.allclose(encoder(ids)[0, :-1], encoder(changed)[0, :-1])


def test_a_reference_model_is_made_once(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reference.model("tiny-decoder", 1)
    assert isinstance(first, LanguageModel)
    assert first.history[0]["id"] == "tiny-decoder"
    assert first.history[0]["report"]["steps"] == 4
    assert first.score(["def add"]).total > 0
    reference._trained.cache_clear()
    monkeypatch.setattr(reference, "make", lambda *a: pytest.fail("it was made again"))
    again = reference.model("tiny-decoder", 1)
    assert all(torch.equal(a, b) for a, b in zip(first.net.parameters(), again.net.parameters(), strict=True))


def test_it_is_made_again_when_training_behaves_differently(small: Path) -> None:
    reference.model("tiny-encoder")
    (place,) = (small / "reference").iterdir()
    traced = json.loads((place / "trace.json").read_text())
    made = (place / "model").stat().st_ino
    for change, again in ((1e-6, False), (0.1, True)):
        (place / "trace.json").write_text(json.dumps([x + change for x in traced]))
        reference._trained.cache_clear()
        reference.model("tiny-encoder")
        assert ((place / "model").stat().st_ino != made) == again


def test_interrupted_training_goes_on(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reference.model("tiny-decoder").net.state_dict()
    reference._trained.cache_clear()
    monkeypatch.setenv("TWOFOLD_CACHE", str(small / "other"))
    train = reference.train

    def interrupted(*args: object, **settings: object) -> object:
        if settings.get("folder") is None:
            return train(*args, **settings)
        train(*args, **settings, until=0.5)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reference, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reference.model("tiny-decoder")
    resumed = reference.model("tiny-decoder").net.state_dict()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_the_pair_shares_tokens_and_batches() -> None:
    tokenizer = train_bpe(TEXTS, 300)
    plan = replace(reference.PLANS["tiny-encoder"], **SMALL)
    model = plan.start(tokenizer, 0)
    windows = reference.Windows(tokenizer, TEXTS, plan.length, plan.batch, 0)
    torch.manual_seed(0)
    loss = plan.loss(tokenizer)(model.net, windows(0, 0.0))
    assert loss.value.item() == pytest.approx(torch.log(torch.tensor(float(tokenizer.vocab_size))).item(), rel=0.2)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'tiny-encoder'"):
        reference.model("tiny-encodr")
