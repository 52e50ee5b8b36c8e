"""Prints results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from federation.report.files import PAGE
from federation.report.numbers import MISSING, UNBOUNDED, figure, short, upward
from federation.report.report import Evaluation, PrivacyClaim, Report
from federation.report.wording import NOT_TUNED

_ROUNDING = 1e-9
_NOT_MEASURED = "Metrics of held-out records are not measured at a real run."


def titled(title: str, first: str, *numbers: str) -> Table:
    """An empty table: a column of words, then columns of numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def print_report(report: Report, folder: Path) -> None:
    """Print a run: the guarantee, the sites, the metrics beside their baselines, the paths of the files."""
    console = Console()
    console.print(_claim(report.privacy), highlight=False)
    console.print(_sites(report))
    console.print(_metrics(report.evaluation) if report.simulated else _NOT_MEASURED)
    if report.evaluation.baselines.get("without_privacy"):
        console.print(f"without privacy: {NOT_TUNED}", soft_wrap=True, highlight=False)
    page = folder / PAGE if (folder / PAGE).exists() else MISSING
    console.print(f"report   {page}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"params   {folder / 'params.safetensors'}", soft_wrap=True, markup=False, highlight=False)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print facts as two columns; a site's limits, unit by unit, as a table below."""
    console, site = Console(), dict(facts.get("site") or {})
    units = site.pop("units", {})
    console.print(_columns({**facts, "site": site} if site else facts))
    if units:
        console.print(_limits(units))


def print_budget(budget: Mapping[str, Any]) -> None:
    """Print a budget: its figures, epsilon for each unit, epsilon after every tenth of its rounds."""
    console, aside = Console(), ("rounds", "units", "filter")
    console.print(_columns({name: value for name, value in budget.items() if name not in aside}))
    console.print(_exposure(budget["units"]))
    console.print(_rounds(budget["rounds"]))
    console.print(_room(budget["filter"]), highlight=False)


def _claim(privacy: PrivacyClaim) -> str:
    if not privacy.private:
        return '[bold red]NOT PRIVATE[/]: the plan says noise = "none"; no epsilon holds for these params'
    return (
        f"[bold]epsilon {figure(privacy.epsilon)}[/] at delta {privacy.delta:g} for one {privacy.unit}; "
        f"noise {privacy.noise}, multiplier {figure(privacy.noise_multiplier)}"
    )


def _sites(report: Report) -> Table:
    known = ["records"] * report.simulated
    table = titled("Sites", "site", *known, "rounds", "epsilon spent", "KiB up", "KiB down")
    for site in report.sites:
        records = [str(site.records)] * report.simulated
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


def _columns(facts: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _fact(value))
    return table


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
        return "\n".join(_fact(item) for item in value)
    return MISSING if value is None else str(value)
