"""A ledger as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

UNBOUNDED = "no limit"


def print_statement(facts: Mapping[str, Any]) -> None:
    """Whose ledger it is; what each unit may spend and has spent; the runs."""
    console = Console()
    kind = "[bold red]SIMULATED[/] ledger" if facts["simulated"] else "ledger"
    console.print(f"{kind} of [bold]{facts['site']}[/], pool {facts['pool']}", highlight=False)
    console.print(
        f"{facts['entries']} entries verified, head {facts['head']}", highlight=False, soft_wrap=True
    )
    console.print(_units(facts["units"]))
    console.print(_runs(facts["runs"]))
    if facts["refusals"]:
        console.print(f"{facts['refusals']} plans were refused: they asked for more than was left")
    if facts["witnessed"]:
        seen = ", ".join(f"{site} up to entry {seq}" for site, seq in facts["witnessed"].items())
        console.print(f"ledgers of peers witnessed: {seen}", highlight=False)


def _units(units: Mapping[str, Any]) -> Table:
    table = Table(title="Budget", title_justify="left")
    table.add_column("unit")
    for name in ("epsilon spent", "allowed", "delta", "filter", "one person"):
        table.add_column(name, justify="right")
    for unit, spent in units.items():
        people = f"{spent['records']} records, {spent['sites']} sites" if unit == "patient" else ""
        used = "full" if spent["used"] is None or spent["used"] > 1 else f"{spent['used']:.0%} full"
        table.add_row(
            unit,
            _number(spent["epsilon"]),
            _number(spent["epsilon_max"]),
            f"{spent['delta']:g}",
            used,
            people,
        )
    return table


def _runs(runs: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Runs", title_justify="left")
    for name in ("run", "plan", "unit"):
        table.add_column(name, no_wrap=True)
    for name in ("noise", "rate", "begun", "of", "sent"):
        table.add_column(name, justify="right")
    table.add_column("state", no_wrap=True)
    for run in runs:
        table.add_row(
            run["run"][:8],
            run["plan"].removeprefix("sha256:")[:8],
            run["unit"],
            _number(run["noise_multiplier"], "none"),
            _number(run["sample_rate"], "none"),
            *(str(run[name]) for name in ("rounds_begun", "rounds", "rounds_released")),
            "closed" if run["closed"] else "reserved",
        )
    return table


def _number(value: float | None, missing: str = UNBOUNDED) -> str:
    return missing if value is None else f"{value:.4g}"
