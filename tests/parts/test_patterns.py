"""Networks from plain data: every combination of named parts works, or is refused with what to write instead."""

from __future__ import annotations

import itertools
import json
import random
import re

import pytest
import torch
import yaml

from twofold.errors import UserError
from twofold.parts import ChannelMixer, Mask, Mixer, Pattern, Position, build, presets
from twofold.parts.named import kebab, names
from twofold.parts.stack import WIRINGS

VOCAB, TIME = 19, 12
NEEDED = {
    "differential": {"inner": {"kind": "ssd", "head_dim": 8}, "layer": 1},
    "ring-conv": {"channels": 2, "positions": 8},
    "column-attention": {"stride": 4},
    "strided-attention": {"stride": 4},
    "summary-attention": {"stride": 4, "summary": 1},
    "fixed-attention": {"stride": 4, "summary": 1},
    "ssd": {"head_dim": 8},
    "hydra": {"head_dim": 8},
    "local-attention": {"window": 4},
    "window": {"window": 4},
    "block-local": {"width": 4},
    "random-blocks": {"width": 4, "count": 2},
    "two-way": {"inner": "lstm"},
}
POSITIONS = {
    "axis-positions": {"sizes": [3, 4]},
    "interpolated": {"learned": "learned"},
    "log-scale": {"trained": 6},
}
CHANNELS = {
    "elastic-ffn": {"sizes": [8, 16]},
    "moe": {"router": {"kind": "top-k", "experts": 4, "k": 2}, "experts": {"kind": "experts", "count": 4, "hidden": 8}},
    "multi-head": {"inner": {"kind": "relu", "dim": 8}, "heads": 2},
    "shared-expert": {"dense": "relu", "moe": "gelu"},
}


def own(kind):
    """Names of the library's own parts of a kind."""
    return sorted(n for n, cls in names(kind).items() if cls.__module__.startswith("twofold."))


def test_parts_inside_parts_are_named_too() -> None:
    with pytest.raises(
        UserError, match=r"needs router and experts; write \{kind: moe, router: \{kind: top-k, experts: 4\}"
    ):
        network({"channel": "moe"})
    with pytest.raises(UserError, match="Did you mean 'top-k'"):
        network({"channel": {"kind": "moe", "router": "topk", "experts": {"kind": "experts", "count": 4}}})


def given(mixer):
    return {"kind": mixer, **NEEDED[mixer]} if mixer in NEEDED else mixer


def network(entry, causal=True, **pattern):
    torch.manual_seed(0)
    return Pattern.read({"dim": 16, "heads": 2, "layers": [entry], **pattern}).network(
        VOCAB, causal=causal, max_len=TIME
    )


def attempt(entry, causal):
    """The network, or why there is none."""
    try:
        return network(entry, causal), ""
    except UserError as error:
        return None, str(error)


def test_a_name_is_the_class_name() -> None:
    assert [kebab(n) for n in ("LocalAttention", "T5Bias", "FFN", "S6", "SSD", "LongConv")] == [
        "local-attention",
        "t5-bias",
        "ffn",
        "s6",
        "ssd",
        "long-conv",
    ]


def test_the_plain_pattern_is_the_decoder_preset() -> None:
    pattern = Pattern.read({"dim": 64, "heads": 4, "layers": [{"times": 2}]})
    assert pattern.network(VOCAB, causal=True).spec() == presets.decoder(VOCAB, 64, 2, 4).spec()
    torch.manual_seed(1)
    a = pattern.network(VOCAB, causal=True)
    torch.manual_seed(1)
    b = presets.decoder(VOCAB, 64, 2, 4)
    ids = torch.arange(8)[None]
    assert torch.equal(a(ids), b(ids))


def test_all_layers_share_a_t5_bias() -> None:
    net = Pattern.read({"dim": 32, "heads": 2, "layers": [{"position": "t5", "times": 3}]}).network(VOCAB, causal=True)
    assert len({id(layer.mixer.position) for layer in net.stack.layers}) == 1


def placed(position):
    return {"kind": position, **POSITIONS[position]} if position in POSITIONS else position


def channelled(channel):
    return {"kind": channel, **CHANNELS[channel]} if channel in CHANNELS else channel


def tried(entry, causal) -> bool:
    """Whether there is such a network; it then gives logits, and is made again from its plain data. If there is none,
    the reason is one line that says what to write instead."""
    net, refusal = attempt(entry, causal)
    if net is None:
        assert "\n" not in refusal
        assert any(word in refusal for word in ("use ", "give ", "write ")), refusal
        return False
    ids = torch.randint(VOCAB, (2, TIME), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = net(ids, Mask.causal() if causal else None)
    assert out.shape == (2, TIME, VOCAB), entry
    assert torch.isfinite(out).all(), entry
    assert build(json.loads(json.dumps(net.spec()))).spec() == net.spec(), entry
    return True


@pytest.mark.parametrize("mixer", own(Mixer))
def test_every_pair_with_a_mixer_works_or_says_what_to_write(mixer) -> None:
    """Every position, every channel mixer and every wiring with it, and some of the product of all four."""
    positions, channels = [placed(p) for p in own(Position)], [channelled(c) for c in own(ChannelMixer)]
    one = {"mixer": given(mixer)}
    product = list(itertools.product(positions, channels, WIRINGS))
    others = [{"channel": c} for c in channels] + [{"wiring": w} for w in WIRINGS]
    others += [{"position": p, "channel": c, "wiring": w} for p, c, w in random.Random(mixer).sample(product, 6)]
    entries = [({"position": p}, causal) for p in positions for causal in (True, None)]
    entries += [(other, None) for other in others]
    made = sum(tried(one | other, causal) for other, causal in entries)
    assert made or mixer in ("cross-attention", "convolved")


@pytest.mark.parametrize("position", own(Position))
def test_every_pair_with_a_position_works_or_says_what_to_write(position) -> None:
    others = [{"channel": channelled(c)} for c in own(ChannelMixer)] + [{"wiring": w} for w in WIRINGS]
    made = [tried({"position": placed(position)} | other, True) for other in others]
    assert any(made) or position in ("learned", "sinusoid", "axis-positions", "interpolated")


@pytest.mark.parametrize("channel", own(ChannelMixer))
def test_every_channel_mixer_works_in_every_wiring(channel) -> None:
    ids = torch.randint(VOCAB, (2, TIME), generator=torch.Generator().manual_seed(0))
    for wiring in WIRINGS:
        entry = {"channel": channelled(channel), "wiring": wiring}
        if wiring == "single":
            with pytest.raises(UserError, match="use channel none"):
                network(entry)
        else:
            assert torch.isfinite(network(entry)(ids)).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"mixer": "atention"}], "Did you mean 'attention'"),
        ([{"mixr": "attention"}], "Did you mean 'mixer'"),
        ([{"mixer": {"kind": "attention", "kv_hedas": 1}}], "kv_heads"),
        ([{"mixer": {"kind": "attention", "kv_heads": 3}}], "use kv_heads=1"),
        ([{"mixer": {"kind": "attention", "head_dim": 5}}], "head_dim=6"),
        ([{"mixer": {"kind": "window", "window": 40}}], "window=12"),
        ([{"mixer": "local-attention"}], "{kind: local-attention, window: …}"),
        ([{"mixer": "causal-conv", "position": "rope"}], "use position none, learned or sinusoid"),
        ([{"mixer": "causal-conv", "position": "learned"}], "give learned or sinusoid to the whole pattern"),
        ([{"mixer": "cross-attention"}], "use attention"),
        ([{"wiring": "single", "channel": "swiglu"}], "use channel none"),
        ([{"times": 0}], "from 1 to 10,000"),
        ([], "a pattern is a list of layers"),
        ("rope", "a pattern is a list of layers"),
    ],
)
def test_refusals_name_the_fix(layers, message) -> None:
    with pytest.raises(UserError) as error:
        Pattern.read({"dim": 16, "heads": 2, "layers": layers}).network(VOCAB, causal=True, max_len=TIME)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UserError, match="dim 16 does not divide into 3 heads"):
        Pattern.read({"dim": 16, "heads": 3, "layers": [{}]}).network(VOCAB)


@pytest.mark.parametrize(("kind", "name"), [("channel", "moe"), ("mixer", "two-way"), ("mixer", "convolved")])
def test_all_that_is_missing_is_named_at_once_and_builds_as_typed(kind, name) -> None:
    with pytest.raises(UserError, match=r"needs .*; write {kind") as refused:
        Pattern.read([{kind: name}], dim=32, heads=2).network(19, max_len=16)
    typed = yaml.safe_load(str(refused.value).split("; write ")[1])
    assert Pattern.read([{kind: typed}], dim=32, heads=2).network(19, max_len=16)


def test_what_was_given_stands_in_the_advice_too() -> None:
    given = {"kind": "moe", "router": {"kind": "top-k", "experts": 4}}
    with pytest.raises(UserError, match=r"needs experts; write {kind: moe, router: {kind: top-k, experts: 4}, exp"):
        Pattern.read([{"channel": given}], dim=32).network(19)


@pytest.mark.parametrize(
    "layer",
    [{"mixer": "local-attention", "window": 4}, {"mixer": {"kind": "attention"}, "channel": "gelu", "heads": 2}],
)
def test_an_option_of_a_part_is_written_inside_the_part(layer) -> None:
    with pytest.raises(UserError, match=r"is an option of .*, not of its layer; write mixer: {kind") as refused:
        Pattern.read([layer], dim=32).network(19, max_len=16)
    typed = yaml.safe_load("{" + str(refused.value).split("; write ")[1] + "}")
    assert Pattern.read([typed], dim=32).network(19, max_len=16)


@pytest.mark.parametrize(
    ("layer", "fix"),
    [
        ({"mixer": "rope"}, "rope is no mixer but a position; write position: rope"),
        ({"mixer": "swiglu"}, "swiglu is no mixer but a channel mixer; write channel: swiglu"),
        ({"channel": {"kind": "ssd"}}, "ssd is no channel mixer but a mixer; write mixer: ssd"),
    ],
)
def test_a_part_in_the_place_of_another_kind_is_told_its_own(layer, fix) -> None:
    with pytest.raises(UserError, match=fix):
        Pattern.read([layer], dim=32).network(19)


def test_a_position_is_written_where_the_queries_are() -> None:
    inside = {"kind": "differential", "inner": "attention", "layer": 2}
    with pytest.raises(UserError, match=re.escape("write inner: {kind: attention, position: rope}")):
        Pattern.read([{"mixer": inside, "position": "rope"}], dim=32, heads=2).network(19)
    moved = {**inside, "inner": {"kind": "attention", "position": "rope"}}
    assert Pattern.read([{"mixer": moved}], dim=32, heads=2).network(19)
