"""Damaged folders, Twofold's and Hugging Face's: always an error that says so, never another exception."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoints.conftest import Made, refused
from tests.checkpoints.models import network, write
from twofold.checkpoints import folder, open_checkpoint
from twofold.errors import UserError

Make = Callable[..., Made]

VALUES = [None, True, 10**12, 1e400, -1.5, "x", [["y"]], {"rope_type": []}]
READ = {
    "bert": "model_type architectures vocab_size hidden_size num_attention_heads num_hidden_layers intermediate_size "
    "max_position_embeddings type_vocab_size layer_norm_eps hidden_act position_embedding_type",
    "llama": "architectures num_attention_heads num_key_value_heads head_dim num_hidden_layers rms_norm_eps hidden_act "
    "attention_bias tie_word_embeddings rope_parameters rope_theta rope_scaling partial_rotary_factor",
}


def survives(path: Path) -> bool:
    """Opens it; a UserError of one line is the only way to fail."""
    return not refused(lambda: open_checkpoint(path))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_settings_of_any_value(make_bert: Make, make_llama: Make, kind: str) -> None:
    make = {"bert": make_bert, "llama": make_llama}[kind]
    path, _ = make("BertForMaskedLM" if kind == "bert" else "LlamaForCausalLM", num_hidden_layers=1)
    config = json.loads((path / "config.json").read_text())
    for key in READ[kind].split():
        for value in VALUES:
            (path / "config.json").write_text(json.dumps({**config, key: value}))
            survives(path)
    if kind == "llama":
        for key in config["rope_parameters"]:
            for value in VALUES:
                changed = {**config, "rope_parameters": {**config["rope_parameters"], key: value}}
                (path / "config.json").write_text(json.dumps(changed))
                survives(path)
    (path / "config.json").write_text(json.dumps(config))
    assert survives(path)


def test_any_file_cut_or_random(make_bert: Make) -> None:
    path, _ = make_bert()
    (path / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Transformer"}]))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    random.seed(2)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "modules.json", "sentence_bert_config.json"):
        whole = (path / name).read_bytes()
        for offset in {0, 1, 8, len(whole) - 2, *random.sample(range(len(whole) - 1), min(8, len(whole) - 1))}:
            (path / name).write_bytes(whole[:offset])
            assert not survives(path), f"{name} cut at {offset}"
        for noise in (b"\x00", b"[]", b"[" * 100_000, b'"\xff"', random.randbytes(100), b"9" * 10_000):
            (path / name).write_bytes(noise)
            assert noise == b"[]" or not survives(path), f"{name} replaced by {noise[:20]!r}"
        (path / name).write_bytes(whole)
    assert survives(path)


def test_modules_that_point_elsewhere(make_bert: Make) -> None:
    path, _ = make_bert()
    for place in ("../other", "/etc"):
        module = {"path": place, "type": "sentence_transformers.models.Pooling"}
        (path / "modules.json").write_text(json.dumps([module]))
        with pytest.raises(UserError, match="outside"):
            open_checkpoint(path)


def test_shards_that_point_elsewhere(make_bert: Make) -> None:
    path, _ = make_bert()
    (path / "model.safetensors").rename(path.parent / "model.safetensors")
    for places in ({"a": "../model.safetensors"}, {}, ["model.safetensors"], {"a": "missing.safetensors"}):
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        with pytest.raises(UserError, match=r"damaged|no file"):
            open_checkpoint(path)


def test_a_model_folder_cut_flipped_or_random(tmp_path: Path) -> None:
    path = write(tmp_path / "model", network())
    random.seed(0)
    for name in ("tensors.safetensors", "model.json", "tokenizer.json"):
        whole = (path / name).read_bytes()
        offsets = {0, 1, 7, 8, 9, len(whole) - 1, *random.sample(range(len(whole)), min(40, len(whole)))}
        cut = [whole[:offset] for offset in sorted(offsets)]
        noise = [random.randbytes(n) for n in (1, 8, 64, 4096)]
        flipped = []
        for offset in random.sample(range(len(whole))[:4000], min(80, len(whole))):
            flipped.append(whole[:offset] + bytes([whole[offset] ^ (1 << random.randrange(8))]) + whole[offset + 1 :])
        for damaged in [*cut, *noise, *flipped]:
            (path / name).write_bytes(damaged)
            if not refused(lambda: folder.load_network(folder.read(path))):
                assert damaged in flipped or damaged.rstrip() == whole.rstrip(), "a cut or random file was accepted"
        (path / name).write_bytes(whole)
    folder.load_network(folder.read(path))
