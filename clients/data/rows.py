"""Row marks: 64 bits for each record, by which equal records of two files are found without keeping either.

A mark depends on a record's values and on the names of their columns, not on the order of columns or on how a
number is written. Equal records have equal marks; among a million different ones, two marks are equal by chance
once in ten million files. Marks are not keyed: they stay in memory, of a process that holds the data anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.uint64]

_FEWEST = 3  # records that two files share
_LEAST = 0.05  # of the distinct records of the smaller file


@dataclass(frozen=True, repr=False)
class Shared:
    """What two files, by their places, have in common: `records` distinct ones, `share` of those of the smaller."""

    first: int
    second: int
    records: int
    share: float
    is_same: bool


def marks_of_numbers(name: str, values: NDArray[np.float64], cells: Sequence[str]) -> Marks:
    """The part of each record's mark that a column of numbers makes; a cell that is no number counts as text."""
    marks = (values + 0.0).view(np.uint64).copy()  # adding zero makes -0.0 and 0.0 one
    for place in np.flatnonzero(np.isnan(values)).tolist():
        marks[place] = _mark(cells[place])
    return _mixed(marks + _salt(name))


def marks_of_texts(name: str, cells: Sequence[str]) -> Marks:
    """The part of each record's mark that a column of texts makes."""
    known = {cell: _mark(cell) for cell in set(cells)}
    return _mixed(np.fromiter((known[cell] for cell in cells), np.uint64, len(cells)) + _salt(name))


def marks_of_rows(rows: NDArray[Any]) -> Marks:
    """The mark of each row of an array (n, ...) of numbers."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    total = np.zeros(len(flat), np.uint64)
    for place in range(flat.shape[1]):
        total += _mixed((flat[:, place].astype(np.float64) + 0.0).view(np.uint64) + _salt(str(place)))
    return total


def shared(files: Sequence[Marks]) -> list[Shared]:
    """The pairs of files that hold largely the same records.

    Where records take few values (two columns of yes and no), files agree by chance, and a file agrees with itself
    as often. So two files are named if they share twice what the smaller one repeats, or are the same throughout.
    """
    distinct = [np.unique(marks) for marks in files]
    common = _common(distinct) if len(files) > 1 else np.zeros((1, 1), np.int64)
    found = []
    for pair in combinations(range(len(files)), 2):
        smaller = min(pair, key=lambda place: len(distinct[place]))
        records, share = int(common[pair]), float(common[pair]) / len(distinct[smaller])
        is_same = share == 1 and _equal(files[pair[0]], files[pair[1]])
        repeated = 1 - len(distinct[smaller]) / len(files[smaller])
        if is_same or (records >= _FEWEST and share >= max(_LEAST, 2 * repeated)):
            found.append(Shared(*pair, records, share, is_same))
    return found


def _common(distinct: Sequence[Marks]) -> NDArray[np.int64]:
    """How many marks each two files have in common, by a product of sparse matrices: many sites are no trouble."""
    from scipy.sparse import csr_matrix

    owners = np.repeat(np.arange(len(distinct)), [len(marks) for marks in distinct])
    _, places = np.unique(np.concatenate(distinct), return_inverse=True)
    held = csr_matrix((np.ones(len(owners), np.int64), (owners, places.reshape(-1))))
    common: NDArray[np.int64] = (held @ held.T).toarray()
    return common


def _equal(first: Marks, second: Marks) -> bool:
    """Whether two files hold the same records, in whatever order."""
    return len(first) == len(second) and bool(np.array_equal(np.sort(first), np.sort(second)))


def _mark(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def _salt(name: str) -> np.uint64:
    return np.uint64(_mark(f"column {name}"))


def _mixed(words: Marks) -> Marks:
    """Each word scattered over all 64 bits (the finalizer of SplitMix64), so that sums of them do not collide."""
    words = words ^ (words >> np.uint64(30))
    words = words * np.uint64(0xBF58476D1CE4E5B9)
    words = words ^ (words >> np.uint64(27))
    words = words * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
