"""ModernBERT folders of `transformers` compute the same here, and ours there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from tests.checkpoints.conftest import close, ids, save
from twofold.checkpoints import export_hf, open_checkpoint
from twofold.errors import UserError
from twofold.parts import modernbert


def make(folder: Path, tokenizer: Any, kind: str = "ModernBertForMaskedLM", **changes: Any) -> Any:
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 24}
    sizes |= {"local_attention": 4, "max_position_embeddings": 64}
    roles = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    config = transformers.ModernBertConfig(vocab_size=tokenizer.vocab_size, **{**sizes, **roles, **changes})
    model = getattr(transformers, kind)(config)
    save(model, folder, tokenizer)
    return model


@torch.inference_mode()
def same(net: Any, model: Any, output: str) -> None:
    tokens, real = ids(net.vocab, length=30)
    reference = getattr(model.eval()(input_ids=tokens, attention_mask=real.long()), output)
    assert close(net(tokens, real)[real], reference[real])


@pytest.mark.parametrize(
    ("kind", "output"), [("ModernBertForMaskedLM", "logits"), ("ModernBertModel", "last_hidden_state")]
)
def test_it_computes_the_same_and_comes_back_bit_exact(tmp_path: Path, wordpiece: Any, kind: str, output: str) -> None:
    model = make(tmp_path / "in", wordpiece, kind)
    found = open_checkpoint(tmp_path / "in")
    assert found.encoder
    same(found.net, model, output)
    out = export_hf(found.net, found.tokenizer, tmp_path / "out", found.config)
    before, after = load_file(tmp_path / "in" / "model.safetensors"), load_file(out / "model.safetensors")
    assert {n for n in before if n != "decoder.weight"} == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in after)
    again = getattr(transformers, kind).from_pretrained(out)
    same(found.net, again, output)
    assert open_checkpoint(out).net.spec() == found.net.spec()


def test_settings_of_older_versions(tmp_path: Path, wordpiece: Any) -> None:
    model = make(tmp_path / "in", wordpiece)
    path = tmp_path / "in" / "config.json"
    config = json.loads(path.read_text())
    for key in ("layer_types", "rope_parameters"):
        config.pop(key)
    path.write_text(
        json.dumps(
            {**config, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
        )
    )
    same(open_checkpoint(tmp_path / "in").net, model, "logits")


def test_the_preset_is_a_modernbert_there(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = modernbert(60, 16, 4, 2, hidden=24, window=4, head="mlm").eval()
    out = export_hf(net, None, tmp_path / "out")
    same(net, transformers.AutoModelForMaskedLM.from_pretrained(out), "logits")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"norm_bias": True}, "norm_bias"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"num_attention_heads": 3}, "3 heads"),
        ({"intermediate_size": 20}, "shape"),
    ],
    ids=str,
)
def test_what_cannot_be_represented_is_refused(
    tmp_path: Path, wordpiece: Any, changes: dict[str, Any], says: str
) -> None:
    make(tmp_path / "in", wordpiece)
    path = tmp_path / "in" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=says):
        open_checkpoint(tmp_path / "in")
