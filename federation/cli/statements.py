"""Prints a ledger as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from federation.cli.screen import show, styled, titled
from federation.cli.telling.risk import HITS
from federation.report.numbers import short, spent
from federation.report.risks.words import hits_of, lead
from federation.words import many

_NO_LIMIT = "no limit"


def print_statement(facts: Mapping[str, Any]) -> None:
    """Print `facts` (`federation.ledger.statement`): the site, units, what they are charged, the runs."""
    kind = [("SIMULATED", "bold red"), " ledger"] if facts["simulated"] else ["ledger"]
    show(styled(*kind, " of ", (facts["site"], "bold"), f", pool {facts['pool']}"))
    show(f"{many(facts['entries'], 'entry', 'entries')} verified, head {facts['head']}")
    show(_units(facts["units"]), _runs(facts["runs"]), _costs(facts["runs"]))
    if facts["refusals"]:
        show(f"{many(facts['refusals'], 'refusal')} of plans: they asked for more than was left")
    for restored in facts["restored"]:
        told = (
            "two approvers vouch that nothing is missing"
            if restored["vouched"]
            else "its end counts as spent"
        )
        show(f"restored from a backup at entry {restored['entry']}: {told}")
    if facts["witnessed"]:
        seen = ", ".join(f"{site} up to entry {seq}" for site, seq in facts["witnessed"].items())
        show(f"ledgers of peers witnessed: {seen}")


def _units(units: Mapping[str, Any]) -> Table:
    table = titled("Budget", "unit", "epsilon charged", "allowed", "delta", "filter", "one person", HITS)
    for unit, told in units.items():
        people = (
            f"{many(told['records'], 'record')}, {many(told['sites'], 'site')}" if unit == "patient" else ""
        )
        used = "full" if told["used"] is None or told["used"] > 1 else f"{told['used']:.0%} full"
        limit = short(told["epsilon_max"], _NO_LIMIT)
        table.add_row(
            unit, spent(told["epsilon"]), limit, f"{told['delta']:g}", used, people, hits_of(told.get("risk"))
        )
    known = {unit: told["risk"] for unit, told in units.items() if told.get("risk")}
    table.caption = "\n".join(f"{unit}: {lead(risk, unit)}" for unit, risk in known.items()) or None
    table.caption_justify = "left"
    return table


def _runs(runs: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Runs", title_justify="left")
    for name in ("run", "plan", "unit"):
        table.add_column(name, no_wrap=True)
    for name in ("noise", "rate", "begun", "of", "sent"):
        table.add_column(name, justify="right")
    table.add_column("state", no_wrap=True)
    for run in runs:
        names = (_named(run), run["plan"].removeprefix("sha256:")[:8], run["unit"])
        noise = (short(run[name], "none") for name in ("noise_multiplier", "sample_rate"))
        counts = (str(run[name]) for name in ("rounds_begun", "rounds", "rounds_released"))
        table.add_row(*names, *noise, *counts, _state(run))
    return table


def _costs(runs: list[Mapping[str, Any]]) -> Table:
    """What is charged for every run, and what its rounds cost; with its evaluation, which has a row of its own."""
    table = titled("Epsilon of the runs", "run", "charged", "of its rounds", "delta")
    for run in runs:
        rows = [(_named(run), run)]
        if "together" in run:
            rows = [(f"{_named(run)} with its evaluation", run["together"]), ("+ training", run)]
        for name, told in rows:
            epsilons = (spent(told["epsilon"]), spent(told["of_its_rounds"]["epsilon"]))
            table.add_row(name, *epsilons, f"{run['delta']:g}")
    if any(run["epsilon"] != run["of_its_rounds"]["epsilon"] for run in runs):
        table.caption = "more is charged while a run is open, and where a limit admitted the whole plan only"
        table.caption_justify = "left"
    return table


def _state(run: Mapping[str, Any]) -> str:
    if run["left"]:
        return "left"
    return "closed" if run["closed"] else "reserved"


def _named(run: Mapping[str, Any]) -> str:
    """The beginning of a run's id; its evaluation, which is a run of its own, comes after it."""
    whole, _, part = run["run"].partition("/")
    return f"+ {part}" if part else str(whole[:8])
