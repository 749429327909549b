"""ModernBERT as Hugging Face stores it: `ModernBertModel`, and `ModernBertForMaskedLM` with its head.

Warner et al. 2024, https://arxiv.org/abs/2412.13663. Queries, keys and values are one stored matrix, as are the two
halves of the gate (the activated one first); here they are apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from twofold.checkpoints.formats.base import (
    LAYERS,
    Config,
    Format,
    architectures,
    inverse,
    must_be,
    number,
    one_of,
    real,
)
from twofold.checkpoints.formats.shape import Spec
from twofold.errors import UserError

_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu"}
_TOP = {
    "embedding.tokens": "model.embeddings.tok_embeddings",
    "embedding.norm": "model.embeddings.norm",
    "stack.final_norm": "model.final_norm",
    "head.transform": "head.dense",
    "head.norm": "head.norm",
    "head": "decoder",
}
_LAYER = {
    "mixer.query": "attn.Wq",
    "mixer.key": "attn.Wk",
    "mixer.value": "attn.Wv",
    "mixer.out": "attn.Wo",
    "mixer_norm": "attn_norm",
    "channel.gate": "mlp.Wgate",
    "channel.up": "mlp.Wup",
    "channel.down": "mlp.Wo",
    "channel_norm": "mlp_norm",
}
_FUSED = {"attn.Wqkv": ("attn.Wq", "attn.Wk", "attn.Wv"), "mlp.Wi": ("mlp.Wgate", "mlp.Wup")}
_MASKED = ("ModernBertForMaskedLM",)
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


class ModernBert(Format):
    """Pre-norm, rotary positions, gated feed-forward parts, no biases but the decoder's, local and global layers."""

    name = "modernbert"
    title = "a Hugging Face ModernBERT"
    encoder = True

    def to_spec(self, config: Mapping[str, Any]) -> Spec:
        for key in ("norm_bias", "attention_bias", "mlp_bias"):
            must_be(config, key, False, None)
        for key in ("decoder_bias", "tie_word_embeddings"):
            must_be(config, key, True, None)
        dim, heads = number(config, "hidden_size"), number(config, "num_attention_heads")
        if dim % heads:
            raise UserError(f"config.json: hidden_size {dim} does not divide into {heads} heads")
        vocab, eps = number(config, "vocab_size"), real(config, "norm_eps", 1e-5)
        activation = one_of(config, "hidden_activation", _ACTIVATIONS, "gelu")
        norm = {"part": "LayerNorm", "dim": dim, "eps": eps, "bias": False}
        kinds = _kinds(config)
        bases = {kind: _base(config, kind) for kind in (_GLOBAL, _LOCAL)}
        window = number(config, "local_attention", 128)

        def mixer(kind: str) -> Spec:
            rope = {"part": "Rope", "base": bases[kind], "interleaved": False, "fraction": 1.0, "stretch": None}
            made: Spec = {
                **{"part": "Attention", "dim": dim, "heads": heads, "kv_heads": None, "head_dim": None},
                **{"position": rope, "bias": False, "out_bias": None, "causal": None, "scale": None},
                "linear": "dense",
            }
            return made if kind == _GLOBAL else {**made, "part": "LocalAttention", "window": window // 2 + 1}

        channel = {
            **{"part": "FFN", "dim": dim, "hidden": number(config, "intermediate_size")},
            **{"activation": activation, "gate": True, "bias": False, "linear": "dense"},
        }
        layers = [
            {
                **{"part": "Block", "mixer": mixer(kind), "channel": channel},
                **{"mixer_norm": norm if layer else {"part": "NoNorm"}, "channel_norm": norm},
                "wiring": {"part": "PreNorm"},
            }
            for layer, kind in enumerate(kinds)
        ]
        head = {
            **{"part": "MLMHead", "dim": dim, "vocab": vocab, "activation": activation, "eps": eps},
            "inner_bias": False,
        }
        return {
            "part": "SequenceModel",
            "embedding": {
                **{"part": "TokenEmbedding", "vocab": vocab, "dim": dim, "position": None, "norm": norm},
                **{"types": 0, "scale": 1.0},
            },
            "stack": {"part": "Stack", "layers": layers, "final_norm": norm},
            "head": head if _is_masked(config) else None,
        }

    def _describe(self, network: Spec) -> Config:
        embedding, layers = network["embedding"], network["stack"]["layers"]
        mixers = [layer["mixer"] for layer in layers]
        channel = layers[0]["channel"]
        kinds = [_LOCAL if mixer["part"] == "LocalAttention" else _GLOBAL for mixer in mixers]
        windows = [2 * mixer["window"] - 2 for mixer in mixers if "window" in mixer]
        bases = {kind: mixer["position"]["base"] for kind, mixer in reversed(list(zip(kinds, mixers, strict=True)))}
        return {
            "architectures": ["ModernBertForMaskedLM" if network["head"] else "ModernBertModel"],
            "model_type": "modernbert",
            "vocab_size": embedding["vocab"],
            "hidden_size": embedding["dim"],
            "num_hidden_layers": len(layers),
            "num_attention_heads": max(1, embedding["dim"] // mixers[0]["head_dim"]),
            "intermediate_size": channel["hidden"],
            "hidden_activation": inverse(_ACTIVATIONS, channel["activation"]),
            "norm_eps": embedding["norm"]["eps"],
            "norm_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
            "decoder_bias": True,
            "local_attention": windows[0] if windows else 128,
            "layer_types": kinds,
            "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
            "global_rope_theta": bases.get(_GLOBAL, 160_000.0),
            "local_rope_theta": bases.get(_LOCAL, 10_000.0),
            "tie_word_embeddings": True,
        }

    def theirs(self, name: str) -> str:
        place, _, kind = name.rpartition(".")
        pieces = place.split(".", 3)
        if pieces[:2] == ["stack", "layers"]:
            return f"model.layers.{pieces[2]}.{_LAYER[pieces[3]]}.{kind}"
        return f"{_TOP[place]}.{kind}"

    def apart(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            fused = next((f for f in _FUSED if name.endswith(f"{f}.weight")), None)
            if fused is None or tensor.ndim != 2 or tensor.shape[0] % len(_FUSED[fused]):
                out[name] = tensor
                continue
            place = name.removesuffix(f"{fused}.weight")
            for own, piece in zip(_FUSED[fused], tensor.chunk(len(_FUSED[fused])), strict=True):
                out[f"{place}{own}.weight"] = piece.clone()
        return out

    def together(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = dict(tensors)
        for fused, own in _FUSED.items():
            for name in [n for n in out if n.endswith(f"{own[0]}.weight")]:
                place = name.removesuffix(f"{own[0]}.weight")
                out[f"{place}{fused}.weight"] = torch.cat([out.pop(f"{place}{piece}.weight") for piece in own])
        return out

    def named(self, stored: Iterable[str], config: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        kept: dict[str, str] = {}
        left: list[str] = []
        for name in stored:
            part = name.partition(".")[0]
            if name == "decoder.weight":
                continue
            if part in ("embeddings", "layers", "final_norm"):
                kept[name] = f"model.{name}"
            elif part == "model" or (_is_masked(config) and part in ("head", "decoder")):
                kept[name] = name
            else:
                left.append(part)
        return kept, sorted(set(left))

    def stored(self, name: str, config: Mapping[str, Any]) -> str:
        return name if _is_masked(config) else name.removeprefix("model.")


def _is_masked(config: Mapping[str, Any]) -> bool:
    return any(name in _MASKED for name in architectures(config))


def _kinds(config: Mapping[str, Any]) -> list[str]:
    """Which layers see the whole text: said for each, or every so many."""
    count = number(config, "num_hidden_layers", most=LAYERS)
    given = config.get("layer_types")
    if given is None:
        every = number(config, "global_attn_every_n_layers", 3)
        return [_LOCAL if layer % every else _GLOBAL for layer in range(count)]
    if not isinstance(given, list) or len(given) != count or any(kind not in (_GLOBAL, _LOCAL) for kind in given):
        raise UserError(f"config.json: layer_types must say {_GLOBAL} or {_LOCAL} for each of {count} layers")
    return given


def _base(config: Mapping[str, Any], kind: str) -> float:
    """The rotary base of one kind of layer, from the newer `rope_parameters` or the older settings."""
    given = config.get("rope_parameters") or {}
    own = given.get(kind) if isinstance(given, Mapping) else None
    if isinstance(own, Mapping):
        if own.get("rope_type", "default") != "default":
            raise UserError(f"config.json: rope_type is {str(own['rope_type'])[:40]!r}; only default is known here")
        return real(own, "rope_theta")
    key, default = ("global_rope_theta", 160_000.0) if kind == _GLOBAL else ("local_rope_theta", 10_000.0)
    if config.get(key) is None and kind == _LOCAL:
        return _base(config, _GLOBAL) if "local_rope_theta" in config else default
    return real(config, key, default)


modernbert = ModernBert()
