"""`federation check`: the facts as tables or JSON; a look at the files on the terminal only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federation.cli.progress import working
from federation.errors import FederationError, InputError, TaskError
from federation.plan.plan import Plan
from privacy.errors import PrivacyError

if TYPE_CHECKING:
    from clients.conformance.kit import Finding

AsJson = Callable[[Mapping[str, Any]], None]
"""Prints JSON; None where people read."""


def check_plan(plan: Plan, as_json: AsJson | None) -> None:
    """What can be known of a plan alone. TaskError, when all is printed, if its task is not fit to be trained."""
    from clients.check import preflight
    from clients.conformance.kit import of_plan

    with working("checking the plan"):
        facts = preflight(plan)
    with working("trying the task on made-up records"):
        found = of_plan(plan)
    if as_json is not None:
        as_json({**facts, "conformance": [one.to_json() for one in found]})
    else:
        _print_facts(facts, None)
        _print_conformance(found, plan)
    if faults := [one.check for one in found if one.is_fault]:
        told = f"{plan.code}: the task is not fit to be trained: {', '.join(faults)}"
        raise TaskError(told, hint="see what was found of each")


def _print_conformance(found: Sequence[Finding], plan: Plan) -> None:
    """All of a user's own task; of ours what is not as it should be."""
    from federation.cli.tables import print_findings

    well = sum(one.outcome == "pass" for one in found)
    shown = [one for one in found if plan.has_own_code or one.is_fault]
    print_findings(
        [one.to_json() for one in shown], f"the task, on made-up records: {well} things asked hold"
    )


def check_site(plan: Plan, site: Path, as_json: AsJson | None) -> None:
    """What can be known of a plan at one site. Of data that are refused, what can be read is shown first."""
    from clients.check import preflight

    try:
        with working("checking the site"):
            facts = preflight(plan, site)
    except InputError:
        if as_json is None:
            with suppress(FederationError, PrivacyError):
                _look(plan, site)
        raise
    _print_facts(facts, as_json)
    if as_json is None:
        _look(plan, site)


def check_sites(plan: Plan, directory: Path, as_json: AsJson | None) -> None:
    """What can be known of a plan and every site of a simulation. Raises all refusals of all sites together."""
    from federation.cli.descriptions import print_sites
    from simulations.survey import survey

    with working("checking the sites"):
        found = survey(plan, directory)
    if as_json is not None:
        as_json(found.to_json())
    else:
        _print_facts(found.facts, None)
        print_sites({site.name: site.look for site in found.sites}, found.doubts, found.hints)
    found.require()


def _look(plan: Plan, site: Path) -> None:
    from clients.look import look_at_site
    from federation.cli.descriptions import print_look

    print_look(look_at_site(plan, site))


def _print_facts(facts: Mapping[str, Any], as_json: AsJson | None) -> None:
    if as_json is not None:
        as_json(facts)
        return
    from federation.cli.tables import print_facts

    print_facts(facts)
