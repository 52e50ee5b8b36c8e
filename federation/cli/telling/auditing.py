"""`federation audit`: a run verified from its files, and the documents that are made of one that was passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.errors import AuditFailure

if TYPE_CHECKING:
    from federation.audit.outcome import Audit


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")],
    ledger_file: Annotated[
        list[Path] | None,
        typer.Option("--ledger", metavar="FILE", help="a site's ledger: exported .jsonl, or .sqlite"),
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.json", help="what a site measured of its installation: federation rehearse"
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="a page for people")] = None,
    registry: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="an entry for the OpenDP deployments registry")
    ] = None,
    card: Annotated[
        Path | None, typer.Option(metavar="FILE.xml", help="a model card in the form of CHAI")
    ] = None,
    dpia: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="a skeleton after GDPR Art. 35(7)")
    ] = None,
    nist: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="what NIST SP 800-226 asks, answered")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Verify a run from its files alone: signatures, chains, a recount of epsilon, steps planned and made.

    Exit code 5 if anything is wrong; no document is made then. A pass proves only that nothing was found.
    """
    from federation.audit.examine import audit as examine
    from federation.audit.page import audit_lines
    from federation.cli.progress import working

    with working("recounting"):
        found = examine(run, ledger_file or [], measured or [])
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo("\n".join(audit_lines(found)))
    papers = {"registry": registry, "card": card, "dpia": dpia, "nist": nist}
    wanted = {name: place for name, place in papers.items() if place is not None}
    for write, places in _asked(run, found, report, wanted):
        try:
            write()
        except Exception as error:  # the verdict stands, whatever becomes of a page
            if found.verdict == "pass":
                raise
            typer.echo(f"warning: {places}: n/a ({type(error).__name__})", err=True)
    if found.verdict != "pass":
        raise AuditFailure("the audit found something", hint="read the findings above")


def _asked(
    run: Path, found: Audit, report: Path | None, wanted: dict[str, Path]
) -> Iterator[tuple[Callable[[], None], str]]:
    """What is to be written, and the places for whoever reads a warning."""
    if report is not None:
        from federation.audit.page import write_audit_page

        yield partial(write_audit_page, found, report), str(report)
    if wanted:
        from federation.papers.writing import write_papers

        yield partial(write_papers, run, found, wanted), ", ".join(map(str, wanted.values()))
