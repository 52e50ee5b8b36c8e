"""A witness: it puts its name under a checkpoint only if that continues the largest one that it has seen.

What it saw is written down before its signature exists. So a witness that is killed may have seen more than it
signed, and never signed two histories of one log, however many of its processes run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.journal.remembered import Memory
from federation.errors import AuditFailure, InputError
from federation.identity.keys import load_public
from federation.ledger.proofs import Continued, Inclusion, logs_of
from privacy.errors import MalformedMessage
from privacy.tlog.checkpoint import Checkpoint, checkpoint_of, cosigned, seen_at
from privacy.tlog.merkle import HASH_BYTES
from privacy.tlog.note import LOG, WITNESS, Note, Verifier, verifier_from_text

_Seen: TypeAlias = tuple[int, str]  # entries and root, in hex
_ASK_KEY = "ask the site for its key: federation ledger checkpoint prints it"


@dataclass(frozen=True)
class Log:
    """Whose checkpoints are believed: those of one ledger, or, by a site's .pub file, of the ledger of `site`.

    The file does not name the ledger, and its key could sign another history under another name. So a witness that
    goes by the file knows one ledger of the site: a second has to be named to it, as checkpoint prints its key.
    """

    named: Verifier | None
    site: str = ""
    key: bytes = b""

    def verifier(self, note: Note) -> Verifier:
        """The key that must have signed a note. AuditFailure for a ledger that is not the site's."""
        if self.named is not None:
            return self.named
        origin = checkpoint_of(note).origin
        if not re.fullmatch(f"{re.escape(logs_of(self.site))}[0-9a-f]{{16}}", origin):
            raise AuditFailure(f"this checkpoint is of no ledger of {self.site}", hint=_ASK_KEY)
        return Verifier(origin, LOG, self.key)

    def require_one(self, known: Collection[str], origin: str) -> None:
        """AuditFailure for a further ledger of a site of which nobody has said that there is one."""
        others = [name for name in known if name.startswith(logs_of(self.site))]
        if self.named is None and origin not in known and others:
            raise AuditFailure(
                f"{origin} is a further ledger of {self.site}, beside {others[0]}: one may be the other, changed",
                hint="if the site has two pools, name it by its own key: federation ledger checkpoint prints it",
            )


@dataclass(frozen=True)
class Witness:
    """Who cosigns: a name, a key, and the file of what it has seen, by log."""

    name: str
    key: Ed25519PrivateKey
    seen: Path

    @property
    def verifier(self) -> Verifier:
        """What others verify its cosignatures by. InputError for a name that no note can have."""
        try:
            return Verifier(self.name, WITNESS, self.key.public_key().public_bytes_raw())
        except MalformedMessage as error:
            raise InputError(error.message, hint="choose one such as regulator.example.org/w1") from None

    def cosign(self, proof: Continued, log: Log, now: float | None = None) -> Note:
        """The checkpoint with this witness's name under it.

        AuditFailure if the log did not sign it, or if it does not continue what was seen; nothing is signed then.
        """
        told, by = checkpoint_of(proof.note), log.verifier(proof.note)
        if by.name != told.origin or not proof.note.is_signed(by):
            raise AuditFailure("this checkpoint is not signed by the key of its ledger", hint=_ASK_KEY)
        name = self.verifier.name  # one that no note can have is refused before anything is written
        memory = Memory(self.seen, "checkpoints that this witness has seen", _seen)

        def change(known: dict[str, _Seen]) -> dict[str, _Seen]:
            log.require_one(known, told.origin)
            return {**known, told.origin: _next(known.get(told.origin), told, proof)}

        memory.update(change)
        return cosigned(proof.note, name, self.key, int(time.time() if now is None else now))


def _seen(content: Any) -> _Seen:
    size, root = content
    if type(size) is not int or len(bytes.fromhex(root)) != HASH_BYTES:
        raise ValueError("no checkpoint")
    return size, root


def _next(known: _Seen | None, told: Checkpoint, proof: Continued) -> _Seen:
    """What is seen now; AuditFailure unless it is all of what was seen, or more."""
    now = told.size, told.root.hex()
    if known in (None, now):
        return now
    size, root = known
    if told.size < size:
        raise AuditFailure(
            f"this checkpoint has {told.size} entries, and {size} were seen before",
            hint="ask for a newer one",
        )
    if size not in (proof.old, told.size):
        raise AuditFailure(
            f"this proof begins at {proof.old} entries, and {size} were seen last",
            hint="ask the site: federation ledger prove SITE --since the checkpoint that was cosigned last",
        )
    if told.size == size or not proof.holds(bytes.fromhex(root)):
        raise AuditFailure(
            "this checkpoint does not continue what was seen before: the ledger was changed, or its end was lost",
            hint="keep both checkpoints: together they prove it",
        )
    return now


def key_named(text: str) -> Log:
    """The key that a text NAME+ID+KEY names, or a site's .pub file."""
    if "+" in text:
        return Log(key_told(text))
    public = load_public(Path(text))
    return Log(None, public.id, bytes.fromhex(public.key))


def key_told(text: str) -> Verifier:
    """The key of a text NAME+ID+KEY; InputError for any other."""
    try:
        return verifier_from_text(text)
    except MalformedMessage:
        hint = "a key is NAME+ID+KEY, as federation ledger checkpoint and cosign print it"
        raise InputError("this is no key of a ledger or a witness", hint=hint) from None


def verify(proof: Inclusion, log: Verifier, witnesses: list[Verifier]) -> dict[str, int]:
    """When each witness saw the checkpoint of a proof that holds, in seconds since 1970. Else AuditFailure."""
    told = checkpoint_of(proof.note)
    if log.name != told.origin or not proof.note.is_signed(log):
        raise AuditFailure("this checkpoint is not signed by the key of its ledger", hint=_ASK_KEY)
    if not proof.holds():
        raise AuditFailure("this entry is not in the tree of the checkpoint", hint="ask for another proof")
    times: dict[str, int] = {}
    for witness in witnesses:
        seconds = seen_at(proof.note, witness) if witness.type == WITNESS else None
        if seconds is None:
            raise AuditFailure(f"{witness.name} did not cosign this checkpoint", hint="ask the witness")
        times[witness.name] = seconds
    return times
