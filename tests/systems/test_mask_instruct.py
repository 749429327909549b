"""mask-instruct: answers at one mask, dummies, free labels, and a linear head beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.cli import main
from twofold.data import Rows
from twofold.data.instructions import InstructionMix, tasks_of
from twofold.data.made.kinds import kinds
from twofold.data.made.reviews import reviews
from twofold.data.tokenizers import ByteTokenizer, train_bpe
from twofold.decoding import Masked, score_candidates
from twofold.errors import UserError
from twofold.objectives import IGNORED
from twofold.parts import TiedHead, presets
from twofold.tasks import instructed, load, reference
from twofold.tasks import task as task_named
from twofold.tasks.classify import ClassifyModel, OneLabel, PromptReader, PromptStore, settings
from twofold.tasks.examples import small_model
from twofold.tasks.represent import MaskedModel


def labelled() -> Rows:
    return reviews(60, 20, 20)


@pytest.fixture(scope="module")
def model() -> ClassifyModel:
    """A small random masked language model, instructed for two steps."""
    tokenizer = train_bpe(labelled().columns["text"], 320)
    torch.manual_seed(0)
    net = presets.encoder(tokenizer.vocab_size, 32, 1, 4, head="tied")
    start = MaskedModel(net.eval(), tokenizer, {"length": 128})
    made: ClassifyModel = configure("mask-instruct", instruct_steps=2).apply(start, labelled().part("train"))
    return made


def batches(dummy: str, share: float) -> instructed.InstructionBatches:
    mix = InstructionMix(ByteTokenizer(), tasks_of(labelled()), tokens=200)
    return instructed.InstructionBatches(mix, instructed.Plan(dummy=dummy, share=share, batch=64), 0)


def test_an_answer_carries_one_label() -> None:
    batch = batches("none", 0.2)(0, 0.0)
    asked = batch.labels != IGNORED
    assert (asked.sum(1) == 1).all()
    assert (batch.ids[asked] == ByteTokenizer().mask).all()
    at = asked.float().argmax(1)
    assert torch.equal(at, batch.real.sum(1) - 2)  # last but for the closing token


def test_dummies_carry_the_mask_as_their_label() -> None:
    mask = ByteTokenizer().mask
    batch = batches("mask-label", 0.5)(0, 0.0)
    asked = batch.labels != IGNORED
    dummies = asked.sum(1) > 1
    assert 20 < int(dummies.sum()) < 44
    assert torch.equal(asked[dummies], batch.ids[dummies] == mask)
    assert set(batch.labels[dummies][asked[dummies]].tolist()) == {mask}
    assert mask not in batch.labels[~dummies]
    assert not (asked & ~batch.real).any()
    hidden = batches("mlm", 0.5)(0, 0.0)
    assert mask not in hidden.labels


def test_batches_are_pure_in_the_step() -> None:
    made = batches("mask-label", 0.2)
    first, other, again = made(3, 0.0), made(4, 0.0), made(3, 0.5)
    assert torch.equal(first.ids, again.ids)
    assert torch.equal(first.labels, again.labels)
    assert first.ids.shape != other.ids.shape or not torch.equal(first.ids, other.ids)


def test_answers_are_the_candidates_scores(model: ClassifyModel) -> None:
    texts = ["the price is fresh", "no rude service here, really"]
    for labels in (("good", "bad"), ("one thing", "other thing", "third")):
        asked = model.asked(labels)
        found = asked.probabilities(texts)
        np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-5)
        store = PromptStore(PromptReader(128), model.tokenizer, texts, labels)  # type: ignore[arg-type]
        answers = [[int(a)] for a in store.answers]
        scores = score_candidates(model.net, store.prompts, answers, Masked(store.mask))  # type: ignore[arg-type]
        np.testing.assert_allclose(found, scores.softmax(1).numpy(), rtol=1e-4)
    told = model.predict(texts, labels=["x", "y"])
    assert {t.answer for t in told} <= {"x", "y"}
    with pytest.raises(UserError, match="all different"):
        model.predict(texts, labels=["x", "x"])


def test_other_models_keep_their_labels() -> None:
    system = configure("linear-head").small()
    made = system.fit(task_named("classify").read(labelled()), Steps(1)).model
    with pytest.raises(UserError, match="knows the labels negative, positive only"):
        made.predict("fine", labels=["a", "b"])


def test_apply_leaves_its_input_and_adds_a_tied_head() -> None:
    given = small_model()
    before = {k: v.clone() for k, v in given.net.state_dict().items()}
    made = configure("mask-instruct", instruct_steps=1, tokens=256).apply(given, kinds(40, 8, 8).part("train"))
    assert all(torch.equal(v, before[k]) for k, v in given.net.state_dict().items())
    assert isinstance(made.net.head, TiedHead)  # type: ignore[union-attr]
    assert made.history[-1]["id"] == "mask-instruct"
    assert len(made.predict("The badger sleeps.").probabilities) == 8


def test_a_head_of_ones_own_is_kept_and_trained() -> None:
    tokenizer = ByteTokenizer()
    torch.manual_seed(0)
    net = presets.encoder(tokenizer.vocab_size, 32, 1, 4, head="mlm").eval()
    start = MaskedModel(net, tokenizer, {})
    made = configure("mask-instruct", instruct_steps=2, tokens=200).apply(start, labelled().part("train"))
    assert type(made.net.head) is type(net.head)  # type: ignore[union-attr]
    assert not torch.equal(made.net.head.transform.weight, net.head.transform.weight)  # type: ignore[union-attr]


def test_zero_shot_trains_nothing_and_few_shot_sees_few() -> None:
    task = task_named("classify")
    data = task.read(labelled())
    system = configure("mask-instruct").small()
    none = type(system)(**{**system.options(), "examples": 0}).fit(data, Steps(5))
    assert none.history is None
    few = data.few(7, 3)
    counts = np.bincount(few.values[few.indices("train")])
    assert sorted(counts) == [3, 4]
    assert len(few.indices("test")) == len(data.indices("test"))
    assert few.part("train")[0] == data.few(7, 3).part("train")[0] != data.few(7, 4).part("train")[0]
    for wrong in (1, 61):
        with pytest.raises(UserError, match=f"examples={wrong}, but"):
            data.few(wrong, 0)


def test_bad_labels_are_refused_with_a_way_out() -> None:
    task = task_named("classify")
    data = task.read(labelled())
    options = {**configure("mask-instruct").small().options(), "instruct_steps": 0}
    long = task.read(
        Rows.of({"text": ["a b c"] * 90, "label": [f"label {'very ' * (i % 30)}{i % 30}" for i in range(90)]})
    )
    system = type(configure("mask-instruct"))
    with pytest.raises(UserError, match=r"raise tokens, or give the labels shorter names|as many letters"):
        system(**options).fit(long, Steps(1))
    with pytest.raises(UserError, match="tokens and an answer is one; use answers=letters"):
        system(**{**options, "answers": "words"}).fit(
            task.read(Rows.of({"text": [f"a {i}" for i in range(40)], "label": ["so so", "no no"] * 20})), Steps(1)
        )
    several = Rows.of({"text": [f"a {i}" for i in range(40)], "labels": [["x"], ["x", "y"]] * 20})
    assert "one label" in system(**options).serves(task.read(several))
    assert system(**options).serves(data) is None


def test_command_line_with_any_labels(model: ClassifyModel, tmp_path: Path, capsys: Any) -> None:
    start = MaskedModel(model.net, model.tokenizer, {"length": 128})
    given = ClassifyModel(start.net, model.tokenizer, settings(OneLabel(("good", "bad")), PromptReader(128)))
    given.save(tmp_path / "start")
    lines = ["text,label,task"]
    lines += [f"the {w} thing {i},{w},colours" for i in range(12) for w in ("red", "blue")]
    lines += [f"{w} plus {i},{w},numbers" for i in range(12) for w in ("one", "two")]
    (tmp_path / "tasks.csv").write_text("\n".join(lines))
    where = [str(tmp_path / "start"), "--data", str(tmp_path / "tasks.csv"), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(["apply", "mask-instruct", *where, "--set", "instruct_steps=2"]) == 0
    assert load(tmp_path / "out").history[-1]["report"]["tasks"] == ["colours", "numbers"]
    capsys.readouterr()
    assert (
        main(["predict", str(tmp_path / "out"), "a nice day", "--set", "labels=sun,rain or snow", "--json", "--quiet"])
        == 0
    )
    out = capsys.readouterr().out
    assert "rain or snow" in out


def test_words_stand_in_for_labels(model: ClassifyModel) -> None:
    """A reader with words asks with them and answers with the labels."""
    words = {"very good indeed": "yes", "very bad indeed": "no"}
    assert model.tokenizer is not None
    reader = PromptReader(128, "letters", words)
    plain = PromptReader(128, "letters")
    told = reader.written(model.tokenizer, ["a text"], list(words))
    assert told == plain.written(model.tokenizer, ["a text"], ["yes", "no"])
    assert told != plain.written(model.tokenizer, ["a text"], list(words))
    made = ClassifyModel(model.net, model.tokenizer, settings(OneLabel(tuple(words)), reader))
    assert made.predict("fine").answer in words


def test_letters_are_as_many_as_asked() -> None:
    rows = Rows.of({"text": [f"n {i}" for i in range(40)], "label": ["x", "y"] * 20})
    tokenizer = ByteTokenizer()
    random = np.random.default_rng(0)
    names = {tokenizer.encode([w], specials=False)[0][0] for w in "xy"}
    for share, low, high in ((0.0, 0, 0), (0.2, 20, 60), (1.0, 200, 200)):
        mix = InstructionMix(tokenizer, tasks_of(rows), tokens=200, letters=share)
        answers = [mix.draw(random).answer for _ in range(200)]
        assert low <= sum(a not in names for a in answers) <= high


def test_it_says_what_it_waits_for(monkeypatch: Any, tmp_path: Path) -> None:
    for module in (reference, instructed):
        monkeypatch.setattr(module, "cache_dir", lambda: tmp_path)
    monkeypatch.setitem(reference.CORPORA, "library", lambda: ([], "a fingerprint"))
    system = replace(configure("mask-instruct").small(), backbone="tiny-encoder-2")
    assert "is yet to be trained here" in system.waits_for(0)
    assert configure("mask-instruct", backbone="encoder-1x32").waits_for(0) is None, "made with the arm, on its time"
    tokenizer = train_bpe(labelled().columns["text"], 320)
    net = presets.encoder(tokenizer.vocab_size, 32, 1, 4, head="tied")
    start = MaskedModel(net.eval(), tokenizer, {"length": 128})
    monkeypatch.setattr(reference, "model", lambda name, seed: start.copy())
    monkeypatch.setattr(reference, "made", lambda name, seed: True)
    assert system.waits_for(0) is not None
    instructed.reference_model("tiny-encoder-2", system.plan(), 0)
    assert system.waits_for(0) is None
    assert system.waits_for(1) is not None
