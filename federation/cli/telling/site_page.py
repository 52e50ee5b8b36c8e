"""`federation ledger page`: what left a site, for people who do no statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import Debug
from federation.words import printable


def page(
    site: Annotated[
        Path,
        typer.Argument(metavar="SITE", help="site.toml, or a ledger: journal.sqlite, or an exported .jsonl"),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="where to write the page")],
    debug: Debug = False,
) -> None:
    """A page of what left a site: every message, when, how many bytes, at which epsilon, and who saw what.

    From a site.toml it is for the site's own people: it also names plans at hand, and what was released before
    somebody withdrew. From a ledger it says what the ledger says, and can be handed on.
    """
    from clients.approvals import ledger_of
    from clients.policy import load_site
    from clients.preflight.plans import plans_at_hand
    from federation.cli.progress import working
    from federation.cli.telling.withdraw import withdrawn_lines, withdrawn_of
    from federation.files import write_output
    from federation.ledger.export import load_entries
    from federation.papers.left.page import render
    from federation.plan.plan import Plan

    entries = load_entries(ledger_of(site))
    plans: list[Plan] = []
    if site.suffix == ".toml":
        plans = [plan for plan in plans_at_hand(load_site(site), site, []).values() if isinstance(plan, Plan)]
    told = withdrawn_of(site)
    with working("drawing the page"):
        text = render(entries, plans, [] if told is None else withdrawn_lines(told))
    write_output(out, text, is_secret=told is not None)
    typer.echo(printable(f"{out}: what left, by {len(entries)} entries that verify"))
    if told is not None:
        typer.echo(
            "It tells how many withdrew, and when: to hand one on, make it of a ledger (federation ledger export)"
        )
