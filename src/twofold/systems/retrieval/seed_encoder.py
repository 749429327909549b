"""SEED-Encoder: a text must pass through one vector, since the decoder that rebuilds it sees little else.

Lu et al. 2021, "Less is More: Pre-train a Strong Text Encoder for Dense Retrieval Using a Weak Decoder",
https://arxiv.org/abs/2102.09206
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.objectives import Loss, causal
from twofold.parts import Encoder, Mask, Part, SequenceModel, TextEncoder, Tower, presets
from twofold.parts.encoders import Side
from twofold.tasks import Model, backbones
from twofold.tasks.search.pretraining import PretrainedRetriever, TextBatch

# Both arms of the claim.
SMALL: dict[str, Any] = {
    "backbone": "tiny-encoder-2",
    "document_tokens": 32,
    "batch": 16,
    "pretrain": 0.7,
    "pairs": 300,
}


class WeakDecoder(Part):
    """Predicts each token from a text's vector and the last few tokens: what else it needs, the vector must hold.

    Args:
        model: a causal network of its own, with a head over the vocabulary.
        span: tokens before the one that is predicted that a layer sees, beside the vector; None: all.

    Raises:
        UserError: a span of nothing.
    """

    def __init__(self, model: SequenceModel, span: int | None = 2) -> None:
        super().__init__()
        if span is not None and span < 1:
            raise UserError(f"the decoder's span is {span}; it must see at least 1 token")
        self.model, self.span = model, span

    def forward(
        self,
        vectors: Float[Tensor, "batch dim"],
        ids: Int[Tensor, "batch time"],
        real: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of the token at t + 1, from the vector, in place of the first token, and tokens t - span + 1 to t."""
        mask = Mask.causal() if self.span is None else Mask.causal() & Mask.window(self.span, first=1)
        mask = (mask & Mask.of(real)).for_pass()
        states = torch.cat([vectors[:, None], self.model.embed(ids, mask)[:, 1:]], 1)
        return self.model.apply_head(self.model.stack(states, mask))


class WithDecoder(Encoder):
    """An encoder beside the decoder that it is pre-trained with; it answers alone."""

    def __init__(self, encoder: TextEncoder, decoder: WeakDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def tower(self, side: Side) -> Tower:
        """The encoder, for both sides."""
        return self.encoder


@system(
    "seed-encoder",
    number=233,
    title="Less is More: Pre-train a Strong Text Encoder for Dense Retrieval Using a Weak Decoder",
    tasks=("search",),
    source="https://arxiv.org/abs/2102.09206",
    year=2021,
    needs=(
        "pre-train an encoder for search on my documents",
        "few labelled pairs, many documents",
        "autoencoder bottleneck for dense retrieval",
        "a better CLS vector",
    ),
    simplified=(
        "hundreds of steps on the documents to be searched, in place of 16 GB of English text",
        "hard negatives are BM25's, found once, in place of rounds of the model's own",
        "both stages share one optimizer and one learning rate, which falls at the end of the second",
        "the decoder has tokens of its own, which start as the encoder's, so that its gradients reach the encoder "
        "through the vector alone",
    ),
)
class SeedEncoder(PretrainedRetriever):
    """Dual encoder whose pre-training rebuilds each text from its one vector, by a decoder too weak to guess."""

    by_name: ClassVar[bool] = True

    decoder_layers: int = Field(3, ge=1, description="blocks of the decoder")
    span: int | None = Field(2, ge=1, description="tokens before its own that a decoder's layer sees; none: all")

    def network(self, chosen: backbones.Chosen) -> WithDecoder:
        encoder = super().network(chosen)
        assert isinstance(encoder, TextEncoder)
        model = encoder.model
        decoder = presets.decoder(model.vocab, model.dim, self.decoder_layers, max(1, model.dim // 32))
        known, own = model.embedding.table, decoder.embedding.table
        if chosen.pretrained and known is not None and own is not None:
            with torch.no_grad():
                own.copy_(known)
        return WithDecoder(encoder, WeakDecoder(decoder, self.span))

    def pretraining(self, net: Encoder, batch: TextBatch) -> Loss:
        """Hidden tokens, plus the whole text from the vector of what was left to be seen (section 4.2)."""
        assert isinstance(net, WithDecoder)
        filled, vectors = self.filled(net, batch)
        rebuilt = causal(net.decoder(vectors, batch.ids, batch.real), batch.ids, real=batch.real)
        value = filled.value + rebuilt.value
        return Loss(value, {"loss": value.detach(), "masked": filled.value.detach(), "rebuilt": rebuilt.value.detach()})

    def finish(self, model: Model) -> None:
        """The decoder has done its work."""
        assert isinstance(model.net, WithDecoder)
        model._net = model.net.encoder
        super().finish(model)

    claim: ClassVar[Claim] = Claim(
        says="rebuilding documents through a weak decoder beside filling in hidden tokens makes first states that "
        "rank better after the same few pairs",
        paper="MRR@10 on MS MARCO about 0.01 above the same tuning from BERT (0.339 with mined negatives); strong "
        "decoders rebuild better and retrieve worse",
        arms=(Arm("masked-retriever", **SMALL), Arm("seed-encoder", **SMALL)),
        data="pydoc",
        metric="mrr@10",
        by=0.02,
        budget=Steps(200),
        side=(Arm("bm25"),),
        tune={"lr": (3e-4, 1e-3, 2e-3)},
        minutes=5,
    )
