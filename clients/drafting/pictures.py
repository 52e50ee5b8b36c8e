"""What a plan could say of a column of images: files that the cells of a public table name, or an NPZ's array.

Size, color and range are those of the images that are there: guesses like any other. A column with an image that no
plan would take (it is missing, or in color where others are gray) is left out, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from statistics import median
from typing import Final

import numpy as np

from clients.data.cells import is_missing
from clients.data.images.form import NoImage
from clients.data.images.looked import Seen, look
from clients.data.sources.archive import array_of, shape_of
from clients.data.sources.table import Table
from clients.drafting.columns import Judged, outwards
from clients.rules.origin import Origin
from federation.plan.columns.pictures import MOST_PIXELS, Picture
from federation.plan.identifiers import cleaned
from federation.words import many, some

_NAME: Final = re.compile(r".+\.(png|jpe?g|dcm)", re.IGNORECASE)
_LOOKED_AT, _UNPACKED = 20_000, 100  # images of a column, spread over its rows
_SIDE: Final = 64  # of a size to which others are scaled
_CELLS, _FEWEST, _MOST = 8, 4, 16  # along the shorter side: about, at least, at most
_BITS: Final = (8, 10, 12, 14, 16)  # of a pixel, as cameras and scanners have them
_NETWORK: Final = 'for a network: image = "pixels", no cell, and model = "cnn"'


@dataclass(frozen=True)
class _Images:
    """Images of a column of one table: how many, those that were looked at, and what is wrong with others."""

    count: int
    seen: tuple[Seen, ...]
    wrong: tuple[str, ...] = ()


def images_in(tables: Sequence[Table]) -> Mapping[str, Judged]:
    """What a plan could say of each column that names or is images, in all of these tables; by its name."""
    found = {}
    for name in tables[0].header:
        parts = [part for table in tables if (part := _images(table, name)) is not None]
        if len(parts) == len(tables):
            silent = sum(is_missing(cleaned(cell)) for table in tables for cell in table.column(name))
            found[name] = _judged(name, parts, silent)
    return found


def _images(table: Table, name: str) -> _Images | None:
    origin = Origin.of(table.path)
    if table.header.count(name) != 1:
        return None
    if origin.kind == "npz":
        return _of_array(origin, name)
    rows = zip(table.column(name), table.lines, strict=True)
    known = {cell: line for cell, line in rows if not is_missing(cleaned(cell))}
    if not known or not all(map(_NAME.fullmatch, known)):
        return None
    if origin.server is not None:
        return _Images(len(known), (), ("a database has no files beside it: export the table",))
    return _of_files(origin, known)


def _of_files(origin: Origin, known: Mapping[str, int]) -> _Images:
    seen, wrong = list[Seen](), dict[str, list[int]]()
    step = -(-len(known) // _LOOKED_AT)
    deep = -(-len(known) // (step * _UNPACKED))
    for place, (cell, line) in enumerate(list(known.items())[::step]):
        try:
            seen.append(look(origin.file.parent, cell, unpacks=place % deep == 0))
        except NoImage as fault:
            wrong.setdefault(f"{fault.said}; {fault.hint}", []).append(line)
    told = (f"{origin.file.name}, row {some(lines)}: {said}" for said, lines in wrong.items())
    return _Images(len(known), tuple(seen), tuple(told))


def _of_array(origin: Origin, name: str) -> _Images | None:
    shape = shape_of(origin.file, name)
    if len(shape) == 1:
        return None
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        cure = "images are (n, height, width) or (n, height, width, 3); write numbers as columns of their own"
        return _Images(shape[0], (), (f"is an array of shape {shape}: {cure}",))
    images = array_of(origin.file, name)
    if not np.isfinite(images).all():
        return _Images(shape[0], (), ("has pixels that are no finite numbers",))
    channels = 1 if len(shape) == 3 else shape[3]
    ends = float(images.min()), float(images.max())
    return _Images(shape[0], (Seen(shape[2], shape[1], channels, ends),))


def _judged(name: str, parts: Sequence[_Images], silent: int) -> Judged:
    seen = [one for part in parts for one in part.seen]
    wrong = [line for part in parts for line in part.wrong]
    count = many(sum(part.count for part in parts), "image")
    if wrong or not seen:
        return Judged(name, None, f"names images, and no plan takes all of them: {some(wrong)}")
    if len({one.channels for one in seen}) > 1:
        return Judged(name, None, f"{count}, some gray and some in color: save all of them alike")
    shape, told = _shape(seen)
    low, high = _black_and_white([one.ends for one in seen if one.ends is not None])
    keys = {"image": "hog", **shape, "channels": seen[0].channels, "low": low, "high": high}
    missing = {"missing": "indicator"} if silent else {}
    feature = Picture.model_validate({"name": name, **keys, **missing})
    gaps = f"; {many(silent, 'cell')} of the column without one" if silent else ""
    return Judged(name, feature, f"{count}, {told}{gaps}; DECIDE what is black and white; {_NETWORK}")


def _shape(seen: Sequence[Seen]) -> tuple[dict[str, object], str]:
    """Height, width and cell: the size of all images, if cells divide it; else one to scale to."""
    sizes = {(one.width, one.height) for one in seen}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (0, 0)
    cell = _cell(width, height)
    if cell is not None and seen[0].channels * width * height <= MOST_PIXELS:
        return {"height": height, "width": width, "cell": cell}, f"all of {width} x {height} pixels"
    middle = median(one.width for one in seen), median(one.height for one in seen)
    share = min(1.0, _SIDE / max(middle))
    width, height = (max(_CELLS * 2, _CELLS * round(side * share / _CELLS)) for side in middle)
    told = f"of {many(len(sizes), 'size')}, scaled to one without regard to proportions"
    return {"height": height, "width": width, "cell": _CELLS, "resize": True}, told


def _cell(width: int, height: int) -> int | None:
    """The divisor of both sides that makes about eight cells of the shorter one; None if none makes 4 to 16."""
    shorter = min(width, height)
    divisors = [one for one in range(2, shorter + 1) if gcd(width, height) % one == 0]
    fit = [one for one in divisors if _FEWEST <= shorter // one <= _MOST]
    return min(fit, key=lambda one: abs(shorter / one - _CELLS), default=None)


def _black_and_white(ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """0 and the greatest value of so many bits; 0 and 1; or a range around what there is."""
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    full = next((float(2**bits - 1) for bits in _BITS if high < 2**bits), None)
    if low >= 0 and full is not None:
        return 0.0, full
    wide = outwards(low, max(high, low + 1))
    return float(wide[0]), float(wide[1])
