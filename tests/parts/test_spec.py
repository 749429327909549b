"""Networks as data: specs, building them again, and specs that somebody has damaged."""

from __future__ import annotations

import copy
import json
import random

import pytest
import torch

from twofold.errors import UserError
from twofold.parts import (
    FFN,
    Alibi,
    Attention,
    Block,
    Dense,
    LayerNorm,
    Mean,
    Part,
    PostNorm,
    Rope,
    Sandwich,
    SequenceModel,
    Stack,
    T5Bias,
    TextEncoder,
    TiedHead,
    TokenEmbedding,
    bert,
    build,
    decoder,
    encoder,
    llama,
    t5_encoder,
)
from twofold.parts.linear import linear

IDS = torch.tensor([[1, 2, 3, 4, 0], [5, 6, 0, 0, 0]])
REAL = IDS > 0


def again(part: Part) -> Part:
    """Through JSON and the meta device."""
    with torch.device("meta"):
        new = build(json.loads(json.dumps(part.spec())))
    return new.assign({name: t.detach().clone() for name, t in part.tensors().items()})


def ragged() -> SequenceModel:
    """What pruning leaves: every layer of another shape."""
    layers = [
        Block(Attention(16, 3, head_dim=4, bias=True), FFN(16, 7), LayerNorm(16), LayerNorm(16), PostNorm()),
        Block(Attention(16, 4, kv_heads=1, head_dim=2, position=Rope()), FFN(16, 40, "silu", gate=True), LayerNorm(16)),
        Block(None, FFN(16, 3, bias=False), None, LayerNorm(16)),
        Block(Attention(16, 1, head_dim=10, position=Alibi(1, [0.3])), None, LayerNorm(16)),
        Block(Attention(16, 2), FFN(16, 8), wiring=Sandwich(LayerNorm(16), LayerNorm(16))),
    ]
    return SequenceModel(TokenEmbedding(9, 16, scale=4.0), Stack(layers, LayerNorm(16)), TiedHead(9, bias=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: bert(9, 16, 2, 2, 24, max_len=8, head="mlm"),
        lambda: llama(9, 16, 2, 4, 2, 24, head_dim=6, base=1e6, tied=False),
        lambda: t5_encoder(9, 16, 2, 2, 24, head_dim=5),
        lambda: encoder(9, 16, 2, 2, max_len=8, position="learned", wiring="sandwich", norm="layer", head="lm"),
        lambda: decoder(9, 16, 2, 2, position="sinusoid", wiring="parallel"),
        lambda: TextEncoder(bert(9, 16, 1, 2, 24), Mean(), Dense(16, 4), normalise=False),
        ragged,
    ],
)
def test_a_network_is_made_again_from_its_spec_and_tensors(make):
    torch.manual_seed(0)
    net = make()
    new = again(net)
    assert new.spec() == net.spec()
    assert list(new.tensors()) == list(net.tensors())
    assert torch.equal(new(IDS, REAL), net(IDS, REAL))
    assert copy.deepcopy(net).spec() == net.spec()


def test_replacing_a_child_changes_the_spec():
    net = llama(9, 16, 2, 4, 2, 24)
    net.stack.layers[1].channel = FFN(16, 5)
    net.stack.layers[0].mixer = None
    net.head = None
    new = again(net)
    assert new.stack.layers[1].channel.hidden == 5
    assert new.stack.layers[0].mixer is None
    assert torch.equal(new(IDS), net(IDS))
    net.head = TiedHead(9)
    assert again(net)(IDS).shape == (2, 5, 9)


def test_a_part_made_inside_can_be_replaced_too():
    class Halved(Part):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.down, self.up = linear(inputs, 2, bias=False), linear(2, outputs)

        def forward(self, x):
            return self.up(self.down(x))

    ffn = FFN(8, 16, gate=True)
    assert "replaced" not in ffn.spec()
    ffn.gate = Halved(8, 16)
    ffn.up = Dense(8, 16, bias=False)
    assert set(ffn.spec()["replaced"]) == {"gate", "up"}
    x = torch.randn(1, 2, 8)
    assert torch.equal(again(ffn)(x), ffn(x))
    again(ffn).gate.down = Dense(8, 2)  # and inside what has been put in
    spec = ffn.spec()
    spec["replaced"]["side"] = spec["replaced"].pop("up")
    with pytest.raises(UserError, match="FFN: has no part 'side' to replace"):
        build(spec)


def test_shared_parts_stay_shared():
    position = T5Bias(2, 8, 20)
    block = Block(Attention(8, 2, position=position), FFN(8, 8), LayerNorm(8), LayerNorm(8))
    stack = Stack([block, Block(Attention(8, 2, position=position)), block])
    assert len(stack.tensors()) == len(set(map(id, stack.parameters())))
    new = again(stack)
    assert new.layers[0] is new.layers[2]
    assert new.layers[0] is not new.layers[1]
    assert new.layers[0].mixer.position is new.layers[1].mixer.position
    x = torch.randn(1, 4, 8)
    assert torch.equal(new(x), stack(x))
    with torch.no_grad():
        new.layers[2].channel.up.weight.zero_()
    assert not new.layers[0].channel.up.weight.any()


def test_a_part_made_inside_may_be_shared_too():
    stack = Stack([Block(None, FFN(8, 12)), Block(None, FFN(8, 12)), Block(None, FFN(8, 12))])
    first, second, _ = (block.channel for block in stack.layers)
    second.up = first.up
    new = again(stack)
    assert new.layers[1].channel.up is new.layers[0].channel.up
    assert new.layers[2].channel.up is not new.layers[0].channel.up
    assert torch.equal(new(torch.ones(1, 2, 8)), stack(torch.ones(1, 2, 8)))
    assert new.spec() == stack.spec()
    assert first.spec() == FFN(8, 12).spec()


def test_shared_parts_may_be_named_after_they_are_referred_to():
    shared = {"part": "LayerNorm", "as": "n", "dim": 4}
    spec = {"part": "Block", "mixer": None, "channel_norm": {"same": "n"}, "mixer_norm": shared}
    block = build(spec)
    assert block.channel_norm is block.mixer_norm


def test_rebuilt():
    attention = Attention(16, 4, head_dim=3, position=Alibi(4), bias=True)
    fewer = attention.rebuilt(heads=2, kv_heads=2, position=Alibi(2, [0.5, 0.1]))
    assert fewer.query.weight.shape == (6, 16)
    assert fewer.spec() == attention.spec() | {
        "heads": 2,
        "kv_heads": 2,
        "position": {"part": "Alibi", "heads": 2, "slopes": [0.5, 0.1]},
    }
    with torch.device("meta"):
        assert FFN(8, 16).rebuilt(hidden=3).up.weight.is_meta
    with pytest.raises(UserError, match=r"FFN: unknown argument 'hiden'. Did you mean 'hidden'\?"):
        FFN(8, 16).rebuilt(hiden=3)
    with pytest.raises(UserError, match="Alibi has 4 heads"):
        attention.rebuilt(heads=2)


def test_computed_tables_survive_the_meta_device():
    """Nothing that a formula gives is stored: rope, sinusoids and slopes work as soon as the weights are there."""
    for position in ("rope", "sinusoid", "alibi"):
        net = decoder(9, 16, 1, 2, position=position)
        assert not list(net.buffers())
        assert torch.equal(again(net)(IDS), net(IDS))


FFN_SPEC = {"part": "FFN", "dim": 8, "hidden": 16}


def nested(depth):
    spec: dict = {"part": "Block", "mixer": None}
    for _ in range(depth):
        spec = {"part": "Block", "mixer": None, "channel": spec}
    return spec


def endless_mapping():
    spec: dict = {"part": "Block", "mixer": None}
    spec["channel"] = spec
    return spec


def endless_list():
    layers: list = []
    layers += [layers, layers]
    return {"part": "Stack", "layers": layers}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"part": "FFM", "dim": 8}, r"unknown part 'FFM'\. Did you mean 'FFN'\?"),
        ({"part": "Part"}, "unknown part"),
        ({"part": ["FFN"]}, "unknown part"),
        ({"part": None}, "unknown part"),
        ({"dim": 8}, "mapping with the key 'part'"),
        ([FFN_SPEC], "mapping with the key 'part'"),
        (None, "mapping with the key 'part'"),
        ({"part": "FFN", "dim": 8}, "FFN: argument 'hidden' is missing"),
        (FFN_SPEC | {"hiden": 3}, r"FFN: unknown argument 'hiden'\. Did you mean 'hidden'\?"),
        (FFN_SPEC | {3: 3}, "FFN: unknown argument 3"),
        (FFN_SPEC | {"hidden": "16"}, "FFN: argument 'hidden' cannot be '16'; it is int"),
        (FFN_SPEC | {"hidden": 1.5}, "argument 'hidden'"),
        (FFN_SPEC | {"hidden": True}, "argument 'hidden'"),
        (FFN_SPEC | {"hidden": None}, "argument 'hidden'"),
        (FFN_SPEC | {"hidden": FFN_SPEC}, "argument 'hidden'"),
        (FFN_SPEC | {"hidden": -4}, "hidden is -4"),
        (FFN_SPEC | {"hidden": 10**30}, "FFN: hidden is 1000000"),
        (FFN_SPEC | {"activation": "swish"}, "unknown activation"),
        (FFN_SPEC | {"linear": "__import__"}, "unknown kind of linear map"),
        (FFN_SPEC | {"replaced": [1]}, "mapping from names"),
        (FFN_SPEC | {"replaced": {"up": 3}}, "mapping with the key 'part'"),
        ({"part": "LayerNorm", "dim": 4, "eps": float("nan")}, "argument 'eps'"),
        ({"part": "LayerNorm", "dim": 4, "self": 1}, "unknown argument 'self'"),
        ({"part": "LayerNorm", "dim": [4]}, "argument 'dim'"),
        ({"part": "Stack", "layers": FFN_SPEC}, "argument 'layers'"),
        ({"part": "Stack", "layers": [3]}, "argument 'layers'"),
        ({"part": "Attention", "dim": 8, "heads": 2, "position": FFN_SPEC}, "argument 'position' cannot be FFN"),
        ({"part": "Attention", "dim": 8, "heads": 3}, "does not divide"),
        ({"part": "Attention", "dim": 2**30, "heads": 2**30, "head_dim": 2**30}, "Attention|Dense"),
        ({"same": "x"}, "refers to 'x'"),
        ({"same": {}}, "refers to {}"),
        ({"same": None}, "refers to None"),
        (FFN_SPEC | {"as": 3}, "refers to 3"),
        ({"part": "Block", "mixer": None, "channel": {"same": "b"}, "as": "b"}, "contains itself"),
        (
            {"part": "Stack", "layers": [{"part": "NoNorm", "as": "a"}, {"part": "NoNorm", "as": "a"}]},
            "names two parts 'a'",
        ),
        (nested(60), "inside one another"),
        (nested(400), "too deep"),
        (endless_mapping(), "too deep or too large"),
        (endless_list(), "too deep or too large"),
    ],
)
def test_damaged_specs_are_refused(spec, message):
    with pytest.raises(UserError, match=message) as caught, torch.device("meta"):
        build(spec)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def places_in(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from places_in(child, (*path, key))


JUNK = [None, True, -1, 0, 3, 10**9, 10**40, 1e308, float("inf"), "", "FFN", "rope", [], {}, [[]], {"part": "FFN"}]
JUNK += [{"same": "rope"}, FFN_SPEC, [FFN_SPEC], {"part": "LayerNorm", "dim": 16, "as": "rope"}, b"x", object()]


def test_any_damage_is_refused_or_harmless():
    """Whatever stands in whatever place of a good spec: a network, or a message; never another error."""
    draw = random.Random(0)
    good = SequenceModel(
        TokenEmbedding(9, 16), Stack([*ragged().stack.layers, *llama(9, 16, 2, 4, 2, 24).stack.layers])
    )
    good.stack.layers[5].channel.up = Dense(16, 24)
    places = [path for path in places_in(good.spec()) if path]
    messages = []
    for _ in range(400):
        spec = good.spec()
        *way, last = draw.choice(places)
        target = spec
        for key in way:
            target = target[key]
        target[last] = draw.choice(JUNK)
        try:
            with torch.device("meta"):
                build(spec)
        except UserError as error:
            messages.append(str(error))
    assert 200 < len(messages) < 400
    assert not [message for message in messages if "\n" in message or len(message) > 1000]


def test_what_a_constructor_raises_is_put_in_words():
    class Fragile(Part):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = 1 / size

    with pytest.raises(UserError, match=r"Fragile\(size=0\) cannot be built: division by zero"):
        build({"part": "Fragile", "size": 0})


def test_tensors_are_taken_without_copying():
    block = Block(FFN(4, 6))
    stack = Stack([block, block])
    with torch.device("meta"):
        new = build(stack.spec())
    given = {name: t.detach().bfloat16() for name, t in stack.tensors().items()}
    new.assign(given)
    assert {t.data_ptr() for t in new.state_dict().values()} == {t.data_ptr() for t in given.values()}
    assert all(t.requires_grad and t.dtype == torch.bfloat16 for t in new.parameters())


def test_tensors_that_do_not_belong_are_refused():
    net = FFN(4, 6)
    tensors = dict(net.tensors())
    for change, message in (
        (
            {"up.weight": torch.zeros(6, 5)},
            r"'up.weight' is float32 \[6, 5\], and the network needs float32 \[6, 4\]",
        ),
        ({"up.weight": torch.zeros(6, 4, dtype=torch.long)}, "is int64"),
        ({"side": torch.zeros(1)}, "have unknown side"),
    ):
        with pytest.raises(UserError, match=message):
            net.assign(tensors | change)
    del tensors["up.bias"]
    with pytest.raises(UserError, match=r"lack up\.bias"):
        net.assign(tensors)


def test_classes_that_torch_makes_keep_the_name():
    ffn = FFN(4, 6)
    torch.nn.utils.parametrizations.weight_norm(ffn.up)
    assert type(ffn.up) is not Dense
    assert ffn.spec() == FFN(4, 6).spec()


def test_names_are_unique_and_arguments_named():
    with pytest.raises(TypeError, match="two parts are called FFN"):
        type("FFN", (Part,), {})
    with pytest.raises(TypeError, match="must name every argument"):
        type("Open", (Part,), {"__init__": lambda self, *sizes: None})

    class Careless(Part):
        def __init__(self, inner: Part) -> None:
            super().__init__()
            self.other = inner

    with pytest.raises(TypeError, match="does not keep it under that name"):
        Careless(FFN(4, 4)).spec()

    class Odd(Part):
        def __init__(self, rule) -> None:
            super().__init__()

    with pytest.raises(TypeError, match="plain values"):
        Odd(lambda x: x)
