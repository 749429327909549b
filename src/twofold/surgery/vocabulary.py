"""Networks with more tokens than they were trained with."""

from __future__ import annotations

import torch

from twofold.errors import UserError
from twofold.parts import MLMHead, SequenceModel, TiedHead, TokenEmbedding


@torch.no_grad()
def widen_vocabulary(model: SequenceModel, vocab: int) -> SequenceModel:
    """The same network over `vocab` tokens: known ones keep their vectors, new ones start as the mean of those.

    The stack is shared with `model`; embedding and head are new.

    Raises:
        UserError: fewer tokens than it has, or an embedding or head that has no row for each token.
    """
    head = model.head
    if vocab < model.vocab or not isinstance(model.embedding, TokenEmbedding):
        raise UserError(
            f"a network with {model.vocab} tokens cannot get {vocab}; it needs token vectors and more tokens"
        )
    if head is not None and not isinstance(head, TiedHead | MLMHead):
        raise UserError(f"{type(head).__name__} has no bias for each token to add to; use a tied head")
    embedding = model.embedding.rebuilt(vocab=vocab)
    wider = None if head is None else head.rebuilt(vocab=vocab)
    for old, new in ((model.embedding, embedding), (head, wider)):
        if old is None or new is None:
            continue
        own = new.state_dict()
        for name, tensor in old.state_dict().items():
            if own[name].shape == tensor.shape:
                own[name].copy_(tensor)
            else:
                own[name][: len(tensor)] = tensor
                own[name][len(tensor) :] = tensor.mean(0)
    return SequenceModel(embedding, model.stack, wider)
