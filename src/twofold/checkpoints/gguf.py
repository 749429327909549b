"""GGUF files with a Llama-shaped model, read as the Hugging Face checkpoint they were made from.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Blocks of quantized weights become
float32. Rows of the query and key projections are stored so that neighbouring ones form a rotary pair; here
they are put back into halves, as `transformers` and our `Rope` have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from torch import Tensor

from twofold import progress
from twofold.checkpoints.bpe import byte_level_bpe
from twofold.errors import UserError

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Contents:
    """What a GGUF file holds, in Hugging Face's terms.

    Attributes:
        config: of `LlamaForCausalLM`.
        tensors: by Hugging Face name, float32.
        tokenizer: the content of a `tokenizer.json`.
        tokenizer_config: special tokens and chat template.
        notes: name, licence and how the weights are stored.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizer: dict[str, Any]
    tokenizer_config: dict[str, Any]
    notes: dict[str, str]


class _Reader(GGUFReader):
    """The reader, over the mapped bytes as a plain array: it makes a million slices, which cost `memmap` most."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, np.asarray(value) if isinstance(value, np.memmap) else value)


def read(file: Path) -> Contents:
    """Reads and dequantizes a GGUF file.

    Raises:
        UserError: no GGUF, truncated, not Llama-shaped, or with something that cannot be represented.
    """
    with open(file, "rb") as opened:
        if opened.read(4) != b"GGUF":
            raise UserError(f"{file} is not a GGUF file; give a .gguf model, or a Hugging Face folder")
    try:
        return _read(file)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # the reader walks the bytes unchecked: damage shows as any error at all
        text = (str(error).splitlines() or [""])[0][:120]
        raise UserError(
            f"{file} is truncated or damaged ({type(error).__name__}: {text}); copy or download it again"
        ) from None


def _read(file: Path) -> Contents:
    reader = _Reader(file)
    fields = {name: field.contents() for name, field in reader.fields.items() if name.partition(".")[0] != "GGUF"}
    config = _config(fields, str(file))
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    tensors: dict[str, Tensor] = {}
    kinds: dict[str, int] = {}
    with progress.stage(f"read {file.name}", total=len(reader.tensors)) as stage:
        for stored in reader.tensors:
            name = _name(stored.name, str(file))
            try:
                plain = np.asarray(dequantize(stored.data, stored.tensor_type), np.float32)
            except NotImplementedError:
                kind = stored.tensor_type.name
                raise UserError(
                    f"{file}: tensor {stored.name} is stored as {kind}, which cannot be read; use another quantization"
                ) from None
            # What is stored as float32 is still the file itself, which cannot be written to.
            values = torch.from_numpy(plain if plain.flags.writeable else plain.copy())
            if ".q_proj." in name or ".k_proj." in name:
                values = halves(values, heads if ".q_proj." in name else key_heads)
            tensors[name] = values
            kinds[stored.tensor_type.name] = kinds.get(stored.tensor_type.name, 0) + values.numel()
            stage.advance()
    config["vocab_size"] = len(tensors["model.embed_tokens.weight"])
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    config["attention_bias"] = any(name.endswith("self_attn.q_proj.bias") for name in tensors)
    config["mlp_bias"] = any(name.endswith("mlp.up_proj.bias") for name in tensors)
    tokenizer, tokenizer_config = _tokenizer(fields, str(file))
    for token in ("bos", "eos", "pad"):
        config[f"{token}_token_id"] = tokenizer_config.pop(f"{token}_token_id")
    stored_as = ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items(), key=lambda k: -k[1]))
    notes = {"stored as": f"{stored_as} values", "bytes as stored": str(file.stat().st_size)}
    for key in ("name", "license"):
        if isinstance(fields.get(f"general.{key}"), str):
            notes[key] = fields[f"general.{key}"]
    return Contents(config, tensors, tokenizer, tokenizer_config, notes)


def halves(rows: Tensor, heads: int) -> Tensor:
    """Rows `[heads · d, …]` whose neighbours (2i, 2i + 1) form rotary pairs → pairs (i, i + d/2), head by head."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(rows.shape).contiguous()


def neighbours(rows: Tensor, heads: int) -> Tensor:
    """The inverse of `halves`."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape).contiguous()


def _name(stored: str, file: str) -> str:
    if stored in _TOP:
        return _TOP[stored]
    pieces = stored.split(".")
    if len(pieces) == 4 and pieces[0] == "blk" and pieces[1].isdecimal() and pieces[2] in _LAYER:
        return f"model.layers.{int(pieces[1])}.{_LAYER[pieces[2]]}.{pieces[3]}"
    if stored == "rope_freqs.weight":
        raise UserError(
            f"{file} stretches its rotary frequencies (rope_freqs.weight), and does not say enough about how; "
            "use the Hugging Face folder it was made from"
        )
    raise UserError(f"{file} holds a tensor that a plain Llama has not: {stored}")


def _config(fields: dict[str, Any], file: str) -> dict[str, Any]:
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise UserError(f"{file} holds a model of architecture {architecture!r}; only 'llama' can be read from GGUF")

    def get(key: str, default: Any = None) -> Any:
        value = fields.get(f"llama.{key}", default)
        if value is None:
            raise UserError(f"{file} is damaged: its metadata lacks llama.{key}")
        if isinstance(value, list):
            raise UserError(f"{file}: llama.{key} differs from layer to layer, which cannot be read from GGUF")
        return value

    if get("expert_count", 0):
        raise UserError(f"{file} holds a mixture of experts, which cannot be read from GGUF")
    dim, heads = get("embedding_length"), get("attention.head_count")
    head_dim = get("attention.key_length", dim // heads)
    if get("rope.dimension_count", head_dim) != head_dim or get("attention.value_length", head_dim) != head_dim:
        raise UserError(f"{file} turns only a part of each head, or has values of another width; cannot be read")
    base = float(get("rope.freq_base", 10000.0))
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    stretch = get("rope.scaling.type", "none")
    if stretch == "linear":
        rope = {"rope_type": "linear", "rope_theta": base, "factor": float(get("rope.scaling.factor"))}
    elif stretch != "none":
        raise UserError(f"{file} stretches its rotary positions by {stretch!r}; only 'linear' can be read from GGUF")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": dim,
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": float(str(np.float32(get("attention.layer_norm_rms_epsilon")))),
        "rope_parameters": rope,
    }


def _tokenizer(fields: dict[str, Any], file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    def get(key: str, default: Any = None) -> Any:
        return fields.get(f"tokenizer.ggml.{key}", default)

    model, split = get("model"), get("pre", "default")
    if model != "gpt2":
        raise UserError(
            f"{file} has a tokenizer of kind {model!r}; only byte-level BPE ('gpt2') can be read from GGUF: "
            "use the Hugging Face folder it was made from"
        )
    tokens, kinds = get("tokens"), get("token_type", [])
    special = [token for token, kind in zip(tokens, kinds, strict=False) if kind == 3]
    whole = [token for token, kind in zip(tokens, kinds, strict=False) if kind == 4]
    ids = {name: get(f"{key}_token_id") for name, key in _SPECIAL.items()}
    for name, number in ids.items():
        if number is not None and not 0 <= number < len(tokens):
            raise UserError(f"{file} is damaged: its {name} token {number} is outside its {len(tokens)} tokens")
    begin = tokens[ids["bos"]] if get("add_bos_token", False) and ids["bos"] is not None else None
    content = byte_level_bpe(tokens, get("merges"), split, special=special, whole=whole, begin=begin, what=file)
    config: dict[str, Any] = {f"{name}_token": tokens[n] for name, n in ids.items() if n is not None}
    config |= {f"{name}_token_id": ids[name] for name in ("bos", "eos", "pad")}
    if isinstance(fields.get("tokenizer.chat_template"), str):
        config["chat_template"] = fields["tokenizer.chat_template"]
    return content, config


_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
