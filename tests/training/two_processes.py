"""Trainings that one process and two must take alike; run under torchrun, it writes what two processes make."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from twofold.catalog.claims import Seconds, Steps
from twofold.objectives import Loss, causal, info_nce
from twofold.training import History, Recipe, distributed, train

STEPS = 50
Trained = tuple[nn.Module, History]


class Reader(nn.Module):
    """Predicts the next token from this one and the one before; one parameter is never used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.before, self.head = nn.Embedding(17, 16), nn.Linear(16, 16), nn.Linear(16, 17)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, ids: Tensor) -> Tensor:
        states = self.embed(ids)
        return self.head(torch.tanh(states + self.before(F.pad(states, (0, 0, 1, 0))[:, :-1])))


class Encoder(nn.Module):
    """A bag of tokens to a unit vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embed, self.project = nn.Embedding(40, 16), nn.Linear(16, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return F.normalize(self.project(torch.tanh(self.embed(ids)).mean(1)), dim=-1)


def sentences(rows: int) -> object:
    def batches(step: int, share: float) -> dict[str, Tensor]:
        ids = torch.randint(17, (rows, 12))
        ids[:, 1::2] = (ids[:, ::2] * 3 + 1) % 17
        # Padding falls unevenly: the processes do not count the same number of tokens.
        return {"ids": ids, "real": torch.arange(12) < torch.arange(rows)[:, None] + 4}

    return batches


def triples(step: int, share: float) -> dict[str, Tensor]:
    query = torch.randint(40, (6, 5))
    document_ids = torch.tensor([0, 1, 2, 3, 0, 5])  # rows 0 and 4, of different processes, share a document
    positive = torch.cat([query[:, :3], torch.randint(40, (6, 3))], 1)
    positive[4] = positive[0]
    negative = torch.randint(40, (6, 6))
    return {"query": query, "positive": positive, "negative": negative, "ids": document_ids}


def reading(net: nn.Module, batch: dict[str, Tensor]) -> Loss:
    return causal(net(batch["ids"]), batch["ids"], real=batch["real"])


def matching(net: nn.Module, batch: dict[str, Tensor]) -> Loss:
    queries, positives, negatives = (net(batch[name]) for name in ("query", "positive", "negative"))
    ids = torch.cat([batch["ids"], 100 + torch.arange(len(negatives))])
    return info_nce(queries, torch.cat([positives, negatives]), 0.2, document_ids=ids)


def trainings(folder: Path) -> dict[str, Trained]:
    """Every training, in its own folder: two kinds of loss, uneven shares, accumulation, a stop on the way."""
    out: dict[str, Trained] = {}
    for name, net, loss, batches, accumulate in (
        ("causal", Reader(), reading, sentences(8), 1),
        ("uneven", Reader(), reading, sentences(5), 2),
        ("contrastive", Encoder(), matching, triples, 1),
    ):
        recipe = Recipe(lr=3e-3, accumulate=accumulate)
        train(net, loss, batches, Steps(STEPS), recipe, folder=folder / name, until=0.3)
        history = train(net, loss, batches, Steps(STEPS), recipe, folder=folder / name, log=folder / f"{name}.csv")
        out[name] = net, history
    return out


def gathered_gradient() -> Tensor:
    """The gradient of a rank's rows where every rank weighs the gathered rows by its own number."""
    rank, _ = distributed.world()
    rows = torch.arange(2.0 + rank).requires_grad_()  # two rows here, three there
    everything = distributed.gather(rows)
    (everything * torch.arange(5.0) * (rank + 1)).sum().backward()
    assert rows.grad is not None
    return torch.cat([everything.detach(), F.pad(rows.grad, (0, 1 - rank))])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    results = trainings(folder)
    rank, world = distributed.world()
    timed = train(Reader(), reading, sentences(4), Seconds(0.1))
    (folder / f"rank-{rank}.json").write_text(
        json.dumps({"world": world, "gathered": gathered_gradient().tolist(), "timed steps": timed.steps})
    )
    if rank == 0:
        for name, (net, history) in results.items():
            save_file(net.state_dict(), folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(history.as_dict()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    distributed.leave()
    # All that is tested has been written. Torch's communication threads sometimes abort a process that is torn down.
    os._exit(0)
