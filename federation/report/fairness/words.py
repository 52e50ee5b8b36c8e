"""Groups, gaps, sites beside their own models and energy, as pages and terminals say them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from federation.report.fairness.gaps import Figures, gaps
from federation.report.figures.scores import BesideAlone, Energy, GroupFigures
from federation.report.numbers import MISSING, count, figure, plain
from federation.report.parts import Ranged
from federation.report.report import Evaluation, Report
from federation.words import many

HIDDEN = "too few"
FEW = (
    "Too few: a group of fewer than 10 records, or with fewer than 5 of either class, is not told, nor is the next "
    "smallest where the one alone would be all less the others."
)
NOT_TOLD = (
    "What computing takes at a site follows its batches, which are secret: CPU time and joules stand on the site's "
    "own terminal, and in no file that leaves it. A reply leaves after the time that the largest batch of the plan "
    "takes, or a multiple of it: as far as anybody else can tell, that is what a site took."
)
_JOULES_OF_A_WATT_HOUR = 3600
_TOLD_SITES = 10
_STAYS = "Such a model is made of records without noise, and stays at its site."
UNUSED = "shared layers alone"
"""Whose figures those of a run are where sites keep layers: of a model that nobody uses."""


def ranged(of: Ranged | None) -> str:
    """A figure with its interval."""
    if of is None or of.value is None:
        return MISSING
    if of.low is None or of.high is None:
        return figure(of.value)
    return f"{figure(of.value)} ({figure(of.low)} to {figure(of.high)})"


def group_rows(told: Evaluation) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Names of figures, and for each group of exact ones its own; ([], []) where there are none."""
    every = [
        (f"{column} {part}", one) for column, parts in told.groups.items() for part, one in parts.items()
    ]
    names = list(dict.fromkeys(name for _, one in every for name in one.metrics))
    if not every:
        return [], []
    return ["records", "positive", *map(plain, names)], [(title, _cells(one, names)) for title, one in every]


def _cells(one: GroupFigures, names: list[str]) -> list[str]:
    if one.n is None:
        return [HIDDEN] * (2 + len(names))
    return [count(one.n), count(one.positives), *(ranged(one.metrics.get(name)) for name in names)]


def is_any_hidden(told: Evaluation) -> bool:
    """Whether a group of exact figures is not told."""
    return any(one.n is None for parts in told.groups.values() for one in parts.values())


def gap_rows(told: Evaluation) -> list[tuple[str, list[str]]]:
    """Who is compared, with each gap in words: of exact figures, or of those that were published."""
    rows: dict[str, list[str]] = {}
    for gap in gaps(figures_by_group(told)):
        rows.setdefault(gap_title(gap.column, gap.part, gap.beside), []).append(
            f"{gap.what} {ranged(gap.found)}"
        )
    return list(rows.items())


def gap_title(column: str, part: str, beside: str) -> str:
    """Who is compared with whom."""
    return f"{column} {part}, less {column} {beside}"


def figures_by_group(told: Evaluation) -> Mapping[str, Mapping[str, Figures]]:
    """By column and value: exact figures if there are any, else the published ones."""
    published = None if told.published is None else told.published.histogram or told.published.measured
    groups = told.groups or ({} if published is None else published.groups)
    return {column: {part: one.metrics for part, one in parts.items()} for column, parts in groups.items()}


def worse(told: Evaluation) -> str:
    """Which sites do worse than alone, in a sentence; "" where nobody compared."""
    return "" if told.beside_alone is None else _worse(told.beside_alone)


def _worse(found: BesideAlone) -> str:
    known = [name for name, one in found.sites.items() if one.high is not None]
    metric = plain(found.metric)
    if not known:
        return ""
    if not found.worse:
        of = f"None of the {len(known)} sites whose records tell does"
        if len(known) == 1:
            of = "The one site whose records tell does not do"
        return (
            f"{of} clearly worse with the others than by a model of its own, by {metric}. "
            "Where intervals are wide, that says little."
        )
    shown = [f"{name} ({_gain(found, name)})" for name in found.worse[:_TOLD_SITES]]
    rest = len(found.worse) - len(shown)
    last = [many(rest, "other site")] if rest else []
    return (
        f"Worse with the others than by a model of its own, by {metric}: {', '.join([*shown, *last])}. The own "
        "model is without privacy."
    )


def _gain(found: BesideAlone, name: str) -> str:
    one = found.sites[name]
    if one.low is None:
        return f"{figure(one.gain)}, too few records for an interval"
    return f"{figure(one.gain)}, from {figure(one.low)} to {figure(one.high)}"


def gain_rows(told: Evaluation) -> Iterator[tuple[str, str]]:
    """Each site and what it gains over its own model."""
    for name, one in ({} if told.beside_alone is None else told.beside_alone.sites).items():
        mark = ": worse than alone" if one.is_worse else ""
        yield name, ranged(Ranged(value=one.gain, low=one.low, high=one.high)) + mark


def personal(report: Report) -> str:
    """What sites gain by personal models, in a sentence; "" where the plan has none or nobody knows.

    Where sites keep layers there is no whole model beside it, so figures of the personal models stand alone.
    """
    told, found = report.evaluation, report.evaluation.beside_shared
    if report.kept is not None and found is not None:
        return _own(told, found.metric)
    if found is None or not (
        gains := {name: one for name, one in found.sites.items() if one.gain is not None}
    ):
        return ""
    shown = [f"{name} ({_gain(found, name)})" for name in list(gains)[:_TOLD_SITES]]
    rest = len(gains) - len(shown)
    last = [many(rest, "other site")] if rest else []
    return (
        f"Gained by a site's personal model over the released one, by {plain(found.metric)}: "
        f"{', '.join([*shown, *last])}. {_STAYS}"
    )


def _own(told: Evaluation, metric: str) -> str:
    known = [(name, value) for name, each in told.personal.items() if (value := each.get(metric)) is not None]
    if not known:
        return ""
    shown = [f"{name} {figure(value)}" for name, value in known[:_TOLD_SITES]]
    rest = len(known) - len(shown)
    last = [many(rest, "other site")] if rest else []
    mean = sum(value for _, value in known) / len(known)
    return (
        f"A site's own model, with the layers that it kept, on what the site holds out, by {plain(metric)}: "
        f"{figure(mean)} in the mean ({', '.join([*shown, *last])}). {_STAYS}"
    )


def energy(report: Report) -> str:
    """What the computing took, or why nobody says so."""
    if not report.simulated:
        return NOT_TOLD
    return "" if report.timing.energy is None else _energy(report.timing.energy)


def _energy(found: Energy) -> str:
    joules = ""
    if found.joules is not None:
        joules = f" and {found.joules:,.0f} joules ({found.joules / _JOULES_OF_A_WATT_HOUR:.2f} Wh)"
    return f"This run took {found.cpu_seconds or 0:.1f} CPU seconds{joules}. Method: {found.method}."
