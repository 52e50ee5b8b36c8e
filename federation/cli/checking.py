"""`federation check`: the facts as tables or JSON; a look at the files on the terminal only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from federation.cli.progress import working
from federation.errors import FederationError, InputError
from federation.plan.plan import Plan
from privacy.errors import PrivacyError

AsJson = Callable[[Mapping[str, Any]], None]
"""Prints JSON; None where people read."""


def check_plan(plan: Plan, as_json: AsJson | None) -> None:
    """What can be known of a plan alone."""
    from clients.check import preflight

    with working("checking the plan"):
        facts = preflight(plan)
    _print_facts(facts, as_json)


def check_site(plan: Plan, site: Path, as_json: AsJson | None) -> None:
    """What can be known of a plan at one site. Of data that are refused, what can be read is shown first."""
    from clients.check import preflight

    try:
        with working("checking the site"):
            facts = preflight(plan, site)
    except InputError:
        if as_json is None:
            with suppress(FederationError, PrivacyError):
                show_look(plan, site)
        raise
    _print_facts(facts, as_json)
    if as_json is None:
        show_look(plan, site)


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


def show_look(plan: Plan, site: Path) -> None:
    """What a site's files hold, on its terminal."""
    from clients.look import look_at_site
    from federation.cli.descriptions import print_look

    print_look(look_at_site(plan, site))


def _print_facts(facts: Mapping[str, Any], as_json: AsJson | None) -> None:
    if as_json is not None:
        as_json(facts)
        return
    from federation.cli.tables import print_facts

    print_facts(facts)
