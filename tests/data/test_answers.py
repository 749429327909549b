"""Tokens for answers."""

from __future__ import annotations

import pytest

from twofold.data.tokenizers import ByteTokenizer, letters, spare_token, train_bpe, train_wordpiece, verbaliser
from twofold.data.tokenizers.answers import word_ids
from twofold.errors import UserError

TEXTS = ["a good dog and a bad cat saw A B C D and said yes or no " * 30, "Options: A, B, C or D. goodness badly"]


def test_labels_become_single_tokens() -> None:
    for tokenizer in (train_bpe(TEXTS, 340), train_wordpiece(TEXTS, 120)):
        ids = verbaliser(tokenizer, ["good", "bad", "dog"])
        assert len(set(ids)) == 3
        assert tokenizer.decode(ids[:1]).strip() == "good"
        inside = tokenizer.encode(["a good dog"], specials=False)[0]
        assert ids[0] in inside  # the token as it stands in running text, not the one that begins or ends a text


def test_a_label_of_several_tokens_is_refused_by_name() -> None:
    tokenizer = train_bpe(TEXTS, 340)
    with pytest.raises(UserError, match=r"'dog cat' is 2 tokens.*letters"):
        verbaliser(tokenizer, ["good", "dog cat"])
    with pytest.raises(UserError, match=r"'Good' and 'good' are the same token.*letters"):
        verbaliser(train_wordpiece(TEXTS, 120), ["Good", "good"])


def test_letters_are_single_and_different() -> None:
    bytes_ = ByteTokenizer()
    assert letters(bytes_, 26) == list(range(65, 91))
    cased, folded = train_bpe(TEXTS, 340), train_wordpiece(TEXTS, 120)
    assert letters(cased, 4) == [word_ids(cased, letter)[0] for letter in "ABCD"]
    assert len(set(letters(folded, 4))) == 4
    with pytest.raises(UserError, match="60 labels need as many letters"):
        letters(bytes_, 60)


def test_the_spare_token_stands_in_no_text() -> None:
    bpe = train_bpe(TEXTS, 340)
    spare = spare_token(bpe)
    texts = ["ÿ Ã ß good", "".join(map(chr, range(1, 0x800))), "日本語 🎉"]
    assert all(spare not in ids for ids in bpe.encode(texts))
    assert spare not in (bpe.pad, bpe.mask, bpe.cls, bpe.sep)
    assert spare_token(ByteTokenizer()) not in {b for text in texts for b in text.encode()}
    pieces = train_wordpiece(TEXTS, 120)
    assert spare_token(pieces) == pieces.cls
