"""Prints a ledger as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from federation.cli.screen import show, styled, titled
from federation.report.numbers import short

_NO_LIMIT = "no limit"


def print_statement(facts: Mapping[str, Any]) -> None:
    """Print `facts` (`federation.ledger.statement`): the site, what each unit may spend and has spent, the runs."""
    kind = [("SIMULATED", "bold red"), " ledger"] if facts["simulated"] else ["ledger"]
    show(styled(*kind, " of ", (facts["site"], "bold"), f", pool {facts['pool']}"))
    show(f"{facts['entries']} entries verified, head {facts['head']}")
    show(_units(facts["units"]), _runs(facts["runs"]))
    if facts["refusals"]:
        show(f"{facts['refusals']} plans were refused: they asked for more than was left")
    if facts["witnessed"]:
        seen = ", ".join(f"{site} up to entry {seq}" for site, seq in facts["witnessed"].items())
        show(f"ledgers of peers witnessed: {seen}")


def _units(units: Mapping[str, Any]) -> Table:
    table = titled("Budget", "unit", "epsilon spent", "allowed", "delta", "filter", "one person")
    for unit, spent in units.items():
        people = f"{spent['records']} records, {spent['sites']} sites" if unit == "patient" else ""
        used = "full" if spent["used"] is None or spent["used"] > 1 else f"{spent['used']:.0%} full"
        epsilons = (short(spent[key], _NO_LIMIT) for key in ("epsilon", "epsilon_max"))
        table.add_row(unit, *epsilons, f"{spent['delta']:g}", used, people)
    return table


def _runs(runs: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Runs", title_justify="left")
    for name in ("run", "plan", "unit"):
        table.add_column(name, no_wrap=True)
    for name in ("noise", "rate", "begun", "of", "sent"):
        table.add_column(name, justify="right")
    table.add_column("state", no_wrap=True)
    for run in runs:
        names = (run["run"][:8], run["plan"].removeprefix("sha256:")[:8], run["unit"])
        noise = (short(run[name], "none") for name in ("noise_multiplier", "sample_rate"))
        counts = (str(run[name]) for name in ("rounds_begun", "rounds", "rounds_released"))
        table.add_row(*names, *noise, *counts, "closed" if run["closed"] else "reserved")
    return table
