"""Tokenizers: exact round trips, repeatable training, roles, limits, and files that nobody should trust."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from twofold.data.tokenizers import ByteTokenizer, SubwordTokenizer, Tokenizer, train_bpe, train_wordpiece
from twofold.errors import UserError

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "def read_csv(path):\n    return [line.split(',') for line in open(path)]\n",
    "Größe, naïve café — 東京 🙂 \t  spaces   \n\n",
    "reading readers read; writing writers write; reading again and again",
] * 5
HARD = ["", " ", "\0\x7f", "</s><s><mask><pad>", "🙂" * 3, "a\ud83db", "x" * 1000, "Ünï\r\ncode\u2028"]


def every() -> list[Tokenizer]:
    return [ByteTokenizer(), train_bpe(TEXTS, 300), train_wordpiece(TEXTS, 200)]


@pytest.mark.parametrize("tokenizer", every()[:2], ids=["bytes", "bpe"])
def test_any_text_comes_back(tokenizer: Tokenizer) -> None:
    for text, ids in zip(TEXTS + HARD, tokenizer.encode(TEXTS + HARD), strict=True):
        assert tokenizer.decode(ids) == text.replace("\ud83d", "\ufffd")
        assert max(ids) < tokenizer.vocab_size


def test_wordpiece_keeps_words() -> None:
    tokenizer = train_wordpiece(TEXTS, 200)
    assert tokenizer.decode(tokenizer.encode(["The Quick brown FOX"])[0]) == "the quick brown fox"
    assert train_wordpiece(TEXTS, 200, lower=False).encode(["Fox"]) != tokenizer.encode(["fox"])


@pytest.mark.parametrize("tokenizer", every(), ids=["bytes", "bpe", "wordpiece"])
def test_dict_round_trip_is_exact(tokenizer: Tokenizer) -> None:
    again = Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert type(again) is type(tokenizer)
    assert again.to_dict() == tokenizer.to_dict()
    assert again.fingerprint() == tokenizer.fingerprint()
    assert again.encode(TEXTS + HARD) == tokenizer.encode(TEXTS + HARD)
    for role in ("pad", "cls", "sep", "mask", "bos", "eos", "vocab_size"):
        assert getattr(again, role) == getattr(tokenizer, role)
        assert getattr(tokenizer, role) is not None


@pytest.mark.parametrize("tokenizer", every(), ids=["bytes", "bpe", "wordpiece"])
def test_specials_and_limits(tokenizer: Tokenizer) -> None:
    full = tokenizer.encode(TEXTS[:1])[0]
    bare = tokenizer.encode(TEXTS[:1], specials=False)[0]
    assert full == [tokenizer.cls, *bare, tokenizer.sep]
    assert tokenizer.encode(TEXTS[:1], max_len=6)[0] == [tokenizer.cls, *bare[:4], tokenizer.sep]
    assert tokenizer.encode(TEXTS[:1], max_len=2)[0] == [tokenizer.cls, tokenizer.sep]
    assert tokenizer.encode(TEXTS[:1], max_len=3, specials=False)[0] == bare[:3]
    assert tokenizer.encode([]) == []
    with pytest.raises(UserError, match="max_len 1 is too small for 2 special tokens"):
        tokenizer.encode(TEXTS, max_len=1)
    with pytest.raises(TypeError, match="a list of texts"):
        tokenizer.encode("text")
    assert tokenizer.decode([tokenizer.cls or 0, 10**9, -1]) == ""


def test_bytes_are_bytes() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode(["é!"]) == [[257, 0xC3, 0xA9, 0x21, 258]]
    assert tokenizer.decode([0xC3, 258]) == "\ufffd"
    assert (tokenizer.vocab_size, tokenizer.pad, tokenizer.mask) == (260, 256, 259)


def test_training_gives_the_same_in_every_process() -> None:
    code = (
        "import sys, json; from twofold.data.tokenizers import train_bpe, train_wordpiece\n"
        "texts = json.loads(sys.stdin.read())\n"
        "print(train_bpe(texts, 400).fingerprint(), train_wordpiece(texts, 400).fingerprint())"
    )
    chance = random.Random(0)
    texts = ["".join(chance.choices("abcdefghijéß  ", k=60)) for _ in range(200)]  # full of equal counts
    here = f"{train_bpe(texts, 400).fingerprint()} {train_wordpiece(texts, 400).fingerprint()}"
    there = [
        subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert there == [here, here]
    assert train_wordpiece(texts, 400).fingerprint() == here.split()[1]


def test_vocabulary_sizes() -> None:
    assert train_bpe(TEXTS, 300).vocab_size == 300
    assert train_wordpiece(TEXTS, 200).vocab_size <= 200
    assert train_wordpiece(["".join(map(chr, range(0x4E00, 0x5200)))], 150).vocab_size <= 150
    with pytest.raises(UserError, match="at least 260"):
        train_bpe(TEXTS, 100)
    with pytest.raises(UserError, match="at least 100"):
        train_wordpiece(TEXTS, 50)
    with pytest.raises(UserError, match="no text to train"):
        train_bpe(["", " "], 300)


def test_a_megabyte() -> None:
    for tokenizer in every():
        text = "a" * 500_000 + " ab cd" * 90_000
        assert len(tokenizer.encode([text], max_len=64)[0]) == 64


def checkpoint(folder: Path, **settings: object) -> Path:
    """A folder as checkpoints have it: a tokenizer.json that prescribes limits, and settings."""
    data = json.loads(train_wordpiece(TEXTS, 200).to_json())
    data["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    data["padding"] = {
        "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(data))
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_a_checkpoints_own_tokenizer(tmp_path: Path) -> None:
    trained = train_wordpiece(TEXTS, 200)
    found = Tokenizer.load_hf(checkpoint(tmp_path))
    assert found.encode(TEXTS) == trained.encode(TEXTS)
    assert found.tokens() == trained.tokens()
    assert Tokenizer.load_hf(str(tmp_path / "tokenizer.json")).to_dict() == found.to_dict()
    checkpoint(tmp_path, cls_token={"content": "[CLS]"}, sep_token="[SEP]", pad_token="<|missing|>")
    some = Tokenizer.load_hf(tmp_path)
    assert (some.cls, some.sep, some.pad, some.bos) == (trained.cls, trained.sep, None, None)
    assert some.encode(TEXTS) == trained.encode(TEXTS)


def test_a_vocabulary_file_alone(tmp_path: Path) -> None:
    trained = train_wordpiece(TEXTS, 200)
    (tmp_path / "vocab.txt").write_text("\n".join(str(trained.token(i)) for i in range(trained.vocab_size)))
    assert Tokenizer.load_hf(tmp_path).encode(TEXTS) == trained.encode(TEXTS)


def test_roles_must_exist(tmp_path: Path) -> None:
    data = train_bpe(TEXTS, 300).to_json()
    with pytest.raises(UserError, match=r"has no token '<x>' for the role pad"):
        SubwordTokenizer(data, {"pad": "<x>"})
    with pytest.raises(UserError, match=r"unknown tokenizer role 'padding'\. Did you mean 'pad'\?"):
        SubwordTokenizer(data, {"padding": "<pad>"})
    assert SubwordTokenizer(data, {}).pad is None


def test_garbage_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*tokenizer\.json"):
        Tokenizer.load_hf(tmp_path)
    good = train_bpe(TEXTS, 280).to_dict()
    text = json.dumps(good)
    chance = random.Random(0)
    messages = []
    for trial in range(150):
        cut = chance.randrange(len(text))
        broken = text[:cut] + chance.choice(["", "9", '"', "null", "{}", "\\"]) + text[cut + chance.randrange(40) :]
        path = tmp_path / "tokenizer.json"
        path.write_text(broken if trial % 2 else broken[: chance.randrange(len(broken))])
        try:
            Tokenizer.load_hf(path).encode(TEXTS[:2])
            Tokenizer.from_dict(json.loads(broken)).encode(TEXTS[:2])
        except UserError as error:
            messages.append(str(error))
        except json.JSONDecodeError:
            messages.append("")
    assert len(messages) > 100
    assert not [message for message in messages if "\n" in message]
    for data in (
        {},
        [],
        None,
        {"kind": "pickle"},
        {"kind": "subword"},
        {"kind": "subword", "tokenizer": {}, "tokens": {}},
    ):
        with pytest.raises(UserError):
            Tokenizer.from_dict(data)  # type: ignore[arg-type]
    for change in ({"vocab": {}, "merges": []}, {"merges": [["zz", "yy"]]}, {"vocab": {"a": -1}}, {"type": "Other"}):
        data = json.loads(text)
        data["tokenizer"]["model"].update(change)
        with pytest.raises(UserError):
            Tokenizer.from_dict(data)
