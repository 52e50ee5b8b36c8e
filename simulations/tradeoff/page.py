"""tradeoff.html: a frontier as a page for people. One file, which opens from disk and loads nothing.

It says what frontier.json says and computes nothing else. Names in it come from users and are escaped. It runs no
script, and its own policy has the browser load nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from federation.plan.measures import LESS_IS_BETTER, SIGNED
from federation.report.numbers import MISSING, count, figure, plain, spread, tiny
from federation.report.templates import page_template
from simulations.tradeoff import plots, wording
from simulations.tradeoff.plots import NARROW, SMALL, WIDE, Level, Series, is_clear, signed
from simulations.tradeoff.risk import QUESTIONS

Json = Mapping[str, Any]
_LEVELS = {
    "pooled": "all data in one place",
    "without_privacy": "without privacy",
    "local_only": "each site alone",
    "majority": "majority class",
}
_LEGEND = {
    "pooled": "all data in one place, without privacy",
    "without-privacy": "all sites, without privacy",
    "local-only": "each site alone, without privacy",
    "majority": "always the majority class",
}


def render(found: Json, plans: Mapping[str, str]) -> str:
    """The page, as HTML. `plans`: the text of each plan file that a point names."""
    main = main_metric(found["metrics"])
    noises = list(dict.fromkeys(point["noise"] for point in found["points"]))
    filters = (figure, count, plain, tiny, band, change, tone_of)
    page = page_template(Path(__file__).parent, *filters)
    return page.render(
        found=found,
        main=main,
        noises=noises,
        epsilons=sorted({point["epsilon"] for point in found["points"]}),
        by_place={(point["noise"], point["epsilon"]): point for point in found["points"]},
        plans=plans,
        lead=wording.lead(found, main),
        scale=wording.scale(found),
        given=wording.given(found, main),
        payers=wording.payers(found, main),
        worse=wording.worse(found, main),
        question=QUESTIONS[found["unit"]],
        notes=wording.notes(found),
        baselines={name: wording.BASELINES[name] for name in wording.BASELINES if name in found["baselines"]},
        legend=_legend(found, main, noises),
        drawings=[_frontier(found, main, noises, size) for size in (WIDE, NARROW)],
        others=[_frontier(found, name, noises, SMALL) for name in found["metrics"] if name != main],
        exchanges=_exchanges(found, main),
    )


def main_metric(metrics: Sequence[str]) -> str:
    """The metric of the large drawing: the plan's first one that is better when it is larger."""
    return next((name for name in metrics if name not in (*LESS_IS_BETTER, *SIGNED)), metrics[0])


def band(of: Json) -> Markup:
    """A mean, and half the width of its band.

    >>> band({"mean": 0.5, "low": 0.4, "high": 0.6}), band({"mean": None, "low": None, "high": None})
    (Markup('<span>0.500 <small>± 0.100</small></span>'), Markup('<span>n/a</span>'))
    """
    return _with_half(figure(of["mean"]), of)


def change(of: Json) -> Markup:
    """A difference with half the width of its band.

    >>> change({"mean": 0.02, "low": None, "high": None})
    Markup('<span>+0.020</span>')
    """
    return _with_half(MISSING if of["mean"] is None else signed(of["mean"]), of)


def _with_half(words: str, of: Json) -> Markup:
    half = spread(None if of["low"] is None else of["high"] - of["mean"]).strip()
    if not half:
        return Markup("<span>{}</span>").format(words)
    return Markup("<span>{} <small>{}</small></span>").format(words, half)


def tone_of(of: Json) -> str:
    """How a difference is shown: "up" or "down" where it is one, "even" where it may be chance."""
    if of["mean"] is None or not is_clear(of):
        return "even"
    return "up" if of["mean"] > 0 else "down"


def _series(found: Json, metric: str, noises: Sequence[str]) -> list[Series]:
    series = []
    for tone, noise in enumerate(noises):
        points = [point for point in found["points"] if point["noise"] == noise and not point["refused"]]
        if points:
            bands = tuple(point["metrics"][metric] for point in points)
            series.append(Series(f"{noise} noise", tone, tuple(point["epsilon"] for point in points), bands))
    alone = {point["epsilon"]: point["alone"][metric] for point in found["points"] if point["alone"]}
    if alone:
        series.append(Series("each alone, same ε", 3, tuple(alone), tuple(alone.values()), is_aside=True))
    return series


def _levels(found: Json, metric: str) -> list[Level]:
    known = ((name, words, found["baselines"].get(name, {}).get(metric)) for name, words in _LEVELS.items())
    return [
        Level(words, one["mean"], name.replace("_", "-"))
        for name, words, one in known
        if one is not None and one["mean"] is not None
    ]


def _frontier(found: Json, metric: str, noises: Sequence[str], size: plots.Size) -> Markup:
    return plots.frontier(_series(found, metric, noises), _levels(found, metric), plain(metric), size)


def _legend(found: Json, metric: str, noises: Sequence[str]) -> list[tuple[Markup, str]]:
    """A drawing and the words for each line."""
    box = Markup('<svg aria-hidden="true" viewBox="-16 -8 32 16">{}</svg>')
    lines = []
    for one in _series(found, metric, noises):
        kind = "aside" if one.is_aside else "line"
        line = Markup('<path class="{} tone{}" d="M-15 0H15"/>').format(kind, one.tone)
        what = "mean and 95 % interval" if len(found["seeds"]) > 1 else "one seed"
        words = "each site alone, at the same epsilon" if one.is_aside else f"{one.name}, {what}"
        lines.append((box.format(line if one.is_aside else line + plots.mark(one.tone)), words))
    for level in _levels(found, metric):
        line = Markup('<path class="level {}" d="M-15 0H15"/>').format(level.style)
        lines.append((box.format(line), f"{_LEGEND[level.style]}: {figure(level.value)}"))
    return lines


def _exchanges(found: Json, metric: str) -> list[Markup]:
    told = found["contributions"]
    rows = wording.exchanged(found, metric) if told else []
    return [plots.exchange(rows, size) for size in (WIDE, NARROW)] if rows else []
