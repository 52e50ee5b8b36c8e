"""States a ledger for people: its site, what each unit may spend and has spent, and every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Unit
from privacy.canonical import finite
from privacy.ledger.chain import Entry
from privacy.ledger.state import Account, Run, Term, fold


def statement(entries: Sequence[Entry]) -> dict[str, Any]:
    """The facts of a ledger as plain data; an infinite epsilon is None. LedgerCorrupt if it does not verify."""
    account = fold(entries)
    genesis, tip = account.tip.genesis, account.tip
    return {
        "site": genesis.site,
        "pool": genesis.pool,
        "simulated": genesis.simulated,
        "key": tip.key.hex(),
        "keys_before": [key.hex() for key in tip.keys[:-1]],
        "approvers": [key.hex() for key in genesis.approvers],
        "entries": len(entries),
        "head": tip.last.hash.hex(),
        "roster_serial": account.roster[0],
        "units": {unit: _unit(account, unit, term) for unit, term in account.terms.items()},
        "runs": [_run(name, run) for name, run in account.runs.items()],
        "refusals": sum(entry.kind == "refuse" for entry in entries),
        "restored": [{"entry": gap.next, "vouched": gap.vouched} for gap in account.gaps],
        "witnessed": {head.site: head.seq for head in account.witnessed.values()},
    }


def _unit(account: Account, unit: Unit, term: Term) -> dict[str, Any]:
    budget, events = term.limit.budget, account.charged(unit)
    return {
        "epsilon": finite(term.epsilon(events)),
        "epsilon_max": finite(budget.epsilon),
        "delta": budget.delta,
        "used": finite(term.load(events)),
        "records": term.limit.patient.records,
        "sites": term.limit.patient.sites,
    }


def _run(name: str, run: Run) -> dict[str, Any]:
    event, charged = run.charge.event, run.charged
    held = charged.event if charged is not None else None
    return {
        "run": name,
        "plan": run.plan,
        "unit": run.charge.protects,
        "noise_multiplier": event.noise_multiplier if isinstance(event, GaussianEvent) else None,
        "sample_rate": event.sample_rate if isinstance(event, GaussianEvent) else None,
        "rounds": run.rounds,
        "rounds_begun": len(run.begun),
        "rounds_released": len(run.released),
        "releases_charged": held.count if isinstance(held, GaussianEvent) else None,
        "closed": run.closed is not None,
    }
