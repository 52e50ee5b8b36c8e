"""Results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MISSING = "n/a"


def print_report(report: Mapping[str, Any], folder: Path) -> None:
    """What a run found: the guarantee, the sites, the metrics beside their baselines, where the files are."""
    console = Console()
    console.print(_claim(report["privacy"]), highlight=False)
    console.print(_sites(report))
    console.print(_metrics(report["evaluation"]))
    console.print(f"report   {folder / 'report.html'}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"params   {folder / 'params.safetensors'}", soft_wrap=True, markup=False, highlight=False)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Flat facts as two columns; a list of facts below its name."""
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _fact(value))
    console.print(table)


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


def print_budget(budget: Mapping[str, Any]) -> None:
    """A budget with every tenth of its rounds."""
    rounds = budget["rounds"]
    every = max(1, len(rounds) // 10)
    shown = [entry for entry in rounds if entry["round"] % every == 0 or entry["round"] in (1, len(rounds))]
    print_facts({name: value for name, value in budget.items() if name != "rounds"})
    table = Table(title="Epsilon by round", title_justify="left")
    table.add_column("round", justify="right")
    table.add_column("epsilon", justify="right")
    for entry in shown:
        table.add_row(str(entry["round"]), f"{entry['epsilon']:.3f}")
    Console().print(table)
