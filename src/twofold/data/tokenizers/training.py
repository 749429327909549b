"""Subword vocabularies, trained with the `tokenizers` library, the same from the same texts every time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from twofold.data.tokenizers.subword import UNKNOWN, SubwordTokenizer, around, wordpiece_json
from twofold.errors import UserError

_BPE = {"pad": "<pad>", "cls": "<s>", "sep": "</s>", "mask": "<mask>", "bos": "<s>", "eos": "</s>"}
_WORDPIECE = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "bos": "[CLS]", "eos": "[SEP]"}
_MOST_CHARACTERS = 1000


def train_bpe(texts: Iterable[str], vocab: int = 4096) -> SubwordTokenizer:
    """A byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2): any text goes in and comes back exactly.

    `vocab` pieces at most, of which 4 have a role (`<pad>`, `<s>` as bos and cls, `</s>` as eos and sep, `<mask>`)
    and 256 are bytes. Texts that contain the spelling of one of the 4 are encoded letter by letter.
    Raises UserError for a vocabulary below 260 or no text at all.
    """
    if vocab < 260:
        raise UserError(f"vocab {vocab} is too small for 256 bytes and 4 tokens with a role; use at least 260")
    roles = list(dict.fromkeys(_BPE.values()))
    trained = Library(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=roles,
        show_progress=False,
    )
    trained.train_from_iterator(_some(texts), trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    # Built anew so that the library does not look for the tokens with a role inside texts.
    made = Library(models.BPE(vocab=model["vocab"], merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = around(made, "<s>", "</s>")
    return SubwordTokenizer(made.to_str(), _BPE)


def train_wordpiece(texts: Iterable[str], vocab: int = 4096, lower: bool = True) -> SubwordTokenizer:
    """A WordPiece vocabulary as BERT has it (Devlin et al. 2019): `[CLS]` text `[SEP]`, `##` inside words.

    `vocab` pieces at most. `lower`: fold case and strip accents. The 1,000 most frequent characters (fewer for a
    small vocabulary) are kept, the others read as `[UNK]`. Raises UserError for a vocabulary below 100 or no text.
    """
    if vocab < 100:
        raise UserError(f"vocab {vocab} is too small for a WordPiece vocabulary; use at least 100")
    normalise = normalizers.BertNormalizer(lowercase=lower)
    every = [normalise.normalize_str(text) for text in _some(texts)]
    counts: Counter[str] = Counter()
    for text in every:
        counts.update(text)
    frequent = sorted((each for each in counts if not each.isspace()), key=lambda each: (-counts[each], each))
    alphabet = sorted(frequent[: min(_MOST_CHARACTERS, vocab // 4)])
    roles = [_WORDPIECE["pad"], UNKNOWN, "[CLS]", "[SEP]", "[MASK]"]
    trained = Library(models.WordPiece(unk_token=UNKNOWN))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        # The trainer numbers "##" pieces as it meets them, in an order that changes from run to run and decides
        # between pairs of equal count. Giving them their numbers beforehand makes training repeatable.
        special_tokens=[*roles, *(f"##{each}" for each in alphabet)],
        show_progress=False,
    )
    trained.train_from_iterator(every, trainer)
    return SubwordTokenizer(wordpiece_json(trained.get_vocab(with_added_tokens=False), lower=lower), _WORDPIECE)


def _some(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("a vocabulary is trained on a list of texts, not one text")
    every = [text for text in texts if text.strip()]
    if not every:
        raise UserError("no text to train a vocabulary on; give some that is not empty")
    return every
