"""Subword tokenizers of the `tokenizers` library: those trained here and those that a checkpoint brings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tokenizers as library
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from twofold.data.tokenizers.base import ROLES, Tokenizer
from twofold.errors import UserError, unknown

Result = TypeVar("Result")

UNKNOWN = "[UNK]"

# The tokens that usually have a role, where a checkpoint does not say. "<s>" begins texts in Llama's line.
_USUAL = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>"),
    "cls": ("[CLS]", "<cls>"),
    "sep": ("[SEP]", "<sep>"),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<|im_start|>", "[CLS]"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "[SEP]"),
}


class SubwordTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library: its json, and which of its tokens have roles.

    Args:
        data: the content of a `tokenizer.json`, as data or as text.
        tokens: role → token, as {"pad": "[PAD]", "mask": None}; None: told by the usual names.
        name: what error messages call it.

    Raises UserError for data that the library cannot read or a role whose token does not exist.
    """

    kind = "subword"

    def __init__(
        self,
        data: Mapping[str, Any] | str,
        tokens: Mapping[str, str | None] | None = None,
        *,
        name: str = "the tokenizer",
    ) -> None:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        self._library: library.Tokenizer = _guarded(lambda: library.Tokenizer.from_str(text), name)
        self._library.no_truncation()
        self._library.no_padding()
        vocabulary = self._library.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise UserError(f"{name} has an empty vocabulary; give a trained one")
        self.vocab_size = max(vocabulary.values()) + 1
        if tokens is None:
            tokens = {role: next(filter(vocabulary.__contains__, names), None) for role, names in _USUAL.items()}
        self._give_roles(tokens, name)
        self._before, self._after = _guarded(self._find_around, name)

    def _give_roles(self, tokens: Mapping[str, str | None], name: str) -> None:
        for role, token in tokens.items():
            if role not in ROLES:
                raise unknown("tokenizer role", str(role), ROLES)
            index = self.index(token) if isinstance(token, str) else None
            if token is not None and index is None:
                raise UserError(f"{name} has no token {token!r} for the role {role}; name one that it has, or none")
            setattr(self, role, index)
        self._roles = frozenset(index for role in ROLES if (index := getattr(self, role)) is not None)

    def index(self, token: str) -> int | None:
        """The id of the token that the vocabulary spells so; None where there is none."""
        return self._library.token_to_id(token)

    def token(self, index: int) -> str | None:
        """The token with the id `index` as the vocabulary spells it; None where there is none."""
        return self._library.id_to_token(index)

    def _find_around(self) -> tuple[list[int], list[int]]:
        """What the template puts before and after a text, found by encoding a short one with and without it."""
        samples = ("a b", *self._library.get_vocab())  # a vocabulary may know no Latin letter
        encoded = (self._library.encode(sample, add_special_tokens=False).ids for sample in samples)
        sample, plain = next(pair for pair in zip(samples, encoded, strict=False) if pair[1])
        full = self._library.encode(sample, add_special_tokens=True).ids
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return full[:start], full[start + len(plain) :]
        raise ValueError("its template changes the text itself")

    def _around(self) -> tuple[list[int], list[int]]:
        return self._before, self._after

    def _content(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = _guarded(
            lambda: self._library.encode_batch_fast(list(texts), add_special_tokens=False), "the tokenizer"
        )
        return [each.ids for each in encoded]

    def extended(self, words: Sequence[str]) -> SubwordTokenizer:
        """The same with more tokens, one for each word that it lacks, found whole wherever a text spells them; numbered
        from `vocab_size` on. What is decoded shows no trace of them."""
        made = library.Tokenizer.from_str(self.to_json())
        made.add_special_tokens([library.AddedToken(word, special=True, lstrip=True, rstrip=False) for word in words])
        return SubwordTokenizer(made.to_str(), self.tokens())

    def encode_with_places(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text without special tokens, and which characters of it each stands for (start, end)."""
        encoded = _guarded(lambda: self._library.encode(text, add_special_tokens=False), "the tokenizer")
        return encoded.ids, encoded.offsets

    def decode(self, ids: Iterable[int]) -> str:
        kept = [index for index in map(int, ids) if index not in self._roles and 0 <= index < self.vocab_size]
        return self._library.decode(kept, skip_special_tokens=True)

    def to_json(self) -> str:
        """The content of a `tokenizer.json` that other programs read."""
        return self._library.to_str()

    def tokens(self) -> dict[str, str | None]:
        """Role → token."""
        indices = {role: getattr(self, role) for role in ROLES}
        return {role: None if index is None else self.token(index) for role, index in indices.items()}

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokens": self.tokens(), "tokenizer": json.loads(self.to_json())}

    @classmethod
    def read_dict(cls, data: Mapping[str, Any]) -> SubwordTokenizer:
        """The tokenizer that `to_dict` wrote down. Raises UserError for data that is none."""
        if not isinstance(data.get("tokenizer"), Mapping) or not isinstance(data.get("tokens"), Mapping):
            raise UserError("this is not a subword tokenizer: it lacks 'tokenizer' or 'tokens'; write it again")
        return cls(data["tokenizer"], data["tokens"])


def load_hf(path: Path) -> SubwordTokenizer:
    """The tokenizer of a checkpoint; see `Tokenizer.load_hf`."""
    folder = path if path.is_dir() else path.parent
    file = path / "tokenizer.json" if path.is_dir() else path
    settings = {
        **_optional_json(folder / "special_tokens_map.json"),
        **_optional_json(folder / "tokenizer_config.json"),
    }
    data: Mapping[str, Any] | str
    if path.is_dir() and not file.exists() and (folder / "vocab.txt").exists():
        lower = settings.get("do_lower_case", True) is not False
        data = _vocabulary(folder / "vocab.txt", lower)
    else:
        data = _read_json(file)
    found = SubwordTokenizer(data, name=str(file))
    tokens = {role: _token_text(settings.get(f"{role}_token")) for role in ROLES}
    if any(tokens.values()):  # a token that the settings name and the vocabulary lacks has no id to give
        known = {role: token if token and found.index(token) is not None else None for role, token in tokens.items()}
        found._give_roles(known, str(file))
    return found


def wordpiece_json(vocabulary: dict[str, int], *, lower: bool) -> str:
    """The `tokenizer.json` of a BERT tokenizer with this vocabulary."""
    made = library.Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    if "[CLS]" in vocabulary and "[SEP]" in vocabulary:
        made.post_processor = around(made, "[CLS]", "[SEP]")
    return made.to_str()


def around(made: library.Tokenizer, begin: str, end: str) -> processors.TemplateProcessing:
    """The template that puts one token before and one after a text, and one after each text of a pair."""
    return processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B:1 {end}:1",
        special_tokens=[(begin, made.token_to_id(begin)), (end, made.token_to_id(end))],
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no {path}; give a folder with a tokenizer.json, or the file itself") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check its rights") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({str(error)[:120]}); fetch or write it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; give a tokenizer.json")
    return value


def _optional_json(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.exists() else {}


def _token_text(value: Any) -> str | None:
    """A token as the settings spell it: a text, or an object with its content."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _vocabulary(path: Path, lower: bool) -> str:
    tokens = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return wordpiece_json({token: index for index, token in enumerate(tokens)}, lower=lower)


def _guarded(make: Callable[[], Result], name: str) -> Result:
    """Call into the library, whose errors, panics of its own language among them, become a UserError."""
    try:
        return make()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, UserError):
        raise
    except BaseException as error:  # a panic is no Exception
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"{name} is not a tokenizer that can be read ({reason}); fetch or write it again") from None
