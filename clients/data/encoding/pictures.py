"""From cells that name images to vectors of the model's input: a file alone makes each of them.

Each file is read once and its vector is kept in memory, as other columns are: nothing made of records goes to the
disk. A few images at a time are unpacked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.data.cells import is_missing
from clients.data.distinct import Distinct, Said
from clients.data.encoding.wide import Vectors
from clients.data.faults import Fault
from clients.data.images.form import Form, NoImage, Pixels
from clients.data.images.opened import Opener, opener, stored
from clients.data.notes import Note
from clients.data.sources.packed import Cells
from clients.data.sources.table import Table
from federation.errors import DataError
from federation.model.images.hog import FINEST, Hog
from federation.plan.columns.pictures import ORIENTATIONS, Picture
from federation.plan.identifiers import cleaned
from federation.words import many, some

_AT_ONCE: Final = 1 << 22  # numbers that are made on the way of the images that are encoded together, about
_CURE: Final = 'name an image, or have the plan say missing = "indicator"'


def pictures(feature: Picture, table: Table) -> tuple[Vectors, tuple[Fault, ...], NDArray[np.bool_]]:
    """What each row's image becomes, (n, vector); what is wrong; where there is none, if the plan has a rule."""
    seen = Distinct.of(table.column(feature.name))
    silent = {cell for cell in seen.cells if is_missing(cleaned(cell))}
    wrong = {} if feature.missing else dict.fromkeys(silent, ("names no image", _CURE))
    own = np.zeros((len(seen.cells), feature.vector), np.float32)
    _write(feature, seen.cells, silent, opener(table.path, feature.name), own, wrong)
    is_wrong = seen.where(wrong.__contains__)
    faults = seen.faults(feature.name, wrong.__getitem__, is_wrong)
    filled = seen.where(silent.__contains__) & ~is_wrong
    return own if len(own) == len(seen.rows) else own[seen.rows], faults, filled


def _write(
    feature: Picture,
    cells: Sequence[str],
    silent: Set[str],
    opens: Opener,
    rows: Vectors,
    wrong: dict[str, Said],
) -> None:
    """Each image's vector into its row, and what is wrong with it into `wrong`; some images at a time."""
    form, encode = form_of(feature), encoder_of(feature)
    taken = [at for at, cell in enumerate(cells) if cell not in silent]
    size = _numbers(feature)
    for start in range(0, len(taken), size):
        places, images = list[int](), list[Pixels]()
        for at in taken[start : start + size]:
            try:
                images.append(opens(cells[at], form))
                places.append(at)
            except NoImage as fault:
                wrong[cells[at]] = fault.said, fault.hint
        if places:
            rows[places] = encode(torch.from_numpy(np.stack(images))).numpy()


def _numbers(feature: Picture) -> int:
    """How many images are encoded together."""
    finer = ORIENTATIONS * (4 if feature.cell is not None and feature.cell < FINEST else 1)
    return max(1, _AT_ONCE // (math.prod(feature.shape) * (1 if feature.cell is None else finer)))


def form_of(feature: Picture) -> Form:
    """What a file has to be."""
    size = {"height": feature.height, "width": feature.width, "channels": feature.channels}
    return Form(**size, low=feature.low, high=feature.high, resize=bool(feature.resize))


def encoder_of(feature: Picture) -> Callable[[Tensor], Tensor]:
    """Images (n, channels, height, width) in [-1, 1] to rows (n, vector) at most 1 long."""
    if feature.cell is not None:
        return Hog(*feature.shape, feature.cell)
    return lambda images: images.flatten(1) / math.sqrt(feature.vector)


def with_contents(table: Table, column: str, rows: Vectors | None) -> Table:
    """The table with a digest of each image in the place of its name, so that a copy is known by what it shows."""
    if rows is None:
        return table
    shown = [bool(row.any()) for row in rows]  # all zeros where there is no image
    return _replaced(
        table, column, [_digest(row) if there else "" for row, there in zip(rows, shown, strict=True)]
    )


def with_files(table: Table, column: str) -> Table:
    """The table with a digest of the bytes of each image: the same whatever a plan makes of the images.

    DataError if an image that was there is not any more.
    """
    read, known = stored(table.path, column), dict[str, str]()
    try:
        for cell in set(table.column(column)):
            named = not is_missing(cleaned(cell))
            known[cell] = hashlib.blake2b(read(cell), digest_size=16).hexdigest() if named else ""
    except (OSError, NoImage):
        said = f'{table.path}: an image of column "{column}" went away while it was read'
        raise DataError(said, hint="leave the files as they are") from None
    return _replaced(table, column, [known[cell] for cell in table.column(column)])


def _replaced(table: Table, column: str, texts: list[str]) -> Table:
    place = table.header.index(cleaned(column))
    columns = (*table.columns[:place], Cells.of(texts), *table.columns[place + 1 :])
    return replace(table, columns=columns)


def told_by_contents(cells: Sequence[str], rows: Vectors | None) -> list[str]:
    """A digest of each image in the place of its name; the cell itself where there is no image."""
    if rows is None:
        return list(cells)
    return [_digest(row) if row.any() else cell for cell, row in zip(cells, rows, strict=True)]


def twice(contents: Table, column: str) -> tuple[Note, ...]:
    """A note if rows show the same image."""
    earlier, again = {""}, list[int]()
    for cell, line in zip(contents.column(column), contents.lines, strict=True):
        again += [line] * (cell in earlier and cell != "")
        earlier.add(cell)
    if not again:
        return ()
    said = f'column "{column}": {many(len(again), "row")} show an image that an earlier row shows ({some(again)})'
    return (Note(contents.path, said, "each counts as a record of its own: keep one of them"),)


def _digest(row: Vectors) -> str:
    return hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest()
