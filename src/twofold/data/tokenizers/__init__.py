"""Texts to ids and back: bytes, and subwords trained here or brought by a checkpoint."""

from twofold.data.tokenizers.base import ROLES, ByteTokenizer, Tokenizer
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.data.tokenizers.training import train_bpe, train_wordpiece

__all__ = ["ROLES", "ByteTokenizer", "SubwordTokenizer", "Tokenizer", "train_bpe", "train_wordpiece"]
