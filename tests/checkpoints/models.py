"""Model folders to test with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from twofold import parts
from twofold.checkpoints import folder
from twofold.parts import Part, SequenceModel


def network(seed: int = 0, hidden: int = 12) -> SequenceModel:
    torch.manual_seed(seed)
    return parts.bert(vocab=40, dim=8, layers=2, heads=2, hidden=hidden, max_len=16, head="mlm").eval()


def write(path: Path, net: Part | None, **changes: Any) -> Path:
    told: dict[str, Any] = {
        "network": net.spec() if net is not None else None,
        "tensors": net.state_dict() if net is not None else {},
        "task": {"name": "search", "query_tokens": 64},
        "tokenizer": {"kind": "bytes"},
        "history": [{"id": "gtr", "options": {"temperature": 0.05}, "report": {}}],
        "card": "# A model\n",
        "notes": {"source": "made here", "licence": "Apache-2.0"},
    }
    return folder.write(path, **{**told, **changes})
