"""What sentence-transformers has to be told so that an exported encoder gives the vectors that it gives here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twofold.parts import SparseEncoder, TextEncoder

if TYPE_CHECKING:
    from twofold.tasks.search.model import EncoderModel


def prompts(model: EncoderModel) -> dict[str, str]:
    """What stands before texts, by side, as sentence-transformers names it; sides without any are left out."""
    sides = {side: str(model.spec.get(f"{side}_prefix", "")) for side in ("query", "document")}
    return {side: text for side, text in sides.items() if text}


def differences(model: EncoderModel) -> list[str]:
    """A sentence for everything that an exported folder cannot hold; none where it gives the same without more."""
    if type(model.net) not in (TextEncoder, SparseEncoder):
        return []
    spec: dict[str, Any] = model.spec
    asked, kept = int(spec["query_tokens"]), int(spec["document_tokens"])
    found = []
    if asked != kept:
        found.append(
            "sentence-transformers cuts all texts at one length: the export takes that of documents, "
            f"{kept} tokens, so that their vectors are the same; set model.max_seq_length = {asked} to encode queries, "
            "which are cut there"
        )
    if prompts(model):
        found.append("texts begin with a prefix: encode them by encode_query and encode_document, which know it")
    if spec.get("width") is not None:
        found.append(
            f"vectors are exported whole and cut at {spec['width']} here: "
            f"encode with truncate_dim={spec['width']}, normalize_embeddings=True"
        )
    terms = {side: spec.get(f"{side}_terms") for side in ("query", "document")}
    if any(terms.values()):
        each = " and ".join(f"max_active_dims={most} for a {side}" for side, most in terms.items() if most)
        found.append(f"only the heaviest terms are kept here: encode with {each}")
    return found
