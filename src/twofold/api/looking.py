"""Looking at what there is. Loads nothing heavy but for `find(semantic=True)` and a person's own systems."""

from __future__ import annotations

from twofold.errors import UserError, did_you_mean, meant, near_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    CardData: TypeAlias = dict[str, Any]


def list(task: str | None = None, kind: str | None = None, family: str | None = None) -> tuple[CardData, ...]:
    """Every system and baseline, or those that serve a task, are of a kind, or belong to a family.

    Args:
        task: such as `search`, `language`, `solve`.
        kind: `model`, `transform` or `study`.
        family: such as `retrieval`; plain ones are in `baselines`.

    Returns:
        Cards, in the order of family and id: `id`, `title`, `kind`, `family`, `tasks`, `summary`, `options` (JSON
        schema by name), and where there is one `also` (other kinds it can be used as), `number`, `source`, `year`,
        `claim`, `verdict` and `namesake` (commands for the backbone that has the same name).

    Raises:
        UserError: a task, kind or family that no card has; names the nearest.
    """
    from twofold.catalog import index

    return tuple(index.select(task=task, kind=kind, family=family))


def backbones() -> tuple[CardData, ...]:
    """Every name that a backbone can have: `id`, `kind` (preset, mixer, system, reference, checkpoint), `summary`.

    Presets, mixers and systems take a size behind it, layers x width: `ssd-2x128`.
    """
    from twofold.tasks import backbones

    return tuple(backbones.every())


def find(need: str, limit: int = 10, semantic: bool = False) -> tuple[CardData, ...]:
    """Systems for a need, said in a person's own words: `find("shrink a BERT without labels")`.

    Args:
        need: what is wanted.
        limit: how many cards at most.
        semantic: rank by meaning, with the checkpoint `minilm`, instead of by words.

    Returns:
        Cards as of `list`, each with a `score`, best first. By words only those that share one are returned;
        by meaning the score is the cosine, in [-1, 1].

    Raises:
        UserError: `need` is empty, or `semantic` and `minilm` has not been pulled.
    """
    if not need.strip():
        raise UserError("say what is needed, such as: find 'search by meaning'")
    if semantic:
        return _find_by_meaning(need, limit)
    from twofold.catalog import search

    return tuple(search.find(need, limit))


def show(system: str) -> CardData:
    """The card of one system, with its options, claim and verdict; of a mixer, what its blocks look like and cost.

    Args:
        system: an id, also of an installed plug-in, or `./file.py:Class`; or another name that a backbone can have,
            such as `ssd` or `t5-2x128`.

    Raises:
        UserError: no such system; names the nearest.
    """
    from twofold.catalog import index

    for card in index.cards():
        if card["id"] == system:
            return card
    from twofold.catalog import register

    if ".py:" in system:
        return _described(register.resolve(register.add_file(system)))
    try:
        return _described(register.resolve(system))
    except UserError as error:
        from twofold.tasks import backbone_cards, backbone_names
        from twofold.tasks import backbones as named

        if (found := backbone_cards.card(system)) is not None:
            return found
        if backbone_names.SIZED.fullmatch(system):
            raise named.unknown(system) from error
        own = [card["id"] for card in index.cards()]
        near = near_names(system.lower(), [*own, *(each["id"] for each in backbones())])
        if not near or meant(near) == did_you_mean(system, own):
            raise
        listed = "twofold list, and twofold list --backbones"
        raise UserError(f"unknown system or backbone {system!r}.{meant(near)} All names: {listed}") from error


def cite(system: str) -> str:
    """The source of a system as a BibTeX entry.

    Raises:
        UserError: no such system, or one without a source.
    """
    card = show(system)
    source = card.get("source", "")
    if not source:
        raise UserError(f"{system} names no source to cite")
    fields = {"title": f"{{{card['title']}}}", "year": card.get("year"), "url": source}
    if "arxiv.org/abs/" in source:
        fields |= {"eprint": source.rpartition("/")[2], "archivePrefix": "arXiv"}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value is not None]
    key = f"{card['id'].replace('-', '')}{card.get('year', '')}"
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def _described(cls: Any) -> CardData:
    """The card of a class that stands in no index."""
    from pydantic import TypeAdapter

    card = {**cls.card.as_dict(), "module": cls.__module__}
    card["options"] = TypeAdapter(cls).json_schema().get("properties", {})
    if cls.claim is not None:
        card |= {"claim": cls.claim.as_dict(), "verdict": "not shown yet"}
    return card


def _find_by_meaning(need: str, limit: int) -> tuple[CardData, ...]:
    from twofold import tasks
    from twofold.catalog import index

    cards = index.cards()
    texts = [f"{c['title']}. {c['summary']}. {', '.join(c.get('needs', ()))}" for c in cards]
    model: Any = tasks.load("minilm")
    scores = model.encode([need], side="query").score(model.encode(texts)).squeeze(0)
    best = scores.argsort(descending=True, stable=True).tolist()[:limit]
    return tuple({**cards[i], "score": round(float(scores[i]), 3)} for i in best)
