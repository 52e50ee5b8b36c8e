"""The ledgers of simulated sites, written when a run ends or stops: what a site would have on its disk.

Every entry follows from the account and the site's key, so writing them again gives the same ledgers, with what
came after at the end. A first entry says `simulated`, and every hash after it depends on that. No payload stands
behind the commitment of a release: nothing leaves a simulated site but its part of a sum, and that is not kept; it
commits to the params that the round ended with, which everybody may compare.

Up to `MOST` sites each has a file of its own, NAME.sqlite. Beyond, all.sqlite is the one ledger of all of them: of
the site "*", signed by the coordinator, who plays them all. A round stands there once, and the question that it
answers says whose it was.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.files import kept, sync_folder
from federation.ledger.store import EVERY_SITE, journal_bytes
from federation.round.terms import evaluation_run
from privacy.ledger.chain import Entry, Genesis, Statement
from privacy.ledger.heads import Head, pool_tag
from privacy.signing import public_identity
from privacy.wire import digest
from simulations.accounts.book import Book
from simulations.accounts.file import Event

MOST = 1000
ALL = "all.sqlite"
_COMMITTED = "federation/simulated/release/1"
_THREADS = 8  # that wait for the disk

Keys = Callable[[str], Ed25519PrivateKey]


def export(book: Book, folder: Path, keys: Keys, coordinator: Ed25519PrivateKey) -> Mapping[str, Head]:
    """Write the ledgers of all sites as files of `folder`; where each ends, by site. They are on the disk then."""
    said = _Said(book)
    with kept(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if len(book.names) > MOST or not isinstance(book.names, tuple):  # a population has no list of names
            return {EVERY_SITE: _write(folder / ALL, EVERY_SITE, coordinator, said.everybody(), said.salt)}
        heads = {}
        for name in book.names:
            path, key = folder / f"{name}.sqlite", keys(name)
            heads[name] = _write(path, name, key, said.of(name), said.salt)
        _sync([folder / f"{name}.sqlite" for name in book.names])
        sync_folder(folder)
    return heads


class _Said:
    """What the entries of a run say: the same words in each ledger, made once."""

    def __init__(self, book: Book) -> None:
        self._book, self.salt = book, bytes.fromhex(book.facts["salt"])
        self._run = book.facts["run"]
        self._opening = [Statement.of(kind, body) for kind, body in book.events[0].body["entries"]]
        self._has_evaluation = sum(each.kind == "reserve" for each in self._opening) > 1
        self._statements_of = [tuple(self._statements(event)) for event in book.events[1:]]

    def everybody(self) -> Iterator[Statement]:
        """As if one site had been in every round."""
        yield from self._opening
        for statements in self._statements_of:
            yield from statements

    def of(self, site: str) -> Iterator[Statement]:
        """What one site's ledger says after its first entry."""
        yield from self._opening
        for inside, statements in zip(self._inside, self._statements_of, strict=True):
            if inside is None or site in inside:
                yield from statements

    @cached_property
    def _inside(self) -> list[frozenset[str] | None]:
        """Who is charged by each event after the first; None for all."""
        return [
            None if event.cohort is None else frozenset(self._book.cohort(event))
            for event in self._book.events[1:]
        ]

    def _statements(self, event: Event) -> Iterator[Statement]:
        body = event.body
        if event.kind == "roster":
            yield Statement.of("roster", body)
        elif event.kind == "closed":
            for run in [self._run, evaluation_run(self._run)][: 1 + self._has_evaluation]:
                yield Statement.of("close", {"run": run, "params": body["params"]})
        else:
            run = evaluation_run(self._run) if event.kind == "evaluation" else self._run
            number = body.get("round", 1)
            yield Statement.of("begin", {"run": run, "round": number, "question": body["question"]})
            if "receipt" in body:
                made = body["receipt"].get("params_after", "")
                commitment = digest(_COMMITTED, self.salt, run.encode(), made.encode()).hex()
                yield Statement.of("release", {"run": run, "round": number, "commitment": commitment})


def _write(path: Path, site: str, key: Ed25519PrivateKey, said: Iterator[Statement], salt: bytes) -> Head:
    """A ledger that says this, in the place of what it said before; where it ends."""
    own = hmac.digest(salt, site.encode(), sha256)
    first = Genesis(site, site, pool_tag(key, site), public_identity(key), (), True, own)
    texts, entries = [], list[Entry]()
    for statement in (Statement.of("genesis", first.to_json()), *said):
        entries.append(statement.after(entries[-1] if entries else None, key))
        texts.append(statement.text)
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(journal_bytes(entries, texts))
    beside.replace(path)
    return Head.signed(site, first.ledger, entries[-1], key)


def _sync(paths: Sequence[Path]) -> None:
    """Have files on the disk: several at once, since each waits for it."""

    def sync(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(sync, paths))
