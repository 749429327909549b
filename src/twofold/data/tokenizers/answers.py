"""Tokens that stand for answers: a word for each label, letters, and a token that no text contains."""

from __future__ import annotations

import string
from collections.abc import Sequence

from twofold.data.tokenizers.base import ByteTokenizer, Tokenizer
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.errors import UserError

_SPARE = ("[unused0]", "<|unused0|>", "<unused0>", "<|reserved_special_token_0|>", "ÿ")  # "ÿ": byte 255, in no UTF-8


def word_ids(tokenizer: Tokenizer, word: str) -> list[int]:
    """Ids of the word as it stands after a space; without the space where tokens do not hold one (bytes, WordPiece)."""
    spaced, plain = tokenizer.encode([f" {word}", word], specials=False)
    return plain if len(plain) < len(spaced) else spaced


def verbaliser(tokenizer: Tokenizer, labels: Sequence[str]) -> list[int]:
    """One token for each label, all different: the label itself, written after a space.

    Raises:
        UserError: a label has several tokens, or two have the same; names it and proposes letters.
    """
    seen: dict[int, str] = {}
    for label in labels:
        ids = word_ids(tokenizer, label)
        if len(ids) != 1:
            raise UserError(
                f"the label {label!r} is {len(ids)} tokens and an answer is one; use answers=letters, or another word"
            )
        if ids[0] in seen:
            raise UserError(f"the labels {seen[ids[0]]!r} and {label!r} are the same token; use answers=letters")
        seen[ids[0]] = label
    return list(seen)


def letters(tokenizer: Tokenizer, count: int) -> list[int]:
    """The tokens of the first `count` letters, A to Z and a to z, as far as they are one token and differ.

    Raises:
        UserError: there are not so many.
    """
    found = list(
        dict.fromkeys(ids[0] for letter in string.ascii_letters[26:] + string.ascii_letters[:26]
                      if len(ids := word_ids(tokenizer, letter)) == 1)
    )  # fmt: skip
    if len(found) < count:
        raise UserError(f"{count} labels need as many letters, and the tokenizer knows {len(found)}; use fewer labels")
    return found[:count]


def spare_token(tokenizer: Tokenizer) -> int:
    """A token that stands in no text: a reserved one, the byte 255, or else the one that begins every input.

    Raises:
        UserError: the vocabulary has none.
    """
    if isinstance(tokenizer, ByteTokenizer):
        return 255
    if isinstance(tokenizer, SubwordTokenizer):
        for name in _SPARE:
            index = tokenizer.index(name)
            if index is not None and index not in tokenizer.encode([name], specials=False)[0]:
                return index
    if tokenizer.cls is not None:
        return tokenizer.cls
    raise UserError("the tokenizer has no token that no text contains; use a model whose vocabulary has a spare one")
