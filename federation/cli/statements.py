"""A ledger as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from federation.cli.tables import titled
from federation.report.numbers import short

NO_LIMIT = "no limit"


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
    table = titled("Budget", "unit", "epsilon spent", "allowed", "delta", "filter", "one person")
    for unit, spent in units.items():
        people = f"{spent['records']} records, {spent['sites']} sites" if unit == "patient" else ""
        used = "full" if spent["used"] is None or spent["used"] > 1 else f"{spent['used']:.0%} full"
        table.add_row(
            unit,
            short(spent["epsilon"], NO_LIMIT),
            short(spent["epsilon_max"], NO_LIMIT),
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
            short(run["noise_multiplier"], "none"),
            short(run["sample_rate"], "none"),
            *(str(run[name]) for name in ("rounds_begun", "rounds", "rounds_released")),
            "closed" if run["closed"] else "reserved",
        )
    return table
