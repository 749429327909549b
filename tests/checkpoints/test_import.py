"""Checkpoints of `transformers` compute the same here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.conftest import Made, close, ids
from twofold.catalog import configure
from twofold.checkpoints import folder, open_checkpoint
from twofold.errors import UserError
from twofold.parts import Cls, Mean, TiedHead

Make = Callable[..., Made]


@torch.inference_mode()
def same(path: Path, model: Any, output: str) -> None:
    found = open_checkpoint(path)
    tokens, real = ids(found.net.vocab)
    reference = getattr(model(input_ids=tokens, attention_mask=real.long()), output)
    assert close(found.net(tokens, real)[real], reference[real])


@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_new", "silu"])
def test_bert_states(make_bert: Make, activation: str) -> None:
    same(*make_bert(hidden_act=activation), "last_hidden_state")


def test_bert_token_types(make_bert: Make) -> None:
    path, model = make_bert()
    tokens, _ = ids(100)
    kinds = (torch.arange(9) > 4).long().expand(3, -1)
    with torch.inference_mode():
        ours = open_checkpoint(path).net(tokens, types=kinds)
        assert close(ours, model(input_ids=tokens, token_type_ids=kinds).last_hidden_state)


def test_bert_masked_language_model(make_bert: Make) -> None:
    same(*make_bert("BertForMaskedLM"), "logits")


def test_bert_under_a_task_head(make_bert: Make) -> None:
    path, model = make_bert("BertForSequenceClassification")
    found = open_checkpoint(path)
    assert found.notes["left out"] == "classifier, pooler"
    tokens, real = ids(found.net.vocab)
    with torch.inference_mode():
        reference = model.bert(input_ids=tokens, attention_mask=real.long()).last_hidden_state
        assert close(found.net(tokens, real)[real], reference[real])


ROPES = [
    {"rope_type": "default", "rope_theta": 5000.0},
    {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
    {
        "rope_type": "llama3",
        "rope_theta": 100.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"attention_bias": True, "mlp_bias": True},
        {"head_dim": 8, "num_key_value_heads": 1},
        *({"rope_parameters": rope} for rope in ROPES),
    ],
    ids=str,
)
def test_llama_logits(make_llama: Make, changes: dict[str, Any]) -> None:
    same(*make_llama(**changes), "logits")


def test_llama_states(make_llama: Make) -> None:
    same(*make_llama("LlamaModel"), "last_hidden_state")


@pytest.mark.parametrize("rope", ROPES, ids=lambda rope: rope["rope_type"])
def test_llama_with_settings_of_older_versions(make_llama: Make, rope: dict[str, Any]) -> None:
    path, model = make_llama(rope_parameters=rope)
    config = json.loads((path / "config.json").read_text())
    config.pop("rope_parameters")
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = {("type" if k == "rope_type" else k): v for k, v in rope.items() if k != "rope_theta"}
    (path / "config.json").write_text(json.dumps(config))
    same(path, model, "logits")


def test_a_tied_head_shares_the_table(make_llama: Make) -> None:
    net = open_checkpoint(make_llama(tie_word_embeddings=True)[0]).net
    assert isinstance(net.head, TiedHead)
    assert len(list(net.head.parameters())) == 0


def test_tensors_are_bit_exact_and_can_be_trained(make_bert: Make) -> None:
    path, model = make_bert()
    net = open_checkpoint(path).net
    assert torch.equal(net.stack.layers[1].mixer.key.weight, model.encoder.layer[1].attention.self.key.weight)
    before = load_file(path / "model.safetensors")
    net(torch.tensor([[1, 2, 3]])).sum().backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    after = load_file(path / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before), "training must not write to the file"
    assert not torch.equal(net.embedding.tokens.weight, before["embeddings.word_embeddings.weight"])


def test_shards_prefixes_and_old_spellings(make_bert: Make) -> None:
    path, model = make_bert()
    stored = load_file(path / "model.safetensors")
    old = {f"bert.{k}".replace("LayerNorm.weight", "LayerNorm.gamma"): v for k, v in stored.items()}
    old["bert.embeddings.position_ids"] = torch.arange(20)[None]
    names = sorted(old)
    places = {name: f"model-{1 + (i % 2)}.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({n: old[n].clone() for n in names if places[n] == file}, path / file)
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    same(path, model, "last_hidden_state")


def test_half_precision_is_widened_unless_told_otherwise(make_bert: Make) -> None:
    path, model = make_bert()
    model.to(torch.bfloat16).save_pretrained(path)
    assert open_checkpoint(path).net.embedding.tokens.weight.dtype == torch.float32
    assert open_checkpoint(path, dtype=None).net.embedding.tokens.weight.dtype == torch.bfloat16


def test_sentence_transformers_modules(make_bert: Make) -> None:
    path, _ = make_bert()
    assert open_checkpoint(path).pooling is None
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"path": place, "type": f"sentence_transformers.models.{kind}"} for place, kind in kinds]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    (path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query: "}}))
    found = open_checkpoint(path)
    assert found.pooling is not None
    assert isinstance(found.pooling["pool"], Cls)
    assert found.pooling["normalise"] is True
    assert found.pooling["max_len"] == 12
    assert found.pooling["prompts"] == {"query": "query: "}
    assert found.notes["cut at"].startswith("12 tokens")
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 16, "pooling_mode": "mean"}))
    (path / "modules.json").write_text(json.dumps(modules[:2]))
    found = open_checkpoint(path)
    assert found.pooling is not None
    assert isinstance(found.pooling["pool"], Mean)
    assert found.pooling["normalise"] is False
    modules[1]["type"] = "sentence_transformers.models.LSTM"
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="LSTM"):
        open_checkpoint(path)


def test_tokenizers_come_without_limits(make_bert: Make, wordpiece: Any) -> None:
    path, _ = make_bert()
    content = json.loads((path / "tokenizer.json").read_text())
    content["truncation"] = {"max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    content["padding"] = {
        **{"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None},
        **{"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    }
    (path / "tokenizer.json").write_text(json.dumps(content))
    texts = ["the quick brown fox jumps over the lazy dog", "a"]
    assert open_checkpoint(path).tokenizer.encode(texts) == wordpiece.encode(texts)


def test_licence_of_the_card(make_bert: Make) -> None:
    path, _ = make_bert()
    (path / "README.md").write_text("---\nlanguage: en\nlicense: cc-by-4.0\n---\n# A model\n")
    assert open_checkpoint(path).notes["licence"] == "cc-by-4.0"


def rewrite(path: Path, **changes: Any) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder"),
        ({"hidden_act": "sigmoid"}, "sigmoid"),
        ({"num_attention_heads": 5}, "5 heads"),
        ({"intermediate_size": 25}, r"shape.*layer\.0\.intermediate"),
        ({"num_hidden_layers": 4}, "missing.*encoder.layer.3"),
        ({"num_hidden_layers": 2}, "encoder.layer.2"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"hidden_size": "16"}, "hidden_size"),
        ({"architectures": 5}, "architectures"),
        ({"quantization_config": {"bits": 4}}, "quantized"),
    ],
    ids=str,
)
def test_configurations_that_cannot_be_represented(make_bert: Make, changes: dict[str, Any], says: str) -> None:
    path, _ = make_bert()
    rewrite(path, **changes)
    with pytest.raises(UserError, match=says):
        open_checkpoint(path)


def test_rope_that_cannot_be_represented(make_llama: Make) -> None:
    path, _ = make_llama()
    rewrite(path, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0})
    with pytest.raises(UserError, match="yarn"):
        open_checkpoint(path)


def test_pickles_are_refused(make_bert: Make) -> None:
    path, model = make_bert()
    (path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        open_checkpoint(path)
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"refused.*safetensors"):
        open_checkpoint(path)
    torch.save(model.state_dict(), path / "model.safetensors")
    with pytest.raises(UserError, match=r"refused.*safetensors"):
        open_checkpoint(path)
    with pytest.raises(UserError, match="refused"):
        open_checkpoint(path / "pytorch_model.bin")


def test_places_that_are_no_checkpoint(tmp_path: Path, make_bert: Make) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        open_checkpoint(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"neither a config\.json"):
        open_checkpoint(tmp_path / "empty")
    for inside in ("arm/model", "out/best"):
        (tmp_path / inside).mkdir(parents=True)
        (tmp_path / inside / "model.json").touch()
        with pytest.raises(UserError, match=f"holds one: give .*{inside}$"):
            open_checkpoint((tmp_path / inside).parent)
    path, _ = make_bert()
    with pytest.raises(UserError, match="give the folder"):
        open_checkpoint(path / "model.safetensors")
    folder.write(tmp_path / "ours", network=None, tensors={}, task={"name": "search"})
    with pytest.raises(UserError, match="Twofold model"):
        open_checkpoint(tmp_path / "ours")
    (path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        open_checkpoint(path)


def test_a_tokenizer_of_another_model(make_bert: Make, bpe: Any) -> None:
    path, _ = make_bert()
    (path / "tokenizer.json").write_text(bpe.to_json())
    (path / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="do not belong together"):
        open_checkpoint(path)


@pytest.mark.parametrize("shard", ["1GB", "3KB"])
def test_packed_weights_open_the_same(make_bert: Make, tmp_path: Path, shard: str) -> None:
    path, model = make_bert()
    for file in path.glob("*.safetensors"):
        file.unlink()
    model.save_pretrained(path, max_shard_size=shard)
    expected = open_checkpoint(path).net.state_dict()
    report = configure("zipnn").apply_files(path, tmp_path / "packed")
    assert report["files"] == len(list(path.glob("*.safetensors")))
    assert not list((tmp_path / "packed").glob("*.safetensors"))
    found = open_checkpoint(tmp_path / "packed").net.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
