"""Any table, dealt to sites: a folder for `federation simulate --sites`, from one file of the user's own.

Two passes. The first reads a few columns and finds all that is wrong, before anything is written; then the rows
are dealt; the second copies each row to its site. A row of plain CSV (commas, points, UTF-8) is copied as it
stands, byte for byte; from anything else the cells are written as plain CSV, which is what a folder of sites
holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.rules.origin import Origin, Place
from federation.errors import DataError
from simulations.populations.columns import Classes, Columns, columns_of
from simulations.populations.dealing import Dealt, deal
from simulations.populations.drawing import Places
from simulations.populations.names import names_of, numbered
from simulations.populations.parts import Parts, new_folder
from simulations.populations.rules import Rule, rule_of
from simulations.populations.tables import Source


@dataclass(frozen=True)
class SplitSite:
    """A site: its rows, of these those for the test and those of the positive class, its people, its files.

    `positives` is None where there are not two classes; where there are more, `classes` is how many of them the
    site has. `people` is None where nobody says whose a row is.
    """

    name: str
    rows: int
    test_rows: int
    positives: int | None
    classes: int | None
    people: int | None
    files: tuple[str, ...]

    @property
    def share(self) -> str | None:
        """Of the positive class, for people to read."""
        return None if self.positives is None else f"{self.positives / self.rows:.1%}"


@dataclass(frozen=True)
class Split:
    """A table that was dealt. `label` is the column of classes, and `positive` the second of two.

    `has_tests`: whether each has a file for the test. `tries` is how often shares were drawn until every site had
    enough rows. `people_across` are people with rows at several sites, None where nobody says whose a row is;
    nobody is at more than `most_sites`.
    """

    folder: Path
    seed: int
    sites: tuple[SplitSite, ...]
    label: str | None
    positive: str | None
    tries: int
    people_across: int | None
    most_sites: int
    has_tests: bool
    aside: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Of all sites."""
        return sum(site.rows for site in self.sites)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "folder": str(self.folder),
            "seed": self.seed,
            "rows": self.rows,
            "label": self.label,
            "positive": self.positive,
            "tries": self.tries,
            "people_across": self.people_across,
            "sites_per_patient": self.most_sites if self.people_across is not None else None,
            "left_out": list(self.aside),
            "sites": [{**vars(site), "files": list(site.files)} for site in self.sites],
        }


def split(
    data: Path | str,
    out: Path | str,
    *,
    by: str | None = None,
    dirichlet: float | None = None,
    quantity: float | None = None,
    shift: float | None = None,
    iid: bool = False,
    sites: int | None = None,
    feature: str | None = None,
    label: str | None = None,
    patient: str | None = None,
    across: float = 0.0,
    test: float = 0.0,
    minimum: int = 2,
    seed: int = 0,
) -> Split:
    """Deal the rows of a table to sites, in one way of five; every row goes to one site.

    `by`: each value of a column is a site. `dirichlet`: label skew, of this alpha. `quantity`: sizes that differ,
    of this alpha. `shift`: ranges of `feature`, apart at 1 and alike at 0. `iid`: by chance. All but the first are
    for so many `sites`. `patient` keeps the rows of a person together; `across` is the share of people who go to
    two sites. With a share for the `test`, OUT/NAME/train.csv and test.csv are written, else OUT/NAME.csv. The
    same seed deals the same table in the same way. DataError for the table, InputError for what is asked,
    UnusableFile for `out`.
    """
    skew, strength = rule_of(by, dirichlet, quantity, shift, iid)
    rule = Rule(
        skew,
        strength,
        sites=sites,
        by=by,
        feature=feature,
        label=label,
        patient=patient,
        across=across,
        test=test,
        minimum=minimum,
        seed=seed,
    )
    return split_table(Path(data), Path(out), rule)


def split_table(place: Place, out: Path, rule: Rule) -> Split:
    """Deal the table at a place by a rule. As `split`."""
    with new_folder(out) as folder:
        source = Source.at(Origin.of(place))
        state = source.state()
        columns = columns_of(source, rule)
        names = None if columns.by is None else names_of(columns.by, columns, str(source.place))
        dealt = deal(rule, columns)
        names = names or numbered(dealt.sites)
        _copy(source, dealt, [folder / file for file in _files(names, rule)])
        if source.state() != state:
            raise _changed(source)
    return _told(out, source, rule, columns, dealt, names)


def _files(names: tuple[str, ...], rule: Rule) -> list[str]:
    """Where the rows of each site go, those for the test apart: two files of each site, or one."""
    if not rule.test:
        return [f"{name}.csv" for name in names]
    return [f"{name}/{part}.csv" for name in names for part in ("train", "test")]


def _copy(source: Source, dealt: Dealt, paths: list[Path]) -> None:
    """Write each row to its file."""
    has_tests = len(paths) > dealt.sites
    part_of = (2 * dealt.site + dealt.is_test if has_tests else dealt.site).tolist()
    rows = source.rows()
    _, _, header = next(rows)
    parts, count = Parts(paths, header), 0
    for count, (_, _, line) in enumerate(rows, 1):
        if count > len(part_of):
            raise _changed(source)
        parts.add(part_of[count - 1], line)
    if count < len(part_of):
        raise _changed(source)
    parts.flush()


def _changed(source: Source) -> DataError:
    return DataError(f"{source.place}: changed while it was read", hint="split it when nobody writes to it")


def _told(
    out: Path, source: Source, rule: Rule, columns: Columns, dealt: Dealt, names: tuple[str, ...]
) -> Split:
    label, files = columns.label, _files(names, rule)
    each = len(files) // dealt.sites
    positives, classes = _classes(label, dealt)
    people = None if columns.owners is None else dealt.distinct(columns.owners)
    rows, tested = dealt.counts().tolist(), dealt.counts(dealt.is_test).tolist()
    found = tuple(
        SplitSite(
            name,
            rows[place],
            tested[place],
            positives=_at(positives, place),
            classes=_at(classes, place),
            people=_at(people, place),
            files=tuple(str(out / file) for file in files[each * place : each * (place + 1)]),
        )
        for place, name in enumerate(names)
    )
    return Split(
        folder=out,
        seed=rule.seed,
        sites=found,
        label=None if label is None else label.column,
        positive=label.values[1] if label is not None and len(label.values) == 2 else None,
        tries=dealt.tries,
        people_across=None if columns.owners is None else dealt.people_across,
        most_sites=dealt.most_sites,
        has_tests=each > 1,
        aside=tuple(source.aside),
    )


def _classes(label: Classes | None, dealt: Dealt) -> tuple[Places | None, Places | None]:
    """Of each site: the rows of the second of two classes, or how many classes it has of more."""
    if label is None:
        return None, None
    if len(label.values) == 2:
        return dealt.counts(label.codes == 1), None
    return None, dealt.distinct(label.codes.astype(np.int64))


def _at(counts: Places | None, place: int) -> int | None:
    return None if counts is None else int(counts[place])
