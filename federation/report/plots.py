"""Curves of a run as inline SVG: metrics per round, epsilon per round.

The SVG takes its ink from the page (`currentColor`), so that it reads on a light screen, a dark one and paper. It
holds hashed ids only, no metadata and no link: two of them can sit in one page that opens from disk.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from federation.report.figures.scores import Calibration
from federation.report.numbers import upward

INK = "#010203"  # stands for the page's own text color until the SVG is written
COLORS = ("#0f8b8d", "#e07a1f", "#6c5ce7", "#d6336c", "#5b8c2a", "#8d6e63", "#3b82f6")
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "federation",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"), INK),
    "lines.linewidth": 2.0,
    "legend.frameon": False,
}


def metrics_per_round(rounds: Sequence[int], curves: Mapping[str, Sequence[float | None]]) -> str:
    """One line for each metric, as SVG. A missing value leaves a gap."""
    with matplotlib.rc_context(STYLE):
        figure, axes = figure_of("metric on the pooled test records")
        for color, (name, values) in zip(COLORS * 2, curves.items(), strict=False):
            points = [float("nan") if value is None else value for value in values]
            marker = "o" if len(points) == 1 else ""
            axes.plot(rounds, points, color=color, label=literal(name), marker=marker)
        known = [value for values in curves.values() for value in values if value is not None]
        least, most = min(known, default=0.0), max([1.0, *known])
        axes.set_ylim(least - 0.05 if least < 0 else max(0.0, least - 0.05), most + 0.01 * most)
        columns = min(3, len(curves))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns, fontsize=10)
        return svg(figure, "Metrics per round")


def epsilon_per_round(rounds: Sequence[int], epsilons: Sequence[float], together: float | None = None) -> str:
    """The epsilon that the run has spent after each round, as SVG, with the last value written out.

    `together`: with the evaluation, which is the round after the last; None if there is none.
    """
    if together is not None:
        rounds, epsilons = [*rounds, rounds[-1] + 1], [*epsilons, together]
    with matplotlib.rc_context(STYLE):
        figure, axes = figure_of("epsilon of the rounds so far")
        axes.fill_between(rounds, epsilons, color=COLORS[0], alpha=0.15, linewidth=0)
        axes.plot(rounds, epsilons, color=COLORS[0], marker="o" if len(epsilons) == 1 else "")
        axes.set_ylim(0.0, 1.15 * max(epsilons))
        last, end = upward(epsilons[-1]), (rounds[-1], epsilons[-1])
        last += "" if together is None else " with the evaluation"
        axes.annotate(last, end, xytext=(0, 7), textcoords="offset points", ha="right", weight="bold")
        return svg(figure, "Epsilon per round")


def calibration(of: Calibration) -> str:
    """What scores claim and what was so, as SVG: dots on the diagonal are right."""
    known = [band for band in of.bands if None not in (band.predicted, band.observed, band.low, band.high)]
    with matplotlib.rc_context(STYLE):
        figure, axes = figure_of("share of positives", "mean score")
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.35, linewidth=1.0, linestyle="--")
        scores = [band.predicted or 0.0 for band in known]
        shares = [band.observed or 0.0 for band in known]
        below = [share - (band.low or 0.0) for share, band in zip(shares, known, strict=True)]
        above = [(band.high or 0.0) - share for share, band in zip(shares, known, strict=True)]
        axes.errorbar(scores, shares, yerr=[below, above], color=COLORS[0], marker="o", elinewidth=1.0)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return svg(figure, "Calibration curve")


def figure_of(ylabel: str, xlabel: str = "round") -> tuple[Figure, Axes]:
    """An empty plot."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=INK, alpha=0.12)
    return figure, axes


def literal(name: str) -> str:
    """A name as it is."""
    # A name may be a user's own: no mathematics, and no leading underscore that would hide it from the legend.
    return name.replace("$", r"\$").lstrip("_ ")


def svg(figure: Figure, title: str) -> str:
    """The plot as a page holds it."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    drawing = re.sub(r' (width|height)="[\d.]+pt"', "", drawing, count=2)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{title}"', 1).strip()
