"""linear-head: an encoder fine-tuned with a linear map over its mean state, the usual way to make a classifier.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805, with the mean of the states in place of the first token's.
"""

from __future__ import annotations

from twofold.catalog import baseline
from twofold.tasks.classify import ClassifySystem


@baseline(
    "linear-head",
    title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    tasks=("classify",),
    source="https://arxiv.org/abs/1810.04805",
    needs=("fine-tune an encoder to classify texts", "text classifier on a pretrained model"),
)
class LinearHead(ClassifySystem):
    """Fine-tuned encoder with a linear classification head on the mean of its states."""
