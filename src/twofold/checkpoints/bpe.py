"""A byte-level BPE tokenizer from its tokens and merges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from twofold.errors import UserError

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _digits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _plain() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _by_regex() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


SPLITS = {
    "default": _plain,
    "gpt-2": _plain,
    "smollm": _digits,
    "starcoder": _digits,
    "refact": _digits,
    "llama-bpe": _by_regex,
    "llama3": _by_regex,
    "llama-v3": _by_regex,
}
"""How text is cut into words before merging, by the name GGUF files give."""


def byte_level_bpe(
    tokens: Sequence[str],
    merges: Sequence[str],
    split: str,
    *,
    special: Sequence[str] = (),
    whole: Sequence[str] = (),
    begin: str | None = None,
    end: str | None = None,
    what: str = "the tokenizer",
) -> dict[str, Any]:
    """The content of a `tokenizer.json` for a byte-level BPE.

    Args:
        tokens: the vocabulary in the order of its ids, bytes spelled as GPT-2 does.
        merges: pairs as `"left right"`, most frequent first.
        split: a key of `SPLITS`.
        special: tokens that stand for no text (never produced from pieces, left out when decoding).
        whole: tokens that are always matched whole.
        begin, end: tokens put before and after every text.
        what: where it comes from, for errors.

    Raises:
        UserError: a way of splitting that is not known, or tokens and merges that do not fit together.
    """
    if split not in SPLITS:
        raise UserError(
            f"{what} cuts text in a way that is not known here ({split!r}; known: {', '.join(SPLITS)}): "
            "use the Hugging Face folder it was made from"
        )
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise UserError(f"{what} lists a token twice; it is damaged")
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    if not all(left and right and " " not in right for left, right in pairs):
        raise UserError(f"{what} has a merge that is not a pair; it is damaged")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, fuse_unk=False, byte_fallback=False))
    tokenizer.pre_tokenizer = SPLITS[split]()
    tokenizer.decoder = decoders.ByteLevel()
    around = [token for token in (begin, end) if token is not None]
    if around:
        single = [*([begin] if begin else []), "$A", *([end] if end else [])]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single,
            pair=[*single, *(piece.replace("$A", "$B") for piece in single)],
            special_tokens=[(token, vocabulary[token]) for token in around],
        )
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in whole])
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


def bytes_json() -> tuple[str, dict[str, str | None]]:
    """`ByteTokenizer` as the content of a `tokenizer.json`, and role → token."""
    special = ["<pad>", "<bos>", "<eos>", "<mask>"]
    tokens = [*_spelled_bytes(), *special]
    content = byte_level_bpe(tokens, [], "default", begin="<bos>", end="<eos>", special=special)
    return json.dumps(content, ensure_ascii=False), dict(zip(("pad", "bos", "eos", "mask"), special, strict=True))


def _spelled_bytes() -> list[str]:
    """Bytes 0 to 255 as byte-level BPE spells them: printable ones as themselves, the others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
