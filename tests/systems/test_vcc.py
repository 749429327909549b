"""VCC [183]: the tree against dense means, limits in which it is the full layer, what is split, padding, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.made import sequences
from twofold.errors import UserError
from twofold.measure.costs import context_costs
from twofold.parts import (
    FFN,
    Attention,
    Block,
    Interpolated,
    LayerNorm,
    Learned,
    Mask,
    Parallel,
    PostNorm,
    PreNorm,
    Recomputed,
    RMSNorm,
    Rope,
    SegmentTree,
    T5Bias,
    Vcc,
    build,
    presets,
)
from twofold.surgery import read_longer, with_vcc
from twofold.tasks import task
from twofold.tasks.examples import small_model, small_rows

DIM = 16


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blocks(count=2, position=None, wiring=None, **options):
    torch.manual_seed(0)
    made = [
        Block(Attention(DIM, 2, position=position, **options), FFN(DIM, 32), RMSNorm(DIM), LayerNorm(DIM), wiring)
        for _ in range(count)
    ]
    return [block.double() for block in made]


def full(layers, x, mask=None):
    for layer in layers:
        x = layer(x, mask)
    return x


# -- the tree


def test_the_tree_is_the_dense_formula() -> None:
    leaves, real = random(2, 21, 3), torch.arange(21) < torch.tensor([21, 14])[:, None]
    tree, dense = SegmentTree(leaves, (8, 4, 1), real), torch.nn.functional.pad(leaves, (0, 0, 0, 3))
    seen = torch.nn.functional.pad(real, (0, 3)).double()

    def means(size):
        count = seen.unflatten(1, (-1, size)).sum(2).clamp_min(1)
        return (dense * seen[..., None]).unflatten(1, (-1, size)).sum(2) / count[..., None]

    for level, nodes in ((0, [[0, 2], [1, 0]]), (1, [[1, 4], [3, 0]]), (2, [[5, 20], [13, 2]]), (0, [[1, 0], [0, 1]])):
        size, chosen, delta = (8, 4, 1)[level], torch.tensor(nodes), random(2, 2, 3, seed=level)
        tree.add(level, chosen, delta)
        for b in range(2):
            for node, change in zip(chosen[b], delta[b], strict=True):
                dense[b, node * size : (node + 1) * size] += change
        for at, width in enumerate((8, 4)):
            held = seen.unflatten(1, (-1, width)).sum(2) > 0
            torch.testing.assert_close(tree.mean(at)[held], means(width)[held])
            every = torch.arange(24 // width).expand(2, -1)
            torch.testing.assert_close(tree.at(at, every), tree.mean(at))
        torch.testing.assert_close(tree.leaves(), dense[:, :21])
    assert tree.counts[0].tolist() == [[8, 8, 5], [8, 6, 0]]


def test_gradients_go_through_the_tree() -> None:
    def moved(leaves, delta):
        tree = SegmentTree(leaves, (4, 2, 1))
        tree.add(1, torch.tensor([[0, 2]]), delta * tree.at(0, torch.tensor([[1, 0]])))
        tree.add(2, torch.tensor([[3, 6]]), tree.at(1, torch.tensor([[2, 0]])))
        return tree.leaves(), tree.mean(0)

    assert torch.autograd.gradcheck(moved, (random(1, 7, 2).requires_grad_(), random(1, 2, 2, seed=1).requires_grad_()))


# -- limits


@pytest.mark.parametrize(
    ("position", "wiring"),
    [(None, PreNorm()), (Rope(), PreNorm()), (T5Bias(2, two_way=True), Parallel()), (None, PostNorm())],
)
@pytest.mark.parametrize("sizes", [(8, 2, 1), (1,), (4, 1)])
def test_all_segments_split_is_the_full_layer(position, wiring, sizes) -> None:
    layers, x = blocks(position=position, wiring=wiring), random(2, 23, DIM)
    real = torch.arange(23) < torch.tensor([23, 17])[:, None]
    for mask in (None, real, real.flip(1)):
        expected = full(layers, x, mask)
        found = Vcc(layers, rows=100, sizes=sizes, first=1, last=2)(x, mask)
        seen = torch.ones_like(real) if mask is None else mask
        torch.testing.assert_close(found[seen], expected[seen], rtol=1e-9, atol=1e-10)
        assert found.isfinite().all()


@pytest.mark.parametrize("split", [True, False])
def test_equal_tokens_in_a_segment_with_counts_are_full_attention(split) -> None:
    layers = blocks()
    x = torch.cat((random(2, 2, DIM, seed=3), random(2, 5, DIM).repeat_interleave(4, 1)[:, :18]), 1)
    rows = 9 if split else 5
    held = {"rows": rows, "sizes": (4, 1) if split else (4,), "first": 2}
    vcc = Vcc(layers, **held)
    assert vcc.reads(20) < 20
    torch.testing.assert_close(vcc(x), full(layers, x), rtol=1e-9, atol=1e-10)
    without = Vcc(layers, count_bias=False, **held)(x)
    assert (without[:, :2] - full(layers, x)[:, :2]).abs().max() > 1e-3


def test_important_tokens_are_rows_and_order_inside_whole_segments_does_not_matter() -> None:
    (layer,) = blocks(1)
    x = random(1, 26, DIM)
    given = []
    hook = layer.register_forward_hook(lambda _, args, __: given.append(args))
    vcc = Vcc([layer], rows=9, sizes=(8, 2, 1), first=1, last=1)
    out = vcc(x)
    hook.remove()
    rows, mask = given[0]
    torch.testing.assert_close(rows[:, :2], x[:, [0, 25]])
    assert rows.shape[1] == 2 + 9
    assert mask.counts.sum() == 26
    counts = mask.counts[0, 2:].tolist()
    assert sorted(counts) == [1, 1, 1, 1, 1, 1, 2, 8, 8]
    whole = next(i for i, count in enumerate(counts) if count == 8)
    mean = rows[0, 2 + whole]
    (segment,) = [s for s in range(3) if torch.allclose(x[0, 1 + 8 * s : 9 + 8 * s].mean(0), mean)]
    place = torch.arange(26)
    place[1 + 8 * segment : 9 + 8 * segment] = place[1 + 8 * segment : 9 + 8 * segment].flip(0)
    torch.testing.assert_close(vcc(x[:, place])[:, [0, 25]], out[:, [0, 25]], rtol=1e-9, atol=1e-10)
    # What was not split moves as one: C + S†(SC' - SC).
    moved = (out - x)[0, 1 + 8 * segment : 9 + 8 * segment]
    torch.testing.assert_close(moved, moved[:1].expand(8, -1))


@pytest.mark.parametrize("wiring", [PreNorm(), PostNorm(), Recomputed(PreNorm())])
@pytest.mark.parametrize("score", ["sum", "max"])
def test_segments_that_are_attended_to_are_split(wiring, score) -> None:
    (layer,) = blocks(1, wiring=wiring)
    x, mixer = random(3, 33, DIM), layer.mixer
    given = []
    layer.register_forward_hook(lambda _, args, __: given.append(args[1].counts))
    Vcc([layer], rows=7, sizes=(8, 1), first=1, score=score)(x)
    # Without a split, 4 rows; with 7 there is room for none, with 11 for one.
    assert (given.pop() > 1).sum() == 12
    Vcc([layer], rows=11, sizes=(8, 1), first=1, score=score)(x)
    counts = given.pop()[:, 1:]
    means = x[:, 1:].unflatten(1, (4, 8)).mean(2)
    asked, keys = (layer.wiring.reads(layer, states) for states in (x[:, :1], means))
    q, k = mixer.split(mixer.query(asked), 2), mixer.split(mixer.key(keys), 2)
    logits = (q @ k.transpose(-1, -2) * mixer.scale)[:, :, 0]
    wanted = (logits.exp().sum(1) if score == "sum" else logits.amax(1)).argmax(1)
    inputs = []
    layer.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
    Vcc([layer], rows=11, sizes=(8, 1), first=1, score=score)(x)
    for b in range(3):
        single = inputs[0][b, 1:][counts[b] == 1]
        torch.testing.assert_close(single, x[b, 1 + 8 * wanted[b] : 9 + 8 * wanted[b]])


# -- padding, plans, costs


def test_padding_changes_nothing() -> None:
    vcc, x = Vcc(blocks(position=Rope()), rows=8, sizes=(8, 4, 1), first=1, last=1), random(3, 40, DIM)
    lengths = torch.tensor([40, 23, 1])
    real = torch.arange(40) < lengths[:, None]
    right = vcc(x, real)
    for b, length in enumerate(lengths.tolist()):
        alone = vcc(x[b : b + 1, :length])
        torch.testing.assert_close(right[b : b + 1, :length], alone, rtol=1e-9, atol=1e-10)
        left = torch.cat((random(1, 7, DIM, seed=9), x[b : b + 1, :length]), 1)
        found = vcc(left, torch.arange(7 + length)[None] >= 7)
        torch.testing.assert_close(found[:, 7:], alone, rtol=1e-9, atol=1e-10)
    assert right.isfinite().all()


def test_rows_are_shared_out_among_sizes() -> None:
    vcc = Vcc(blocks(1), rows=50, sizes=(64, 8, 1), first=0, last=2)
    assert [n.tolist() for n in vcc.plan(torch.tensor([510, 50, 51, 4000]))] == [[3, 1, 1, 0], [3, 8, 6, 0]]
    assert vcc.reads(512) == 52
    assert vcc.reads(40) == 40
    assert Vcc(blocks(1), rows=50, sizes=(64, 8, 1), first=1).reads(1 << 14) == 1 + 256


def test_long_texts_cost_what_their_rows_cost() -> None:
    net = presets.encoder(50, 32, 2, 4)
    before = context_costs(net, 4096)["flops_per_token"]
    after = context_costs(with_vcc(net, rows=128), 4096)["flops_per_token"]
    assert before / after > 20
    ratio = (
        context_costs(net, 64)["flops_per_token"] / context_costs(presets.encoder(50, 32, 2, 4), 64)["flops_per_token"]
    )
    assert ratio == pytest.approx(1)


# -- networks, data, systems


def test_a_changed_network_is_plain_data_with_the_same_tensors() -> None:
    torch.manual_seed(0)
    net = presets.modernbert(60, 32, 5, 2, hidden=32, every=2, window=8).eval()
    before = {id(t) for t in net.parameters()}
    with_vcc(net, rows=6, sizes=(8, 1), first=1)
    assert [type(layer).__name__ for layer in net.stack.layers] == ["Vcc", "Block", "Vcc", "Block", "Vcc"]
    assert {id(t) for t in net.parameters()} == before
    again = build(json.loads(json.dumps(net.spec()))).eval()
    again.assign(net.tensors())
    ids = torch.randint(60, (2, 30), generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(ids), net(ids))
    deep = with_vcc(presets.encoder(60, 32, 3, 2), rows=6, sizes=(8, 1))
    assert [len(layer.layers) for layer in deep.stack.layers] == [3]


def test_positions_are_interpolated_beyond_those_that_were_learned() -> None:
    learned = Learned(5, 4)
    long, zeros = Interpolated(learned, 20), torch.zeros(1, 9, 4)
    torch.testing.assert_close(long.embed(zeros[:, :5], torch.arange(5)[None]), learned.weight[None])
    found = long.embed(zeros, torch.arange(9)[None])[0]
    torch.testing.assert_close(found[::2], learned.weight)
    torch.testing.assert_close(found[1], learned.weight[:2].mean(0))
    with pytest.raises(UserError, match="20 positions"):
        long.embed(torch.zeros(1, 21, 4), torch.arange(21)[None])
    with pytest.raises(UserError, match="longer max_len"):
        Interpolated(learned, 5)
    net = presets.bert(50, 16, 1, 2, hidden=32, max_len=8)
    short = net(torch.arange(8)[None])
    assert read_longer(net, 30).max_len == 30
    torch.testing.assert_close(net(torch.arange(8)[None]), short)
    assert net(torch.arange(30)[None]).shape == (1, 30, 16)


def test_the_pair_that_is_asked_for_is_the_only_one_with_its_key() -> None:
    kind = sequences.parse("loose-pair(time=40, keys=8, values=4)")
    ids, labels = kind.sample(300, np.random.default_rng(0))
    key = ids[:, -1]
    assert ids.max() < kind.vocab
    assert (ids[:, -2] == 0).all()
    rows, places = np.nonzero(ids[:, :-2] == key[:, None])
    assert (rows == np.arange(300)).all()
    assert (ids[rows, places + 1] == labels[:, -1]).all()
    assert (labels[:, -1] > 8).all()
    assert (labels[:, :-1] == -100).all()
    assert 0.4 < (ids[:, :-2] <= 8).mean() < 0.6


def test_both_arms_go_on_from_the_same_encoder() -> None:
    solve = task("solve")
    data = solve.read("loose-pair(time=24, keys=4, values=2)").cut(0.05)
    shape = {"backbone": "attention-1x32", "before": 4, "before_time": 12, "batch": 4, "first": 0, "last": 2}
    vcc, pooled = configure("vcc", rows=8, sizes=[8, 1], **shape), configure("pooled-context", size=4, **shape)
    one, other = (s.start(data, 3) for s in (vcc, pooled))
    assert all(torch.equal(a, b) for a, b in zip(one.net.parameters(), other.net.parameters(), strict=True))
    fitted = vcc.fit(data, Steps(2), seed=3).model
    again = vcc.start(data, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.net.parameters(), again.net.parameters(), strict=True))
    assert not torch.equal(next(fitted.net.parameters()), next(again.net.parameters()))
    assert set(solve.evaluate(fitted, data).figures) >= {"accuracy", "log_likelihood"}


@pytest.mark.parametrize("of", ["search", "classify"])
def test_it_changes_trained_encoders(of, tmp_path) -> None:
    rows = small_rows()
    if of == "search":
        model = small_model()
    else:
        model = configure("linear-head").small().fit(task("classify").read(rows), Steps(1)).model
    transform = configure("vcc", tokens=256, rows=10, sizes=[16, 4, 1])
    changed = transform.apply(model, rows)
    report = changed.history[-1]["report"]["lengths"]
    assert list(report) == ["128", "256"]
    assert report["256"]["flops_per_token_after"] < report["256"]["flops_per_token_before"]
    assert report["256"]["milliseconds_after"] > 0
    short, long = ["red lamp"], ["red lamp " * 40]
    encode = (lambda m, t: m.encode(t).values) if of == "search" else (lambda m, t: torch.from_numpy(m.logits(t)))
    torch.testing.assert_close(encode(changed, short), encode(model, short), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(encode(changed, long), encode(model, long), atol=1e-4)
    changed.save(tmp_path / "long")
    from twofold.tasks import load

    torch.testing.assert_close(encode(load(tmp_path / "long"), long), encode(changed, long))


def test_what_cannot_be_is_refused() -> None:
    x, layers = random(1, 9, DIM), blocks(1)
    with pytest.raises(UserError, match=r"first=1 for \[CLS\]"):
        Vcc(layers, first=0)
    with pytest.raises(UserError, match="multiple of the next"):
        Vcc(layers, sizes=(12, 8, 1))
    with pytest.raises(UserError, match="at least 1"):
        Vcc(layers, rows=0)
    with pytest.raises(UserError, match="causal=None"):
        Vcc(blocks(1, causal=True))
    with pytest.raises(UserError, match="mixer is NoneType"):
        Vcc([Block(None)])
    vcc = Vcc(layers, rows=4, sizes=(4, 1))
    with pytest.raises(UserError, match="in an encoder"):
        vcc(x, Mask.causal())
    with pytest.raises(UserError, match="packed texts"):
        vcc(x, Mask.segments(torch.zeros(1, 9, dtype=torch.long)))
    with pytest.raises(UserError, match="no cache"):
        vcc.new_cache(1, 9)
    with pytest.raises(UserError, match="no layer can read means"):
        with_vcc(configure("backbone", backbone="causal-conv-1x32").network(50))
    with pytest.raises(UserError, match="ends at single tokens"):
        SegmentTree(x, (4, 2))
    with pytest.raises(UserError, match="loose-pair"):
        configure("vcc").start(task("solve").read("algorithms:copy"), 0)
    language = configure("decoder", dim=32, layers=1, length=32, batch=4)
    model = language.fit(task("language").read(small_rows()), Steps(1)).model
    with pytest.raises(UserError, match="such as minilm"):
        configure("vcc").apply(model, small_rows())
