"""What a tokenizer is, and the one that needs no vocabulary: bytes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twofold.data.cache import digest
from twofold.errors import UserError, unknown

if TYPE_CHECKING:
    from twofold.data.tokenizers.subword import SubwordTokenizer

ROLES = ("pad", "cls", "sep", "mask", "bos", "eos")


class Tokenizer(ABC):
    """What every model of text asks of its tokenizer.

    Attributes:
        vocab_size: ids lie in [0, vocab_size).
        pad, cls, sep, mask, bos, eos: the ids of the tokens with a role; None where there is none.
    """

    kind: ClassVar[str]
    vocab_size: int
    pad: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None

    @abstractmethod
    def _content(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the texts alone, without anything around them."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; tokens with a role leave no trace, broken UTF-8 becomes U+FFFD."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The whole tokenizer as JSON-able data; `Tokenizer.from_dict` gives back its equal."""

    def _around(self) -> tuple[list[int], list[int]]:
        """The ids that `encode` puts before and after a text."""
        return [], []

    def encode(self, texts: Sequence[str], max_len: int | None = None, *, specials: bool = True) -> list[list[int]]:
        """Ids of each text, the tokenizer's own special tokens around them unless `specials` is False.

        A text longer than `max_len` ids, specials counted, is cut at its end; the specials stay. Raises UserError
        where `max_len` is too small even for those.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts, not one text")
        before, after = self._around() if specials else ([], [])
        content = self._content([_whole(text) for text in texts])
        if max_len is None:
            return [before + ids + after for ids in content]
        room = max_len - len(before) - len(after)
        if room < 0:
            raise UserError(f"max_len {max_len} is too small for {len(before) + len(after)} special tokens")
        return [before + ids[:room] + after for ids in content]

    def fingerprint(self) -> str:
        """Differs between tokenizers that differ in anything."""
        return digest(json.dumps(self.to_dict(), sort_keys=True))[:16]

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer that `to_dict` wrote down. Raises UserError for data that is none."""
        kind = data.get("kind") if isinstance(data, Mapping) else None
        if kind == ByteTokenizer.kind:
            return ByteTokenizer()
        if kind == ByT5Tokenizer.kind:
            return ByT5Tokenizer()
        from twofold.data.tokenizers.subword import SubwordTokenizer

        if kind == SubwordTokenizer.kind:
            return SubwordTokenizer.read_dict(data)
        raise unknown("tokenizer kind", str(kind), (ByteTokenizer.kind, ByT5Tokenizer.kind, SubwordTokenizer.kind))

    @staticmethod
    def load_hf(path: str | Path) -> SubwordTokenizer:
        """A checkpoint's own tokenizer: a folder with `tokenizer.json` (or a BERT `vocab.txt`), or the json file.

        Which tokens have roles is read from `tokenizer_config.json` and `special_tokens_map.json` beside it, else
        told by the usual names. Limits and padding that the file prescribes are switched off. Raises UserError
        for a missing or damaged file.
        """
        from twofold.data.tokenizers.subword import load_hf

        return load_hf(Path(path).expanduser())


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes as ids 0 to 255, then pad 256, bos (also cls) 257, eos (also sep) 258, mask 259."""

    kind = "bytes"

    def __init__(self) -> None:
        self.pad, self.bos, self.eos, self.mask = 256, 257, 258, 259
        self.cls, self.sep, self.vocab_size = self.bos, self.eos, 260

    def _around(self) -> tuple[list[int], list[int]]:
        return [257], [258]

    def _content(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(index for index in map(int, ids) if 0 <= index < 256).decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}


class ByT5Tokenizer(Tokenizer):
    """UTF-8 bytes as ids 3 to 258, behind pad 0, end 1 (also sep) and unknown 2; illegal bytes are dropped in decoding.

    Xue et al. 2022, https://arxiv.org/abs/2105.13626. Sentinels of span corruption are the last ids, 258, 257, …, as
    bytes that never stand in UTF-8.
    """

    kind = "byt5"

    def __init__(self) -> None:
        self.pad, self.eos, self.sep, self.vocab_size = 0, 1, 1, 259

    def _around(self) -> tuple[list[int], list[int]]:
        return [], [1]

    def _content(self, texts: Sequence[str]) -> list[list[int]]:
        return [[byte + 3 for byte in text.encode()] for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(index - 3 for index in map(int, ids) if 3 <= index < 259).decode("utf-8", "ignore")

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind}


def _whole(text: str) -> str:
    """`text` without the unpaired surrogates that UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
