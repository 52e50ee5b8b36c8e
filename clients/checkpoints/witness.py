"""A witness: it puts its name under a checkpoint only if that continues the largest one that it has seen.

What it saw is written down before its signature exists. So a witness that is killed may have seen more than it
signed, and never signed two histories of one log, however many of its processes run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.journal.remembered import Memory
from federation.errors import AuditFailure, InputError
from federation.identity.keys import load_public
from federation.ledger.proofs import Continued, Inclusion
from privacy.errors import MalformedMessage
from privacy.tlog.checkpoint import Checkpoint, checkpoint_of, cosigned, seen_at
from privacy.tlog.merkle import HASH_BYTES
from privacy.tlog.note import LOG, WITNESS, Note, Verifier, verifier_from_text

_Seen: TypeAlias = tuple[int, str]  # entries and root, in hex
_ASK_KEY = "ask the site for its key: federation ledger checkpoint prints it"


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

    def cosign(self, proof: Continued, log: Callable[[Note], Verifier], now: float | None = None) -> Note:
        """The checkpoint with this witness's name under it.

        AuditFailure if the log did not sign it, or if it does not continue what was seen; nothing is signed then.
        """
        told, by = checkpoint_of(proof.note), log(proof.note)
        if by.name != told.origin or not proof.note.is_signed(by):
            raise AuditFailure("this checkpoint is not signed by the key of its ledger", hint=_ASK_KEY)
        name = self.verifier.name  # one that no note can have is refused before anything is written
        memory = Memory(self.seen, "checkpoints that this witness has seen", _seen)
        memory.update(lambda known: {**known, told.origin: _next(known.get(told.origin), told, proof)})
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


def key_named(text: str) -> Callable[[Note], Verifier]:
    """The key that a text NAME+ID+KEY or a site's .pub file names; the latter signs under any log's name."""
    if "+" in text:
        known = key_told(text)
        return lambda _: known
    key = bytes.fromhex(load_public(Path(text)).key)
    return lambda note: Verifier(checkpoint_of(note).origin, LOG, key)


def key_told(text: str) -> Verifier:
    """The key of a text NAME+ID+KEY; InputError for any other."""
    try:
        return verifier_from_text(text)
    except MalformedMessage as error:
        raise InputError(error.message, hint=_ASK_KEY) from None


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
