"""What can be known before anything is trained: `federation check`, `federation budget`, `federation doctor`.

Facts come as tables or JSON; a look at files on the terminal only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.progress import show_progress, working
from federation.cli.screen import labelled, show
from federation.cli.streams import print_json
from federation.errors import FederationError, InputError, TaskError
from federation.words import many
from privacy.errors import PrivacyError

if TYPE_CHECKING:
    from clients.conformance.asked import Finding as Asked
    from clients.preflight.finding import Finding
    from federation.plan.plan import Plan

Printer = Callable[[Mapping[str, Any]], None]
"""Prints JSON; None where people read."""


def check_plan(plan: Plan, as_json: Printer | None) -> None:
    """What can be known of a plan alone. TaskError, when all is printed, if its task is not fit to be trained."""
    from federation.report.planned import plan_facts

    with working("checking the plan"):
        facts = plan_facts(plan, 1)
    found = _conformance(plan)
    if as_json is not None:
        as_json({**facts, "conformance": [one.to_json() for one in found]})
    else:
        _print_facts(facts, None)
        _print_conformance(found, plan)
    if faults := [one.check for one in found if one.is_fault]:
        told = f"{plan.code}: the task is not fit to be trained: {', '.join(faults)}"
        raise TaskError(told, hint="see what was found of each")


def _conformance(plan: Plan) -> list[Asked]:
    """Code of the user's own is tried. To try ours would take torch, which takes longer than all the rest."""
    from clients.conformance.asked import of_ours

    if (known := of_ours(plan)) is not None:
        return known
    from clients.conformance.kit import of_plan

    with working("trying the task on made-up records"):
        return of_plan(plan)


def _print_conformance(found: Sequence[Asked], plan: Plan) -> None:
    """All of a user's own task; of ours what is not as it should be."""
    from federation.cli.tables import print_findings

    well = sum(one.outcome == "pass" for one in found)
    shown = [one for one in found if plan.has_own_code or one.is_fault]
    how = "the task, on made-up records" if plan.has_own_code else "a task of ours, as its tests ask"
    print_findings([one.to_json() for one in shown], f"{how}: {well} things asked hold")


def check_site(plan: Plan, site: Path, as_json: Printer | None, *, rehearsed: bool = False) -> None:
    """What can be known of a plan at one site. `rehearsed`: also what its installation does, by measurement."""
    facts = checked_site(plan, site, is_shown=as_json is None)
    if not rehearsed:
        _print_facts(facts, as_json)
        if as_json is None:
            show_look(plan, site)
        return
    from clients.policy import load_site
    from federation.cli.telling.rehearse import measure, require_pass, show_verdict, told

    if as_json is None:
        _print_facts(facts, None)
        show_look(plan, site)
    figures, verdict = measure(plan, load_site(site), site)
    if as_json is not None:
        as_json({**facts, "measured": told(figures, verdict)})
    else:
        show_verdict(figures, verdict)
    require_pass(verdict)


def checked_site(plan: Plan, site: Path, *, is_shown: bool) -> Mapping[str, Any]:
    """The facts of a plan and one site. `is_shown`: of data that are refused, what can be read is shown first."""
    from clients.check import preflight

    try:
        with working("checking the site"):
            return preflight(plan, site)
    except InputError:
        if is_shown:
            with suppress(FederationError, PrivacyError):
                show_look(plan, site)
        raise


def check_sites(plan: Plan, directory: Path, as_json: Printer | None) -> None:
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
    from clients.describing.look import look_at_site
    from federation.cli.descriptions import print_look

    print_look(look_at_site(plan, site))


def _print_facts(facts: Mapping[str, Any], as_json: Printer | None) -> None:
    if as_json is not None:
        as_json(facts)
        return
    from federation.cli.tables import print_facts

    print_facts(facts)


_KEYS = (
    "rounds, sample_rate, local_steps, sites, dropouts, colluders, unit, noise, epsilon, delta, noise_multiplier "
    "(epsilon follows), records (of a site; for the noise on a mean)"
)


def budget(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml, as approved by every site")],
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES", help=f"many plans in a table. VALUES: 1,2,3 or LOW:HIGH:COUNT. KEY: {_KEYS}"
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="of a sweep: the very figures of each plan, and no bounds; slower")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print a sweep as CSV on stdout")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """The privacy budget of a plan, without training.

    No data is read. So to look at many plans, and to choose one by its budget alone, costs nothing.
    """
    if sweep:
        _sweep(plan, sweep, exact=exact, as_csv=as_csv, as_json=as_json)
        return
    if exact or as_csv:
        told = "--exact" if exact else "--csv"
        raise InputError(
            f"{told}: means nothing without --sweep", hint="add for example: --sweep rounds=50,100"
        )
    from federation.cli.tables import print_budget
    from federation.plan.plan import load
    from simulations.budgets import budget_of

    with show_progress() as shown:
        shown.stage("reading the plan")
        figures = budget_of(load(plan), shown.stage)
    (print_json if as_json else print_budget)(figures)


def _sweep(plan: Path, texts: Sequence[str], *, exact: bool, as_csv: bool, as_json: bool) -> None:
    """The same of many plans, one line each."""
    from federation.cli.tables import print_sweep, sweep_csv
    from federation.plan.plan import load
    from simulations.sweeping.axes import axes_of
    from simulations.sweeping.points import sweep

    if as_csv and as_json:
        raise InputError("--csv and --json are two forms", hint="ask for one of them")
    axes = axes_of(texts)
    load(plan)  # a plan that is wrong by itself is told as everywhere, with its line
    with show_progress() as shown:
        swept = sweep(plan, axes, exact=exact, stage=shown.stage)
    found = swept.to_json()
    if as_json:
        print_json(found)
    elif as_csv:
        typer.echo(sweep_csv(found), nl=False)
    else:
        print_sweep(found)
    swept.require()


def doctor(
    site: Annotated[
        Path | None,
        typer.Argument(metavar="[SITE]", help="a site.toml: its files, and the way to its coordinator"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what is wrong with this installation: packages, disk, clock, proxy; of a site also keys, ledger, network.

    Exit code 0 if nothing is wrong, 2 otherwise; a warning is nothing wrong. Nothing is changed.
    """
    findings = list(_examined(site))
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        rows = [finding.to_json() for finding in findings]
        print_json({"verdict": "wrong" if errors else "well", "findings": rows})
    else:
        _print_findings(findings)
    if errors:
        told = f"{many(errors, 'thing is', 'things are')} wrong here"
        raise InputError(told, hint="each line above that says error has its cure")


def _examined(site: Path | None) -> list[Finding]:
    """First that our packages are ours: nothing else can be trusted to look."""
    from clients.preflight.finding import looked
    from federation.origins import PACKAGES, check_origins

    def packages() -> str:
        check_origins()
        return f"{', '.join(PACKAGES)} are ours"

    first = looked("packages", packages)
    if first.level == "error":
        return [first]
    from clients.preflight.doctor import examine

    return [first, *examine(site)]


def _print_findings(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        cure = f"; {finding.cure}" if finding.cure else ""
        show(labelled(finding.name, width, finding.detail + cure, finding.level))
