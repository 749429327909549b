"""What an encoder and a decoder that share their states learn: to write, to contrast with a queue, to match.

Wang et al. 2023, "CodeT5+: Open Code Large Language Models for Code Understanding and Generation", section 3.2,
https://arxiv.org/abs/2305.07922; contrast and matching after Li et al. 2021 (ALBEF), https://arxiv.org/abs/2107.07651
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from twofold.objectives import Loss, causal, drawn_negatives, info_nce
from twofold.parts import Mask, Momentum, WritingEncoder
from twofold.tasks.search.writing import WritingBatch


def written(net: WritingEncoder, batch: WritingBatch) -> Loss:
    """Each token of the target, from those before it and the source (sections 3.2.1, 3.2.2)."""
    assert batch.target is not None
    if batch.source is None:
        decoder = net.alone(len(batch.target.ids))
    else:
        decoder = net.recalling(net.model.states(batch.source.ids, batch.source.real), batch.source.real)
    logits = decoder(batch.target.ids, Mask.causal())
    return causal(logits, batch.target.ids, real=batch.target.real)


def contrasted(net: WritingEncoder, batch: WritingBatch, momentum: float) -> Loss:
    """Text finds code and code finds text, among those of the slow encoder, now and in the queue.

    Args:
        net: its slow encoder follows, and the queue goes on, while it trains.
        batch: texts and their codes.
        momentum: share of itself that the slow encoder keeps.
    """
    memory = net.momentum
    assert isinstance(memory, Momentum)
    assert batch.source is not None
    assert batch.code is not None
    if net.training:
        memory.encoder.follow(net, momentum)
    vectors = [each.embed(net) for each in (batch.source, batch.code)]
    slow = [memory.encoder(each.ids, each.real) for each in (batch.source, batch.code)]
    *held, ids = memory.queue.held()
    own, every = batch.pairs, torch.cat([batch.pairs, ids])
    ways = [
        info_nce(
            vectors[side],
            torch.cat([slow[1 - side], held[1 - side]]),
            memory.temperature,
            two_way=False,
            query_ids=own,
            document_ids=every,
        )
        for side in (0, 1)
    ]
    if net.training:
        memory.queue.push(*slow, own)
    value = (ways[0].value + ways[1].value) / 2
    return Loss(value, {"loss": value.detach(), "accuracy": ways[0].figures["accuracy"]})


def matched(net: WritingEncoder, batch: WritingBatch) -> Loss:
    """Pairs, and each text and each code with a wrong partner that looks right: does it belong?"""
    memory, text, target = net.momentum, batch.source, batch.target
    assert isinstance(memory, Momentum)
    assert text is not None
    assert target is not None
    assert batch.code is not None
    states = net.model.states(text.ids, text.real)
    with torch.no_grad():
        scores = net.read(states, text.real) @ batch.code.embed(net).T / memory.temperature
    wrong = batch.pairs[:, None] != batch.pairs[None, :]
    texts, other_codes = drawn_negatives(scores, wrong)
    codes, other_texts = drawn_negatives(scores.T, wrong.T)
    rows = torch.arange(len(batch.pairs), device=scores.device)
    left, right = torch.cat([rows, texts, other_texts]), torch.cat([rows, other_codes, codes])
    logits = net.matched(states[left], text.real[left], target.ids[right], target.real[right])
    labels = (torch.arange(len(left), device=scores.device) < len(rows)).long()
    value = F.cross_entropy(logits.float(), labels)
    accuracy = (logits.detach().argmax(1) == labels).float().mean()
    return Loss(value, {"loss": value.detach(), "accuracy": accuracy})
