"""Caches of whole models: padding, roll-back, beams and trees of drafts."""

from __future__ import annotations

import pytest
import torch

from twofold.errors import UserError
from twofold.parts import (
    SSD,
    Alibi,
    Attention,
    Block,
    CrossAttention,
    LocalAttention,
    Mask,
    Stack,
    TokenEmbedding,
    bert,
    decoder,
    llama,
)
from twofold.parts.caches import Cache, MemoryCache


@pytest.fixture(params=["llama", "alibi", "learned", "sinusoid", "t5"])
def model(request):
    torch.manual_seed(0)
    if request.param == "llama":
        return llama(40, 16, 2, 4, 2, 24).double().eval()
    return decoder(40, 16, 2, 4, position=request.param, max_len=32).double().eval()


def ids(batch=3, time=9, seed=1):
    return torch.randint(0, 40, (batch, time), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_padded_batch_goes_on_as_its_rows_would_alone(model):
    texts = [ids(1, n, n)[0] for n in (7, 3, 5)]
    for side in ("left", "right"):
        padded, real = torch.full((3, 7), 39), torch.zeros(3, 7, dtype=torch.bool)
        for row, text in enumerate(texts):
            at = slice(7 - len(text), 7) if side == "left" else slice(0, len(text))
            padded[row, at], real[row, at] = text, True
        cache = model.new_cache(3, 16)
        model(padded, real, cache)
        more = ids(3, 3, 9)
        steps = torch.cat([model(more[:, i : i + 1], cache=cache) for i in range(3)], 1)
        for row, text in enumerate(texts):
            alone = model(torch.cat((text, more[row]))[None])[0, len(text) :]
            assert torch.allclose(steps[row], alone, atol=1e-10)


@torch.no_grad()
def test_rewind_and_reorder(model):
    tokens = ids()
    whole = model(tokens)
    cache = model.new_cache(3, 12)
    model(tokens[:, :4], cache=cache)
    before = cache.nbytes
    model(ids(3, 5, 8), cache=cache)
    cache.rewind(5)
    assert (cache.length, cache.nbytes) == (4, before)
    assert torch.allclose(model(tokens[:, 4:6], cache=cache), whole[:, 4:6], atol=1e-10)
    order = torch.tensor([1, 1, 0, 2])  # beams may multiply
    cache.reorder(order)
    assert torch.allclose(model(tokens[order, 6:], cache=cache), whole[order, 6:], atol=1e-10)


@torch.no_grad()
def test_reorder_moves_padding_with_its_row(model):
    tokens = ids()
    real = torch.arange(4) >= torch.tensor([0, 2, 1])[:, None]
    order = torch.tensor([2, 0, 1])
    one, two = model.new_cache(3, 12), model.new_cache(3, 12)
    model(tokens[:, :4], real, one)
    one.reorder(order)
    model(tokens[order, :4], real[order], two)
    assert torch.allclose(model(tokens[:, 4:], cache=one), model(tokens[:, 4:], cache=two), atol=1e-12)


@torch.no_grad()
def test_a_tree_of_drafts_and_one_branch_of_it(model):
    tokens = ids(2)
    cache = model.new_cache(2, 16)
    model(tokens[:, :4], cache=cache)
    # A tree below the fourth token: 0 and 1 are its children, 2 is below 0, 3 below 1, 4 below 3.
    draft = ids(2, 5, 7)
    parents, depth = [-1, -1, 0, 1, 3], torch.tensor([[0, 0, 1, 1, 2]])
    seen = torch.zeros(5, 9, dtype=torch.bool)
    seen[:, :4] = True
    for i, parent in enumerate(parents):
        seen[i, 4 + i] = True
        if parent >= 0:
            seen[i, 4:] |= seen[parent, 4:]
    out = model(draft, Mask.allowed(seen).at((4 + depth).expand(2, -1)), cache)
    path = torch.cat((tokens[:, :4], draft[:, [1, 3, 4]]), 1)
    assert torch.allclose(out[:, [1, 3, 4]], model(path)[:, 4:], atol=1e-10)
    cache.branch(torch.tensor([[1, 3, 4], [0, 2, 4]]), tail=5)
    assert cache.length == 7
    more = ids(2, 2, 3)
    after = model(more, cache=cache)
    assert torch.allclose(after[0], model(torch.cat((path[:1], more[:1]), 1))[0, 7:], atol=1e-10)


@torch.no_grad()
def test_one_branch_in_the_cache_of_a_mixer_alone():
    torch.manual_seed(0)
    attention = Attention(16, 4, position=Alibi(4), causal=True).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    real = torch.arange(6) >= torch.tensor([[0], [2]])
    cache = attention.new_cache(2, 16)
    attention(x[:, :6], real, cache)
    attention(x[:, 6:8], cache=cache)
    kept = torch.tensor([[1, 3], [0, 2]])  # of the last four tokens
    cache.branch(kept, tail=4)
    assert cache.length == 6
    out = attention(x[:, 8:], cache=cache)
    for row in range(2):
        slots = [0, 1, 2, 3, *(4 + kept[row]).tolist(), 8]
        # Each token keeps the position that it had when it came.
        where = torch.arange(9) - 2 * row
        where[8] = where[slots[-2]] + 1
        seen = Mask.padding((torch.arange(9) >= 2 * row)[None, slots]).at(where[None, slots])
        assert torch.allclose(attention(x[row : row + 1, slots], seen)[0, -1], out[row, 0], atol=1e-10)


@torch.no_grad()
def test_given_positions_go_on():
    model = llama(40, 16, 1, 2, 2, 24).double()
    tokens = ids(1)
    where = torch.tensor([[5, 6, 9, 10, 11, 12, 13, 14, 15]])
    whole = model(tokens, Mask.causal().at(where))
    cache = model.new_cache(1, 9)
    model(tokens[:, :4], Mask.causal().at(where[:, :4]), cache)
    rest = [model(tokens[:, i : i + 1], cache=cache) for i in range(4, 9)]
    assert torch.allclose(torch.cat(rest, 1), whole[:, 4:], atol=1e-10)
    cache = model.new_cache(1, 9)  # the other way about: counted first, given later
    plain = model(tokens[:, :2], cache=cache)
    model(tokens[:, 2:], Mask.causal().at(where[:, 2:] - 7), cache)
    assert torch.allclose(plain, model(tokens[:, :2]), atol=1e-10)
    assert cache.ledger.positions is not None
    assert cache.ledger.positions[0, :3].tolist() == [0, 1, 2]
    cache.rewind(9)
    assert torch.allclose(model(tokens, cache=cache), model(tokens), atol=1e-10)
    cache.rewind(9)  # a row of padding alone does not move what follows
    model(tokens[:, :2], torch.zeros(1, 2, dtype=torch.bool), cache)
    assert torch.allclose(model(tokens[:, 2:], cache=cache), model(tokens[:, 2:]), atol=1e-10)


@torch.no_grad()
def test_packed_documents_in_chunks():
    model = llama(40, 16, 2, 2, 1, 24).double()
    tokens, segments = ids(2), torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 2]] * 2)
    whole = model(tokens, Mask.segments(segments))
    cache = model.new_cache(2, 9)
    parts = [model(tokens[:, a:b], Mask.segments(segments[:, a:b]), cache) for a, b in ((0, 2), (2, 5), (5, 9))]
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-10)


@torch.no_grad()
def test_encoder_and_decoder_joined_by_memory():
    torch.manual_seed(0)
    source = bert(40, 16, 1, 2, 24).double()
    layers = []
    for block in decoder(40, 16, 2, 2).stack.layers:
        layers += [Block(block.mixer, None, block.mixer_norm), Block(CrossAttention(16, 2), block.channel)]
    stack = Stack(layers).double()
    embedding = TokenEmbedding(40, 16).double()
    real = torch.arange(6) < torch.tensor([[6], [4]])
    read = Mask.remember(source(ids(2, 6), real), real)
    x = embedding(ids(2, 5, 2))
    whole = stack(x, read)
    cache = stack.new_cache(2, 8)
    parts = [stack(x[:, :2], read, cache)] + [stack(x[:, i : i + 1], None, cache) for i in (2, 3, 4)]
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-12)
    assert isinstance(cache.layers[1], MemoryCache)
    other = Mask.remember(source(ids(2, 6), real) + torch.where(real, 0.0, 9.0)[..., None], real)
    assert torch.allclose(stack(x, other), whole, atol=1e-12)
    with pytest.raises(UserError, match="nothing to look at"):
        stack(x)


def test_misuse_is_refused():
    model = llama(40, 16, 1, 2, 2, 24)
    cache = model.new_cache(2, 4)
    model(ids(2, 3), cache=cache)
    for misuse, message in (
        (lambda: model(ids(2, 2), cache=cache), "holds 4 tokens and 5 are needed; make it with max_len=5"),
        (lambda: cache.rewind(9), "cannot rewind 9 tokens of 3"),
        (lambda: cache.layers[0].branch(torch.zeros(2, 5, dtype=torch.long), tail=4), "cannot keep 5 of the last 4"),
        (lambda: model(ids(3, 1), cache=cache), "made for 2 rows and got 3"),
        (lambda: model.stack(torch.zeros(2, 1, 16), None, cache, stop=1), "remembers all layers"),
        (lambda: Cache().rewind(1), "cannot be rewound"),
        (
            lambda: Attention(16, 2)(torch.zeros(2, 1, 16), cache=MemoryCache()),
            "needs the cache that its",
        ),
    ):
        with pytest.raises(UserError, match=message):
            misuse()


@pytest.mark.parametrize("length", [3, 40])
def test_bytes_of_a_full_cache_are_those_after_as_many_tokens(length: int) -> None:
    layers = [LocalAttention(8, 2, window=4, causal=True), Attention(8, 2, causal=True), SSD(8, head_dim=4)]
    stack = Stack([Block(mixer) for mixer in layers]).eval()
    filled = stack.new_cache(2, length)
    with torch.inference_mode():
        for token in torch.randn(length, 2, 1, 8).unbind(0):
            stack(token, cache=filled)
    assert stack.new_cache(2, length).bytes_at(length) == filled.nbytes
