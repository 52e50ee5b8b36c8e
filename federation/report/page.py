"""The report of a run: report.json for programs, report.html for people.

The page is one file: style and plots are inside, it loads nothing and opens from disk. Names in it come from users,
so every one is escaped; the template computes nothing that could differ from report.json.

Beyond the fields that interface.md promises, a report may hold: `name`; `history`, a list of {"round", "epsilon",
"metrics"} with pooled metrics; `evaluation.baselines.without_privacy`; `sites[].records`; `secure_aggregation`
with "colluders" and "dropouts". What is absent is left out of the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from federation.errors import CheckpointError
from federation.files import replace_file
from federation.report import plots, wording
from federation.report.pages import environment

Report = Mapping[str, Any]

# The order of report.json: what interface.md names, as it names it, then the rest by name.
ORDER = (
    "schema",
    "name",
    "plan_digest",
    "engine",
    "simulated",
    "seed",
    "privacy",
    "sites",
    "rounds",
    "evaluation",
    "timing",
)
BASELINES = {"without_privacy": "the same training without privacy", "majority": "always the majority class"}


def write_report(folder: Path, report: Report) -> dict[str, Any]:
    """Write `folder`/report.json and report.html, each at once: a reader never sees half a file. Returns the JSON.

    A number that is not finite is written as null, so an epsilon of infinity is an epsilon that does not exist.
    """
    clean = finite(report)
    ordered = {key: clean[key] for key in (*ORDER, *sorted(set(clean) - set(ORDER))) if key in clean}
    text = json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(folder / "report.json", text.encode())
    replace_file(folder / "report.html", render(ordered).encode())
    return ordered


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a complete run."""
    path = folder / "report.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(
            f"{path} cannot be read", hint="the run is complete: federation audit RUN shows what it was"
        ) from None
    return report


def render(report: Report) -> str:
    """The page, for a report without infinities."""
    pages = environment(Path(__file__).parent)
    pages.filters |= {
        "figure": figure,
        "octets": octets,
        "count": count,
        "plain": wording.plain,
        "tiny": wording.tiny,
        "upward": wording.upward,
        "whom": wording.whom,
    }
    return pages.get_template("report_template.html").render(
        report=report,
        privacy={"units": [], **report["privacy"]},
        published=wording.published(told) if (told := report["evaluation"].get("published")) else "",
        unit=wording.UNITS[report["privacy"]["unit"]],
        meaning=wording.meaning(report["privacy"]) if report["privacy"]["private"] else "",
        departures=wording.departures(report),
        assumptions=wording.assumptions(report),
        comparison=comparison(report),
        curves=[Markup(drawing) for drawing in curves(report)],  # noqa: S704  our own plots; text in them is escaped
        invited=spread(report, "cohort"),
        survived=spread(report, "survivors"),
    )


def comparison(report: Report) -> list[tuple[str, Mapping[str, float | None]]]:
    """The pooled metrics of this run, then those of each baseline that there is."""
    baselines = report["evaluation"].get("baselines", {})
    known = [(words, baselines[name]) for name, words in BASELINES.items() if baselines.get(name)]
    return [("this run", report["evaluation"]["pooled"]), *known]


def curves(report: Report) -> list[str]:
    """The plots that the history allows, as SVG."""
    history = report.get("history", [])
    rounds = [entry["round"] for entry in history]
    drawings = []
    known = history[-1]["metrics"] if history else {}
    names = [name for name in report["evaluation"]["pooled"] if name in known and name != "loss"]
    if names:
        series = {wording.plain(name): [entry["metrics"].get(name) for entry in history] for name in names}
        drawings.append(plots.metrics_per_round(rounds, series))
    epsilons = [entry["epsilon"] for entry in history]
    if epsilons and None not in epsilons and report["privacy"]["private"]:
        drawings.append(plots.epsilon_per_round(rounds, epsilons))
    return drawings


def spread(report: Report, key: str) -> str:
    """The least and the greatest of a number over the rounds, once if they are one."""
    numbers = {entry[key] for entry in report["rounds"]}
    return " to ".join(map(str, sorted({min(numbers), max(numbers)}))) if numbers else "n/a"


def finite(value: Any) -> Any:
    """The same JSON value with null for every number that is infinite or not a number."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def figure(value: float | None) -> str:
    """A metric to three places, or n/a."""
    return "n/a" if value is None else f"{value:.3f}"


def octets(value: int) -> str:
    """A number of bytes in the unit that reads best."""
    if value < 1000:
        return f"{value} B"
    power = min(3, int(math.log10(value) // 3))
    return f"{value / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


def count(value: float) -> str:
    """A number with a thin space between thousands."""
    return f"{value:,.0f}".replace(",", "\u2009")
