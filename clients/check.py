"""Everything about a plan, and about one site, that can be checked before any data moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.approvals import genesis_of
from clients.data.load import SiteRecords, patients_in, site_data
from clients.data.notes import FileRead
from clients.data.populations import check_pool, fingerprints
from clients.data.split import is_on_one_side
from clients.join import callers_of, place_for
from clients.journal.ownership import require_owner
from clients.policy import Policy, SiteFile, consent, data_files, load_site, require_complete
from clients.training.screening.screen import try_out
from federation.ledger.export import load_entries
from federation.model.task import build_task
from federation.plan.guarantee import largest_alone
from federation.plan.plan import Plan
from federation.report.planned import plan_facts
from privacy.accounting.risks.charged import told as told_risk
from privacy.ledger.chain import append
from privacy.ledger.state import Account, fold


def preflight(
    plan: Plan, site: Path | str | None = None, *, tell: Callable[[FileRead], None] = lambda _: None
) -> dict[str, Any]:
    """Facts about the plan, and the site's if one is named; every refusal is raised as in a real run.

    `tell` gets what the people at the site should know about each file, which is not among the facts.
    Nothing is written: no journal is begun, no budget is charged, no refusal goes on record, no pool is claimed.
    """
    if site is None:
        return plan_facts(plan, 1)
    rules = load_site(Path(site))
    return {**plan_facts(plan, rules.data.size or 1), "site": _site_facts(plan, rules, Path(site), tell)}


def _site_facts(plan: Plan, rules: SiteFile, path: Path, tell: Callable[[FileRead], None]) -> dict[str, Any]:
    """Checks site file, policy, budget, data and pool. Writes nothing, and tells the server nothing."""
    require_complete(rules, path)
    place = place_for(rules, path, repeatable=not plan.is_private)
    if rules.server is not None and (rules.server.flower_user or rules.server.socket_group):
        callers_of(rules, path, same_user=False)
    key = rules.identity()
    consent(plan, rules.policy)
    facts = {"id": rules.id, "pool": rules.data.pool, **admitted(plan, rules.policy, account_of(rules, key))}
    records = fitting(plan, rules, path)
    try_out(build_task(plan), records.training, plan, rules.data.size or len(records.training), place)
    for read in records.files:
        tell(read)
    parted = rules.data.test is None and is_on_one_side(records.training, plan.privacy.unit)
    largest = largest_alone(plan) if parted else None
    alone = {} if largest is None else {"epsilon_of_this_run_alone": largest}
    return {**facts, **alone, **_records(records)}


def _of_base(digest: str, account: Account) -> str:
    """What this ledger holds of the run that made the base: it is in all that is told as charged."""
    if any(run.plan == digest for run in account.runs.values()):
        return "charged to this pool already: this plan's charge comes on top"
    return "nothing of it is charged here: people of this pool were in it only if another ledger says so"


def admitted(plan: Plan, policy: Policy, account: Account) -> dict[str, Any]:
    """What a ledger says of one more run of a plan that the policy allows. Refusals are raised as in a real run."""
    facts: dict[str, Any] = {"policy": "allows this plan"}
    facts["colluders_minimum"] = policy.colluders_demanded(plan)
    facts["survivors_minimum"] = policy.survivors_demanded(plan)
    facts["runs_left"] = _runs_left(plan, policy, account)
    facts["units"] = units_of(plan, policy, account)
    if plan.base is not None and plan.base.run is not None:
        facts["base_run"] = _of_base(plan.base.run, account)
    if "record" in facts["units"]:
        facts["epsilon_after_this_plan"] = facts["units"]["record"]["epsilon_after"]
        facts["epsilon_max"] = facts["units"]["record"]["epsilon_max"]
    return facts


def fitting(plan: Plan, rules: SiteFile, path: Path) -> SiteRecords:
    """The site's records as the plan reads them, if they are of this pool. DataError names row and column."""
    source, test = data_files(rules, path.parent)
    task, person, key = build_task(plan), rules.data.person, rules.identity()
    records = site_data(source, test, plan, task, rules.policy, person)
    for table in records.tables:
        check_pool(rules, key, fingerprints(table, plan.patient_column, key))
    return records


def _records(records: SiteRecords) -> dict[str, int]:
    """How much was read of the site's files, and what became of it."""
    counts = {"records_read": sum(read.records for read in records.files), "records": len(records.training)}
    counts["records_held_out"] = 0 if records.held_out is None else len(records.held_out)
    lines = [read.lines for read in records.files if read.lines is not None]
    patients = patients_in(records.training)
    return (
        ({"lines": sum(lines)} if lines else {})
        | counts
        | ({"patients": patients} if patients is not None else {})
    )


def _runs_left(plan: Plan, policy: Policy, account: Account) -> int | None:
    """In how many more runs of a plan the site takes part; None where its task is approved. LedgerRefusal for 0."""
    most = policy.runs_of(plan.digest)
    if most is None:
        return None
    account.require_approved("", plan.digest, most)
    return most - account.runs_of(plan.digest)


def units_of(plan: Plan, policy: Policy, account: Account) -> dict[str, dict[str, Any]]:
    """Epsilon spent of each limit in force, before and after this plan. BudgetExceeded if a limit is too low."""
    limits, charges = policy.limits(), plan.charges
    account.require_room(limits, charges)
    terms, foreseen = account.in_force(limits, charges[0]), policy.training_foreseen
    units: dict[str, dict[str, Any]] = {}
    for unit, term in terms.items():
        budget, people = term.limit.budget, term.limit.patient
        if math.isfinite(budget.epsilon):
            spent, asked = account.charged(unit, people), [charge.to(unit, people) for charge in charges]
            units[unit] = {
                "epsilon_before": term.epsilon(spent),
                "epsilon_after": term.epsilon([*spent, *asked]),
                "epsilon_max": budget.epsilon,
                "delta": budget.delta,
                "risk_after": told_risk(term.risk([*spent, *asked])),
                "room_for_foreseen": term.room_for(foreseen, [*spent, *asked]),
            }
    return units


def account_of(rules: SiteFile, key: Ed25519PrivateKey) -> Account:
    """The account of the site's ledger, or of a new one if the site has none yet. Only reads the file."""
    new = genesis_of(rules)
    if not rules.journal.exists():
        return fold((append(None, "genesis", new.to_json(), key),))
    account = fold(load_entries(rules.journal, may_be_backup=False))
    require_owner(account, new)
    return account
