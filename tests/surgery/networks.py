"""Small networks of every shape that surgery meets."""

from __future__ import annotations

import torch

from twofold.parts import Mean, SequenceModel, TextEncoder, decoder, encoder

VOCAB = 50


def bert_like(layers: int = 2) -> TextEncoder:
    """Post-norm, learned positions, biases, mean pooling."""
    net = encoder(
        VOCAB, 32, layers, 4, max_len=32, hidden=48, position="learned", norm="layer", wiring="post",
        activation="gelu", gate=False, bias=True,
    )  # fmt: skip
    return TextEncoder(net, Mean())


def llama_like(layers: int = 2) -> SequenceModel:
    """Causal, rotary, grouped keys, gated, tied head."""
    return decoder(VOCAB, 36, layers, 6, kv_heads=3, hidden=40)


NETS = {
    "bert": bert_like,
    "llama": llama_like,
    "alibi": lambda: encoder(VOCAB, 32, 2, 4, hidden=24, position="alibi"),
    "t5": lambda: encoder(VOCAB, 32, 2, 4, hidden=24, position="t5"),
    "parallel": lambda: decoder(VOCAB, 32, 2, 4, hidden=24, wiring="parallel"),
}


def made(name: str):
    """A network with weights of all sizes (fresh biases and position weights are zero, which would hide mistakes)."""
    torch.manual_seed(0)
    net = NETS[name]()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.eval()


def batches(seed: int = 0, rows: int = 4, longest: int = 12, n: int = 3):
    """Padded batches: ids and which are real."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(n):
        ids = torch.randint(0, VOCAB, (rows, longest), generator=generator)
        lengths = torch.randint(3, longest + 1, (rows, 1), generator=generator)
        out.append((ids, torch.arange(longest) < lengths))
    return out
