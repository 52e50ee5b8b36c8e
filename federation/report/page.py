"""report.html: the report of a run as a page for people.

The page is one file: style and plots are inside, it loads nothing and opens from disk. Names in it come from users,
so every name is escaped; the template computes nothing that could differ from report.json. Every epsilon on it
names the field that it is (`federation.report.stated`), so that an audit can compare the two. The page leaves out
what a run cannot know: a real run has only the metrics that its plan published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from federation.config.base import told as told_base
from federation.config.purpose import lines as told_purpose
from federation.plan.columns.encoder import promise
from federation.plan.guarantee import told_of_parts
from federation.plan.measures import SIGNED
from federation.report import wording
from federation.report.fairness import gaps
from federation.report.fairness import words as fairness
from federation.report.figures.published import Counted, Measured, in_order, rows_of
from federation.report.figures.tables import Tables
from federation.report.numbers import MISSING, count, figure, held_out, moment, octets, plain, tiny
from federation.report.report import Metrics, Report, metrics_of, whole
from federation.report.said.section import Section
from federation.report.stated import stated
from federation.report.telling import judged, tabulated
from federation.report.templates import page_template

_MOST_BARS = 200  # of one drawing
_OFF_SCALE = ("loss", *SIGNED)
_BASELINES = {
    "without_privacy": "the same settings without privacy; with its own it may do better",
    "local_only": "each site's own model, without privacy, on its own records",
    "majority": "always the majority class",
}


def render(report: Report, verdict: str = "", *, curves: bool = True, section: Section | None = None) -> str:
    """The page, as HTML. `verdict`: what an audit of the run found when the page was written, if there was one.

    Without `curves` nothing is drawn: an audit compares the words. `section`: what the model says, if it says it.
    """
    drawings = _curves(report) if curves else []
    filters = (
        figure,
        octets,
        count,
        plain,
        tiny,
        moment,
        wording.whom,
        wording.allowing,
        wording.hits,
        stated,
        in_order,
    )
    page = page_template(Path(__file__).parent, *filters)
    return page.render(
        report=report,
        made=report.made,
        remaining=wording.remaining(report),
        charging=wording.charging(report),
        verdict=verdict or wording.NOT_AUDITED,
        privacy=report.privacy,
        published=wording.evaluation(report),
        counted=_counted(report),
        tables=report.tables,
        tabulated=tabulated,
        model=" ".join(filter(None, [wording.model(report), wording.clipping(report)])),
        read_by=[promise(one.column, one.trained_on) for one in report.encoders or ()],
        purpose=list(told_purpose(report.purpose or {})),
        base=None if report.base is None else told_base(report.base.trained_on, report.base.run),
        fold=wording.fold(report),
        sums=wording.sums(report.transcripts),
        unlikely=wording.unlikely(report),
        lost=wording.lost(report),
        faults=wording.faults(report),
        excess=wording.excess(report),
        parts=told_of_parts((line.unit, whole(line)) for line in report.privacy.units),
        unit=wording.UNITS[report.privacy.unit],
        meaning=wording.meaning(report.privacy),
        risk=wording.risk(report.privacy),
        tried=wording.tried(report.privacy),
        departures=wording.departures(report),
        assumptions=wording.assumptions(report),
        comparison=_comparison(report),
        held_out=held_out(report.evaluation.pooled),
        said=section,
        said_drawings=_of_model(section) if curves else [],
        intervals=judged.intervals(report.evaluation),
        confusion=report.evaluation.confusion,
        answers=judged.answers(report.evaluation),
        in_the_large=judged.in_the_large(report.evaluation),
        clipping=judged.clipping(report.evaluation, report.privacy),
        groups=fairness.group_rows(report.evaluation),
        few=fairness.FEW if fairness.is_any_hidden(report.evaluation) else "",
        gaps=fairness.gap_rows(report.evaluation),
        no_verdict=gaps.NO_VERDICT,
        worse=fairness.worse(report.evaluation),
        personal=fairness.personal(report),
        gains=dict(fairness.gain_rows(report.evaluation)),
        taken={} if report.timing.energy is None else report.timing.energy.sites,
        energy=fairness.energy(report),
        curves=[Markup(drawing) for drawing in drawings],  # noqa: S704  our own plots; text in them is escaped
        invited=spread([line.cohort for line in report.rounds]),
        survived=spread([line.survivors for line in report.rounds if line.lost is None]),
    )


def _of_model(section: Section | None) -> list[tuple[str, Markup]]:
    """The drawings of the model; their texts are escaped."""
    drawings = () if section is None else section.drawings
    return [(name, Markup(drawing)) for name, drawing in drawings]  # noqa: S704


def _comparison(report: Report) -> list[tuple[str, Metrics, str]]:
    """The pooled metrics of this run, then those of each baseline; and why there are none, where that is known."""
    told = report.evaluation
    known = [
        (words, told.baselines[name], told.why(f"baselines.{name}"))
        for name, words in _BASELINES.items()
        if told.baselines.get(name)
    ]
    ours = "this run" if report.kept is None else fairness.UNUSED
    return [(ours, metrics_of(told.pooled), told.why("pooled")), *known]


def _counted(report: Report) -> list[tuple[str, Counted | Measured]]:
    """The published figures with intervals: of everybody, and of each group."""
    told = report.evaluation.published
    return [] if told is None else list(rows_of(told.histogram or told.measured))


def _curves(report: Report) -> list[str]:
    """The plots that the history allows, as SVG."""
    from federation.report import plots  # matplotlib takes a second

    history, drawings = report.history, []
    rounds, measured = [line.round for line in history], [line for line in history if line.metrics]
    known = history[-1].metrics if history else {}
    names = [
        name for name in metrics_of(report.evaluation.pooled) if name in known and name not in _OFF_SCALE
    ]
    series = {name: [line.metrics.get(name) for line in measured] for name in names}
    for part in _alike(series):
        drawn = {plain(name): series[name] for name in part}
        drawings.append(plots.metrics_per_round([line.round for line in measured], drawn))
    epsilons = [line.epsilon for line in history if line.epsilon is not None]
    if epsilons and len(epsilons) == len(history) and report.privacy.private:
        both = None if report.privacy.together is None else whole(report.privacy)
        drawings.append(plots.epsilon_per_round(rounds, epsilons, both))
    if report.tables is not None:
        return _drawn(report.tables)
    if report.evaluation.calibration is not None:
        drawings.append(plots.calibration(report.evaluation.calibration))
    return drawings


def _drawn(tables: Tables) -> list[str]:
    """A table's columns as bars, or its curves: there is one round, and nothing to tell of its course."""
    from federation.report.telling import table_plots

    drawings = [
        table_plots.column_bars(name, column, tables.deviation)
        for name, column in (tables.columns or {}).items()
        if len(column.counts) <= _MOST_BARS
    ]
    return drawings if tables.curves is None else [table_plots.survival_curves(tables.curves)]


def _alike(series: Mapping[str, Sequence[float | None]]) -> list[list[str]]:
    """Shares apart from figures in a unit of their own, beside which a share would be a line on the axis."""
    large = [name for name, values in series.items() if any(abs(value or 0.0) > 1 for value in values)]
    return [part for part in ([name for name in series if name not in large], large) if part]


def spread(values: Sequence[int]) -> str:
    """The least and the greatest of some numbers.

    >>> spread([3, 5, 4]), spread([4, 4]), spread([])
    ('3 to 5', '4', 'n/a')
    """
    return " to ".join(map(str, sorted({min(values), max(values)}))) if values else MISSING
