"""`federation rehearse`: what this installation does to made-up records, measured and held against a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.progress import show_progress
from federation.cli.streams import print_json
from federation.errors import AuditFailure, InputError

if TYPE_CHECKING:
    from clients.policy import SiteFile
    from federation.audit.measured.figures import Figures
    from federation.audit.measured.judging import Look, Verdict
    from federation.audit.measured.limits import Limits
    from federation.plan.plan import Plan


def rehearse(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml, as approved by every site")],
    site: Annotated[
        Path | None, typer.Option(metavar="SITE", help="a site.toml: its name, its policy, its key")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="with --site: the figures, signed, for federation audit"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure on made-up records what this installation does: noise, clip, sampling, releases. No data, no budget.

    Rounds of the plan are played with canaries, through the code that a site contributes with; nothing is sent and
    no ledger is opened. Exit code 5 if the plan is falsified. A pass is not evidence of epsilon.
    """
    from federation.plan.plan import load

    if out is not None and site is None:
        raise InputError("--out: a measurement is signed by a site's key", hint="add --site site.toml")
    approved, rules = load(plan), None
    if site is not None:
        from clients.policy import consent, load_site

        rules = load_site(site)
        consent(approved, rules.policy)
    if out is not None:
        from federation.files import refuse_existing

        refuse_existing(out)
    figures, verdict = measure(approved, rules, site)
    if out is not None and rules is not None:
        _write(approved, rules, figures, out)
    if as_json:
        print_json({"plan_digest": approved.digest, "site": rules and rules.id, **told(figures, verdict)})
    else:
        show_verdict(figures, verdict)
    require_pass(verdict)


def measure(plan: Plan, rules: SiteFile | None, site: Path | None) -> tuple[Figures, Verdict]:
    """The figures of this installation, and what they come to. `rules` are those of the site file at `site`."""
    from clients.measuring.measure import measured
    from federation.audit.measured.judging import judged, require_noise

    require_noise(plan)
    with show_progress() as shown:

        def tell(what: str) -> Callable[[int, int], None]:
            return lambda done, total: shown.stage(what, done, total)

        shown.stage("reading the plan")
        name, encoders = "a-site", tuple[Path, ...]()
        if rules is not None and site is not None:
            name, encoders = rules.id, rules.data.folders(site.parent)
        figures = measured(plan, name, tell, encoders=encoders)
        shown.stage("recounting")
        return figures, judged(plan, figures)


def told(figures: Figures, verdict: Verdict) -> dict[str, Any]:
    """As JSON."""
    return {**verdict.to_json(), "figures": figures.to_json()}


def require_pass(verdict: Verdict) -> None:
    """AuditFailure where something is falsified."""
    if verdict.falsified:
        names = ", ".join(verdict.falsified)
        raise AuditFailure(
            f"this installation is not what the plan says: {names}",
            hint="do not join with it; run the same again, and report what stays",
        )


def show_verdict(figures: Figures, verdict: Verdict) -> None:
    """A table of all looks, and what they do and do not show."""
    from federation.cli.screen import show, styled, titled

    word = "FALSIFIED" if verdict.falsified else "PASS"
    head = f": {figures.releases} releases in {figures.rounds} rounds of canaries; no data, no budget"
    table = titled("", "measured here", "the plan", "found", "from", "to", "would see", "so it is")
    for look in verdict.looks:
        table.add_row(look.name, *_row(look))
    show(styled((word, "bold"), head), table, *_below(verdict))


def _row(look: Look) -> Iterator[str]:
    yield "" if look.planned is None else f"{look.planned:.4g}"
    yield from ("", "", "") if look.limits is None else _numbers(look.limits)
    yield look.sees
    yield look.outcome


def _numbers(limits: Limits) -> Iterator[str]:
    """What was found, and between which two the truth lies unless nothing about it is in doubt."""
    yield f"{limits.found:.4g}"
    sure = limits.lower == limits.upper
    yield from ("" if sure else f"{each:.4g}" for each in (limits.lower, limits.upper))


def _below(verdict: Verdict) -> Iterator[str]:
    from federation.audit.measured.judging import CAVEAT, FALSE_ALARM

    yield from (f"{look.name}: {look.note}" for look in verdict.looks if look.note)
    if verdict.bounds is not None:
        pure, sharp = verdict.bounds
        yield (
            f"who guesses from this one run shows that epsilon is at least {pure:.2f}, or {sharp:.2f} if the "
            f"mechanism is like a Gaussian one (95 %); the plan says {verdict.claimed:g}"
        )
    right, wrong = 100 * (1 - FALSE_ALARM), 100 * FALSE_ALARM
    yield (
        f"from and to: all at once hold the truth in {right:g} % of measurements, so a right installation is "
        f"falsified in {wrong:g} % at most; would see: what is found 19 times of 20"
    )
    yield f"{CAVEAT[0].upper()}{CAVEAT[1:]}: other faults pass, too (docs/assurance.md)"


def _write(plan: Plan, rules: SiteFile, figures: Figures, path: Path) -> None:
    from datetime import UTC, datetime
    from importlib.metadata import version

    from federation.audit.measured.record import Measurement
    from federation.files import write_new

    when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    unsigned = Measurement(plan.digest, rules.id, when, version("private-federation"), figures)
    write_new(path, unsigned.signed(rules.identity()).to_text())
