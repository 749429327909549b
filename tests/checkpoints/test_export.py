"""What is exported opens in `transformers` and sentence-transformers with the same outputs."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

import twofold
from tests.checkpoints.conftest import TEXTS, Made, close, ids
from twofold import parts
from twofold.checkpoints import export_hf, open_checkpoint
from twofold.data import batches
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import (
    FFN,
    Attention,
    Cls,
    FirstM,
    MaxTerms,
    Mean,
    Part,
    SequenceModel,
    SparseEncoder,
    Stack,
    TextEncoder,
)
from twofold.parts.projection import Projection
from twofold.tasks.search import EncoderModel

Make = Callable[..., Made]


def shaken(net: Any) -> Any:
    """A network whose norms and biases are not at their plain start."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net.eval()


def bert(head: Any = None, layers: int = 3) -> SequenceModel:
    net = parts.bert(vocab=120, dim=16, layers=layers, heads=4, hidden=24, max_len=20, head=head)
    made: SequenceModel = shaken(net)
    return made


def llama(**changes: Any) -> SequenceModel:
    sizes = {"vocab": 300, "dim": 16, "layers": 3, "heads": 4, "kv_heads": 2, "hidden": 24, "base": 500.0}
    made: SequenceModel = shaken(parts.llama(**{**sizes, **changes}))
    return made


@torch.inference_mode()
def opens_the_same(net: SequenceModel, folder: Path, kind: str = "AutoModel") -> Any:
    model, told = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not told["unexpected_keys"]
    assert all("pooler" in name for name in told["missing_keys"])
    tokens, real = ids(net.vocab)
    output = model.eval()(input_ids=tokens, attention_mask=real.long())
    reference = output.last_hidden_state if kind == "AutoModel" else output.logits
    assert close(net(tokens, real)[real], reference[real])
    return model


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM"])
def test_bert_comes_back_bit_exact(make_bert: Make, tmp_path: Path, kind: str) -> None:
    path, _ = make_bert(kind)
    found = open_checkpoint(path)
    out = export_hf(found.net, found.tokenizer, tmp_path / "out", found.config)
    before, after = load_file(path / "model.safetensors"), load_file(out / "model.safetensors")
    assert {name for name in before if "pooler" not in name} == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in after)
    opens_the_same(found.net, out, "AutoModel" if kind == "BertModel" else "AutoModelForMaskedLM")
    assert open_checkpoint(out).net.spec() == found.net.spec()


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": True}, {"attention_bias": True, "head_dim": 8}], ids=str
)
def test_llama_comes_back_bit_exact(make_llama: Make, tmp_path: Path, changes: dict[str, Any]) -> None:
    path, model = make_llama(**changes)
    found = open_checkpoint(path)
    out = export_hf(found.net, found.tokenizer, tmp_path / "out", found.config)
    before, after = load_file(path / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = opens_the_same(found.net, out, "AutoModelForCausalLM")
    for key in ("max_position_embeddings", "head_dim", "rope_parameters", "tie_word_embeddings"):
        assert getattr(again.config, key) == getattr(model.config, key), key
    assert open_checkpoint(out).net.spec() == found.net.spec()


@pytest.mark.parametrize(
    "stretch", [parts.LinearStretch(4.0), parts.Llama3Stretch(8.0, 1.0, 4.0, 16)], ids=["linear", "llama3"]
)
def test_stretched_rope_is_exported(tmp_path: Path, stretch: Any) -> None:
    net = llama(stretch=stretch, tied=False)
    opens_the_same(net, export_hf(net, None, tmp_path / "out"), "AutoModelForCausalLM")


def test_presets_with_the_right_shape_are_llamas(tmp_path: Path) -> None:
    net = shaken(parts.decoder(260, 16, 2, 4, kv_heads=2, head="lm"))
    out = export_hf(net, ByteTokenizer(), tmp_path / "out")
    opens_the_same(net, out, "AutoModelForCausalLM")


def test_layers_of_one_object_are_written_out(tmp_path: Path) -> None:
    net = llama()
    net = SequenceModel(net.embedding, Stack([net.stack.layers[0]] * 3, net.stack.final_norm), net.head).eval()
    opens_the_same(net, export_hf(net, None, tmp_path / "out"), "AutoModelForCausalLM")


def test_tokenizers_give_the_same_ids(make_bert: Make, make_llama: Make, tmp_path: Path) -> None:
    texts = [*TEXTS, "  spaces ,punctuation!", "日本 ünï\n"]
    for path, _ in (make_bert(), make_llama()):
        found = open_checkpoint(path)
        out = export_hf(found.net, found.tokenizer, tmp_path / f"out-{path.name}", {"chat_template": "{{ messages }}"})
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
        assert tokenizer(texts)["input_ids"] == found.tokenizer.encode(texts)
        assert tokenizer.pad_token_id == found.tokenizer.pad
        assert tokenizer.chat_template == "{{ messages }}"
        assert open_checkpoint(out).tokenizer.encode(texts) == found.tokenizer.encode(texts)


def test_bytes_as_a_tokenizer_of_transformers(tmp_path: Path) -> None:
    ours = ByteTokenizer()
    net = llama(vocab=ours.vocab_size)
    tokenizer = transformers.AutoTokenizer.from_pretrained(export_hf(net, ours, tmp_path / "out"))
    texts = [*TEXTS, "日本 ünï\r\n\t\x00\x7f"]
    assert tokenizer(texts)["input_ids"] == ours.encode(texts)
    assert tokenizer.decode(ours.encode(texts)[-1], skip_special_tokens=True) == texts[-1]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (ours.pad, ours.bos, ours.eos)


@pytest.mark.parametrize(
    ("pool", "project", "normalise"),
    [(Mean(), None, True), (Cls(), None, False), (Mean(), Projection(16, 6), True), (parts.Last(), None, True)],
    ids=["mean", "cls", "projected", "last"],
)
def test_text_encoders_open_in_sentence_transformers(
    make_bert: Make, tmp_path: Path, pool: Part, project: Part | None, normalise: bool
) -> None:
    library = pytest.importorskip("sentence_transformers")
    found = open_checkpoint(make_bert()[0])
    net = TextEncoder(found.net, pool, project, normalise).eval()
    out = export_hf(net, found.tokenizer, tmp_path / "out", max_len=8)
    tokens, real = batches.pad(found.tokenizer.encode(TEXTS, max_len=8), found.tokenizer.pad or 0)
    with torch.inference_mode():
        ours = net(tokens, real)
    theirs = library.SentenceTransformer(str(out), device="cpu")
    assert theirs.max_seq_length == 8
    assert close(ours, torch.tensor(theirs.encode(TEXTS)))
    again = open_checkpoint(out)
    assert again.pooling is not None
    with torch.inference_mode():
        back = TextEncoder(again.net, again.pooling["pool"], again.pooling["project"], again.pooling["normalise"])
        assert torch.equal(back.eval()(tokens, real), ours)


def test_sparse_encoders_open_in_sentence_transformers(make_bert: Make, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    found = open_checkpoint(make_bert("BertForMaskedLM")[0])
    net = SparseEncoder(found.net, MaxTerms(), silent=[0, 2, 3]).eval()
    out = export_hf(net, found.tokenizer, tmp_path / "out", max_len=8)
    tokens, real = batches.pad(found.tokenizer.encode(TEXTS, max_len=8), found.tokenizer.pad or 0)
    with torch.inference_mode():
        ours = net(tokens, real)
    theirs = library.SparseEncoder(str(out), device="cpu")
    assert theirs.max_seq_length == 8
    assert (ours > 0).any()
    assert not ours[:, [0, 2, 3]].any()
    assert close(ours, theirs.encode(TEXTS).to_dense())
    again = EncoderModel.imported(open_checkpoint(out))
    assert close(ours, torch.tensor(again.encode(TEXTS).values.toarray()))


def test_an_export_says_what_sentence_transformers_must_be_told(make_bert: Make, tmp_path: Path) -> None:
    """Told so, it gives the vectors of queries too."""
    library = pytest.importorskip("sentence_transformers")
    found = open_checkpoint(make_bert()[0])
    net = TextEncoder(found.net, Mean()).eval()
    spec = {"query_tokens": 4, "document_tokens": 9, "query_prefix": "the ", "document_prefix": "", "width": 6}
    model = EncoderModel(net, found.tokenizer, spec)
    long = [f"{text} {text} {text}" for text in TEXTS]
    with pytest.warns(UserWarning, match="one length|a prefix|exported whole") as warned:
        out = twofold.export(model, tmp_path / "out")
    told = [str(each.message) for each in warned]
    assert "takes that of documents, 9 tokens" in told[0]
    assert "set model.max_seq_length = 4" in told[0]
    assert "encode_query and encode_document" in told[1]
    assert "truncate_dim=6, normalize_embeddings=True" in told[2]
    assert all(note in (out / "README.md").read_text(encoding="utf-8") for note in told)
    theirs = library.SentenceTransformer(str(out), device="cpu", truncate_dim=6)
    as_told = {"normalize_embeddings": True, "convert_to_tensor": True}
    assert close(model.encode(long).values, theirs.encode_document(long, **as_told))
    assert not close(model.encode(long, "query").values, theirs.encode_query(long, **as_told))
    theirs.max_seq_length = 4
    assert close(model.encode(long, "query").values, theirs.encode_query(long, **as_told))
    again = EncoderModel.imported(open_checkpoint(out))
    assert (again.spec["document_tokens"], again.spec["query_prefix"]) == (9, "the ")


def test_a_sparse_export_says_how_many_terms_are_kept(make_bert: Make, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    found = open_checkpoint(make_bert("BertForMaskedLM")[0])
    net = SparseEncoder(found.net, MaxTerms(), silent=[0, 2, 3]).eval()
    model = EncoderModel(net, found.tokenizer, {"query_tokens": 9, "document_tokens": 9, "document_terms": 5})
    with pytest.warns(UserWarning, match="encode with max_active_dims=5 for a document$") as warned:
        out = twofold.export(model, tmp_path / "out")
    assert len(warned) == 1
    theirs = library.SparseEncoder(str(out), device="cpu").encode_document(TEXTS, max_active_dims=5)
    assert close(torch.tensor(model.encode(TEXTS).values.toarray()), theirs.to_dense())


def test_an_export_that_gives_the_same_says_nothing(make_bert: Make, tmp_path: Path) -> None:
    found = open_checkpoint(make_bert()[0])
    net = TextEncoder(found.net, Mean()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = twofold.export(
            EncoderModel(net, found.tokenizer, {"query_tokens": 9, "document_tokens": 9}), tmp_path / "o"
        )
    assert "In other programs" not in (out / "README.md").read_text(encoding="utf-8")


def test_splade_of_sentence_transformers_is_read(make_bert: Make, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    path, _ = make_bert("BertForMaskedLM")
    modules = library.sparse_encoder.modules
    theirs = library.SparseEncoder(
        modules=[modules.Transformer(str(path), transformer_task="fill-mask"), modules.SpladePooling("max")],
        device="cpu",
    )
    theirs.save(str(tmp_path / "theirs"))
    ours = EncoderModel.imported(open_checkpoint(tmp_path / "theirs"))
    assert close(torch.tensor(ours.encode(TEXTS).values.toarray()), theirs.encode(TEXTS).to_dense())
    config = tmp_path / "theirs" / "1_SpladePooling" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"max"', '"sum"'), encoding="utf-8")
    with pytest.raises(UserError, match="only by max"):
        open_checkpoint(tmp_path / "theirs")


def test_what_sparse_encoders_cannot_say_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="count_roles"):
        export_hf(SparseEncoder(bert("mlm"), MaxTerms(), before=1), None, tmp_path / "a")
    plain = bert()
    tied = SequenceModel(plain.embedding, plain.stack, parts.TiedHead(120))
    with pytest.raises(UserError, match="bias"):
        export_hf(SparseEncoder(tied, MaxTerms(), silent=[1]), None, tmp_path / "b")


def test_what_sentence_transformers_has_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FirstM"):
        export_hf(TextEncoder(bert(), FirstM(2)), None, tmp_path / "a")
    with pytest.raises(UserError, match="projection FFN"):
        export_hf(TextEncoder(bert(), Mean(), FFN(16, 4)), None, tmp_path / "b")
    assert os.listdir(tmp_path) == []


def cut(net: SequenceModel, layer: int, hidden: int | None = None, heads: int | None = None) -> None:
    """A layer with fewer neurons or heads: really smaller maps, the first ones kept."""
    block = net.stack.layers[layer]
    for part, rows, changes in (
        (block.channel, ("up", "gate"), {"hidden": hidden}),
        (block.mixer, ("query", "key", "value"), {"heads": heads}),
    ):
        (count,) = changes.values()
        if count is None:
            continue
        share = 1
        if isinstance(part, Attention):
            share = part.heads // part.kv_heads
            changes = {"heads": count, "kv_heads": count // share, "head_dim": part.head_dim}
        new = part.rebuilt(**changes)
        state = part.state_dict()
        for name, tensor in new.state_dict().items():
            own = state[name]
            tensor.copy_(own[: len(tensor)] if name.split(".")[0] in rows else own[..., : tensor.shape[-1]])
        setattr(block, "channel" if isinstance(part, FFN) else "mixer", new)


@pytest.mark.parametrize("make", [bert, llama], ids=["bert", "llama"])
def test_uniformly_narrower_networks_are_exported(make: Callable[[], SequenceModel], tmp_path: Path) -> None:
    net = make()
    for layer in range(3):
        cut(net, layer, hidden=10)
    kind = "AutoModel" if make is bert else "AutoModelForCausalLM"
    model = opens_the_same(net.eval(), export_hf(net, None, tmp_path / "out"), kind)
    assert model.config.intermediate_size == 10


def test_uniformly_fewer_heads_fit_a_llama(tmp_path: Path) -> None:
    net = llama(dim=24, heads=6, kv_heads=3, head_dim=4)
    for layer in range(3):
        cut(net, layer, heads=4)
    model = opens_the_same(net.eval(), export_hf(net, None, tmp_path / "out"), "AutoModelForCausalLM")
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (4, 2)


def test_head_counts_that_a_llama_cannot_say(tmp_path: Path) -> None:
    net = llama(dim=24, heads=6, kv_heads=6, head_dim=4)
    for layer in range(3):
        cut(net, layer, heads=5)
    with pytest.raises(UserError, match=r"5 heads must divide hidden_size 24.*fill"):
        export_hf(net, None, tmp_path / "out")
    model = opens_the_same(net.eval(), export_hf(net, None, tmp_path / "out", fill=True), "AutoModelForCausalLM")
    assert model.config.num_attention_heads == 6


def test_what_was_added_outside_the_description(tmp_path: Path) -> None:
    net = bert()
    net.stack.layers[0].mixer.register_buffer("seen", torch.zeros(3))
    with pytest.raises(UserError, match=r"no place for the tensor .*mixer\.seen"):
        export_hf(net, None, tmp_path / "out")


@pytest.mark.parametrize("make", [bert, llama], ids=["bert", "llama"])
def test_ragged_networks_are_refused_by_layer_and_filled_on_request(
    make: Callable[[], SequenceModel], tmp_path: Path
) -> None:
    kind = "AutoModel" if make is bert else "AutoModelForCausalLM"
    net = make()
    cut(net, 1, hidden=11)
    with pytest.raises(UserError, match=r"layer 1 .*channel\.hidden is 11.*24.*fill"):
        export_hf(net, None, tmp_path / "out")
    cut(net, 2, hidden=7)
    cut(net, 1, heads=2)
    with pytest.raises(UserError, match=r"layer 1 .*mixer\.heads is 2.*fill"):
        export_hf(net, None, tmp_path / "out")
    net.stack.layers[0].channel = None
    with pytest.raises(UserError, match="the channel of layer 0"):
        export_hf(net, None, tmp_path / "out")
    net.stack.layers[2].mixer = None
    assert not (tmp_path / "out").exists()
    opens_the_same(net.eval(), export_hf(net, None, tmp_path / "out", fill=True), kind)


def test_filling_a_whole_network_changes_nothing(tmp_path: Path) -> None:
    net = bert("mlm")
    plain, filled = export_hf(net, None, tmp_path / "a"), export_hf(net, None, tmp_path / "b", fill=True)
    assert (plain / "model.safetensors").read_bytes() == (filled / "model.safetensors").read_bytes()


class Slim(parts.Dense):
    """A linear map of another kind."""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda net: setattr(net.stack.layers[1], "wiring", parts.PreNorm()), "layer 1.*PreNorm where PostNorm"),
        (lambda net: setattr(net.stack.layers[2].channel, "up", Slim(16, 24)), "layer 2.*channel.*packed or adapted"),
        (lambda net: setattr(net.embedding, "position", parts.Sinusoid()), "Sinusoid|shape"),
        (lambda net: setattr(net.stack, "final_norm", parts.LayerNorm(16)), "final_norm is LayerNorm where nothing"),
        (lambda net: setattr(net.stack.layers[0], "mixer", nn.Identity() and parts.FFN(16, 4)), "layer|shape"),
    ],
)
def test_networks_of_another_shape_are_refused(tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
    net = bert()
    change(net)
    with pytest.raises(UserError, match=says):
        export_hf(net, None, tmp_path / "out")
    with pytest.raises(UserError, match=says):
        export_hf(net, None, tmp_path / "out", fill=True)


def test_no_sequence_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sequence model"):
        export_hf(FFN(4, 4), None, tmp_path / "out")


def test_folders_that_are_taken(tmp_path: Path) -> None:
    out = export_hf(bert(), None, tmp_path / "out", card="# Mine\n")
    assert (out / "README.md").read_text() == "# Mine\n"
    with pytest.raises(UserError, match="--fresh"):
        export_hf(bert(), None, out)
    export_hf(bert(), None, out, fresh=True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(UserError, match="not a checkpoint"):
        export_hf(bert(), None, tmp_path / "thesis", fresh=True)
    assert not (out / "README.md").exists()


def test_precision_is_kept(tmp_path: Path) -> None:
    out = export_hf(bert().to(torch.bfloat16), None, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert transformers.AutoModel.from_pretrained(out).dtype == torch.bfloat16
