"""Made captions in five languages, each with an English description of the same scene in other words."""

from __future__ import annotations

import numpy as np

from twofold.data.rows import Rows

LANGUAGES = ("en", "fr", "de", "it", "es")

# Nouns with their gender; adjectives as (masculine, feminine), in German as stems that are declined.
_SHAPES = {
    "en": ("circle", "square", "triangle", "star", "heart", "ring", "cross", "arrow"),
    "fr": ("cercle m", "carré m", "triangle m", "étoile f", "cœur m", "anneau m", "croix f", "flèche f"),
    "de": ("Kreis m", "Quadrat n", "Dreieck n", "Stern m", "Herz n", "Ring m", "Kreuz n", "Pfeil m"),
    "it": ("cerchio m", "quadrato m", "triangolo m", "stella f", "cuore m", "anello m", "croce f", "freccia f"),
    "es": ("círculo m", "cuadrado m", "triángulo m", "estrella f", "corazón m", "anillo m", "cruz f", "flecha f"),
}
_COLOURS = {
    "en": ("red", "blue", "green", "yellow", "black", "white", "grey", "violet"),
    "fr": (
        "rouge rouge",
        "bleu bleue",
        "vert verte",
        "jaune jaune",
        "noir noire",
        "blanc blanche",
        "gris grise",
        "violet violette",
    ),
    "de": ("rot", "blau", "grün", "gelb", "schwarz", "weiß", "grau", "violett"),
    "it": (
        "rosso rossa",
        "blu blu",
        "verde verde",
        "giallo gialla",
        "nero nera",
        "bianco bianca",
        "grigio grigia",
        "viola viola",
    ),
    "es": (
        "rojo roja",
        "azul azul",
        "verde verde",
        "amarillo amarilla",
        "negro negra",
        "blanco blanca",
        "gris gris",
        "violeta violeta",
    ),
}
_SIZES = {
    "en": ("small", "large", "tiny"),
    "fr": ("petit petite", "grand grande", "minuscule minuscule"),
    "de": ("klein", "groß", "winzig"),
    "it": ("piccolo piccola", "grande grande", "minuscolo minuscola"),
    "es": ("pequeño pequeña", "grande grande", "diminuto diminuta"),
}
_RELATIONS = {
    "en": ("left of", "right of", "above", "below"),
    "fr": ("à gauche d'", "à droite d'", "au-dessus d'", "au-dessous d'"),
    "de": ("links von", "rechts von", "über", "unter"),
    "it": ("a sinistra di", "a destra di", "sopra", "sotto"),
    "es": ("a la izquierda de", "a la derecha de", "encima de", "debajo de"),
}
_ARTICLES = {"fr": ("un", "une"), "it": ("un", "una"), "es": ("un", "una")}
_DECLINED = {"m": "er", "n": "es", "f": "e"}
_TOLD = ("to the left of", "to the right of", "above", "below")

Thing = tuple[int, int, int]
"""Size, colour and shape."""


def _thing(language: str, thing: Thing, dative: bool = False) -> str:
    """An object with its article, in a language."""
    size, colour, shape = _SIZES[language][thing[0]], _COLOURS[language][thing[1]], _SHAPES[language][thing[2]]
    if language == "en":
        return f"a {size} {colour} {shape}"
    noun, gender = shape.split()
    if language == "de":
        article = ("einer" if gender == "f" else "einem") if dative else ("eine" if gender == "f" else "ein")
        end = "en" if dative else _DECLINED[gender]
        return f"{article} {size}{end} {colour}{end} {noun}"
    which = int(gender == "f")
    big, hue, article = size.split()[which], colour.split()[which], _ARTICLES[language][which]
    # Spanish says what size a thing is behind it, French and Italian in front.
    return f"{article} {noun} {big} {hue}" if language == "es" else f"{article} {big} {noun} {hue}"


def caption(language: str, first: Thing, relation: int, second: Thing) -> str:
    """One sentence: a small red circle left of a large blue square."""
    joined = _RELATIONS[language][relation]
    space = "" if joined.endswith("'") else " "
    return f"{_thing(language, first)} {joined}{space}{_thing(language, second, dative=True)}"


def description(first: Thing, relation: int, second: Thing) -> str:
    """The same scene in English, in other words and in another order."""
    told = []
    for size, colour, shape in (second, first):
        told.append(f"The {_SHAPES['en'][shape]} is {_COLOURS['en'][colour]} and {_SIZES['en'][size]}.")
    one, other = (_SHAPES["en"][thing[2]] for thing in (first, second))
    return f"The picture shows two things. {' '.join(told)} The {one} is {_TOLD[relation]} the {other}."


def languages(train: int = 400, validation: int = 60, test: int = 100, seed: int = 0) -> Rows:
    """Rows of scenes, five for each, one a language.

    `query`: the caption in that language; `document`: the English description; `text` and `translation`: the caption in
    English and in that language, as one learns from that adds a language; `language`; `split`. A scene has two
    different shapes, and none comes twice.

    Args:
        train, validation, test: scenes.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    count, (sizes, colours, shapes) = train + validation + test, (3, 8, 8)
    pairs = [(a, b) for a in range(shapes) for b in range(shapes) if a != b]
    every = random.permutation(sizes * colours * sizes * colours * 4 * len(pairs))[:count]
    rows: dict[str, list[object]] = {
        name: [] for name in ("query", "document", "text", "translation", "language", "split")
    }
    for number, scene in enumerate(every.tolist()):
        part = "train" if number < train else "validation" if number < train + validation else "test"
        chosen = []
        for size in (sizes, colours, sizes, colours, 4):
            scene, digit = divmod(scene, size)
            chosen.append(digit)
        one, other = pairs[scene]
        first, second, relation = (chosen[0], chosen[1], one), (chosen[2], chosen[3], other), chosen[4]
        english = caption("en", first, relation, second)
        for language in LANGUAGES:
            own = caption(language, first, relation, second)
            told = (own, description(first, relation, second), english, own, language, part)
            for name, value in zip(rows, told, strict=True):
                rows[name].append(value)
    return Rows.of(rows, name="languages", source="made", prefix=f"made-{seed}")
