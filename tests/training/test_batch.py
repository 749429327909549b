"""Counting, moving and splitting batches of any form."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from twofold.errors import UserError
from twofold.training.batch import move, shard, tokens_in


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


@dataclass
class Sequences:
    ids: Tensor

    def shard(self, rank, world):
        return Sequences(self.ids[rank::world])

    def to(self, device):
        return Sequences(self.ids.to(device))


class Declared:
    tokens = 99


IDS = torch.arange(12).reshape(4, 3)


@pytest.mark.parametrize(
    ("batch", "tokens"),
    [
        (Declared(), 99),
        (IDS, 12),
        ({"real": torch.ones(4, 3, dtype=torch.bool), "x": torch.ones(4, 2), "ids": IDS, "labels": IDS[:1]}, 12),
        ([torch.ones(2), (IDS[:1], IDS)], 3),
        (Sequences(IDS), 12),
        (torch.ones(4, 3), 0),
        (None, 0),
    ],
)
def test_tokens(batch, tokens):
    assert tokens_in(batch) == tokens


def test_move_keeps_the_form():
    meta = torch.device("meta")
    moved = move({"pair": Pair(IDS, IDS), "list": [IDS, "text"], "own": Sequences(IDS), "n": 3}, meta)
    assert isinstance(moved["pair"], Pair)
    assert moved["n"] == 3
    assert moved["list"][1] == "text"
    for tensor in (*moved["pair"], moved["list"][0], moved["own"].ids):
        assert tensor.device == meta


def test_every_row_goes_to_one_process():
    batch = {"ids": IDS, "pair": Pair(IDS + 1, IDS + 2), "rate": 0.5}
    shards = [shard(batch, rank, 3) for rank in range(3)]
    assert [len(part["ids"]) for part in shards] == [2, 1, 1]
    assert torch.equal(torch.cat([part["pair"].right for part in shards]), IDS + 2)
    assert all(part["rate"] == 0.5 for part in shards)
    assert shard(batch, 0, 1) is batch
    assert torch.equal(shard(Sequences(IDS), 1, 2).ids, IDS[1::2])


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        (object(), "type object cannot be split"),
        ({"a": IDS, "b": IDS[:2]}, "same number of rows"),
        (IDS[:1], "at least one a process"),
        ({"n": 3}, "same number of rows"),
    ],
)
def test_what_cannot_be_split_is_refused(batch, named):
    with pytest.raises(UserError, match=named):
        shard(batch, 0, 2)
