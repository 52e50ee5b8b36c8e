"""Everything about a plan, and about one site, that can be checked before any data moves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from clients.join import load_trainer
from clients.policy import SiteFile, consent, load_site
from federation.claim import planned_event
from federation.journal import Journal
from federation.layout import Layout
from federation.messages import Member
from federation.plan import Plan
from federation.task import build_task
from federation.terms import Terms
from privacy.budget import Budget, admit
from privacy.events import Event, GaussianEvent
from privacy.ledger import events


def preflight(plan: Plan, site: Path | None) -> dict[str, Any]:
    """Facts about the plan, and the site's if one is named; every refusal is raised as in a real run."""
    rules = load_site(site) if site is not None else None
    facts = _plan_facts(plan, rules.data.size or 1 if rules is not None else 1)
    if rules is not None and site is not None:
        facts["site"] = _site_facts(plan, rules, site.parent)
    return facts


def _plan_facts(plan: Plan, size: int) -> dict[str, Any]:
    """Settles the terms of a smallest cohort, which refuses what could not be agreed in a round."""
    dimension = Layout.of(build_task(plan).model()).dimension
    members = tuple(Member(f"{slot:05d}", size) for slot in range(plan.cohort.minimum))
    terms = Terms(plan, bytes(16), 1, 1, members, dimension)
    event, rules = planned_event(plan), terms.parameters
    return {
        "plan_digest": plan.digest,
        "name": plan.federation.name,
        "rounds": plan.federation.rounds,
        "model_parameters": dimension,
        "private": plan.is_private,
        "unit": plan.privacy.unit,
        "noise": plan.privacy.noise,
        "epsilon": plan.privacy.epsilon,
        "delta": plan.privacy.delta,
        "noise_multiplier": event.noise_multiplier if isinstance(event, GaussianEvent) else None,
        "smallest_cohort": {
            "sites": rules.count,
            "shares_that_unmask": rules.threshold,
            "dropouts_survived": rules.tolerated,
        },
        "upload_bytes_per_round": (dimension * terms.codec.ring_bits + 7) // 8,
    }


def _site_facts(plan: Plan, rules: SiteFile, folder: Path) -> dict[str, Any]:
    """Policy, then budget, then data: the order of a real run."""
    consent(plan, rules.policy)
    facts: dict[str, Any] = {"id": rules.id, "policy": "allows this plan"}
    spent: tuple[Event, ...] = ()
    if rules.journal.exists():
        with closing(Journal.open(rules.journal, site=rules.id, pool=rules.data.pool)) as journal:
            spent = events(journal.entries())
    if plan.is_private:
        budget = Budget(rules.policy.epsilon_max, rules.policy.delta_max)
        facts["epsilon_after_this_plan"] = admit(spent, planned_event(plan), budget)
        facts["epsilon_max"] = budget.epsilon
    facts["records"] = len(load_trainer(rules, folder, plan).data)
    return facts
