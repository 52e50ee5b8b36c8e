"""A published evaluation in a sentence: of a run, or of all folds of a plan."""

from __future__ import annotations

from federation.report.figures.folds import figures_of
from federation.report.figures.published import in_order
from federation.report.numbers import plain
from federation.report.report import Folds, Published
from federation.report.telling.tabulated import told

_FEW = 3  # figures in a sentence


def folds(found: Folds) -> str:
    """What was published of all folds as one sentence; noise that hides a fold hides their mean."""
    told = [figures_of(line.published.to_json()) for line in found.folds]
    name = "accuracy" if not told or "accuracy" in told[0] else next(iter(told[0]))
    mean, deviation = found.mean.get(name), found.deviation.get(name)
    each = ", ".join("hidden" if (one := values[name]) is None else f"{one:.3f}" for values in told)
    parts = f"each of {len(found.folds)} folds, by models trained without it"
    over = f"noised {plain(name)} on the records of {parts}: {each}"
    if mean is None or deviation is None:
        return f"The {over}."
    return f"The {over}; mean {mean:.3f}, standard deviation {deviation:.3f}."


def published(figures: Published | None) -> str:
    """A published evaluation as one sentence; "" if the run published none."""
    if figures is None:
        return ""
    if figures.measured is not None and figures.records is not None:
        known = {name: one for name, one in figures.measured.metrics.items() if one is not None}
        found = [f"{plain(name)} {told(known[name])}" for name in in_order(known)]
        return (
            f"Published, with noise for whoever was held out: {', '.join(found[:_FEW]) or 'no figure'}, over about "
            f"{figures.records:.0f} records. In brackets: 95 % by chance and noise."
        )
    if None in (figures.accuracy, figures.standard_error):
        return "The evaluation that the plan paid for is hidden by its noise: too few records were held out."
    return (
        f"Published, with noise for whoever was held out: accuracy {figures.accuracy:.3f}, give or take "
        f"{figures.standard_error:.3f} for the noise alone, loss {figures.loss:.3f}, over about "
        f"{figures.records:.0f} records.{_ranked(figures)}"
    )


def _ranked(figures: Published) -> str:
    """The AUC of a histogram of scores, where it is published and not hidden."""
    auc = None if figures.histogram is None else figures.histogram.metrics.get("auc")
    if auc is None:
        return ""
    return f" AUC {auc.value:.3f}, from {auc.low:.3f} to {auc.high:.3f} by chance and noise."
