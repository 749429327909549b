"""GGUF files: the same weights, tokenizer and outputs as through `transformers`' reader."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import gguf as library
import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Kind

from tests.checkpoints.conftest import TEXTS, close, ids, refused
from twofold.checkpoints import gguf, open_checkpoint
from twofold.checkpoints.bpe import byte_level_bpe
from twofold.errors import UserError

DIM, HEADS, GROUPS, HIDDEN, LAYERS = 32, 4, 2, 64, 2


def vocabulary(bpe: Any) -> tuple[list[str], list[str], list[int]]:
    model = json.loads(bpe.to_json())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    kinds = [3 if token in bpe.tokens().values() else 1 for token in tokens]
    return tokens, [" ".join(pair) for pair in model["merges"]], kinds


def make(file: Path, bpe: Any, *, tied: bool = True, **changes: Any) -> dict[str, np.ndarray]:
    """A small GGUF file: quantized maps, float norms. Returns what was stored, dequantized, as the file has it."""
    tokens, merges, kinds = vocabulary(bpe)
    fields: dict[str, Any] = {
        "llama.block_count": LAYERS,
        "llama.context_length": 64,
        "llama.embedding_length": DIM,
        "llama.feed_forward_length": HIDDEN,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": GROUPS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 500.0,
        "llama.rope.dimension_count": DIM // HEADS,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": bpe.bos,
        "tokenizer.ggml.eos_token_id": bpe.eos,
        "tokenizer.ggml.padding_token_id": bpe.pad,
        "general.license": "apache-2.0",
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    writer = library.GGUFWriter(file, fields.pop("architecture", "llama"))
    for key, value in fields.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    wide = DIM // HEADS * GROUPS
    shapes = {"token_embd": (len(tokens), DIM), "output_norm": (DIM,)} | (
        {} if tied else {"output": (len(tokens), DIM)}
    )
    for layer in range(LAYERS):
        sizes = {"attn_q": (DIM, DIM), "attn_k": (wide, DIM), "attn_v": (wide, DIM), "attn_output": (DIM, DIM)}
        sizes |= {"ffn_gate": (HIDDEN, DIM), "ffn_up": (HIDDEN, DIM), "ffn_down": (DIM, HIDDEN)}
        shapes |= {
            f"blk.{layer}.{name}": size for name, size in {**sizes, "attn_norm": (DIM,), "ffn_norm": (DIM,)}.items()
        }
    numbers = np.random.default_rng(0)
    stored = {}
    for name, shape in shapes.items():
        values = numbers.normal(1.0 if len(shape) == 1 else 0.0, 0.3, shape).astype(np.float32)
        kind = Kind.F32 if len(shape) == 1 else {"token_embd": Kind.Q8_0, "output": Kind.F16}.get(name, Kind.Q4_1)
        packed = library.quantize(values, kind)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
        stored[f"{name}.weight"] = library.dequantize(packed, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


@pytest.mark.parametrize("tied", [True, False])
def test_logits_and_weights_are_those_of_transformers(tmp_path: Path, bpe: Any, tied: bool) -> None:
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    file = tmp_path / "model.gguf"
    make(file, bpe, tied=tied)
    told = load_gguf_checkpoint(str(file))["config"]
    config = transformers.LlamaConfig(**{k: v for k, v in told.items() if not k.startswith("_")})
    model = transformers.LlamaForCausalLM(config)
    tensors = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=model)["tensors"]
    found = open_checkpoint(file)
    named = gguf.read(file).tensors
    assert named.keys() == tensors.keys()
    assert all(torch.equal(named[name], tensors[name]) for name in named)
    model.load_state_dict(tensors, strict=not tied)
    model.tie_weights()
    tokens, real = ids(found.net.vocab)
    with torch.inference_mode():
        reference = model.eval()(input_ids=tokens, attention_mask=real.long()).logits
        assert close(found.net(tokens, real)[real], reference[real])
    assert found.encoder is False
    assert found.notes["license"] == "apache-2.0"
    assert found.notes["stored as"].startswith("Q")


def test_query_and_key_rows_are_put_back() -> None:
    rows = torch.arange(8.0)[:, None]
    assert gguf.halves(rows, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    random_rows = torch.randn(24, 5)
    assert torch.equal(gguf.halves(gguf.neighbours(random_rows, 3), 3), random_rows)


@pytest.mark.parametrize("split", ["smollm", "llama-bpe", "gpt-2"])
def test_tokenizer_is_that_of_transformers(tmp_path: Path, bpe: Any, split: str) -> None:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer, get_gguf_tokenizer

    file = tmp_path / "model.gguf"
    make(file, bpe, tokenizer__ggml__pre=split)
    ours = open_checkpoint(file).tokenizer
    architecture, told, _ = get_gguf_tokenizer(str(file))
    theirs, _ = convert_gguf_tokenizer(architecture, told)
    texts = [*TEXTS, "year 2024, 12345 don't", "  two\n\nlines\t", "日本 ünï", "a<s>b"]
    if split == "smollm":  # splits digits one by one, which that reader does not
        texts = [text for text in texts if not any(letter.isdigit() for letter in text)]
    assert ours.encode(texts) == [theirs.encode(text).ids for text in texts]
    assert [ours.decode(one) for one in ours.encode(texts[:-1])] == texts[:-1]
    assert (ours.bos, ours.eos, ours.pad) == (bpe.bos, bpe.eos, bpe.pad)


def test_digits_stand_alone_where_the_file_says_so(bpe: Any) -> None:
    from tokenizers import Tokenizer

    tokens, merges, _ = vocabulary(bpe)
    tokens, merges = [*tokens, "12"], [*merges, "1 2"]
    for split, pieces in (("smollm", ["1", "2", "1", "2"]), ("gpt-2", ["12", "12"])):
        content = byte_level_bpe(tokens, merges, split)
        assert Tokenizer.from_str(json.dumps(content)).encode("1212").tokens == pieces


def test_a_start_token_is_added_where_the_file_says_so(tmp_path: Path, bpe: Any) -> None:
    file = tmp_path / "model.gguf"
    make(file, bpe, tokenizer__ggml__add_bos_token=True)
    assert open_checkpoint(file).tokenizer.encode(["read"])[0][0] == bpe.bos


def test_folders_with_one_file(tmp_path: Path, bpe: Any) -> None:
    make(tmp_path / "a.gguf", bpe)
    assert open_checkpoint(tmp_path).source == "a.gguf"
    make(tmp_path / "b.gguf", bpe)
    with pytest.raises(UserError, match="2 GGUF files"):
        open_checkpoint(tmp_path)


def test_linear_stretch(tmp_path: Path, bpe: Any) -> None:
    file = tmp_path / "model.gguf"
    make(file, bpe, llama__rope__scaling__type="linear", llama__rope__scaling__factor=4.0)
    mixer = open_checkpoint(file).net.stack.layers[1].mixer
    assert mixer.position.stretch.factor == 4.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "qwen2"}, "qwen2"),
        ({"llama__expert_count": 8}, "mixture of experts"),
        ({"llama__rope__scaling__type": "yarn"}, "yarn"),
        ({"llama__rope__dimension_count": 4}, "only a part of each head"),
        ({"llama__block_count": None}, "block_count"),
        ({"llama__block_count": 3}, r"missing.*layers\.2"),
        ({"tokenizer__ggml__model": "llama"}, "kind 'llama'"),
        ({"tokenizer__ggml__pre": "tekken"}, "tekken"),
        ({"tokenizer__ggml__eos_token_id": 10**6}, "outside"),
    ],
    ids=str,
)
def test_files_that_cannot_be_represented(tmp_path: Path, bpe: Any, changes: dict[str, Any], says: str) -> None:
    file = tmp_path / "model.gguf"
    make(file, bpe, **changes)
    with pytest.raises(UserError, match=says):
        open_checkpoint(file)


def test_random_damage_is_always_an_error_that_says_so(tmp_path: Path, bpe: Any) -> None:
    file = tmp_path / "model.gguf"
    make(file, bpe)
    whole = file.read_bytes()
    random.seed(1)
    start = whole.index(b"token_embd")  # the table of tensors, after the metadata
    cuts = [0, 3, 4, 8, 20, len(whole) - 1, *random.sample(range(len(whole)), 20)]
    damaged = [whole[:n] for n in cuts] + [b"GGUF" + random.randbytes(n) for n in (0, 4, 60, 4000)]
    places = [*random.sample(range(4, 2000), 25), *random.sample(range(start, start + 1200), 25)]
    flipped = [whole[:n] + bytes([whole[n] ^ (1 << random.randrange(8))]) + whole[n + 1 :] for n in places]
    for number, content in enumerate([*damaged, *flipped]):
        file.write_bytes(content)
        if not refused(lambda: open_checkpoint(file)):
            assert number >= len(damaged), "a cut or random file was accepted"


def test_no_gguf_at_all(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("not a model")
    with pytest.raises(UserError, match="not a GGUF file"):
        open_checkpoint(tmp_path / "model.gguf")
