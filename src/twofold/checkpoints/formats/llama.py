"""Llama as Hugging Face stores it: `LlamaModel`, and `LlamaForCausalLM` with a tied or untied head.

Touvron et al. 2023, https://arxiv.org/abs/2302.13971.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twofold.checkpoints.formats.base import LAYERS, Config, Format, architectures, must_be, number, real
from twofold.checkpoints.formats.shape import Spec
from twofold.errors import UserError

_TOP = {
    "embedding.tokens": "model.embed_tokens",
    "stack.final_norm": "model.norm",
    "head.decoder": "lm_head",
}
_LAYER = {
    "mixer.query": "self_attn.q_proj",
    "mixer.key": "self_attn.k_proj",
    "mixer.value": "self_attn.v_proj",
    "mixer.out": "self_attn.o_proj",
    "mixer_norm": "input_layernorm",
    "channel.up": "mlp.up_proj",
    "channel.gate": "mlp.gate_proj",
    "channel.down": "mlp.down_proj",
    "channel_norm": "post_attention_layernorm",
}


class Llama(Format):
    """Pre RMS norm, rotary positions, grouped keys, SwiGLU."""

    name = "llama"
    title = "a Hugging Face Llama"
    encoder = False

    def to_spec(self, config: Mapping[str, Any]) -> Spec:
        must_be(config, "hidden_act", "silu", "swish")
        dim, heads = number(config, "hidden_size"), number(config, "num_attention_heads")
        kv_heads = number(config, "num_key_value_heads", heads)
        head_dim = number(config, "head_dim", dim // heads)
        if heads % kv_heads or dim % heads:
            raise UserError(
                f"config.json: {heads} heads must divide hidden_size {dim} and be a multiple of the {kv_heads} "
                "num_key_value_heads"
            )
        vocab, eps = number(config, "vocab_size"), real(config, "rms_norm_eps", 1e-6)
        bias, mlp_bias = config.get("attention_bias") is True, config.get("mlp_bias") is True
        norm = {"part": "RMSNorm", "dim": dim, "eps": eps}
        # One object for all layers: its sines and cosines are computed once.
        rope = {**_rope(config), "as": "rope"}
        block = {
            "part": "Block",
            "mixer": {
                **{"part": "Attention", "dim": dim, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim},
                **{"position": {"same": "rope"}, "bias": bias, "out_bias": bias, "causal": True, "scale": None},
                "linear": "dense",
            },
            "channel": {
                **{"part": "FFN", "dim": dim, "hidden": number(config, "intermediate_size")},
                **{"activation": "silu", "gate": True, "bias": mlp_bias, "linear": "dense"},
            },
            "mixer_norm": norm,
            "channel_norm": norm,
            "wiring": {"part": "PreNorm"},
        }
        first = {**block, "mixer": {**block["mixer"], "position": rope}}  # type: ignore[dict-item]
        layers = [first, *[block] * (number(config, "num_hidden_layers", most=LAYERS) - 1)]
        tied = {"part": "TiedHead", "vocab": vocab, "bias": False}
        own = {"part": "LMHead", "dim": dim, "vocab": vocab, "bias": False}
        head = tied if config.get("tie_word_embeddings") is True else own
        return {
            "part": "SequenceModel",
            "embedding": {
                **{"part": "TokenEmbedding", "vocab": vocab, "dim": dim, "position": None, "norm": None},
                **{"types": 0, "scale": 1.0},
            },
            "stack": {"part": "Stack", "layers": layers, "final_norm": norm},
            "head": None if _is_headless(config) else head,
        }

    def _describe(self, network: Spec) -> Config:
        embedding, layers, head = network["embedding"], network["stack"]["layers"], network["head"]
        mixer = next(layer["mixer"] for layer in layers if layer["mixer"])
        channel = next(layer["channel"] for layer in layers if layer["channel"])
        rope = mixer["position"]
        return {
            "architectures": ["LlamaForCausalLM" if head else "LlamaModel"],
            "model_type": "llama",
            "vocab_size": embedding["vocab"],
            "hidden_size": embedding["dim"],
            "num_hidden_layers": len(layers),
            "num_attention_heads": mixer["heads"],
            "num_key_value_heads": mixer["kv_heads"],
            "head_dim": mixer["head_dim"],
            "intermediate_size": channel["hidden"],
            "hidden_act": "silu",
            "rms_norm_eps": network["stack"]["final_norm"]["eps"],
            "attention_bias": mixer["bias"],
            "mlp_bias": channel["bias"],
            "tie_word_embeddings": head is not None and head["part"] == "TiedHead",
            "rope_theta": rope["base"],
            "rope_scaling": _scaling(rope["stretch"]),
        }

    def theirs(self, name: str) -> str:
        place, _, kind = name.rpartition(".")
        pieces = place.split(".", 3)
        if pieces[:2] == ["stack", "layers"]:
            return f"model.layers.{pieces[2]}.{_LAYER[pieces[3]]}.{kind}"
        return f"{_TOP[place]}.{kind}"

    def named(self, stored: Iterable[str], config: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        kept: dict[str, str] = {}
        tied = config.get("tie_word_embeddings") is True or _is_headless(config)
        for name in stored:
            if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
                continue
            kept[name] = name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
        return kept, []

    def stored(self, name: str, config: Mapping[str, Any]) -> str:
        return name.removeprefix("model.") if _is_headless(config) else name

    def widths(self, network: Spec) -> tuple[int, int, int]:
        layers = network["stack"]["layers"]
        mixers = [layer["mixer"] for layer in layers if layer["mixer"]]
        share = mixers[0]["heads"] // mixers[0]["kv_heads"]
        groups = max(mixer["kv_heads"] for mixer in mixers)
        while network["embedding"]["dim"] % (groups * share):
            groups += 1  # the configuration wants heads to divide the width
        hidden = max(layer["channel"]["hidden"] for layer in layers if layer["channel"])
        return groups * share, groups, hidden


def _is_headless(config: Mapping[str, Any]) -> bool:
    return architectures(config) == ["LlamaModel"]


def _rope(config: Mapping[str, Any]) -> Spec:
    """Rotary positions from the newer `rope_parameters`, or the older `rope_theta` and `rope_scaling`."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, Mapping):
        raise UserError("config.json: rope_parameters should be an object")
    settings = {"rope_theta": config.get("rope_theta", 10000.0), **given}
    kind = settings.get("rope_type", settings.get("type", "default"))
    share = settings.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if share not in (None, 1, 1.0):
        raise UserError(f"config.json: partial_rotary_factor is {share!r}; only whole heads can be represented")
    stretch: Spec | None
    if kind == "default":
        stretch = None
    elif kind == "linear":
        stretch = {"part": "LinearStretch", "factor": real(settings, "factor")}
    elif kind == "llama3":
        stretch = {
            "part": "Llama3Stretch",
            "factor": real(settings, "factor"),
            "low": real(settings, "low_freq_factor"),
            "high": real(settings, "high_freq_factor"),
            "trained": number(settings, "original_max_position_embeddings"),
        }
    else:
        raise UserError(f"config.json: rope_type is {str(kind)[:40]!r}; known are default, linear, llama3")
    base = real(settings, "rope_theta")
    return {"part": "Rope", "base": base, "interleaved": False, "fraction": 1.0, "stretch": stretch}


def _scaling(stretch: Spec | None) -> Config | None:
    if stretch is None:
        return None
    if stretch["part"] == "LinearStretch":
        return {"rope_type": "linear", "factor": stretch["factor"]}
    return {
        "rope_type": "llama3",
        "factor": stretch["factor"],
        "low_freq_factor": stretch["low"],
        "high_freq_factor": stretch["high"],
        "original_max_position_embeddings": stretch["trained"],
    }


llama = Llama()
