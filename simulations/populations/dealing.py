"""Deals rows to sites: who gets what, by a rule and a seed. Nothing is read or written here.

What is dealt as a whole is a unit: a row or, where people are known, a person with all rows. The skews, as the
literature has them:

    dirichlet   Of each class the sites get shares from a symmetric Dirichlet distribution (Yurochkin et al. 2019;
                Li et al. 2022, "Federated learning on non-IID data silos"). Sizes become uneven with it.
    quantity    The sites get shares of all units from such a distribution; whom they get is chance.
    shift       The sites get ranges of a feature: units are ordered by strength * rank + (1 - strength) * chance,
                both uniform in 0 .. 1, and cut into equal parts. No cell is changed, as adding noise would.
    iid         Equal parts, by chance.

Where a site gets fewer rows than the least, the shares are drawn again. So they are from the distribution under
the condition that every site has that many.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.data.people import usual
from federation.errors import InputError
from federation.words import many
from simulations.populations.columns import Columns
from simulations.populations.drawing import Draws, Floats, Places
from simulations.populations.rules import Rule

_MOST_TRIES = 1000
_MOST_DRAWN = 20_000_000  # shares, in all tries together


@dataclass(frozen=True)
class Units:
    """What is dealt as a whole, an entry each: how many `rows` it has, its class and its feature.

    `of_row` says which unit a row belongs to. The class of a person is the one that most rows have.
    """

    of_row: Places = field(repr=False)
    rows: Places = field(repr=False)
    label: Places = field(repr=False)
    feature: Floats | None = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def among(cls, columns: Columns) -> Units:
        """The people of a table; its rows, where no people are known."""
        labels = np.zeros(len(columns), np.int64)
        if columns.label is not None:
            labels = columns.label.codes.astype(np.int64)
        if columns.owners is None:
            of_row, rows = np.arange(len(columns)), np.ones(len(columns), np.int64)
            return cls(of_row, rows, labels, columns.feature)
        rows = np.bincount(columns.owners)
        return cls(
            columns.owners, rows, usual(columns.owners, labels), _means(columns.owners, columns.feature)
        )


@dataclass(frozen=True)
class Dealt:
    """The site of each row, whether it is for the test, and how often shares were drawn until all sites had
    enough.

    `people_across` is how many people have rows at several sites, and nobody has at more than `most_sites`.
    """

    sites: int
    site: Places = field(repr=False)
    is_test: NDArray[np.bool_] = field(repr=False)
    tries: int = 1
    people_across: int = 0
    most_sites: int = 1

    def counts(self, among: NDArray[np.bool_] | None = None) -> Places:
        """The rows of each site; those that are marked."""
        return np.bincount(self.site if among is None else self.site[among], minlength=self.sites)

    def distinct(self, things: Places) -> Places:
        """How many different things the rows of each site have, each row one, numbered from 0."""
        return np.bincount(np.unique(things * self.sites + self.site) % self.sites, minlength=self.sites)


def deal(rule: Rule, columns: Columns) -> Dealt:
    """Deal the rows of a table. InputError where that cannot give every site what it must have."""
    draws = Draws("split", rule.seed)
    units = Units.among(columns)
    if columns.by is not None:
        sites, tries, site = len(columns.by.values), 1, columns.by.codes.astype(np.int64)
        _require_several(sites)
        home = _homes(units, site)
    else:
        sites = rule.sites or 0
        _require_enough(rule, sites, units)
        home, tries = _homes_drawn(rule, sites, units, draws)
        site = home[units.of_row]
        if rule.across:
            site = _sent(rule, sites, units, site, draws)
    is_test = np.zeros(len(units), bool)
    if rule.test:
        is_test = _tested(rule.test, sites, home, units.label, draws)
    dealt = Dealt(sites, site, is_test[units.of_row], tries, *_across(columns, site, sites))
    _require_least(rule, dealt)
    return dealt


def _homes_drawn(rule: Rule, sites: int, units: Units, draws: Draws) -> tuple[Places, int]:
    """A site for each unit, and after how many tries."""
    order = _ordered(rule, units, draws)
    groups = [order]
    if rule.skew == "dirichlet":
        groups = [order[units.label[order] == label] for label in range(int(units.label.max()) + 1)]
    cuts = [_Cuts(units.rows[group]) for group in groups]
    if rule.skew in ("iid", "shift"):
        shares = np.full((1, sites), 1 / sites)
        return _handed(len(units), groups, [cuts[0].at(shares[0])]), 1
    most = max(10, min(_MOST_TRIES, _MOST_DRAWN // (sites * len(groups))))
    for tries in range(1, most + 1):
        shares = draws.dirichlet(rule.strength, len(groups), sites)
        ends = [cut.at(share) for cut, share in zip(cuts, shares, strict=True)]
        got = np.sum([cut.rows(end) for cut, end in zip(cuts, ends, strict=True)], axis=0)
        if got.min() >= rule.minimum:
            return _handed(len(units), groups, ends), tries
    hint = f"fewer --sites, a larger --{rule.skew} or a lower --minimum; more rows"
    least = many(rule.minimum, "row")
    said = f"in {many(most, 'try', 'tries')}, some of {sites} sites always had fewer than {least}"
    raise InputError(said, hint=hint)


def _ordered(rule: Rule, units: Units, draws: Draws) -> Places:
    """The units in the order in which they are dealt: by chance, or by a feature and chance."""
    order = draws.order(len(units))
    if rule.skew != "shift" or units.feature is None:
        return order
    # Units with equal features are ranked by chance, and so are those whose feature is not known.
    values = units.feature[order]
    known = np.flatnonzero(~np.isnan(values))
    rank = draws.uniform(len(units))
    rank[known[np.argsort(values[known], kind="stable")]] = (np.arange(len(known)) + 0.5) / max(1, len(known))
    key = rule.strength * rank + (1 - rule.strength) * draws.uniform(len(units))
    found: Places = order[np.argsort(key, kind="stable")]
    return found


class _Cuts:
    """Units in a row, each of so many rows, to be cut into parts."""

    def __init__(self, rows: Places) -> None:
        self._ends = np.concatenate([[0], np.cumsum(rows)])
        self._middles = self._ends[1:] - rows / 2

    def at(self, shares: Floats) -> Places:
        """Where each part ends so that it has about its share of the rows: a unit goes where its middle falls."""
        borders = np.cumsum(shares)[:-1] / np.sum(shares) * self._ends[-1]
        found = np.searchsorted(self._middles, borders, side="right")
        return np.append(found, len(self._middles)).astype(np.int64)

    def rows(self, ends: Places) -> Places:
        """How many rows each part has."""
        return np.diff(self._ends[ends], prepend=0)


def _handed(units: int, groups: list[Places], ends: list[Places]) -> Places:
    """The site of each unit, where each group is cut at these ends."""
    home = np.empty(units, np.int64)
    for group, cut in zip(groups, ends, strict=True):
        home[group] = np.repeat(np.arange(len(cut)), np.diff(cut, prepend=0))
    return home


def _sent(rule: Rule, sites: int, units: Units, site: Places, draws: Draws) -> Places:
    """The site of each row, where a share of the people goes to a second site with a part of their rows."""
    number = round(rule.across * len(units))
    able = np.flatnonzero(units.rows > 1)
    if number > len(able):
        said = f"--across asks for {many(number, 'person', 'people')} at two sites, and {len(able)} have two rows"
        raise InputError(said, hint="lower it: each row goes to one site")
    goes = np.zeros(len(units), bool)
    goes[able[draws.order(len(able))[:number]]] = True
    further = 1 + draws.choices([1.0] * (sites - 1), len(units))
    # Of a person's rows, in an order by chance, the first stays, the second goes, and a coin says where others are.
    order = np.lexsort((draws.uniform(len(site)), units.of_row))
    place = np.empty(len(site), np.int64)
    place[order] = np.arange(len(site)) - np.repeat(np.cumsum(units.rows) - units.rows, units.rows)
    leaves = np.where(place < 2, place == 1, draws.uniform(len(site)) < 0.5)
    moves = goes[units.of_row] & leaves
    found: Places = np.where(moves, (site + further[units.of_row]) % sites, site)
    return found


def _tested(share: float, sites: int, home: Places, label: Places, draws: Draws) -> NDArray[np.bool_]:
    """Of the units of each site so large a share, rounded, by chance and in each class alike.

    One at least, and one at least is left, where a site has two.
    """
    order = np.lexsort((draws.uniform(len(home)), label, home))
    counts = np.bincount(home, minlength=sites)
    chosen = np.clip(np.round(share * counts), np.minimum(1, counts - 1), counts - 1).clip(0)
    ratio = (chosen / np.maximum(counts, 1))[home[order]]
    place = np.arange(len(home)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.empty(len(home), bool)
    found[order] = np.floor((place + 1) * ratio + 0.5) > np.floor(place * ratio + 0.5)
    return found


def _homes(units: Units, site: Places) -> Places:
    """The site of each unit's first row."""
    _, first = np.unique(units.of_row, return_index=True)
    return site[first]


def _across(columns: Columns, site: Places, sites: int) -> tuple[int, int]:
    """How many people are at several sites, and at how many anybody is."""
    if columns.owners is None:
        return 0, 1
    counts = np.bincount(np.unique(columns.owners * sites + site) // sites)
    return int((counts > 1).sum()), int(counts.max())


def _require_several(sites: int) -> None:
    if sites < 2:
        raise InputError("the column has one value, which is one site", hint="a federation has several")


def _require_enough(rule: Rule, sites: int, units: Units) -> None:
    rows = int(units.rows.sum())
    if sites * rule.minimum > rows:
        said = f"{sites} sites of {many(rule.minimum, 'row')} or more cannot be made of {many(rows, 'row')}"
        raise InputError(said, hint="fewer --sites, or a lower --minimum")
    if sites > len(units):
        raise InputError(f"{len(units)} people cannot be at {sites} sites", hint="fewer --sites")


def _require_least(rule: Rule, dealt: Dealt) -> None:
    """InputError if a site has fewer rows than the least, or none to train or to test on."""
    rows = dealt.counts()
    if few := int((rows < rule.minimum).sum()):
        said = f"{few} of {dealt.sites} sites would have fewer than {many(rule.minimum, 'row')}"
        how = "merge or drop values of the column" if rule.skew == "by" else "fewer --sites"
        raise InputError(said, hint=f"{how}, or a lower --minimum")
    if not rule.test:
        return
    tested = dealt.counts(dealt.is_test)
    if one := int(((tested == 0) | (tested == rows)).sum()):
        said = f"{one} of {dealt.sites} sites would have nothing to test on, or nothing to train on"
        raise InputError(said, hint="fewer --sites, or a higher --minimum; a person is in one of the two")


def _means(owners: Places, values: Floats | None) -> Floats | None:
    """The mean of each person's values that are known; NaN where none is."""
    if values is None:
        return None
    known = ~np.isnan(values)
    people = int(owners.max()) + 1
    counts = np.bincount(owners[known], minlength=people)
    sums = np.bincount(owners[known], weights=values[known], minlength=people)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
