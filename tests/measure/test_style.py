import itertools

import numpy as np

from twofold.measure.reports import style

# Machado, Oliveira and Fernandes 2009, full severity, on linear RGB.
EYES = {
    "usual": np.eye(3),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    light, dark = sorted((float(linear(c) @ TO_XYZ[1]) for c in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0, 1) / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_series_keep_apart_for_every_eye_and_can_be_read() -> None:
    for palette in (style.LIGHT, style.DARK):
        colours = [value for name, value in palette.items() if name.startswith("series")]
        assert len(colours) == len(style.SERIES)
        for matrix in EYES.values():
            seen = [lab(matrix @ linear(c)) for c in colours]
            assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 20
        for colour in [*colours, palette["ink"], palette["soft"]]:
            assert contrast(colour, palette["paper"]) >= 4.5
            assert contrast(palette["ink"], palette["mark"]) >= 4.5


def test_both_palettes_name_the_same_colours_and_no_two_are_equal() -> None:
    assert list(style.LIGHT) == list(style.DARK)
    assert len(set(style.LIGHT.values())) == len(style.LIGHT)
    assert "prefers-color-scheme:dark" in style.css()


def test_after_the_last_colour_dashes_tell_series_apart() -> None:
    looks = {(style.series(i), str(style.dash(i))) for i in range(3 * len(style.SERIES))}
    assert len(looks) == 3 * len(style.SERIES)


def test_colours_are_replaced_by_their_names() -> None:
    assert style.named(f"fill: {style.INK}") == f"fill: var(--ink,{style.INK})"
