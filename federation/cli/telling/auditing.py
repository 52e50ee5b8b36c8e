"""`federation audit`: a run verified from its files, and the documents that are made of one that was passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.errors import AuditFailure, InputError
from federation.words import printable

if TYPE_CHECKING:
    from federation.audit.outcome import Audit


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or a bundle that --bundle made")],
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
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="all that the audit rests on, signed, in one file")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="signs the bundle; one of this user, if left out")
    ] = None,
    signer: Annotated[
        str | None, typer.Option(metavar="KEY", help="of a bundle: whose it has to be, 64 digits in hex")
    ] = None,
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
    from federation.audit.bundle.opening import is_bundle, require_same, require_signer, unpacked

    papers = {"registry": registry, "card": card, "dpia": dpia, "nist": nist}
    wanted = Wanted(report, bundle, key, {name: place for name, place in papers.items() if place is not None})
    if not is_bundle(run):
        if signer is not None:
            raise InputError("--signer is for a bundle", hint=f"{run} is none")
        _audit(run, Handed(ledger_file or [], measured or []), wanted, as_json)
        return
    with unpacked(run) as opened:
        require_signer(opened.signer, signer)
        told = opened.statement
        by = f"{run}: every byte is as {opened.signer.hex()} signed it at {told.made}"
        typer.echo(printable(by), err=as_json)
        packed = Handed(opened.ledgers, opened.measured)
        handed = Handed([*packed.ledgers, *(ledger_file or [])], [*packed.measured, *(measured or [])])
        if handed != packed:  # the signer had not all of these: what is said is compared without them
            require_same(told.audit, _examined(opened.folder, packed))
        found = _audit(opened.folder, handed, wanted, as_json)
        if handed == packed:
            require_same(told.audit, found)


@dataclass(frozen=True)
class Handed:
    """What sites handed in with a run: ledgers, and what they measured of their installations."""

    ledgers: Sequence[Path]
    measured: Sequence[Path]


@dataclass(frozen=True)
class Wanted:
    """What is to be written after an audit: a page, a bundle and who signs it, documents by name."""

    page: Path | None
    bundle: Path | None
    key: Path | None
    papers: Mapping[str, Path]


def _audit(run: Path, handed: Handed, wanted: Wanted, as_json: bool) -> Audit:
    from federation.audit.page import audit_lines

    found = _examined(run, handed)
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo("\n".join(audit_lines(found)))
    for write, places in _asked(run, handed, found, wanted):
        try:
            write()
        except Exception as error:  # the verdict stands, whatever becomes of a page
            if found.verdict == "pass":
                raise
            typer.echo(f"warning: {places}: n/a ({type(error).__name__})", err=True)
    if found.verdict != "pass":
        raise AuditFailure("the audit found something", hint="read the findings above")
    return found


def _examined(run: Path, handed: Handed) -> Audit:
    from federation.audit.examine import audit as examine
    from federation.cli.progress import working

    with working("recounting"):
        return examine(run, handed.ledgers, handed.measured)


def _asked(
    run: Path, handed: Handed, found: Audit, wanted: Wanted
) -> Iterator[tuple[Callable[[], None], str]]:
    """What is to be written, and the places for whoever reads a warning."""
    if wanted.page is not None:
        from federation.audit.page import write_audit_page

        yield partial(write_audit_page, found, wanted.page), str(wanted.page)
    if wanted.papers:
        from federation.papers.writing import write_papers

        yield partial(write_papers, run, found, wanted.papers), ", ".join(map(str, wanted.papers.values()))
    if wanted.bundle is not None:
        yield partial(_pack, run, handed, found, wanted.bundle, wanted.key), str(wanted.bundle)


def _pack(run: Path, handed: Handed, found: Audit, out: Path, named: Path | None) -> None:
    from federation.audit.bundle.signer import own_key
    from federation.cli.progress import working
    from federation.identity.keys import load_private
    from federation.papers.bundled import pack_run
    from privacy.signing import public_identity

    key = own_key() if named is None else load_private(named)
    with working("packing"):
        pack_run(run, handed.ledgers, found, out, key, handed.measured)
    typer.echo(printable(f"{out}: signed by {public_identity(key).hex()}"), err=True)
