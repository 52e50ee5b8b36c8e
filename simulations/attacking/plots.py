"""ROC curves on logarithmic scales as inline SVG, beside the trade-off that is proven."""

from __future__ import annotations

import matplotlib
import numpy as np

from federation.report.plots import COLORS, INK, STYLE, figure_of, svg
from simulations.attacking.figures import Found
from simulations.attacking.proven import Proven

_LEAST = 3e-4  # of either axis
_NAMES = {"loss": "loss", "lira": "LiRA, with its interval"}


def roc(found: dict[str, Found], proven: Proven | None, title: str) -> str:
    """One line for each attack, a band for LiRA, the proven curve above and blind guessing below."""
    with matplotlib.rc_context(STYLE):
        figure, axes = figure_of("found of those who were in", "accused of those who were not")
        ends = np.geomspace(_LEAST, 1.0, 80)
        axes.plot(ends, ends, color=INK, alpha=0.35, linewidth=1.0, linestyle="--", label="blind guessing")
        if proven is not None:
            most = [proven.tpr(float(rate)) for rate in ends]
            axes.plot(ends, most, color=COLORS[3], label="proven: no attack is above")
            axes.fill_between(ends, most, 1.0, color=COLORS[3], alpha=0.07, linewidth=0)
        for color, (name, one) in zip(COLORS, found.items(), strict=False):
            seen = [point for point in one.roc if point.fpr > 0]
            rates = [point.fpr for point in seen]
            if name == "lira":
                low, high = ([max(_LEAST, getattr(p, side)) for p in seen] for side in ("low", "high"))
                axes.fill_between(rates, low, high, color=color, alpha=0.18, linewidth=0)
            axes.plot(rates, [max(_LEAST, p.tpr) for p in seen], color=color, label=_NAMES[name])
        axes.set(xscale="log", yscale="log", xlim=(_LEAST, 1.0), ylim=(_LEAST, 1.0))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=9)
        return svg(figure, title)
