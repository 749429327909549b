"""Writing checkpoints that the rest of the ecosystem opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from twofold.checkpoints import tensors as weights
from twofold.checkpoints.bpe import bytes_json
from twofold.checkpoints.formats import Format, fill_up, of_network
from twofold.checkpoints.formats.base import number
from twofold.checkpoints.plain import write_json
from twofold.checkpoints.replace import replacing
from twofold.checkpoints.sentence import spoken, write_pooling, write_splade
from twofold.data.tokenizers import ByteTokenizer, SubwordTokenizer, Tokenizer
from twofold.errors import UserError
from twofold.parts import Part, SequenceModel, SparseEncoder, TextEncoder, packed_layers, unpacked

_HINTS = (
    "max_position_embeddings",
    "initializer_range",
    "attention_probs_dropout_prob",
    "hidden_dropout_prob",
    "attention_dropout",
)
_CONTEXT = 2048


def export_hf(
    net: Part,
    tokenizer: Tokenizer | None,
    folder: str | Path,
    hints: Mapping[str, Any] | None = None,
    *,
    fill: bool = False,
    dense: bool = False,
    max_len: int | None = None,
    prompts: Mapping[str, str] | None = None,
    card: str = "",
    fresh: bool = False,
) -> Path:
    """Writes a folder that `transformers` opens with the same outputs (`AutoModel`, `AutoTokenizer`).

    A `TextEncoder` or `SparseEncoder` also gets the modules that make sentence-transformers open it as the same
    encoder.

    Args:
        net: a `SequenceModel`, `TextEncoder` or `SparseEncoder`.
        tokenizer: its tokenizer; None leaves it out.
        folder: where to; must be empty or not there.
        hints: what the network does not say, such as the configuration it was imported with: context length
            (`max_position_embeddings`, default 2,048 where positions have no limit), dropout, `chat_template`.
        fill: write zeros where layers were cut differently, so that one width holds all; same outputs.
        dense: write plain weights where layers are packed; same outputs.
        max_len: where the tokenizer of a `TextEncoder` cuts texts, in tokens.
        prompts: what sentence-transformers puts before texts, by name: `{"query": "query: "}`.
        card: the text of `README.md`.
        fresh: replace the checkpoint that is in `folder`.

    Raises:
        UserError: no format holds this network (names the layer and what would make it exportable), or the
            folder is taken or cannot be written.
    """
    target, hints = Path(folder), dict(hints or {})
    packed = next((name for name, _ in packed_layers(net)), None)
    if packed is not None and not dense:
        raise UserError(
            f"{packed} is packed, and transformers reads plain weights only: write those with dense=True (--dense), "
            "or keep the model in Twofold's own folder"
        )
    net = net if packed is None else unpacked(net)
    model = spoken(net) if type(net) is SparseEncoder else net.model if isinstance(net, TextEncoder) else net
    if not isinstance(model, SequenceModel):
        raise UserError(f"{type(net).__name__} is no sequence model; only those can be exported")
    spec = model.spec()
    form, config = of_network(spec, fill)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if fill:
        spec, state = fill_up(spec, state, form)
    config = {**{key: hints[key] for key in _HINTS if key in hints}, **config}
    limit = config["max_position_embeddings"] = number(config, "max_position_embeddings", _CONTEXT)
    config["torch_dtype"] = str(next(iter(state.values())).dtype).removeprefix("torch.")
    for role in ("pad", "bos", "eos", "cls", "sep"):
        config[f"{role}_token_id"] = getattr(tokenizer, role, None)
    stored = form.together({_their_name(form, name, config): tensor for name, tensor in state.items()})
    if target.exists() and not fresh and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not empty; choose another folder, or replace it (fresh=True, --fresh)")
    if target.exists() and any(target.iterdir()) and not (target / "config.json").is_file():
        raise UserError(f"{target} holds something that is not a checkpoint; choose another folder")
    with replacing(target) as new:
        write_json(new / "config.json", config)
        weights.save(new / "model.safetensors", _apart(stored))
        if tokenizer is not None:
            _write_tokenizer(new, tokenizer, min(limit, max_len or limit), hints.get("chat_template"))
        if isinstance(net, TextEncoder):
            write_pooling(new, net, min(limit, max_len or limit), prompts or {})
        elif type(net) is SparseEncoder:
            write_splade(new, model.vocab, min(limit, max_len or limit), prompts or {})
        if card:
            (new / "README.md").write_text(card, encoding="utf-8")
    return target


def _their_name(form: Format, name: str, config: Mapping[str, Any]) -> str:
    try:
        return form.stored(form.theirs(name), config)
    except KeyError:
        raise UserError(f"{form.title} has no place for the tensor {name}; export before adding it") from None


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor with storage of its own: other readers know nothing of ours that stand for two names."""
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place = tensor.data_ptr()
        out[name] = tensor.clone() if place in seen and tensor.numel() else tensor
        seen.add(place)
    return out


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, limit: int, chat_template: Any) -> None:
    if isinstance(tokenizer, SubwordTokenizer):
        content, roles = tokenizer.to_json(), dict(tokenizer.tokens())
    elif isinstance(tokenizer, ByteTokenizer):
        content, roles = bytes_json()
    else:
        raise UserError(f"a {type(tokenizer).__name__} has no form that transformers reads; export with tokenizer=None")
    special = {f"{role}_token": token for role, token in roles.items() if token is not None}
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": limit,
        "clean_up_tokenization_spaces": False,
        **special,
    }
    if isinstance(chat_template, str):
        settings["chat_template"] = chat_template
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", special)
