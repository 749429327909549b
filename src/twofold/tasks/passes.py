"""One pass of a model over inputs that it has not learned from, for those who look into its network meanwhile."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from twofold.data import batches
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Mask
from twofold.tasks.classify import ClassifyModel, ImageReader, TextReader, from_rows
from twofold.tasks.language import LanguageModel
from twofold.tasks.model import Model


def one_pass(model: Model, rows: Rows, most: int = 128) -> Bool[Tensor, "batch time"] | None:
    """Runs a model's network once, on its first test inputs.

    Args:
        model: a classifier of texts or images, or a language model.
        rows: as its task reads them; a classifier is given the test part.
        most: inputs.

    Returns:
        Which tokens are real; None where all are.

    Raises:
        UserError: a model of another task.
    """
    net = model.net.eval()
    if isinstance(model, LanguageModel):
        texts = [str(text) for text in rows.columns["text"] if str(text).strip()][:most]
        ids, real = batches.pad([[model.start, *t][: model.length] for t in model.tokens(texts)], model.text.pad or 0)
        net(ids, Mask.causal() & Mask.padding(real))
        return real
    if not isinstance(model, ClassifyModel):
        raise UserError(
            f"{model.name} is for {model.task}, and only classifiers and language models are looked into here"
        )
    inputs, reader = from_rows(rows).part("test")[0][:most], model.reader
    if isinstance(reader, ImageReader):
        net(reader.tensor(inputs))
        return None
    assert isinstance(reader, TextReader)
    assert model.tokenizer is not None
    ids, real = batches.pad(reader.encode(model.tokenizer, list(inputs)), model.tokenizer.pad or 0)
    net(ids, real)
    return real
