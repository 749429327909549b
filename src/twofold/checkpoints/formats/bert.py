"""BERT as Hugging Face stores it: `BertModel`, and `BertForMaskedLM` with its head.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805. The pooler and task heads of other classes are left out:
sentence encoders do not use them, and an exported folder opens without (`pooler_output` then means nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
_TOP = {
    "embedding.tokens": "embeddings.word_embeddings",
    "embedding.token_types": "embeddings.token_type_embeddings",
    "embedding.position": "embeddings.position_embeddings",
    "embedding.norm": "embeddings.LayerNorm",
    "head.transform": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions",
}
_LAYER = {
    "mixer.query": "attention.self.query",
    "mixer.key": "attention.self.key",
    "mixer.value": "attention.self.value",
    "mixer.out": "attention.output.dense",
    "mixer_norm": "attention.output.LayerNorm",
    "channel.up": "intermediate.dense",
    "channel.down": "output.dense",
    "channel_norm": "output.LayerNorm",
}
_OTHER_HEADS = ("pooler", "classifier", "qa_outputs", "cls")
_MASKED = ("BertForMaskedLM", "BertForPreTraining")


class Bert(Format):
    """Post-norm, learned positions, token types, biases everywhere."""

    name = "bert"
    title = "a Hugging Face BERT"
    encoder = True

    def to_spec(self, config: Mapping[str, Any]) -> Spec:
        must_be(config, "position_embedding_type", "absolute", None)
        must_be(config, "is_decoder", False, None)
        must_be(config, "add_cross_attention", False, None)
        must_be(config, "tie_word_embeddings", True, None)
        dim, heads = number(config, "hidden_size"), number(config, "num_attention_heads")
        if dim % heads:
            raise UserError(f"config.json: hidden_size {dim} does not divide into {heads} heads")
        vocab, eps = number(config, "vocab_size"), real(config, "layer_norm_eps", 1e-12)
        activation = one_of(config, "hidden_act", _ACTIVATIONS, "gelu")
        norm = {"part": "LayerNorm", "dim": dim, "eps": eps, "bias": True}
        block = {
            "part": "Block",
            "mixer": {
                **{"part": "Attention", "dim": dim, "heads": heads, "kv_heads": None, "head_dim": None},
                **{"position": None, "bias": True, "out_bias": None, "causal": None, "scale": None, "linear": "dense"},
            },
            "channel": {
                **{"part": "FFN", "dim": dim, "hidden": number(config, "intermediate_size")},
                **{"activation": activation, "gate": False, "bias": True, "linear": "dense"},
            },
            "mixer_norm": norm,
            "channel_norm": norm,
            "wiring": {"part": "PostNorm"},
        }
        positions = {"part": "Learned", "max_len": number(config, "max_position_embeddings"), "dim": dim}
        head = {
            **{"part": "MLMHead", "dim": dim, "vocab": vocab, "activation": activation, "eps": eps},
            "inner_bias": True,
        }
        return {
            "part": "SequenceModel",
            "embedding": {
                **{"part": "TokenEmbedding", "vocab": vocab, "dim": dim, "position": positions, "norm": norm},
                **{"types": number(config, "type_vocab_size", 2), "scale": 1.0},
            },
            "stack": {
                "part": "Stack",
                "layers": [block] * number(config, "num_hidden_layers", most=LAYERS),
                "final_norm": None,
            },
            "head": head if _is_masked(config) else None,
        }

    def _describe(self, network: Spec) -> Config:
        embedding, layers = network["embedding"], network["stack"]["layers"]
        mixer = next(layer["mixer"] for layer in layers if layer["mixer"])
        channel = next(layer["channel"] for layer in layers if layer["channel"])
        return {
            "architectures": ["BertForMaskedLM" if network["head"] else "BertModel"],
            "model_type": "bert",
            "vocab_size": embedding["vocab"],
            "hidden_size": embedding["dim"],
            "num_hidden_layers": len(layers),
            "num_attention_heads": max(1, embedding["dim"] // mixer["head_dim"]),
            "intermediate_size": channel["hidden"],
            "hidden_act": inverse(_ACTIVATIONS, channel["activation"]),
            "max_position_embeddings": embedding["position"]["max_len"],
            "type_vocab_size": max(1, embedding["types"]),
            "layer_norm_eps": embedding["norm"]["eps"],
            "position_embedding_type": "absolute",
            "tie_word_embeddings": True,
        }

    def theirs(self, name: str) -> str:
        place, _, kind = name.rpartition(".")
        pieces = place.split(".", 3)
        if pieces[:2] == ["stack", "layers"]:
            return f"encoder.layer.{pieces[2]}.{_LAYER[pieces[3]]}.{kind}"
        return f"{_TOP[place]}.{kind}"

    def named(self, stored: Iterable[str], config: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        kept: dict[str, str] = {}
        left: list[str] = []
        for name in stored:
            plain = name.removeprefix("bert.")
            # Checkpoints converted from TensorFlow spell norms its way.
            plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
            part = plain.partition(".")[0]
            if plain.endswith(("position_ids", "token_type_ids")) or plain.startswith("cls.predictions.decoder."):
                continue
            if part in _OTHER_HEADS and not (_is_masked(config) and plain.startswith("cls.predictions.")):
                left.append(part)
            else:
                kept[name] = plain
        return kept, sorted(set(left))

    def stored(self, name: str, config: Mapping[str, Any]) -> str:
        return name if name.startswith("cls.") or not _is_masked(config) else f"bert.{name}"


def _is_masked(config: Mapping[str, Any]) -> bool:
    return any(name in _MASKED for name in architectures(config))


bert = Bert()
