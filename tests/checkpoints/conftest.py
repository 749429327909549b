"""Tiny checkpoints as `transformers` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from twofold.data.tokenizers import train_bpe, train_wordpiece
from twofold.errors import UserError

TEXTS = ["read a csv file", "the quick brown fox jumps over the lazy dog", "def f(x): return x + 1", "naïve café 12"]
Made = tuple[Path, Any]


def save(model: Any, folder: Path, tokenizer: Any = None) -> Path:
    """A model as a Hugging Face folder, with weights that are not at their plain start."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.eval().save_pretrained(folder)
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
        roles = {f"{role}_token": token for role, token in tokenizer.tokens().items() if token}
        (folder / "tokenizer_config.json").write_text(json.dumps(roles), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def wordpiece() -> Any:
    return train_wordpiece(TEXTS * 3, 120)


@pytest.fixture(scope="session")
def bpe() -> Any:
    return train_bpe(TEXTS * 3, 300)


@pytest.fixture
def make_bert(tmp_path: Path, wordpiece: Any) -> Callable[..., Made]:
    def make(kind: str = "BertModel", **changes: Any) -> Made:
        torch.manual_seed(1)
        sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 24}
        config = transformers.BertConfig(
            vocab_size=wordpiece.vocab_size, max_position_embeddings=20, **{**sizes, **changes}
        )
        model = getattr(transformers, kind)(config)
        return save(model, tmp_path / f"bert-{kind}", wordpiece), model

    return make


@pytest.fixture
def make_llama(tmp_path: Path, bpe: Any) -> Callable[..., Made]:
    def make(kind: str = "LlamaForCausalLM", **changes: Any) -> Made:
        torch.manual_seed(2)
        sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 24}
        sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 64}
        config = transformers.LlamaConfig(vocab_size=bpe.vocab_size, **{**sizes, **changes})
        model = getattr(transformers, kind)(config)
        return save(model, tmp_path / f"llama-{kind}", bpe), model

    return make


def ids(vocab: int, rows: int = 3, length: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and what of them is real: rows of different lengths, padded on the right."""
    generator = torch.Generator().manual_seed(3)
    real = torch.arange(length)[None] < torch.tensor([[length], [length - 4], [1]])[:rows]
    return torch.randint(0, vocab, (rows, length), generator=generator), real


def refused(work: Callable[[], Any]) -> bool:
    """Whether `work` ends in a UserError of one line; any other exception passes through."""
    try:
        work()
    except UserError as error:
        told = str(error)
    else:
        return False
    assert "\n" not in told
    return True


def close(ours: torch.Tensor, reference: torch.Tensor) -> bool:
    """Within 1e-4 of the reference's root mean square."""
    return bool((ours - reference).abs().max() <= 1e-4 * reference.pow(2).mean().sqrt())
