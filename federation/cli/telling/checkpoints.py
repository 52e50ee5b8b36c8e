"""`federation ledger checkpoint`, `prove`, `cosign`, and `verify` of a proof: a ledger before witnesses."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.words import printable

SiteFile = Annotated[Path, typer.Argument(metavar="SITE", help="site.toml")]
_LedgerFile = Annotated[
    Path, typer.Argument(metavar="SITE", help="site.toml, or with --checkpoint a ledger: .sqlite, or .jsonl")
]
_Out = Annotated[Path, typer.Option(metavar="FILE", help="where to write it")]
_Checkpoint = Annotated[
    Path | None, typer.Option(metavar="FILE", help="prove it under this one; a new one is made if left out")
]
_Log = Annotated[
    str,
    typer.Option(metavar="KEY", help="the ledger's key: NAME+ID+KEY as checkpoint prints it, or a .pub file"),
]


def checkpoint(site: SiteFile, out: _Out, as_json: AsJson = False, debug: Debug = False) -> None:
    """Sign where the ledger stands: how many entries, and the root of their tree. It shows nothing of them."""
    from clients.checkpoints.making import make
    from federation.files import write_output
    from privacy.tlog.checkpoint import checkpoint_of

    note, key = make(site)
    write_output(out, str(note))
    told = checkpoint_of(note)
    facts = {
        "out": str(out),
        "origin": told.origin,
        "entries": told.size,
        "root": told.root.hex(),
        "key": str(key),
    }
    if as_json:
        print_json(facts)
        return
    typer.echo(printable(f"{out}: {told.origin}, {told.size} entries, root {told.root.hex()}"))
    typer.echo(f"Witnesses verify it by {key}")


def prove(
    site: _LedgerFile,
    out: _Out,
    entry: Annotated[int | None, typer.Option(metavar="N", help="that this entry is in the ledger")] = None,
    since: Annotated[
        Path | None, typer.Option(metavar="FILE", help="that nothing of this older checkpoint was changed")
    ] = None,
    checkpoint: _Checkpoint = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Prove one entry, or that the ledger only grew, without the rest of the ledger."""
    from clients.checkpoints.making import prove_continued, prove_entry
    from federation.errors import InputError
    from federation.files import write_output
    from federation.ledger.proofs import Continued, Inclusion

    proof: Inclusion | Continued
    if entry is not None and since is None:
        proof = prove_entry(site, entry, checkpoint)
    elif since is not None and entry is None:
        proof = prove_continued(site, since, checkpoint)
    else:
        raise InputError("a proof is of one thing", hint="give either --entry N or --since CHECKPOINT")
    write_output(out, str(proof))
    what = f"entry {entry}" if isinstance(proof, Inclusion) else f"continues its first {proof.old} entries"
    if as_json:
        print_json({"out": str(out), "proves": what, "hashes": len(proof.path)})
    else:
        typer.echo(printable(f"{out}: {what}, by {len(proof.path)} hashes"))


def cosign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a checkpoint, or a proof since an older one")],
    log: _Log,
    key: Annotated[Path, typer.Option(metavar="FILE", help="the witness's private key")],
    name: Annotated[str, typer.Option(help="the witness's name, such as regulator.example.org/w1")],
    seen: Annotated[
        Path, typer.Option(metavar="FILE", help="what this witness has seen; made if there is none")
    ],
    out: _Out,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Be a witness: put your name under a checkpoint that continues all that you have seen of this ledger.

    Exit code 5 if it does not, and then nothing is signed.
    """
    from clients.checkpoints.making import read_file
    from clients.checkpoints.witness import Witness, key_named
    from federation.files import write_output
    from federation.identity.keys import load_private
    from federation.ledger.proofs import continued_from_text

    witness = Witness(name, load_private(key), seen)
    note = witness.cosign(
        read_file(file, continued_from_text, "checkpoint, cosign or prove --since"), key_named(log)
    )
    write_output(out, str(note))
    if as_json:
        print_json({"out": str(out), "witness": str(witness.verifier)})
        return
    typer.echo(printable(f"{out}: cosigned by {name}"))
    typer.echo(f"Readers verify it by {witness.verifier}")


def verify_proof(file: Path, log: str, witnesses: list[str], as_json: bool) -> None:
    """Verify the proof of one entry, and print the entry. AuditFailure if anything is amiss."""
    from clients.checkpoints.making import read_file
    from clients.checkpoints.witness import key_named, key_told, verify
    from federation.ledger.proofs import inclusion_from_text
    from privacy.tlog.checkpoint import checkpoint_of

    proof = read_file(file, inclusion_from_text, "prove --entry")
    by = key_named(log)
    times = verify(proof, by.verifier(proof.note), [key_told(witness) for witness in witnesses])
    told, seen = checkpoint_of(proof.note), {name: _moment(seconds) for name, seconds in times.items()}
    if as_json:
        entry = {"seq": proof.entry.seq, "kind": proof.entry.kind, "body": proof.entry.body}
        print_json(
            {"verdict": "pass", "origin": told.origin, "entries": told.size, "entry": entry, "seen": seen}
        )
        return
    typer.echo(printable(f"{file}: entry {proof.entry.seq} ({proof.entry.kind}) is in {told.origin}"))
    if by.named is None:
        typer.echo("The key does not name the ledger: ask the site whether this is its name")
    for name, moment in seen.items():
        typer.echo(printable(f"{name} saw this ledger with {told.size} entries at {moment}"))


def _moment(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"
