"""How many people of a file share what an outsider may know of them, and what that tells; for a terminal only.

A class is all who have the same values in the declared quasi-identifiers. k-anonymity is the size of the smallest
class (Sweeney 2002); l-diversity the fewest different sensitive values in one (Machanavajjhala et al. 2007, in its
simplest form); t-closeness how far the sensitive values in a class are from those of all at most (Li et al. 2007):
half the sum of differences, or, where all are numbers, the ordered distance.

No record leaves a site, and epsilon bounds what a model tells of one. But whoever is alone with his values is most
easily found by them, so the people at the site may want to know. As all figures of a file, these are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.data.sources.numerals import parsed
from clients.data.sources.table import Table
from federation.words import some

SMALL = 5  # people: fewer in a cell of a table are not shown by most statistical offices
_FAR = 0.5
_MOST = 10**8  # classes times sensitive values, beyond which distances take too long


@dataclass(frozen=True, repr=False)
class Anonymity:
    """The figures of a file: `alone` and `small` count people in classes of one, and of fewer than SMALL."""

    people: int
    classes: int
    k: int
    alone: int
    small: int
    diversity: int | None = None
    closeness: float | None = None


def anonymity(
    table: Table, quasi: Sequence[str], sensitive: str | None, patients: NDArray[np.int64] | None = None
) -> Anonymity:
    """The figures of a table. `patients` (n,) says whose each row is; without it each row is a person.

    DataError if a column is not there.
    """
    places = _classes([table.column(name) for name in quasi])
    owners = np.arange(len(table)) if patients is None else patients
    pairs = np.unique(np.stack([places, owners]), axis=1)
    sizes = np.bincount(pairs[0])
    sizes = sizes[sizes > 0]
    diversity, closeness = None, None
    if sensitive is not None:
        diversity, closeness = _told(places, table.column(sensitive))
    return Anonymity(
        people=len(np.unique(owners)),
        classes=len(sizes),
        k=int(sizes.min()),
        alone=int((sizes == 1).sum()),
        small=int(sizes[sizes < SMALL].sum()),
        diversity=diversity,
        closeness=closeness,
    )


def warnings_of(found: Anonymity, quasi: Sequence[str], sensitive: str | None, unit: str) -> Iterator[str]:
    """What the people at the site should hear of it."""
    names = some([f'"{name}"' for name in quasi])
    if found.small:
        alone = f", {found.alone} with nobody" if found.alone else ""
        yield (
            f"{found.small} of {found.people} {unit}s share their values of {names} with fewer than {SMALL - 1} "
            f"others{alone} (k-anonymity {found.k}): who knows these values may find the person"
        )
    if found.diversity == 1:
        yield (
            f'some who share their values of {names} all have the same "{sensitive}" (l-diversity 1): '
            "who knows the first knows the second"
        )
    if found.closeness is not None and found.closeness > _FAR:
        yield (
            f'among some who share their values of {names}, "{sensitive}" is far from what it is among all '
            f"(t-closeness {found.closeness:.2f})"
        )


def summary_of(found: Anonymity, quasi: Sequence[str], sensitive: str | None, unit: str) -> str:
    """The figures in a line."""
    names = some([f'"{name}"' for name in quasi])
    told = f"{found.people} {unit}s in {found.classes} classes by {names}: k-anonymity {found.k}"
    if found.diversity is not None:
        told += f'; of "{sensitive}" l-diversity {found.diversity}'
    return told if found.closeness is None else f"{told}, t-closeness {found.closeness:.2f}"


def _classes(columns: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """The class of each row, (n,), from 0."""
    places = np.zeros(len(columns[0]), np.int64)
    for cells in columns:
        values, many = _numbered(cells)
        places = np.unique(places * many + values, return_inverse=True)[1].reshape(-1)
    return places


def _numbered(cells: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """Each cell's number among the different ones, and how many these are."""
    number = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
    return np.fromiter((number[cell] for cell in cells), np.int64, len(cells)), len(number)


def _told(places: NDArray[np.int64], cells: Sequence[str]) -> tuple[int, float | None]:
    """The fewest different sensitive values in a class, and the largest distance of one from all."""
    numbers = parsed(cells)
    is_ordered = not bool(np.isnan(numbers).any())
    if is_ordered:
        names, values = np.unique(numbers, return_inverse=True)
        values, many = values.reshape(-1), len(names)
    else:
        values, many = _numbered(cells)
    pairs, counts = np.unique(np.stack([places, values]), axis=1, return_counts=True)
    diversity, ends = int(np.bincount(pairs[0]).min()), np.flatnonzero(np.diff(pairs[0])) + 1
    if (len(ends) + 1) * many > _MOST:
        return diversity, None
    overall, farthest = np.bincount(values) / len(values), 0.0
    for which, count in zip(np.split(pairs[1], ends), np.split(counts, ends), strict=True):
        gaps = -overall
        gaps[which] += count / count.sum()
        farthest = max(farthest, _distance(gaps, many, is_ordered))
    return diversity, farthest


def _distance(gaps: NDArray[np.float64], values: int, is_ordered: bool) -> float:
    if not is_ordered or values < 2:
        return float(np.abs(gaps).sum() / 2)
    return float(np.abs(np.cumsum(gaps)).sum() / (values - 1))
