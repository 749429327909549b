"""What `twofold show` says of every name that a backbone can have."""

from __future__ import annotations

import shlex

import pytest
import torch

from twofold import api
from twofold.catalog import configure
from twofold.cli import main, parse
from twofold.cli.values import settings
from twofold.errors import UserError
from twofold.measure import sketch
from twofold.parts import Mask, Mixer, Pattern
from twofold.parts.named import names
from twofold.tasks import backbone_cards, backbones
from twofold.tasks.backbone_names import layered, objectives, pattern, uses

OTHERS = [each["id"] for each in backbones.every() if each["kind"] not in ("mixer", "system")]
BLIND = "hidden tokens (from those before them)"


@pytest.fixture(autouse=True)
def short(monkeypatch) -> None:
    """Costs at fewer tokens, which are counted faster."""
    monkeypatch.setattr(sketch, "LENGTHS", (128, 256, 512))


def made(command: str):
    """The system that a printed command would train, asked whether its network can be made."""
    words = shlex.split(command)
    assert words[0] == "twofold"
    _, arguments = parse(words[1:])
    system = configure(arguments.system, **settings(arguments.set))
    assert arguments.task is None or arguments.task in system.card.tasks
    system.check()
    return system


@pytest.mark.parametrize("name", [*layered(), "cross-attention", "t5-2x64", "bert-2x64", "encoder-2x64"])
def test_every_mixer_system_and_preset_is_drawn_and_its_commands_work(name: str) -> None:
    card = api.show(name)
    network = card["network"]
    assert any("→" in line for line in network["blocks"])
    assert network["flops_per_token"] or name == "cross-attention"
    commands = card.get("use") or network["use"]
    for command in commands:
        made(command)
    assert any(name in command for command in commands) or name == "cross-attention"


@pytest.mark.parametrize("name", layered())
def test_it_says_the_objectives_that_it_can_be_built_for(name: str) -> None:
    torch.manual_seed(0)
    said = api.show(name)["network"]["objectives"]
    layers = pattern(name, 64, 4, max_len=32)
    ids = torch.randint(0, 259, (2, 32))
    if "next token" in said:
        layers.network(260, causal=True, max_len=32)
    else:
        with pytest.raises(UserError, match="looks ahead"):
            layers.network(260, causal=True, max_len=32)
    net = layers.network(260, max_len=32)
    with torch.no_grad():
        for weights in net.parameters():  # some see nothing at first
            weights.add_(0.05 * torch.randn_like(weights))
        changed = torch.cat([ids[:, :16], (ids[:, 16:] + 1) % 259], 1)
        pad = torch.ones(2, 32, dtype=torch.bool)
        moved = (net(ids, mask=Mask(pad=pad)) - net(changed, mask=Mask(pad=pad)))[:, :16].abs().max()
    assert (moved > 1e-4) == (BLIND not in said)
    assert ("hidden tokens" in said) == (BLIND not in said)
    assert "search and classification" in said  # which every one of them is accepted for


def test_one_that_looks_ahead_is_shown_as_an_encoder(capsys) -> None:
    assert main(["show", "two-way"]) == 0
    said = capsys.readouterr().out
    assert "fit masked-backbone" in said
    assert "fit gtr" in said
    assert "fit backbone" not in said
    assert "next token" not in said


@pytest.mark.parametrize("name", [name for name in layered() if name in names(Mixer)])
def test_it_says_the_positions_that_it_takes(name: str) -> None:
    said = api.show(name)["network"]["positions"]
    entry = pattern(name, 64, 1, max_len=32).layers[0]

    def takes(position: str) -> bool:
        given = {"shared": [{"position": position}]} if "shared" in entry else {**entry, "position": position}
        try:
            return bool(Pattern.read([given], dim=64).network(260, max_len=32))
        except UserError:
            return False

    assert all(map(takes, ("alibi", "t5", "harmonic", "urpe"))) == said.startswith("all")
    assert takes("rope") == said.startswith(("all", "rope"))
    assert takes("none")


@pytest.mark.parametrize("name", [*backbones.PRESETS, "minilm"])
def test_a_system_with_the_name_of_a_backbone_says_how_to_see_and_use_that(name: str, capsys) -> None:
    assert main(["show", name]) == 0
    said = capsys.readouterr().out.partition(f"The backbone that is called {name} too")[2].split("\n")
    commands = [line.strip() for line in said if line.strip()]
    if name != "minilm":
        first = commands.pop(0)
        assert first == f"twofold show {name}-4x128"
        assert main(first.split()[1:]) == 0
        assert "Blocks" in capsys.readouterr().out
    assert commands
    for command in commands:
        made(command)


@pytest.mark.parametrize("name", layered())
def test_positions_that_are_drawn_are_told_of(name: str) -> None:
    network = api.show(f"{name}-4x64")["network"]
    if any("(rope)" in line for line in network["blocks"]):
        assert "rope" in network["positions"] or network["positions"].startswith("all")
    if name in ("retention", "gated-retention"):
        assert network["positions"].endswith("it has its own rope and takes no other")


def test_where_a_name_alone_says_too_little_its_layers_are_shown() -> None:
    card = api.show("local-attention-2x64")
    assert "[{mixer: {kind: local-attention, window: 64}, times: 2}]" in card["note"]
    assert any("'[{mixer: {kind: local-attention" in command for command in card["use"])
    assert pattern("random-blocks", 64, 1, max_len=16).layers[0]["mixer"]["width"] == 4
    assert [entry["mixer"]["layer"] for entry in pattern("differential", 64, 3).layers] == [1, 2, 3]
    assert pattern("convolved", 64, 1, conv=5).layers[0]["conv"] == 5


def test_other_names_say_what_they_are(capsys) -> None:
    for name in (*OTHERS, "hydra", "yoco"):
        assert main(["show", name]) == 0
        assert "Use" in capsys.readouterr().out
    assert backbone_cards.card("nothing") is None
    assert uses("ssd-1x32", ["next token"]) == ["twofold fit backbone my.txt --set backbone=ssd-1x32 -o model/"]
    assert objectives(Pattern.read([{"mixer": "hydra"}], dim=64)) == ["hidden tokens", "search and classification"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ssdd", "unknown system or backbone 'ssdd'. Did you mean 'ssd'?"),
        ("SSD", "Did you mean 'ssd'?"),
        ("strided", "Did you mean 'strided-attention' or 'tilde'?"),
        ("local", "Did you mean 'local-attention' or 'block-local'?"),
        ("strided-2x64", "Did you mean 'strided-attention-2x64'"),
        ("ssd-0x0", "ssd-0x0 means 0 layers of width 0; give 1 to 1,000 layers"),
        ("t5-0x64", "such as t5-2x128"),
        ("attention-2x33", "use attention-2x34"),
        ("cross-attention-2x64", "see: twofold show cross-attention"),
    ],
)
def test_a_wrong_name_or_size_is_refused_with_what_to_write(name: str, says: str, capsys) -> None:
    assert main(["show", name]) == 2
    assert says in capsys.readouterr().err


def test_a_backbone_that_is_refused_leaves_nothing_in_the_way_of_the_right_one(tmp_path, capsys) -> None:
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "\n".join(f"line {i} of a text that is long enough to learn from" for i in range(60)))
    small = (
        "--steps",
        "1",
        "--set",
        "length=16",
        "--set",
        "dim=32",
        "--set",
        "layers=1",
        "-o",
        str(tmp_path / "model"),
    )
    for wrong in ("sdd", "hydra-1x64", "attention-1x33", "[{mixer: ssd, position: rop}]"):
        assert main(["fit", "backbone", str(texts), *small, "--set", f"backbone={wrong}"]) == 2
        assert "twofold: " in capsys.readouterr().err
        assert not (tmp_path / "model.training").exists()
    assert main(["fit", "backbone", str(texts), *small, "--set", "backbone=ssd"]) == 0
