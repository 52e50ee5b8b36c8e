"""A site's checkpoint, signed with the key that signs its ledger, and proofs under one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from clients.approvals import ledger_of
from clients.policy import load_site
from federation.errors import InputError, UnusableFile
from federation.ledger.export import load_entries
from federation.ledger.proofs import (
    Continued,
    Inclusion,
    checkpoint_at,
    checkpoint_from_text,
    continued,
    included,
)
from privacy.errors import MalformedMessage
from privacy.ledger.chain import Entry
from privacy.ledger.state import fold
from privacy.signing import public_identity
from privacy.tlog.checkpoint import checkpoint_of
from privacy.tlog.note import LOG, Note, Verifier

Value = TypeVar("Value")
CHECKPOINT = "checkpoint or cosign"  # the commands that write one


def make(site: Path) -> tuple[Note, Verifier]:
    """A checkpoint of the ledger as it stands, and the key that others verify it by.

    LedgerCorrupt for a ledger that does not verify, LedgerRefusal for a key that does not sign it.
    """
    rules = load_site(site)
    entries, key = load_entries(rules.journal, may_be_backup=False), rules.identity()
    tip = fold(entries).tip
    tip.require_key(public_identity(key))
    told = checkpoint_at(entries)
    return told.note().signed(told.origin, key), Verifier(told.origin, LOG, tip.key)


def prove_entry(ledger: Path, seq: int, checkpoint: Path | None) -> Inclusion:
    """That an entry is in the ledger, under a checkpoint of it, or a new one."""
    note, entries = _under(ledger, checkpoint)
    try:
        return included(entries, seq, note)
    except ValueError as error:
        raise InputError(str(error), hint="federation ledger show names what a ledger has") from None


def prove_continued(ledger: Path, since: Path, checkpoint: Path | None) -> Continued:
    """That the ledger continues what an older checkpoint covers, under a checkpoint of it, or a new one."""
    note, entries = _under(ledger, checkpoint)
    old = read_file(since, checkpoint_from_text, CHECKPOINT)
    size = checkpoint_of(old).size
    try:
        continued(entries, size, old)  # it is of this history
        return continued(entries, size, note)
    except ValueError as error:
        raise InputError(
            str(error), hint="name two checkpoints of this ledger, the older one after --since"
        ) from None


def read_file(path: Path, parse: Callable[[str], Value], wrote: str) -> Value:
    """What `parse` makes of a file that `wrote` names the command of. UnusableFile where it is none, or another."""
    hint = f"name a file that {wrote} wrote"
    try:
        return parse(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be read ({reason})", hint="check the path", path=path) from None
    except MalformedMessage as error:
        raise UnusableFile(error.message, hint=hint, path=path) from None
    except ValueError:
        raise UnusableFile("is no text", hint=hint, path=path) from None


def _under(ledger: Path, checkpoint: Path | None) -> tuple[Note, tuple[Entry, ...]]:
    if checkpoint is None and ledger.suffix != ".toml":
        hint = "name site.toml, whose key signs a new one, or --checkpoint FILE"
        raise InputError("a proof needs a checkpoint", hint=hint)
    note = make(ledger)[0] if checkpoint is None else read_file(checkpoint, checkpoint_from_text, CHECKPOINT)
    entries = load_entries(ledger_of(ledger))
    fold(entries)
    return note, entries
