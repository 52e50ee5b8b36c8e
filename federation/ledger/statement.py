"""States a ledger for people: its site, what each unit may spend, what is charged to it, and every run.

An evaluation is charged as a run of its own, RUN/evaluation. What both cost together stands at RUN, by the same
composition as in the report of the run (`privacy.accounting.costs`).

Two numbers are told of every run, here and in a report. *Charged* is what counts against the limits. *Of its
rounds* is what the rounds cost that this site began. Charged is more while the run is open, and for good where a
limit admitted the plan as a whole only: then nothing is returned (`privacy.ledger.limits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from privacy.accounting.costs import cost
from privacy.accounting.events import GaussianEvent
from privacy.accounting.risks.charged import told as told_risk
from privacy.accounting.units import Charge, Patient, Unit
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
        "runs": [{**_run(name, run), **_spent(account, name)} for name, run in account.runs.items()],
        "refusals": sum(entry.kind == "refuse" for entry in entries),
        "restored": [{"entry": gap.next, "vouched": gap.vouched} for gap in account.gaps],
        "witnessed": {head.site: head.seq for head in account.witnessed.values()},
    }


def _unit(account: Account, unit: Unit, term: Term) -> dict[str, Any]:
    budget, events = term.limit.budget, account.charged(unit)
    return {
        "epsilon": finite(term.epsilon(events)),
        "risk": told_risk(term.risk(events)),
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
        "left": run.is_left,
    }


def _spent(account: Account, name: str) -> dict[str, Any]:
    """What is charged for a run, and what its rounds cost, for one unit that its plan protects.

    At the delta of this ledger's limit. With an evaluation of its own, also both together.
    """
    unit = account.runs[name].charge.protects
    term = account.terms.get(unit) or next(iter(account.terms.values()))
    delta = term.limit.budget.delta

    def told(names: Sequence[str]) -> dict[str, Any]:
        runs = [account.runs[each] for each in names]
        charged, begun = ([run.charged for run in runs], [run.of_its_rounds for run in runs])
        return {"epsilon": epsilon_of(charged), "of_its_rounds": {"epsilon": epsilon_of(begun)}}

    def epsilon_of(charges: Sequence[Charge | None]) -> float | None:
        known = [charge for charge in charges if charge is not None]
        return finite(cost(known, unit, Patient(), delta).together)

    spent: dict[str, Any] = {**told([name]), "delta": delta}
    parts = [known for known in account.runs if known.partition("/")[0] == name]
    return {**spent, "together": told(parts)} if len(parts) > 1 else spent
