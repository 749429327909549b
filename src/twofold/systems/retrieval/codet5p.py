"""CodeT5+: an encoder and a decoder that learn together and work alone, from hidden spans to matching.

Wang et al. 2023, "CodeT5+: Open Code Large Language Models for Code Understanding and Generation",
https://arxiv.org/abs/2305.07922
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.tokenizers import Tokenizer, train_bpe
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.errors import UserError
from twofold.objectives import Loss, info_nce
from twofold.parts import (
    Cls,
    Ema,
    Momentum,
    PairQueue,
    Part,
    Projection,
    SequenceHead,
    SequenceModel,
    TextEncoder,
    WritingEncoder,
    t5_decoder,
)
from twofold.parts.presets import gated_width
from twofold.surgery import graft_cross_attention
from twofold.surgery.vocabulary import widen_vocabulary
from twofold.tasks import Model, backbones
from twofold.tasks.inputs import freeze
from twofold.tasks.options import Backbone
from twofold.tasks.search import PairBatch, PairBatches, SearchData, SearchSystem, WritingModel
from twofold.tasks.search.writing import ON_CODE, ON_PAIRS, SENTINELS, TASKS, Name, WritingBatch, WritingBatches
from twofold.tasks.search.writing_losses import contrasted, matched, written
from twofold.training import Recipe

WORDS = (*TASKS.values(), *SENTINELS)
WRITES = {"denoise": (), "prefix": ("rest",), "alone": ("rest",), "to-code": ("code",), "to-text": ("text",)}
# Both arms of the claim. From random weights, neither finds anything within its steps.
SMALL: dict[str, Any] = {"backbone": "tiny-encoder-2", "document_tokens": 64, "batch": 16}


@system(
    "codet5p",
    number=77,
    title="CodeT5+: Open Code Large Language Models for Code Understanding and Generation",
    tasks=("search",),
    source="https://arxiv.org/abs/2305.07922",
    year=2023,
    needs=(
        "one model that searches, explains and completes code",
        "train a code model on my repository",
        "write code from a description",
        "give a language model an encoder without training it",
        "contrastive learning with a queue and a momentum encoder",
    ),
    simplified=(
        "hundreds of steps on Python functions, in place of 52 billion tokens of nine languages",
        "objectives take turns, one a step, in place of a sum of their losses",
        "a decoder that writes from nothing has no source at all, in place of a source of one token",
        "in the claim the encoder starts as a small masked language model, and a slow encoder that follows within tens "
        "of steps (momentum 0.9) replaces one that takes hundreds",
        "no instruction tuning; checkpoints of CodeT5+ are not read",
    ),
)
class CodeT5p(SearchSystem):
    """Code encoder and decoder: hidden spans, completion, contrast with a queue, matching, text to code and back."""

    by_name: ClassVar[bool] = True

    backbone: Backbone = Field(
        "t5-2x128", description="the encoder: preset or mixer and size, a reference model, or layers: [{mixer: ssd}]"
    )
    tune_layers: int = Field(0, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    decoder_layers: int = Field(2, ge=1, description="layers that write, where there is no graft")
    graft: str | None = Field(None, description="a trained decoder that stays frozen, such as smollm2, with its tokens")
    graft_layers: int = Field(2, ge=1, description="its top layers that look at the encoder's states")
    vocab: int = Field(4096, ge=300, description="pieces of the tokenizer, where it is trained here")
    width: int = Field(256, ge=1, description="of the vectors")
    objectives: tuple[Name, ...] = Field((*ON_CODE, *ON_PAIRS), min_length=1, description="one a step, in turn")
    pretrain: float = Field(0.8, gt=0, le=1, description="share of the budget for them; the rest is tuning on pairs")
    code_share: float = Field(0.5, ge=0, le=1, description="share of that for code alone, before pairs")
    mask_rate: float = Field(0.15, gt=0, lt=1, description="share of tokens that spans hide")
    mean_span: float = Field(3.0, ge=1, description="tokens in a hidden span, on average")
    momentum: float = Field(0.995, ge=0, le=1, description="share of itself that the slow encoder keeps each time")
    queue: int | None = Field(None, ge=1, description="pairs in the queue; by default 2,048 or half of all, if fewer")
    temperature: float = Field(0.07, gt=0.001, lt=0.5, description="of similarities; learned before tuning, then fixed")
    batch: int = Field(16, ge=2, description="pairs in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")

    def check(self) -> None:
        super().check()
        if self.graft is not None and backbones.check(self.graft, self.longest) is not None:
            raise UserError(
                f"graft={self.graft} was never trained, and a graft stays as it is; give a trained decoder, such as "
                "smollm2, or leave graft out"
            )

    def start(self, data: SearchData, seed: int) -> Model:
        texts = [data.documents[i] for i in data.pool("train")] + [data.queries[i] for i in data.asked("train")]
        writer = None if self.graft is None else backbones.choose(self.graft, texts, seed, self.longest)
        if writer is not None and writer.head is None:
            raise UserError(f"graft={self.graft} has no head over its vocabulary, so it cannot write; give a decoder")
        base = None if writer is None else writer.tokenizer

        def tokens(some: Sequence[str], vocab: int) -> Tokenizer:
            return _extended(train_bpe(some, vocab) if base is None else base)

        chosen = backbones.choose(self.backbone, texts, seed, self.longest, vocab=self.vocab, tokens=tokens)
        if chosen.pretrained and writer is not None:
            raise UserError(f"graft={self.graft} brings its own tokens; give an untrained backbone, such as t5-2x128")
        tokenizer = _extended(chosen.tokenizer) if chosen.pretrained else chosen.tokenizer
        assert isinstance(tokenizer, SubwordTokenizer)
        torch.manual_seed(seed)
        encoder = widen_vocabulary(chosen.model, tokenizer.vocab_size) if chosen.pretrained else chosen.model
        freeze(encoder, self.tune_layers if chosen.pretrained else 0, str(self.backbone))
        if writer is None:
            heads = max(1, encoder.dim // 32)
            decoder = t5_decoder(
                encoder.embedding, tokenizer.vocab_size, heads, gated_width(encoder.dim), self.decoder_layers
            )
        else:
            known = SequenceModel(writer.model.embedding, writer.model.stack, writer.head)
            known = widen_vocabulary(known, tokenizer.vocab_size)
            decoder = graft_cross_attention(known, encoder.dim, self.graft_layers)
        project = Projection(encoder.dim, self.width)
        momentum = None
        if {"contrast", "match"} & set(self.objectives):
            slow = TextEncoder(copy.deepcopy(encoder), Cls(), copy.deepcopy(project))
            momentum = Momentum(Ema(slow), PairQueue(self.held(len(data.pairs)), self.width), self.temperature)
        net = WritingEncoder(encoder, Cls(), project, decoder, SequenceHead(decoder.dim, 2), momentum)
        writes = {
            name: tokenizer.index(TASKS[name]) or 0
            for kind in self.objectives
            for name in WRITES.get(kind, (kind,))
            if name in TASKS
        }
        spec = {
            "query_tokens": self.query_tokens,
            "document_tokens": self.document_tokens,
            "query_prefix": "",
            "document_prefix": "",
            "writes": writes,
        }
        return WritingModel(net, tokenizer, spec, notes=dict(chosen.notes if writer is None else writer.notes))

    def held(self, pairs: int) -> int:
        """Pairs in the queue.

        Raises:
            UserError: it would hold every training pair.
        """
        if self.queue is not None and self.queue >= pairs:
            raise UserError(
                f"queue={self.queue} would hold all {pairs} training pairs; use less, or leave it out for {pairs // 2}"
            )
        return self.queue or max(1, min(2048, pairs // 2))

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], WritingBatch | PairBatch]:
        """Code alone, then pairs, then tuning on pairs."""
        assert isinstance(model, WritingModel)
        stages: list[tuple[float, Callable[[int, float], WritingBatch | PairBatch]]] = []
        alone, together = ([o for o in self.objectives if o in kinds] for kinds in (ON_CODE, ON_PAIRS))
        share = self.code_share if alone and together else float(bool(alone))
        for kinds, end in ((alone, share * self.pretrain), (together, self.pretrain)):
            if kinds:
                made = WritingBatches(model, data, kinds, self.batch, self.mask_rate, self.mean_span, seed)
                stages.append((end, made))
        tuning = PairBatches(self, model, data, seed) if self.pretrain < 1 else stages[-1][1]

        def batch(step: int, progress: float) -> WritingBatch | PairBatch:
            return next((made for end, made in stages if progress < end), tuning)(step, progress)

        return batch

    def loss(self, net: Part, batch: WritingBatch | PairBatch) -> Loss:
        """The loss of the batch's kind, or that of tuning."""
        assert isinstance(net, WritingEncoder)
        if isinstance(batch, PairBatch):
            queries, documents = batch.queries.embed(net), batch.documents.embed(net)
            ids, others = batch.query_ids, batch.document_ids
            return info_nce(queries, documents, self.temperature, query_ids=ids, document_ids=others)
        if batch.kind == "contrast":
            return contrasted(net, batch, self.momentum)
        return matched(net, batch) if batch.kind == "match" else written(net, batch)

    def finish(self, model: Model) -> None:
        assert isinstance(model, WritingModel)
        model.net.momentum = None

    def recipe(self) -> Recipe:
        """The rate stays where it is until the last fifth: tuning begins with that of pre-training."""
        return replace(super().recipe(), schedule="trapezoid", final=0.0)

    def small(self) -> Self:
        sizes: dict[str, Any] = {"decoder_layers": 1, "vocab": 300, "width": 16, "graft": None}
        return replace(super().small(), **sizes)

    claim: ClassVar[Claim] = Claim(
        says="the mixture of denoising, completion, contrast and matching makes a better code searcher than denoising "
        "alone, after the same tuning",
        paper="text-to-code search 1.5 MRR above the best earlier model on average; 35.0 pass@1 on HumanEval",
        arms=(
            Arm("codet5p", objectives=("denoise",), **SMALL),
            Arm("codet5p", objectives=("denoise", "prefix", "contrast", "match"), momentum=0.9, **SMALL),
        ),
        data="pycode",
        metric="mrr@10",
        by=0.03,
        budget=Steps(250),
        side=(Arm("bm25"),),
        tune={"lr": (3e-5, 1e-4, 3e-4, 1e-3)},
        minutes=6,
    )


def _extended(tokenizer: Tokenizer) -> SubwordTokenizer:
    if not isinstance(tokenizer, SubwordTokenizer):
        raise UserError("codet5p needs a subword tokenizer, to which it adds its marks; use another backbone or graft")
    return tokenizer.extended(WORDS)
