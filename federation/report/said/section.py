"""The section of report.html that says what the model says: made of plan and params alone, of a real run, too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation.errors import FederationError
from federation.model.curves import Curve
from federation.plan.columns.features import Wide
from federation.plan.plan import Plan, load
from federation.plan.series.tasks import Series
from federation.plan.tabular import MODELS, TabularTask
from federation.report.said.attributions import Attributions, attributions
from federation.report.said.drawing import COLORS, drawn
from federation.report.said.finished import adds_up, has_files_that_end, open_run
from federation.report.said.model import BAND, CENTERED, Said, said
from federation.words import printable
from privacy.errors import PrivacyError

MOST = 24
"""Features on a page: those whose curves go farthest."""
_UNUSABLE = (FederationError, PrivacyError, OSError, ValueError)
_MOST_LINES = 300  # of the table


@dataclass(frozen=True)
class Section:
    """Its words and drawings; `lines` of the table: feature, at, outcome, effect, noise.

    `sizes`, of a network, which has no curves: feature, mean size of what it adds, its mean.
    """

    words: tuple[str, ...]
    legend: tuple[tuple[str, str], ...]
    drawings: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, ...], ...]
    sizes: tuple[tuple[str, str, str], ...] = ()


def section_of(run: Path) -> Section | None:
    """What the model in a run folder says; None if it is none of ours of a table, or cannot be used."""
    if not says_something(run):
        return None
    try:
        finished = open_run(run, is_closing=True)
    except (FederationError, PrivacyError):
        return None
    found = said(finished)
    if found is not None:
        return section(found)
    added = attributions(finished)
    return None if added is None else section_of_network(added)


def says_something(run: Path) -> bool:
    """Whether a page of this run should have a section."""
    try:
        return has_files_that_end(run) and _is_ours(load(run / "plan.toml"))
    except _UNUSABLE:
        return False


def _is_ours(plan: Plan) -> bool:
    """A sum over its features, or a network of ours: code of others is not run to make a page."""
    task = plan.task
    if plan.kept:
        return (
            False  # of the run alone, the model is half as it was drawn: as `federation explain` refuses it
        )
    if not isinstance(task, TabularTask) or any(isinstance(one, Wide) for one in task.features):
        return False
    is_network = task.model == "mlp" or (isinstance(task, Series) and task.model in MODELS)
    return adds_up(plan) or (is_network and task.rows is None)


def section_of_network(added: Attributions) -> Section:
    """The section of a model that has no curves."""
    shown = added.features[:MOST]
    left = len(added.features) - len(shown)
    more = (f"{left} more features move less.",) if left else ()
    sizes = tuple((printable(one.feature), f"{one.size:.3f}", f"{one.mean:+.3f}") for one in shown)
    return Section((added.words, *more), (), (), (), sizes)


def section(told: Said) -> Section:
    """The section of these curves."""
    by_feature: dict[str, list[Curve]] = {}
    for curve in told.curves:
        by_feature.setdefault(curve.feature, []).append(curve)

    def reach(curves: list[Curve]) -> float:
        return max((abs(effect) for curve in curves for effect in curve.effect), default=0.0)

    kept = sorted(by_feature, key=lambda name: -reach(by_feature[name]))[:MOST]
    shown = {name: curves for name, curves in by_feature.items() if name in kept}
    most = 1.15 * max((reach(curves) for curves in shown.values()), default=0.0) or 1.0
    lines = [
        (printable(name), printable(label), printable(curve.outcome), f"{effect:+.3f}", _noise(curve, at))
        for name, curves in shown.items()
        for curve in curves
        for at, (label, effect) in enumerate(zip(curve.labels, curve.effect, strict=True))
    ]
    left = (
        [f"{len(by_feature) - len(shown)} more features move less."] if len(by_feature) > len(shown) else []
    )
    left += (
        ["Of the table the first lines are here; federation explain RUN --json has all."]
        if len(lines) > _MOST_LINES
        else []
    )
    several = len(told.outcomes) > 1
    head = f"What a feature adds to {told.adds_to}."
    if told.is_of_classes:
        one = f"Of class {told.outcomes[0]}, in log-odds."
        head = "Each class is told against the mean of all." if several else one
    base = ", ".join(f"{printable(name)} {value:+.3f}" for name, value in told.intercepts.items())
    return Section(
        words=(f"{printable(head)} Intercept: {base}. {CENTERED}", BAND, *left),
        legend=tuple(
            (printable(name), COLORS[at % len(COLORS)]) for at, name in enumerate(told.outcomes)
        ) if several else (),
        drawings=tuple((printable(name), drawn(curves, most, told.adds_to)) for name, curves in shown.items()),
        lines=tuple(lines[:_MOST_LINES]),
    )  # fmt: skip


def _noise(curve: Curve, at: int) -> str:
    return "not known" if curve.noise is None else f"{curve.noise[at]:.3f}"
