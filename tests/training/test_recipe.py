"""The recipe and its optimizer."""

import pytest
from torch import nn

from twofold.errors import UserError
from twofold.training import Recipe
from twofold.training.recipe import optimizer as optimizer_of


def test_matrices_decay_and_vectors_do_not():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    optimizer = optimizer_of(net.parameters(), Recipe(lr=0.5, weight_decay=0.3, betas=(0.8, 0.7), eps=1e-5))
    decay = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[p] for name, p in net.named_parameters()} == {
        "0.weight": 0.3,
        "1.weight": 0.3,
        "1.bias": 0.0,
        "2.weight": 0.0,
        "2.bias": 0.0,
    }
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.5, (0.8, 0.7), 1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("warmup", 1.1),
        ("final", -0.1),
        ("weight_decay", -1.0),
        ("betas", (0.9, 1.0)),
        ("eps", 0.0),
        ("clip", -1.0),
        ("accumulate", 0),
        ("dtype", "float16"),
        ("optimizer", "sgd"),
        ("schedule", "linear"),
        ("cooldown", 1.5),
    ],
)
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=f"the recipe's {name} is "):
        Recipe(**{name: value})
