"""Made-up images for made-up records: stripes, whose direction leans with what is predicted, under noise.

At most a few hundred different ones are drawn for a site: of many records, several share one.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation.plan.columns.pictures import Picture

Drawing = NDArray[Any]
"""(height, width), or (height, width, 3), as a PNG file holds it."""

FOLDER: Final = "images"
_DIFFERENT: Final = 256
_STRIPES: Final = 3  # across an image
_SHOWN: Final = 0.5  # of the range for the stripes; the rest is noise


def drawn(
    feature: Picture,
    site: str,
    leans: NDArray[np.int64],
    classes: int,
    words: Callable[[int], NDArray[np.uint64]],
) -> tuple[tuple[str, ...], dict[str, Drawing]]:
    """A name for each record, and the images of these names. `leans` says which of so many directions each has."""
    pictures, known = dict[str, Drawing](), defaultdict[int, list[str]](list)
    stem = hashlib.sha256(feature.name.encode()).hexdigest()[:8]
    cells = list[str]()
    for row, lean in enumerate(leans.tolist()):
        if row < _DIFFERENT or not known[lean]:
            name = f"{FOLDER}/{site}-{stem}-{len(pictures) + 1:04}.png"
            pictures[name] = _stripes(feature, math.pi * lean / classes, words)
            known[lean].append(name)
            cells.append(name)
        else:
            cells.append(known[lean][row % len(known[lean])])
    return tuple(cells), pictures


def _stripes(feature: Picture, angle: float, words: Callable[[int], NDArray[np.uint64]]) -> Drawing:
    channels, height, width = feature.shape
    noise = (words(height * width) >> np.uint64(11)).astype(np.float64).reshape(height, width) / 2.0**53
    down, across = np.mgrid[0:height, 0:width] / max(height, width)
    wave = np.cos(2 * math.pi * _STRIPES * (across * math.cos(angle) + down * math.sin(angle)))
    share = _SHOWN * (wave + 1) / 2 + (1 - _SHOWN) * noise
    # A PNG holds no values below 0 or above 65,535, and no more than 255 of a color: of a wider range, a part.
    most = 255.0 if channels == 3 or feature.high <= 255 else 65535.0
    low, high = np.clip([feature.low, feature.high], 0, most)
    gray = np.rint(low + share * (high - low)).astype(np.uint8 if most == 255.0 else np.uint16)
    return gray if channels == 1 else np.repeat(gray[:, :, None], 3, 2)
