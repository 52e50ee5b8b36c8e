"""Append-only, hash-chained account of events; append and verify are pure.

Each entry's hash covers its content, in canonical JSON (RFC 8785), and the hash before it. So nobody can change,
remove, reorder or insert an entry without changing every hash after it: whoever remembers one hash can tell. A
chain by itself does not show that its end was cut off, or that all of it was written anew.

What an entry says:
    genesis   site, pool                            whose ledger, and of which population
    roster    serial, root                          who may take part, as last accepted; never an older one after
    reserve   run, plan, event, rounds              a whole plan is charged, before its first round
    begin     run, round, params                    the round's data may now be read
    release   run, round, payload                   this digest of noised bytes may now leave
    mask      run, round, attempt                   masked bytes of this attempt may now leave
    reveal    run, round, survivors                 the sum over these sites may now be opened
    refuse    run, plan, event                      asked for, and more than the budget holds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import rfc8785

from privacy.errors import LedgerCorrupt, UnsafeParameters
from privacy.events import Event, event_from_json
from privacy.wire import digest

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

KINDS = ("genesis", "roster", "reserve", "begin", "release", "mask", "reveal", "refuse")
_BEFORE_GENESIS = bytes(32)


@dataclass(frozen=True)
class Entry:
    """One line of a ledger. `hash` covers all other fields."""

    seq: int
    kind: str
    body: Mapping[str, JSON]
    previous: bytes
    hash: bytes


def append(last: Entry | None, kind: str, body: Mapping[str, JSON]) -> Entry:
    """The entry that follows `last`; a genesis follows None. ValueError for a kind out of place."""
    if kind not in KINDS or (kind == "genesis") != (last is None):
        raise ValueError(f"an entry of kind {kind!r} cannot stand here")
    seq, previous = (0, _BEFORE_GENESIS) if last is None else (last.seq + 1, last.hash)
    return Entry(seq, kind, body, previous, _hash(seq, kind, body, previous))


def verify(entries: Sequence[Entry]) -> None:
    """LedgerCorrupt unless this is a whole chain from its genesis on, in order."""
    if not entries:
        raise LedgerCorrupt("the ledger has no entries")
    follow(None, entries)


def follow(last: Entry | None, entries: Sequence[Entry]) -> None:
    """LedgerCorrupt unless `entries` continue the verified chain that ends in `last`."""
    for entry in entries:
        seq, previous = (0, _BEFORE_GENESIS) if last is None else (last.seq + 1, last.hash)
        placed = entry.kind in KINDS and (entry.kind == "genesis") == (last is None)
        linked = placed and (entry.seq, entry.previous) == (seq, previous)
        if not linked or not _is_sealed(entry):
            raise LedgerCorrupt(
                f"entry {seq} of the ledger does not verify: entries were changed, removed, added or reordered",
                hint="release nothing; restore the ledger from where it was last known to be whole",
            )
        last = entry


def events(entries: Sequence[Entry]) -> tuple[Event, ...]:
    """What is charged: every reservation in full, whether its rounds took place or not."""
    return tuple(reserved(entry) for entry in entries if entry.kind == "reserve")


def reserved(entry: Entry) -> Event:
    """The event of a reservation. LedgerCorrupt if it holds none."""
    body = entry.body.get("event")
    if not isinstance(body, Mapping):
        raise LedgerCorrupt(f"entry {entry.seq} of the ledger reserves nothing")
    try:
        return event_from_json(body)
    except UnsafeParameters:
        raise LedgerCorrupt(f"entry {entry.seq} of the ledger reserves an impossible event") from None


def begun_rounds(entries: Sequence[Entry], run: str) -> int:
    """How many rounds of `run` were begun."""
    return len(
        {entry.body.get("round") for entry in entries if entry.kind == "begin" and entry.body["run"] == run}
    )


def canonical(body: Mapping[str, JSON]) -> str:
    """RFC 8785 text of a body: equal bodies, equal text. ValueError for NaN, infinity or integers beyond 2^53."""
    content: Any = body
    return rfc8785.dumps(content).decode()


def _is_sealed(entry: Entry) -> bool:
    try:
        return entry.hash == _hash(entry.seq, entry.kind, entry.body, entry.previous)
    except ValueError:  # no canonical form, so no entry of ours
        return False


def _hash(seq: int, kind: str, body: Mapping[str, JSON], previous: bytes) -> bytes:
    content: dict[str, JSON] = {"seq": seq, "kind": kind, "body": body, "previous": previous.hex()}
    return digest("privacy/ledger/1", canonical(content).encode())
