"""Prompts: where the mask stands, which letter is right, what is cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from twofold.data import Rows
from twofold.data.instructions import (
    WORDINGS,
    InstructionMix,
    Prompts,
    by_letter,
    by_word,
    by_word_or_letter,
    tasks_of,
)
from twofold.data.tokenizers import SubwordTokenizer, letters, train_bpe
from twofold.errors import UserError

TEXTS = ["the dog is good and the cat is bad . TEXT: CHOICES: ANSWER: INPUT: OPTIONS: A: B: C: D: E: ; " * 20]
LABELS = ["good", "bad", "dog and cat"]


@pytest.fixture(scope="module")
def tokenizer() -> SubwordTokenizer:
    return train_bpe(TEXTS, 360)


def rows() -> Rows:
    names = [LABELS[i % 3] for i in range(30)]
    return Rows.of({"text": [f"the {name} number {i}" for i, name in enumerate(names)], "label": names})


def test_the_mask_stands_last_but_for_the_closing_token(tokenizer: SubwordTokenizer) -> None:
    prompts = Prompts(tokenizer, 200)
    listing = by_letter(tokenizer, LABELS)
    for wording in WORDINGS:
        ids = prompts.write(prompts.texts(["the dog"])[0], listing, wording)
        assert ids[0] == tokenizer.cls
        assert ids[-3:] == [prompts.anchor, tokenizer.mask, tokenizer.sep]
        assert ids.count(prompts.mask) == ids.count(prompts.anchor) == 1
        written = tokenizer.decode(ids)
        assert wording.ask in written
        assert "A: good; B: bad; C: dog and cat;" in written


def test_a_long_text_loses_its_end_and_nothing_else(tokenizer: SubwordTokenizer) -> None:
    prompts, listing = Prompts(tokenizer, 160), by_letter(tokenizer, LABELS)
    short, long = (prompts.write(prompts.texts([t])[0], listing) for t in ("the dog", "the dog " * 500))
    assert len(long) == 160
    assert long[-10:] == short[-10:]
    assert prompts.room(listing) + len(short) - len(prompts.texts(["the dog"])[0]) == 160
    with pytest.raises(UserError, match="of 20 tokens and leave none for the text"):
        Prompts(tokenizer, 20).write([5], listing)


def test_words_answer_where_each_is_one_token(tokenizer: SubwordTokenizer) -> None:
    words = by_word(tokenizer, ["good", "bad"])
    assert [tokenizer.decode([a]).strip() for a in words.answers] == ["good", "bad"]
    assert by_word_or_letter(tokenizer, ["good", "bad"]) == words
    assert by_word_or_letter(tokenizer, LABELS) == by_letter(tokenizer, LABELS)
    with pytest.raises(UserError, match="'dog and cat' is 3 tokens"):
        by_word(tokenizer, LABELS)


def test_the_gold_letter_moves_with_the_text(tokenizer: SubwordTokenizer) -> None:
    mix = InstructionMix(tokenizer, tasks_of(rows()), tokens=200)
    random = np.random.default_rng(0)
    names = dict(zip(letters(tokenizer, 3), "ABC", strict=True))
    seen: Counter[str] = Counter()
    for _ in range(300):
        prompt = mix.draw(random)
        written = tokenizer.decode(prompt.ids)
        label = next(name for name in sorted(LABELS, key=len, reverse=True) if f"the {name} number" in written)
        if prompt.answer in names:
            assert f"{names[prompt.answer]}: {label};" in written
            seen[names[prompt.answer]] += 1
        else:
            assert tokenizer.decode([prompt.answer]).strip() == label
            assert f" {label};" in written
            seen["word"] += 1
    assert min(seen[letter] for letter in "ABC") > 45  # no letter is favoured
    assert 70 < seen["word"] < 130  # two of three labels are words, and half of them are answered so


def test_open_choices_are_kept_and_cut(tokenizer: SubwordTokenizer) -> None:
    made = rows()
    made.columns["choices"] = [[label, "another"] for label in made.columns["label"]]
    mix = InstructionMix(tokenizer, tasks_of(made), tokens=200)
    written = tokenizer.decode(mix.draw(np.random.default_rng(1)).ids)
    assert "another" in written
    assert "C:" not in written
    few = InstructionMix(tokenizer, tasks_of(rows()), tokens=200, most=2)
    assert all("C:" not in tokenizer.decode(few.draw(np.random.default_rng(i)).ids) for i in range(20))


def test_tasks_come_apart_by_their_column() -> None:
    made = rows()
    made.columns["task"] = ["one" if i < 15 else "two" for i in range(30)]
    tasks = tasks_of(made)
    assert [(task.name, len(task.texts)) for task in tasks] == [("one", 15), ("two", 15)]
    made.columns["label"] = ["same"] * 30
    with pytest.raises(UserError, match="one label only"):
        tasks_of(made)
    with pytest.raises(UserError, match="no column 'label'"):
        tasks_of(Rows.of({"text": ["a"]}))
