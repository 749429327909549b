"""The sequence model inside a network."""

from __future__ import annotations

import torch

from twofold.parts import Mean, PixelPerceptron, SequenceHead, TextClassifier, TextEncoder, TwoTowers, presets
from twofold.parts import sequence_model as found_in


def test_it_is_found_where_documents_go_through() -> None:
    torch.manual_seed(0)
    query, document = (presets.encoder(12, 16, 1, 2) for _ in range(2))
    assert found_in(document) is document
    assert found_in(TextEncoder(document, Mean())) is document
    assert found_in(TwoTowers(TextEncoder(query, Mean()), TextEncoder(document, Mean()))) is document
    assert found_in(TextClassifier(document, Mean(), SequenceHead(16, 3))) is document
    assert found_in(PixelPerceptron(4, 3, 2)) is None
