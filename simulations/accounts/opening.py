"""What every simulated site writes first into its ledger, and what its runs are charged: the same for all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.journal.journal import Journal
from clients.policy import Policy, consent
from federation.ledger.store import Store
from federation.plan.plan import Plan
from federation.round.terms import evaluation_run
from privacy.accounting.units import charge_from_json
from privacy.ledger import chain
from privacy.ledger.chain import HASH_BYTES, Genesis
from privacy.ledger.limits import Run
from privacy.roster import Roster
from privacy.signing import public_identity
from simulations.accounts.file import Event

Opened = list[tuple[str, dict[str, Any]]]  # kind and body of each entry


def opening(plan: Plan, run: str, roster: Roster) -> Opened:
    """The entries after the first of a ledger whose site allows exactly this plan, and has consented to the run.

    They are made by a journal as a real site has it, in memory: what that refuses is refused here.
    """
    key = Ed25519PrivateKey.generate()
    first = Genesis(
        "one", "one", os.urandom(HASH_BYTES), public_identity(key), (), True, os.urandom(HASH_BYTES)
    )
    journal = Journal(Store.in_memory(chain.append(None, "genesis", first.to_json(), key)), key)
    policy = Policy.for_plan(plan)
    consent(plan, policy)
    journal.require_approved(run, plan.digest, policy.runs_of(plan.digest))
    journal.accept(roster.serial, roster.root.hex())
    names, limits = (run, evaluation_run(run)), policy.limits()
    approved = policy.runs_of(plan.digest)
    journal.reserve_plan(names, plan.digest, plan.charges, plan.federation.rounds, limits, approved)
    entries = journal.entries()[1:]
    journal.close()
    return [(entry.kind, dict(entry.body)) for entry in entries]


def runs_of(events: Sequence[Event], rounds: int, evaluated: bool) -> list[Run]:
    """The run of a site that was charged for so many rounds of it, and its evaluation, if there is one."""
    closed = next((event.body["params"] for event in events if event.kind == "closed"), None)
    runs = []
    for place, body in enumerate(body for kind, body in events[0].body["entries"] if kind == "reserve"):
        begun = rounds if place == 0 else int(evaluated)
        charge = charge_from_json(body["charge"])
        run = Run(body["plan"], charge, body["rounds"], body["by"], dict.fromkeys(range(1, begun + 1), ""))
        run.closed = closed
        runs.append(run)
    return runs
