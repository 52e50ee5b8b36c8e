"""Results as tables on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MISSING = "n/a"
UNBOUNDED = "not bounded"
ROUNDING = 1e-9


def print_report(report: Mapping[str, Any], folder: Path) -> None:
    """What a run found: the guarantee, the sites, the metrics beside their baselines, where the files are."""
    console = Console()
    console.print(_claim(report["privacy"]), highlight=False)
    console.print(_sites(report))
    console.print(_metrics(report["evaluation"]))
    console.print(f"report   {folder / 'report.html'}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"params   {folder / 'params.safetensors'}", soft_wrap=True, markup=False, highlight=False)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Facts as two columns; a site's limits, unit by unit, as a table below."""
    console, site = Console(), dict(facts.get("site") or {})
    units = site.pop("units", {})
    console.print(_columns({**facts, "site": site} if site else facts))
    if units:
        console.print(_limits(units))


def print_budget(budget: Mapping[str, Any]) -> None:
    """A budget: its figures, whom it costs how much, with every tenth of its rounds."""
    console, aside = Console(), ("rounds", "units", "filter")
    console.print(_columns({name: value for name, value in budget.items() if name not in aside}))
    console.print(_exposure(budget["units"]))
    console.print(_rounds(budget["rounds"]))
    console.print(_room(budget["filter"]), highlight=False)


def _claim(privacy: Mapping[str, Any]) -> str:
    if not privacy["private"]:
        return '[bold red]NOT PRIVATE[/]: the plan says noise = "none"; no epsilon holds for these params'
    return (
        f"[bold]epsilon {privacy['epsilon']:.3f}[/] at delta {privacy['delta']:g} for one {privacy['unit']}; "
        f"noise {privacy['noise']}, multiplier {privacy['noise_multiplier']:.3f}"
    )


def _sites(report: Mapping[str, Any]) -> Table:
    table = Table(title="Sites", title_justify="left")
    table.add_column("site")
    for name in ("records", "rounds", "epsilon spent", "KiB up", "KiB down"):
        table.add_column(name, justify="right")
    for site in report["sites"]:
        spent = MISSING if site["epsilon"] is None else f"{site['epsilon']:.3f}"
        sizes = (f"{site[key] / 1024:.1f}" for key in ("bytes_up", "bytes_down"))
        table.add_row(site["id"], str(site["records"]), str(site["rounds"]), spent, *sizes)
    return table


def _metrics(evaluation: Mapping[str, Any]) -> Table:
    table = Table(title="Held-out records", title_justify="left")
    columns = {
        "this run": evaluation["pooled"],
        "mean of sites": evaluation["mean_of_sites"],
        **evaluation["baselines"],
    }
    table.add_column("metric")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for metric in evaluation["pooled"]:
        table.add_row(metric.replace("_", " "), *(_number(values.get(metric)) for values in columns.values()))
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
    table = Table(title="Epsilon at this site", title_justify="left")
    table.add_column("of one")
    for name in ("spent", "with this plan", "limit", "delta"):
        table.add_column(name, justify="right")
    for unit, spent in units.items():
        epsilons = (_number(spent[key]) for key in ("epsilon_before", "epsilon_after", "epsilon_max"))
        table.add_row(unit, *epsilons, f"{spent['delta']:g}")
    return table


def _exposure(units: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="What the whole plan costs", title_justify="left")
    table.add_column("one")
    for name in ("records at a site", "sites", "epsilon"):
        table.add_column(name, justify="right")
    for line in units:
        cost = UNBOUNDED if line["epsilon"] is None else _number(line["epsilon"])
        table.add_row(line["unit"], *_holdings(line), cost)
    return table


def _holdings(line: Mapping[str, Any]) -> tuple[str, str]:
    """How much one unit has where; a client is all the records of one site."""
    return ("all" if line["unit"] == "client" else str(line["records"])), str(line["sites"])


def _rounds(rounds: Sequence[Mapping[str, Any]]) -> Table:
    every = max(1, len(rounds) // 10)
    table = Table(title="Epsilon by round", title_justify="left")
    table.add_column("round", justify="right")
    table.add_column("epsilon", justify="right")
    for entry in rounds:
        if entry["round"] % every == 0 or entry["round"] in (1, len(rounds)):
            table.add_row(str(entry["round"]), _number(entry["epsilon"]))
    return table


def _room(rule: Mapping[str, Any]) -> str:
    """What a site whose limit is exactly this plan's epsilon could admit after it."""
    how = "GDP" if rule["type"] == "gdp" else f"RDP of order {rule['order']}"
    if rule["load"] is not None and rule["load"] <= 1 + ROUNDING:
        share = f"{min(100.0, math.ceil(1000 * rule['load']) / 10):.1f}%"
        return f"A site whose limit is this epsilon has {share} of it used by this plan ({how})."
    return (
        f"A site whose limit is this epsilon admits this plan as the first on its data, and nothing after it: "
        f"plans that may follow from results are weighed more strictly ({how}). "
        + (
            "No limit this small leaves room for more."
            if rule["room_from"] is None
            else f"With a limit above {_upward(rule['room_from'])} there is room for more."
        )
    )


def _upward(value: float) -> str:
    return f"{math.ceil(1000 * value) / 1000:.3f}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _fact(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_fact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(_fact(item) for item in value)
    return MISSING if value is None else str(value)
