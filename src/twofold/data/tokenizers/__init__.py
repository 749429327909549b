"""Texts to ids and back: bytes, and subwords trained here or brought by a checkpoint."""

from twofold.data.tokenizers.answers import letters, spare_token, verbaliser, word_ids
from twofold.data.tokenizers.base import ROLES, ByT5Tokenizer, ByteTokenizer, Tokenizer
from twofold.data.tokenizers.likelihood import train_likelihood
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.data.tokenizers.training import train_bpe, train_wordpiece

__all__ = [
    "ROLES",
    "ByT5Tokenizer",
    "ByteTokenizer",
    "SubwordTokenizer",
    "Tokenizer",
    "letters",
    "spare_token",
    "train_bpe",
    "train_likelihood",
    "train_wordpiece",
    "verbaliser",
    "word_ids",
]
