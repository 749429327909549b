"""`digits`: 1,797 grey images of written digits, 8 × 8 pixels, from scikit-learn.

The test part of the UCI set of handwritten digits (Alpaydin & Kaynak 1998, https://doi.org/10.24432/C50P49).
"""

from __future__ import annotations

import numpy as np

from twofold.data.rows import Rows


def digits() -> Rows:
    """Columns `image` (uint8 `[8, 8]`, 0 to 255 in 17 steps), `label` ("0" to "9") and `id`."""
    from sklearn import __version__
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)
    columns = {
        "id": [f"digit-{i}" for i in range(len(images))],
        "image": list(images),
        "label": [str(label) for label in found.target],
    }
    return Rows("digits", columns, f"digits-{len(images)}", f"scikit-learn {__version__}: load_digits")
