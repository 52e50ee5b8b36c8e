"""Registry of pools: records which data a real site has used under which budget, in a file beside its keys.

A budget belongs to a population, its pool, and not to a file. So a copy of the data under another name, a part of
it, or the same in another order must not get a budget of its own. For each pool the registry holds the one journal
that keeps its account, and fingerprints of every record and every patient ever used under it. It refuses data known
from another pool, and a second journal for a pool.

A fingerprint is HMAC-SHA256, cut to 16 bytes, under a key derived (HKDF, RFC 5869) from the site's identity key:
a finder of the file without the key cannot test whether a person was treated here. Among a billion
fingerprints two are equal by chance with probability 2^-69.

It catches slips and convenient oversights. It recognizes rows in any order of rows and columns, and numbers however
they are written ("55" or "55.0"), but not a row with another cell or one column less. If the plan says which column
names the patient, it recognizes the patients, whatever else has changed.

SQLite with a rollback journal (synchronous = EXTRA): what is claimed is on the disk when the call returns, and
the file can be read without creating another beside it.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clients.data.sources.delimited.plain import plain_rows
from clients.data.sources.opened import read_bytes
from clients.data.sources.reading import parsed
from clients.data.sources.table import Table
from clients.policy import SiteFile
from clients.rules.origin import Origin, Place
from federation.errors import DataError, FederationError
from federation.ledger import durable
from federation.ledger.export import load_entries
from federation.plan.identifiers import cleaned
from privacy.errors import PolicyViolation, PrivacyError, RecordsUnavailable
from privacy.ledger.heads import pool_tag
from privacy.ledger.state import fold

_FINGERPRINT_BYTES = 16
_SCHEMA = (
    "CREATE TABLE fingerprints (value BLOB PRIMARY KEY, pool TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pools (name TEXT PRIMARY KEY, journal TEXT NOT NULL, key BLOB NOT NULL) WITHOUT ROWID",
)


def registry_path(rules: SiteFile) -> Path:
    """Where a site's registry is."""
    return rules.keys / f"{rules.id}.pools.sqlite"


def fingerprints(source: Table | Place, patient: str | None, key: Ed25519PrivateKey) -> frozenset[bytes]:
    """The fingerprints of a site's data: of every row of a table, held out or not, and of every patient.

    `patient` is the column that names them, if the plan says. Of a table that is in memory the very rows are taken
    that a site trains on: a database may answer otherwise the next time. A file that only the user's own task can
    read counts as one record, beside the rows of those that are tables by their name.
    """
    return fingerprints_under(_secret(key), source, patient)


def fingerprints_under(secret: bytes, source: Table | Place, patient: str | None = None) -> frozenset[bytes]:
    """The same under any secret key of 32 bytes."""
    if isinstance(source, Table):
        return frozenset(_of_table(secret, source, patient))
    place = Origin.of(source)
    table = _table(place)
    found = set() if table is None else _of_table(secret, table, patient)
    if place.query is None and (table is None or place.kind not in ("csv", "own")):
        found |= {_fingerprint(secret, b"file", content) for content in _contents(place)}
    return frozenset(found)


def check_pool(rules: SiteFile, key: Ed25519PrivateKey, found: frozenset[bytes] = frozenset()) -> None:
    """Refuse what `claim_pool` would refuse, and change nothing: no file is written or created."""
    path = registry_path(rules)
    with _explained(path):
        _require_registry(path, rules)
        if path.exists():
            with closing(_connected(path, "ro")) as registry:
                registry.execute("BEGIN")
                _refuse(registry, rules, _tag(key), found)


def known_ledgers(rules: SiteFile, key: Ed25519PrivateKey) -> frozenset[bytes]:
    """The tags of the ledgers that this site knows to be its own: those of the pools in its registry.

    A pool's tag follows from its name and the first key of its ledger, so a ledger that is older than the site's
    key is asked, too, as far as it is here.
    """
    path = registry_path(rules)
    with _explained(path):
        if not path.exists():
            return frozenset()
        with closing(_connected(path, "ro")) as registry:
            pools = list(registry.execute("SELECT name, journal FROM pools"))
    tags = {pool_tag(key, name) for name, _ in pools}
    for _, journal in pools:
        with suppress(FederationError, PrivacyError):
            tags.add(fold(load_entries(rules.keys / journal)).tip.genesis.ledger)
    return frozenset(tags)


def begin_registry(rules: SiteFile) -> None:
    """Make an empty registry if there is none. PolicyViolation if there was one."""
    path = registry_path(rules)
    with _explained(path):
        _require_registry(path, rules)
        if durable.needs_creation(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.create(path, _SCHEMA, lambda _: None, logged=False)


def reclaim_pool(rules: SiteFile, key: Ed25519PrivateKey, found: frozenset[bytes]) -> None:
    """Make a lost registry anew: of the site's pool, its journal and these data. What others it knew is forgotten.

    PolicyViolation if it is not lost, or if there is no journal that could hold what the data have spent.
    """
    path = registry_path(rules)
    if path.exists():
        raise PolicyViolation(f"{path.name} is there", hint="nothing is to be made anew")
    if not rules.journal.exists():
        raise PolicyViolation(
            f"there is no {rules.journal}, which would hold what these data have spent",
            hint="name the journal and the pool that they were used with",
        )
    with _explained(path):
        durable.create(path, _SCHEMA, lambda _: None, logged=False)
    claim_pool(rules, key, found)


def claim_pool(rules: SiteFile, key: Ed25519PrivateKey, found: frozenset[bytes]) -> None:
    """Record, durably, that the data with these fingerprints are of the site's pool and spend its journal's budget.

    Call it when the journal is there and before anything is computed from the data. PolicyViolation if the pool
    has another journal or its own is gone, if another pool has been seen with any of the data,
    or the registry of a site that took part before is gone; RecordsUnavailable if it cannot be read or written.
    """
    begin_registry(rules)
    path = registry_path(rules)
    with _explained(path), closing(_connected(path, "rw")) as registry, durable.transaction(registry):
        _refuse(registry, rules, _tag(key), found)
        row = (rules.data.pool, _relative(rules), _tag(key))
        registry.execute("REPLACE INTO pools VALUES (?, ?, ?)", row)
        new = "INSERT OR IGNORE INTO fingerprints SELECT value, ? FROM asked"
        registry.execute(new, (rules.data.pool,))


def _require_registry(path: Path, rules: SiteFile) -> None:
    """A site has a registry before it takes part in its first run, so without one nobody can tell its data."""
    if not path.exists() and rules.rosters_file.exists():
        raise PolicyViolation(
            f"{path}, the registry of the pools whose budget this site has spent, is gone",
            hint="put its newest copy back; if there is none, name pool and journal as they were, and "
            "give: federation ledger reclaim SITE",
        )


def _refuse(registry: sqlite3.Connection, rules: SiteFile, tag: bytes, found: frozenset[bytes]) -> None:
    pool = rules.data.pool
    journals = dict(registry.execute("SELECT name, journal FROM pools"))
    if pool not in journals:
        _refuse_blind(registry, pool, tag)
    elif journals[pool] != _relative(rules):
        raise PolicyViolation(
            f'the budget of pool "{pool}" is kept in {rules.keys / journals[pool]}, not in {rules.journal}',
            hint="name that journal in site.journal: a second journal would be a second budget",
        )
    elif not rules.journal.exists():
        raise PolicyViolation(
            f'{rules.journal}, which keeps the budget of pool "{pool}", is gone',
            hint="put it back, or restore a backup: an empty one would be a second budget",
        )
    registry.execute("CREATE TEMP TABLE asked (value BLOB PRIMARY KEY) WITHOUT ROWID")
    registry.executemany("INSERT INTO asked VALUES (?)", ((value,) for value in sorted(found)))
    known = "SELECT pool FROM fingerprints JOIN asked USING (value) WHERE pool != ? ORDER BY pool LIMIT 1"
    for (other,) in registry.execute(known, (pool,)):
        raise PolicyViolation(
            f'data.pool is "{pool}", but some of these data were used under pool "{other}"',
            hint=f'write pool = "{other}", with its journal: a budget belongs to people, not to files',
        )


def _refuse_blind(registry: sqlite3.Connection, pool: str, tag: bytes) -> None:
    """A new pool cannot be compared with one whose fingerprints are all under a key that was since replaced."""
    for (other,) in registry.execute("SELECT name FROM pools WHERE key != ? ORDER BY name LIMIT 1", (tag,)):
        raise PolicyViolation(
            f'pool "{pool}" is new, and pool "{other}" has not been used since this site changed its key',
            hint=f'take part once with pool "{other}", so that the data of the two can be compared',
        )


def _table(place: Origin) -> Table | None:
    """The table at a place, or None if only the user's own code can read it. A query that fails is an error."""
    if place.query is not None:
        return parsed(place)
    try:
        return parsed(place) if place.file.is_file() else None
    except DataError:
        return None


def _of_table(secret: bytes, table: Table, patient: str | None) -> set[bytes]:
    columns, rows = plain_rows(table)
    begun = hmac.new(secret, b"record\0" + columns, "sha256")  # the same for every row
    found = {_after(begun, row) for row in rows}
    if patient is not None:
        names = set(map(cleaned, table.column(patient)))
        found |= {_fingerprint(secret, b"patient", name.encode()) for name in names}
    return found


def _contents(place: Origin) -> Iterator[bytes]:
    """The content of a file, or of every file in a folder."""
    path = place.file
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    return map(read_bytes, files)


def _secret(key: Ed25519PrivateKey) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"federation/pools/1").derive(key.private_bytes_raw())


def _fingerprint(secret: bytes, kind: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, kind + b"\0" + content, "sha256")[:_FINGERPRINT_BYTES]


def _after(begun: hmac.HMAC, content: bytes) -> bytes:
    """`_fingerprint` of what was begun with, and of this behind it."""
    whole = begun.copy()
    whole.update(content)
    return whole.digest()[:_FINGERPRINT_BYTES]


def _tag(key: Ed25519PrivateKey) -> bytes:
    """Tells fingerprints under one key from those under another."""
    return _fingerprint(_secret(key), b"key", b"")


def _relative(rules: SiteFile) -> str:
    """The journal as seen from the keys: a site that moves with both still finds it, a link leads to the same."""
    return os.path.relpath(rules.journal.resolve(), rules.keys.resolve())


def _connected(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """An existing registry, whole and ours."""
    registry = durable.connect(path, mode=mode, synchronous="EXTRA")
    try:
        if durable.tables(registry) != _SCHEMA:
            raise sqlite3.DatabaseError("it is no registry")
        if not durable.is_whole(registry):
            raise sqlite3.DatabaseError("it is damaged")
    except BaseException:
        registry.close()
        raise
    return registry


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    def unavailable(reason: str) -> RecordsUnavailable:
        return RecordsUnavailable(
            f"{path}: the registry of pools cannot be used: {reason}",
            hint="nothing was released; check the disk and the permissions, or restore its newest copy",
        )

    try:
        yield
    except durable.ERRORS as error:
        raise durable.refusal(error, unavailable, unavailable) from None
