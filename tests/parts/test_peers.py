"""The same networks in `transformers`: same weights, same outputs."""

from __future__ import annotations

import pytest
import torch

from twofold.parts import LinearStretch, Llama3Stretch, Mask, Rope, T5Bias, bert, llama, t5_encoder

transformers = pytest.importorskip("transformers")

IDS = torch.randint(1, 50, (3, 12), generator=torch.Generator().manual_seed(0))
REAL = torch.arange(12) < torch.tensor([[12], [5], [8]])


def fill(net, theirs, names):
    """Gives `net` the weights of `theirs`; `names` turns our names into theirs."""
    weights = theirs.state_dict()

    def translate(name):
        for ours, other in names.items():
            name = name.replace(ours, other)
        return name

    return net.assign({name: weights[translate(name)].clone() for name in net.tensors()})


def same(ours, theirs):
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.square().mean().sqrt()


@torch.no_grad()
def test_bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    theirs = transformers.BertForMaskedLM(config).eval()
    net = fill(
        bert(50, 32, 2, 4, 48, head="mlm"),
        theirs,
        {
            "embedding.tokens": "bert.embeddings.word_embeddings",
            "embedding.token_types": "bert.embeddings.token_type_embeddings",
            "embedding.position": "bert.embeddings.position_embeddings",
            "embedding.norm": "bert.embeddings.LayerNorm",
            "stack.layers": "bert.encoder.layer",
            "mixer.out": "attention.output.dense",
            "mixer_norm": "attention.output.LayerNorm",
            "mixer": "attention.self",
            "channel_norm": "output.LayerNorm",
            "channel.up": "intermediate.dense",
            "channel.down": "output.dense",
            "head.transform": "cls.predictions.transform.dense",
            "head.norm": "cls.predictions.transform.LayerNorm",
            "head.bias": "cls.predictions.bias",
        },
    )
    types = (torch.arange(12) > 6).long().expand(3, -1)
    reference = theirs(IDS, REAL.long(), types).logits
    same(net(IDS, REAL, types=types)[REAL], reference[REAL])


LLAMA = {
    "embedding.tokens": "model.embed_tokens",
    "stack.layers": "model.layers",
    "mixer.out": "self_attn.o_proj",
    "mixer.": "self_attn.",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "mixer_norm": "input_layernorm",
    "channel_norm": "post_attention_layernorm",
    "channel.up": "mlp.up_proj",
    "channel.down": "mlp.down_proj",
    "channel.gate": "mlp.gate_proj",
    "stack.final_norm": "model.norm",
    "head.decoder": "lm_head",
}


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_llama(tied):
    torch.manual_seed(0)
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 5e4,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=48,
        rope_parameters=scaling if tied else {"rope_type": "default", "rope_theta": 5e4},
        tie_word_embeddings=tied,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    stretch = Llama3Stretch(8.0, 1.0, 4.0, 64) if tied else None
    net = llama(50, 32, 2, 4, 2, 48, head_dim=16, base=5e4, stretch=stretch, tied=tied)
    net = fill(net, theirs, LLAMA)
    same(net(IDS), theirs(IDS).logits)
    far = torch.arange(12)[None] * 37
    same(net(IDS, Mask.causal().at(far)), theirs(IDS, position_ids=far.expand(3, -1)).logits)
    reference = theirs(IDS, attention_mask=REAL.long()).logits
    same(net(IDS, REAL)[REAL], reference[REAL])


@torch.no_grad()
def test_t5_encoder():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=50,
        d_model=32,
        d_kv=10,
        num_layers=2,
        num_heads=3,
        d_ff=48,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=8,
        relative_attention_max_distance=10,
    )
    theirs = transformers.T5EncoderModel(config).eval()
    net = fill(
        t5_encoder(50, 32, 2, 3, 48, 10, buckets=8, max_distance=10, activation="gelu_tanh", gate=True),
        theirs,
        {
            "embedding.tokens": "shared",
            "stack.layers.0.mixer.position": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
            "stack.layers": "encoder.block",
            "mixer_norm": "layer.0.layer_norm",
            "mixer.query": "layer.0.SelfAttention.q",
            "mixer.key": "layer.0.SelfAttention.k",
            "mixer.value": "layer.0.SelfAttention.v",
            "mixer.out": "layer.0.SelfAttention.o",
            "channel_norm": "layer.1.layer_norm",
            "channel.gate": "layer.1.DenseReluDense.wi_0",
            "channel.up": "layer.1.DenseReluDense.wi_1",
            "channel.down": "layer.1.DenseReluDense.wo",
            "stack.final_norm": "encoder.final_layer_norm",
        },
    )
    reference = theirs(IDS, REAL.long()).last_hidden_state
    same(net(IDS, REAL)[REAL], reference[REAL])


@pytest.mark.parametrize("two_way", [False, True])
def test_t5_buckets(two_way):
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-300, 301)
    for buckets, far in ((32, 128), (8, 20), (16, 64)):
        theirs = T5Attention._relative_position_bucket(distance, two_way, buckets, far)
        assert torch.equal(T5Bias(1, buckets, far, two_way).bucket(distance), theirs)


def test_rope_tables():
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = transformers.LlamaConfig(
        hidden_size=32,
        num_attention_heads=4,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    )
    q, k = torch.randn(2, 4, 9, 8), torch.randn(2, 2, 9, 8)
    where = torch.arange(9).expand(2, -1) * 11
    want = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(q, where))
    found = Rope(1e4, stretch=LinearStretch(4.0)).rotate(q, k, where, where)
    for one, two in zip(found, want, strict=True):
        assert torch.allclose(one, two, atol=1e-6)
