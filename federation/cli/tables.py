"""Prints results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from federation.cli.screen import show, styled, titled
from federation.report.files import PAGE
from federation.report.numbers import MISSING, UNBOUNDED, figure, short, upward
from federation.report.report import Evaluation, PrivacyClaim, Report
from federation.report.wording import NOT_TUNED

_ROUNDING = 1e-9
_NOT_MEASURED = "Metrics of held-out records are not measured at a real run."


def print_report(report: Report, folder: Path) -> None:
    """Print a run: the guarantee, the sites, the metrics beside their baselines, the paths of the files."""
    show(_claim(report.privacy), _sites(report))
    show(_metrics(report.evaluation) if report.simulated else _NOT_MEASURED)
    if report.evaluation.baselines.get("without_privacy"):
        show(f"without privacy: {NOT_TUNED}")
    page = folder / PAGE if (folder / PAGE).exists() else MISSING
    show(f"report   {page}", f"params   {folder / 'params.safetensors'}")


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print facts, a line each; a site's limits, unit by unit, as a table below."""
    site = dict(facts.get("site") or {})
    units = site.pop("units", {})
    show(*_lines({**facts, "site": site} if site else facts))
    if units:
        show(_limits(units))


def print_budget(budget: Mapping[str, Any]) -> None:
    """Print a budget: its figures, epsilon for each unit, epsilon after every tenth of its rounds."""
    aside = ("rounds", "units", "filter")
    show(*_lines({name: value for name, value in budget.items() if name not in aside}))
    show(_exposure(budget["units"]), _rounds(budget["rounds"]), _room(budget["filter"]))


def _claim(privacy: PrivacyClaim) -> Text:
    if not privacy.private:
        said = ': the plan says noise = "none"; no epsilon holds for these params'
        return styled(("NOT PRIVATE", "bold red"), said)
    return styled(
        (f"epsilon {figure(privacy.epsilon)}", "bold"),
        f" at delta {privacy.delta:g} for one {privacy.unit}; "
        f"noise {privacy.noise}, multiplier {figure(privacy.noise_multiplier)}",
    )


def _sites(report: Report) -> Table:
    are_tables = any(site.lines is not None for site in report.sites)
    known = ["lines read"] * are_tables + ["records"] * report.simulated
    table = titled("Sites", "site", *known, "rounds", "epsilon spent", "KiB up", "KiB down")
    for site in report.sites:
        lines = [MISSING if site.lines is None else str(site.lines)] * are_tables
        records = [*lines, *[str(site.records)] * report.simulated]
        sizes = (_kib(size) for size in (site.bytes_up, site.bytes_down))
        table.add_row(site.id, *records, str(site.rounds), figure(site.epsilon), *sizes)
    return table


def _kib(size: int | None) -> str:
    """Bytes of one line; n/a in a run without messages."""
    return MISSING if size is None else f"{size / 1024:.1f}"


def _metrics(evaluation: Evaluation) -> Table:
    own = {"this run": evaluation.pooled, "mean of sites": evaluation.mean_of_sites}
    columns = {**own, **evaluation.baselines}
    reasons = [
        evaluation.why(name) for name in ("pooled", "", *(f"baselines.{one}" for one in evaluation.baselines))
    ]
    table = titled("Held-out records", "metric", *(name.replace("_", " ") for name in columns))
    for metric in evaluation.pooled:
        cells = zip(columns.values(), reasons, strict=True)
        table.add_row(metric.replace("_", " "), *(figure(values.get(metric), why) for values, why in cells))
    return table


def _lines(facts: Mapping[str, Any]) -> list[str]:
    """A fact on each line, its name before it."""
    width = max(map(len, facts), default=0)
    return [f"{name.replace('_', ' '):{width}}  {_fact(value)}" for name, value in facts.items()]


def _limits(units: Mapping[str, Mapping[str, float]]) -> Table:
    """What is spent of each limit now, and what would be."""
    table = titled("Epsilon at this site", "of one", "spent", "with this plan", "limit", "delta")
    for unit, spent in units.items():
        epsilons = (figure(spent[key]) for key in ("epsilon_before", "epsilon_after", "epsilon_max"))
        table.add_row(unit, *epsilons, f"{spent['delta']:g}")
    return table


def _exposure(units: Sequence[Mapping[str, Any]]) -> Table:
    table = titled("What the whole plan costs", "one", "records at a site", "sites", "epsilon")
    for line in units:
        records = "all" if line["unit"] == "client" else str(line["records"])
        cost = UNBOUNDED if line["epsilon"] is None else figure(line["epsilon"])
        table.add_row(line["unit"], records, str(line["sites"]), cost)
    return table


def _rounds(rounds: Sequence[Mapping[str, Any]]) -> Table:
    every = max(1, len(rounds) // 10)
    table = Table(title="Epsilon by round", title_justify="left")
    table.add_column("round", justify="right")
    table.add_column("epsilon", justify="right")
    for entry in rounds:
        if entry["round"] % every == 0 or entry["round"] in (1, len(rounds)):
            table.add_row(str(entry["round"]), figure(entry["epsilon"]))
    return table


def _room(rule: Mapping[str, Any]) -> str:
    """What a site could still admit after this plan, if its limit is exactly the plan's epsilon."""
    how = "GDP" if rule["type"] == "gdp" else f"RDP of order {rule['order']}"
    if rule["load"] is not None and rule["load"] <= 1 + _ROUNDING:
        share = f"{upward(min(100.0, 100 * rule['load']), 1)}%"
        return f"A site whose limit is this epsilon has {share} of it used by this plan ({how})."
    return (
        f"A site whose limit is this epsilon admits this plan as the first on its data, and nothing after it: "
        f"plans that may follow from results are weighed more strictly ({how}). "
        + (
            "No limit this small leaves room for more."
            if rule["room_from"] is None
            else f"With a limit above {upward(rule['room_from'], 3)} there is room for more."
        )
    )


def _fact(value: object) -> str:
    if isinstance(value, float):
        return short(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_fact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_fact(item) for item in value)
    return MISSING if value is None else str(value)
