"""`federation ledger`: what a site has spent, the proof that nobody edited it, and what two people may change."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.cli.telling.checkpoints import checkpoint, cosign, prove, verify_proof
from federation.cli.telling.site_page import page
from federation.cli.telling.withdraw import print_withdrawn, withdraw, withdrawn_of
from federation.errors import AuditFailure
from federation.words import many, printable
from privacy.errors import LedgerCorrupt


def _tell(as_json: bool, facts: Mapping[str, Any], story: str) -> None:
    """Print the result: as JSON, or as a line."""
    if as_json:
        print_json(facts)
    else:
        typer.echo(story)


class _Ledger(TyperGroup):
    """`federation ledger SITE verify` is understood as well as `federation ledger verify SITE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the site behind the action, which is `show` where there is none."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            named = len(args) > 1 and args[1] in self.commands
            args = [args[1], args[0], *args[2:]] if named else ["show", *args]
        return super().parse_args(ctx, args)


ledger = typer.Typer(
    help="What a site has spent, and proof that nobody edited it.", no_args_is_help=True, cls=_Ledger
)

SiteFile = Annotated[Path, typer.Argument(metavar="SITE", help="site.toml")]
LedgerFile = Annotated[
    Path, typer.Argument(metavar="SITE", help="site.toml, or a ledger: journal.sqlite, or an exported .jsonl")
]
KeyFile = Annotated[Path, typer.Option(help="a private key file")]


@ledger.command(epilog="Example: [bold]federation ledger show site.toml[/bold]")
def show(site: LedgerFile, as_json: AsJson = False, debug: Debug = False) -> None:
    """What each unit may spend and has spent, run by run.

    Of a site.toml also who withdrew, and which released params descend from data that may hold their records: the
    ledger by itself does not tell.
    """
    from clients.approvals import ledger_of
    from federation.ledger.export import load_entries
    from federation.ledger.statement import statement

    facts = statement(load_entries(ledger_of(site)))
    facts["withdrawn"] = withdrawn_of(site)
    if as_json:
        print_json(facts)
        return
    from federation.cli.statements import print_statement

    print_statement(facts)
    if facts["withdrawn"] is not None:
        print_withdrawn(facts["withdrawn"])


@ledger.command(epilog="Example: [bold]federation ledger verify site.toml[/bold]")
def verify(
    site: LedgerFile,
    log: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="of a proof: the ledger's key, NAME+ID+KEY, or a .pub file"),
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="of a proof: a witness who must have cosigned")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check every hash, every signature and the whole history; exit code 5 if anything is amiss.

    With --log SITE is a proof that `federation ledger prove --entry` made.
    """
    if log is not None:
        verify_proof(site, log, witness or [], as_json)
        return
    from clients.approvals import ledger_of
    from federation.ledger.export import load_entries
    from privacy.ledger.state import fold

    path = ledger_of(site)
    try:
        found = load_entries(path)
        tip = fold(found).tip
    except LedgerCorrupt as error:
        raise AuditFailure(error.message, hint=error.hint) from None
    entries, head = len(found), tip.last.hash.hex()
    if as_json:
        print_json({"verdict": "pass", "site": tip.genesis.site, "entries_verified": entries, "head": head})
        return
    typer.echo(
        printable(f"{path}: {many(entries, 'entry', 'entries')} of {tip.genesis.site} verify, head {head}")
    )
    typer.echo("That nothing was cut off its end only others can tell: federation audit RUN --ledger FILE")


ledger.command(epilog="Example: [bold]federation ledger page site.toml --out left.html[/bold]")(page)
ledger.command(epilog="Example: [bold]federation ledger checkpoint site.toml --out now.checkpoint[/bold]")(
    checkpoint
)
ledger.command(
    epilog="Example: [bold]federation ledger prove site.toml --since old.checkpoint --out grown.proof[/bold]"
)(prove)
_COSIGN = (
    "federation ledger cosign grown.proof --log ash.pub --key w1.key --name example.org/w1 --seen seen.json "
    "--out seen.checkpoint"
)
ledger.command(epilog=f"Example: [bold]{_COSIGN}[/bold]")(cosign)


@ledger.command(epilog="Example: [bold]federation ledger export site.toml --out cleveland.jsonl[/bold]")
def export(
    site: LedgerFile,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="stdout, if left out")] = None,
    siem: Annotated[
        bool, typer.Option("--siem", help="log records with OpenTelemetry's names; no audit reads them")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --out: print the result as JSON")] = False,
    debug: Debug = False,
) -> None:
    """The ledger as text for an auditor: one entry per line, with hash and signature.

    It holds no data; entries of versions before secagg/3 hold plain hashes of releases, which is said.
    """
    from clients.approvals import ledger_of
    from federation.files import write_output
    from federation.ledger.export import export_lines, load_entries
    from privacy.ledger.state import fold

    entries = load_entries(ledger_of(site))
    plain = sum(len(run.unblinded) for run in fold(entries).runs.values())
    if plain:
        typer.echo(
            f"warning: {many(plain, 'entry', 'entries')} of an earlier version with plain hashes of releases: a "
            "reader can find a small release from its hash, such as a published evaluation; "
            "give it only to who may know those",
            err=True,
        )
    if siem:
        from federation.papers.siem import log_lines

        text = "".join(f"{line}\n" for line in log_lines(entries))
    else:
        text = export_lines(entries)
    if out is None:
        sys.stdout.write(text)
        return
    write_output(out, text)
    _tell(
        as_json,
        {"out": str(out), "entries": len(entries)},
        f"{out}: {many(len(entries), 'entry', 'entries')}",
    )


@ledger.command(epilog="Example: [bold]federation ledger backup site.toml --out cleveland.backup[/bold]")
def backup(
    site: SiteFile,
    out: Annotated[Path, typer.Option(metavar="FILE", help="a new file")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Copy the ledger while the site runs. Copying its file by other means leaves out what is in its log."""
    from clients.restore import back_up

    tip = back_up(site, out).tip
    facts = {
        "out": str(out),
        "site": tip.genesis.site,
        "last_entry": tip.last.seq,
        "head": tip.last.hash.hex(),
    }
    _tell(as_json, facts, f"{out}: entries of {facts['site']} up to {tip.last.seq}, head {facts['head']}")


@ledger.command(
    epilog="Example: [bold]federation ledger restore site.toml --from cleveland.backup --heads runs/heart[/bold]"
)
def restore(
    site: SiteFile,
    source: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="a backup, or any copy of the ledger")
    ],
    entries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a newer copy of it, or an export")
    ] = None,
    heads: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="a run folder or a peer's ledger; again for others"),
    ] = None,
    propose: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write what two approvers sign if nothing is missing")
    ] = None,
    approved: Annotated[Path | None, typer.Option(metavar="FILE", help="that file, signed by two")] = None,
    charge_all: Annotated[
        bool, typer.Option("--charge-all", help="count all that was left of every budget as spent")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Go on from a backup after the journal was lost. Nothing that may have been spent is spent again."""
    from datetime import UTC, datetime

    from clients.restore import examine, propose_restore, require_choice
    from clients.restore import restore as put_back

    today = datetime.now(UTC).date()
    known = examine(site, source, entries, heads or [])
    compared = {
        "last_entry": known.last.seq,
        "heads_compared": known.heads,
        "newest_head": known.newest or None,
    }
    if propose is not None:
        propose_restore(known, propose, today)
        _tell(as_json, {"out": str(propose), **compared}, _to_sign(propose))
        return
    require_choice(known, approved, charge_all)
    account = put_back(site, known, approved, today)
    gap = account.gaps[-1]
    facts = {**compared, "entry": gap.next, "vouched": gap.vouched, "head": account.tip.last.hash.hex()}
    told = (
        "two approvers vouch that nothing is missing" if gap.vouched else "all that was left counts as spent"
    )
    _tell(as_json, facts, f"restored up to entry {known.last.seq}, goes on at entry {gap.next}: {told}")


@ledger.command(
    epilog='Example: [bold]federation ledger propose site.toml --epsilon 8 --reason "second study"[/bold]'
)
def propose(
    site: SiteFile,
    epsilon: Annotated[float, typer.Option(help="the new limit; the approvers decide")],
    reason: Annotated[str, typer.Option(help="for the approvers and the record")],
    unit: Annotated[str, typer.Option(help="record, patient or client")] = "record",
    delta: Annotated[float | None, typer.Option(help="as it is now, if left out")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE")] = Path("proposal.json"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Propose a larger budget. It takes effect when two approvers have signed and it is applied."""
    from clients.approvals import propose as write

    write(site, unit, epsilon, delta, reason, out)
    _tell(as_json, {"out": str(out)}, _to_sign(out))


@ledger.command(
    "replace-key", epilog="Example: [bold]federation ledger replace-key site.toml --out proposal.json[/bold]"
)
def replace_key(
    site: SiteFile,
    out: Annotated[Path, typer.Option(metavar="FILE")] = Path("proposal.json"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Propose that the site's present key signs a ledger whose own key is lost."""
    from clients.approvals import propose_key

    propose_key(site, out)
    _tell(as_json, {"out": str(out)}, _to_sign(out))


@ledger.command(epilog="Example: [bold]federation ledger approve proposal.json --key alice.key[/bold]")
def approve(
    proposal: Annotated[
        Path, typer.Argument(metavar="FILE", help="the proposal; the approval is added to it")
    ],
    key: KeyFile,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Sign a proposal. Read it first: it is text."""
    from clients.approvals import add_approval

    count = add_approval(proposal, key)
    _tell(as_json, {"proposal": str(proposal), "approvals": count}, f"{proposal}: {count} of 2 approvals")


@ledger.command(epilog="Example: [bold]federation ledger apply site.toml proposal.json[/bold]")
def apply(
    site: SiteFile,
    proposal: Annotated[Path, typer.Argument(metavar="FILE", help="the proposal, with two approvals")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Put a proposal that two approvers have signed into the ledger."""
    from clients.approvals import apply as put

    done = put(site, proposal)
    _tell(as_json, {"proposal": str(proposal), "done": done}, done)


@ledger.command(epilog="Example: [bold]federation ledger close site.toml 3f2a91c0[/bold]")
def close(
    site: SiteFile,
    run: Annotated[str, typer.Argument(metavar="RUN", help="its id, or the first 8 letters of it")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """End a run that will not go on: rounds that it never began are returned to the budget."""
    from clients.approvals import abandon

    closed = abandon(site, run)
    _tell(
        as_json, {"run": closed, "closed": True}, f"{closed}: closed; none of its rounds can begin any more"
    )


@ledger.command(epilog="Example: [bold]federation ledger reclaim site.toml[/bold]")
def reclaim(site: SiteFile, as_json: AsJson = False, debug: Debug = False) -> None:
    """Make a lost registry of pools anew, from the site's pool, journal and data. Other pools are forgotten."""
    from clients.approvals import reclaim as make

    made = make(site)
    _tell(as_json, {"registry": str(made)}, f"{made}: made anew, of this site's pool and data alone")


@ledger.command(epilog="Example: [bold]federation ledger rotate site.toml --key keys/new.key[/bold]")
def rotate(site: SiteFile, key: KeyFile, as_json: AsJson = False, debug: Debug = False) -> None:
    """Have another key sign the ledger from here on; then put it in the place of the site's key file."""
    from clients.approvals import rotate as turn

    turn(site, key)
    story = "the ledger takes the new key only; move it to the site's key file, and tell the consortium"
    _tell(as_json, {"key": str(key), "rotated": True}, story)


ledger.command("withdraw", epilog="Example: [bold]federation ledger withdraw site.toml[/bold]")(withdraw)


def _to_sign(out: Path) -> str:
    return f"{out}: now two approvers sign it: federation ledger approve {quote(str(out))} --key NAME.key"
