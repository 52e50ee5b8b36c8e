"""Bars of a published table and curves of times until an event, as inline SVG."""

from __future__ import annotations

import matplotlib

from federation.report.figures.tables import ColumnTable, CurvesTable
from federation.report.plots import COLORS, INK, STYLE, figure_of, literal, svg
from federation.report.telling.tabulated import bars

_MOST_NAMED = 12  # bars


def column_bars(name: str, column: ColumnTable, deviation: float) -> str:
    """The noised count of each value or bin; whiskers are twice the noise's deviation."""
    names, heights = bars(column)
    with matplotlib.rc_context(STYLE):
        figure, axes = figure_of("records, with noise", literal(name))
        places = range(len(heights))
        axes.bar(
            places, heights, width=0.9, color=COLORS[0], yerr=2 * deviation, error_kw={"elinewidth": 0.8}
        )
        step = -(-len(names) // _MOST_NAMED)
        shown = [place for place in places if place % step == 0]
        axes.set_xticks(shown, [literal(names[place])[:14] for place in shown], rotation=45, ha="right")
        axes.axhline(0, color=INK, linewidth=0.8)
        return svg(figure, "Counts of a column")


def survival_curves(curves: CurvesTable) -> str:
    """The share without the event after each interval, group by group, within its interval."""
    with matplotlib.rc_context(STYLE):
        figure, axes = figure_of("share without the event", "time")
        for color, (name, group) in zip(COLORS * 8, curves.groups.items(), strict=False):
            known = [
                (end, one.value, one.low, one.high)
                for end, one in zip(curves.ends, group.survival, strict=True)
                if one is not None
            ]
            ends, middle, low, high = (list(each) for each in zip((0.0, 1.0, 1.0, 1.0), *known, strict=True))
            axes.step(ends, middle, where="post", color=color, label=literal(name) or "all")
            axes.fill_between(ends, low, high, step="post", color=color, alpha=0.15, linewidth=0)
        axes.set_ylim(0.0, 1.02)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=10)
        return svg(figure, "Survival curves")
