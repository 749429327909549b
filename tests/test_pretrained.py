"""The two real checkpoints: the same numbers as in `transformers`, and back again.

Skipped where they have not been pulled (`twofold pull minilm`, `twofold pull smollm2`). Nothing is downloaded.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from twofold.checkpoints import Imported, export_hf, open_checkpoint, pulled
from twofold.data import batches
from twofold.parts import Mean, TextEncoder

pytestmark = pytest.mark.pretrained

TEXTS = [
    "read a csv file",
    "What is the meaning of life, the universe and everything? 42! don't 1234567",
    "def area(radius: float) -> float:\n    return math.pi * radius ** 2\n",
    "Zürich, naïve café, 東京 — “quoted”",
    "x",
]


def folder_of(name: str) -> Path:
    folder = pulled(name)
    if folder is None:
        pytest.skip(f"{name} is not here: twofold pull {name}")
    return folder


@pytest.fixture(scope="module")
def minilm() -> Imported:
    return open_checkpoint(folder_of("minilm"))


@pytest.fixture(scope="module")
def smollm2() -> Iterator[Imported]:
    yield open_checkpoint(folder_of("smollm2"))
    gc.collect()


def padded(found: Imported) -> tuple[Tensor, Tensor]:
    return batches.pad(found.tokenizer.encode(TEXTS), found.tokenizer.pad or 0)


def assert_close(ours: Tensor, reference: Tensor) -> None:
    """max |Δ| ≤ 1e-4 × RMS of the reference, in float32."""
    assert ours.dtype == reference.dtype == torch.float32
    assert ours.shape == reference.shape
    assert (ours - reference).abs().max() <= 1e-4 * reference.pow(2).mean().sqrt()


@torch.inference_mode()
def states(model: torch.nn.Module, ids: Tensor, real: Tensor) -> Tensor:
    return model.eval()(input_ids=ids, attention_mask=real.long()).last_hidden_state


def test_minilm_tokens(minilm: Imported) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder_of("minilm"))
    assert minilm.tokenizer.encode(TEXTS) == theirs(TEXTS)["input_ids"]
    long = "word " * 2000
    assert len(minilm.tokenizer.encode([long])[0]) == 2002, "its file's own limit of 128 tokens is not obeyed"
    assert len(minilm.tokenizer.encode([long], max_len=256)[0]) == 256


def test_minilm_states(minilm: Imported) -> None:
    ids, real = padded(minilm)
    model = transformers.AutoModel.from_pretrained(folder_of("minilm"))
    with torch.inference_mode():
        assert_close(minilm.net(ids, real)[real], states(model, ids, real)[real])
    longest = torch.arange(512)[None] % 2000 + 1000
    with torch.inference_mode():
        assert_close(minilm.net(longest), states(model, longest, torch.ones_like(longest)))


def test_minilm_says_what_it_is(minilm: Imported) -> None:
    assert minilm.encoder
    assert minilm.net.max_len == 512
    assert minilm.pooling is not None
    assert isinstance(minilm.pooling["pool"], Mean)
    assert (minilm.pooling["normalise"], minilm.pooling["max_len"]) == (True, 256)
    assert "Apache-2.0" in minilm.notes["weights"]
    # 22.71 million, less the pooler's 384 × 385.
    assert sum(p.numel() for p in minilm.net.parameters()) == 22_713_216 - 147_840


def test_minilm_exported(minilm: Imported, tmp_path: Path) -> None:
    net = TextEncoder(minilm.net, Mean()).eval()
    out = export_hf(net, minilm.tokenizer, tmp_path / "out", minilm.config, max_len=256)
    ids, real = padded(minilm)
    with torch.inference_mode():
        assert_close(states(transformers.AutoModel.from_pretrained(out), ids, real)[real], minilm.net(ids, real)[real])
    assert transformers.AutoTokenizer.from_pretrained(out)(TEXTS)["input_ids"] == minilm.tokenizer.encode(TEXTS)
    sentence_transformers = pytest.importorskip("sentence_transformers")
    original = sentence_transformers.SentenceTransformer(str(folder_of("minilm")), device="cpu").encode(TEXTS)
    with torch.inference_mode():
        assert_close(net(ids, real), torch.tensor(original))
    exported = sentence_transformers.SentenceTransformer(str(out), device="cpu").encode(TEXTS)
    assert_close(torch.tensor(exported), torch.tensor(original))


def test_minilm_cut_unevenly_and_filled(tmp_path: Path) -> None:
    found = open_checkpoint(folder_of("minilm"))
    for number, block in enumerate(found.net.stack.layers):
        old, hidden = block.channel, 1536 - 100 * number
        block.channel = old.rebuilt(hidden=hidden)
        with torch.no_grad():
            block.channel.up.weight.copy_(old.up.weight[:hidden])
            block.channel.up.bias.copy_(old.up.bias[:hidden])
            block.channel.down.weight.copy_(old.down.weight[:, :hidden])
            block.channel.down.bias.copy_(old.down.bias)
    ids, real = padded(found)
    out = export_hf(found.net.eval(), found.tokenizer, tmp_path / "out", fill=True)
    with torch.inference_mode():
        assert_close(states(transformers.AutoModel.from_pretrained(out), ids, real)[real], found.net(ids, real)[real])


@torch.inference_mode()
def test_smollm2_weights_tokens_and_logits(smollm2: Imported) -> None:
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    file = next(folder_of("smollm2").glob("*.gguf"))
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**smollm2.config))
    loaded = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=model)
    told, tensors = loaded["config"], loaded["tensors"]
    for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size"):
        assert told[key] == smollm2.config[key]
    assert told["rms_norm_eps"] == pytest.approx(smollm2.config["rms_norm_eps"])
    assert told["rope_theta"] == smollm2.config["rope_parameters"]["rope_theta"]
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    for name, part in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("o_proj", "out")):
        ours = getattr(smollm2.net.stack.layers[17].mixer, part).weight
        assert torch.equal(ours, tensors[f"model.layers.17.self_attn.{name}.weight"])
    theirs = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    assert smollm2.tokenizer.encode(TEXTS) == theirs(TEXTS)["input_ids"]
    ids, real = padded(smollm2)
    reference = model.eval()(input_ids=ids, attention_mask=real.long()).logits
    assert_close(smollm2.net(ids, real)[real], reference[real])


def test_smollm2_says_what_it_is(smollm2: Imported) -> None:
    assert not smollm2.encoder
    assert sum(p.numel() for p in smollm2.net.parameters()) == 134_515_008
    assert smollm2.notes["stored as"].startswith("Q4_1 106,168,320")
    assert (smollm2.tokenizer.bos, smollm2.tokenizer.eos) == (1, 2)
    assert smollm2.tokenizer.decode(smollm2.tokenizer.encode(TEXTS)[3]) == TEXTS[3]


def test_smollm2_exported(smollm2: Imported, tmp_path: Path) -> None:
    out = export_hf(smollm2.net, smollm2.tokenizer, tmp_path / "out", smollm2.config)
    model = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    assert model.config.max_position_embeddings == 8192
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer(TEXTS)["input_ids"] == smollm2.tokenizer.encode(TEXTS)
    assert "<|im_start|>" in tokenizer.chat_template
    ids, real = padded(smollm2)
    with torch.inference_mode():
        reference = model(input_ids=ids, attention_mask=real.long()).logits
        assert_close(smollm2.net(ids, real)[real], reference[real])
