"""Asks one query of a PostgreSQL database, in a transaction that can only read, and streams the answer.

* The session is read-only from its first moment (default_transaction_read_only), and so is the transaction; the
  server is asked whether it is, before the query is sent. A query that writes is refused by PostgreSQL.
* One statement: the server parses the query by itself first, in the protocol that takes no second one.
* A query that takes longer than data.timeout_seconds is ended by the server.
* COPY hands over text, as a CSV file would have it; of the answer no more is in memory than a block of rows.

* Over a network the server's certificate is verified, unless the URL says otherwise; then no password is sent in
  clear, since nobody knows who asks for it.

What the server says may quote a value, so it is told only if it is about the query: before anything was read.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clients.data.sources.collecting import table_of_batches
from clients.data.sources.extra import library
from clients.data.sources.packed import in_blocks
from clients.data.sources.table import Table
from clients.data.sources.values import of_floats, stamped
from clients.rules.origin import Origin, Server, is_local
from federation.errors import DataError
from federation.identity.keys import load_password

_CONNECT_SECONDS = 10
_OWN_ROOTS = Path("~/.postgresql/root.crt")  # where libpq looks by itself
_BUNDLES = (  # of Debian, of Red Hat, of others
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_LIBPQ = 160000  # the first that takes require_auth, and "system"
_BYTES = frozenset((17, 1001))  # oid: bytea, and arrays of it
Texts = Sequence[str | None]


def read_postgresql(place: Origin) -> Table:
    """The answer to a database's query. DataError for a query that is none, writes, fails or takes too long."""
    with _session(place) as connection:
        names, kinds = _described(place, connection)
        query = _bare(place)
        with (
            _explained(place),
            connection.cursor() as cursor,
            cursor.copy(f"COPY (\n{query}\n) TO STDOUT") as copy,
        ):
            kept = [place for place, kind in enumerate(kinds) if kind not in _BYTES]
            aside = {name: "bytes" for name, kind in zip(names, kinds, strict=True) if kind in _BYTES}
            writers = [_WRITERS.get(kinds[place], _plain) for place in kept]
            batches = (
                [write([row[place] for row in block]) for place, write in zip(kept, writers, strict=True)]
                for block in in_blocks(copy.rows())
            )
            return table_of_batches(place, [names[place] for place in kept], batches, aside=aside)


def require_query(place: Origin) -> None:
    """DataError if the database cannot be reached, or does not take the query. Reads no row."""
    with _session(place) as connection:
        _described(place, connection)


def _bare(place: Origin) -> str:
    return (place.query or "").strip().rstrip(";").rstrip()


@contextmanager
def _session(place: Origin) -> Iterator[Any]:
    """A connection in a transaction that can only read."""
    psycopg, server = library(place), place.server
    if server is None:
        raise TypeError("a database needs a server")
    secret = None if place.password_file is None else load_password(place.password_file)
    parameters = {**_parameters(place, server, secret), **_guarded(place, server, psycopg.pq.version())}
    try:
        connection = psycopg.connect(**parameters)
    except psycopg.Error as error:
        raise _unreachable(place, server, error) from None
    with connection:
        with _explained(place):
            connection.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            (is_read_only,) = connection.execute("SHOW transaction_read_only").fetchone()
            connection.execute("SELECT 1")  # with the first snapshot, READ ONLY can no more be taken back
        if is_read_only != "on":
            raise DataError(f"{place}: the session is not read-only", hint="connect without a pooler between")
        yield connection
        connection.rollback()


def _parameters(place: Origin, server: Server, secret: str | None) -> dict[str, object]:
    """What libpq is told. The password is nowhere else: not in the URL, nor in a repr."""
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{place.timeout_seconds}s",
        "lock_timeout": f"{place.timeout_seconds}s",
        "TimeZone": "UTC",
        "DateStyle": "ISO",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "1",
        "bytea_output": "hex",
    }
    known = {"host": server.host or None, "user": server.user, "password": secret, **dict(server.options)}
    return {
        "autocommit": True,
        "connect_timeout": _CONNECT_SECONDS,
        **{name: value for name, value in known.items() if value is not None},
        "port": server.port,
        "dbname": server.name,
        "client_encoding": "utf8",
        "application_name": "federation",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }


def _guarded(place: Origin, server: Server, libpq: int) -> dict[str, str]:
    """What libpq is told besides, so that nobody between can pass for the server or be told the password.

    DataError if this libpq cannot be told so.
    """
    options = dict(server.options)
    if server.security == "local":
        _require_local(place, server)
    if server.security == "unverified":
        if libpq < _LIBPQ:
            message = f"{place}: libpq {libpq // 10000} might send the password in clear to anybody between"
            raise DataError(message, hint="set sslmode=verify-full in data.source; or use psycopg[binary]")
        # a stricter demand of the user's own stays
        return {} if os.environ.get("PGREQUIREAUTH") else {"require_auth": "!password"}
    is_named = "sslrootcert" in options or os.environ.get("PGSSLROOTCERT")
    is_full = server.security == "verified" and options["sslmode"] == "verify-full"
    if not is_full or is_named or _OWN_ROOTS.expanduser().exists():
        return {}
    return {"sslrootcert": _public_roots(libpq)}


def _require_local(place: Origin, server: Server) -> None:
    """DataError if the environment leads elsewhere what the URL calls local, and is therefore not verified."""
    for name in ("PGHOSTADDR", *(() if server.host else ("PGHOST",))):
        if not is_local(os.environ.get(name, "")):
            raise DataError(
                f"{place}: {name} names a server that data.source does not", hint="name it there, or unset it"
            )


def _public_roots(libpq: int) -> str:
    """The authorities of this machine: a wheel's own libpq looks for "system" where nothing is."""
    found = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    file = next((name for name in found if name is not None and Path(name).is_file()), None)
    return file or ("system" if libpq >= _LIBPQ else str(_OWN_ROOTS.expanduser()))


def _described(place: Origin, connection: Any) -> tuple[list[str], list[int]]:
    """Names and types of the columns of the answer. The server parses the query, and runs nothing."""
    psycopg, session = library(place), connection.pgconn
    ok = psycopg.pq.ExecStatus.COMMAND_OK
    result = session.prepare(b"", _bare(place).encode())
    if result.status == ok:
        result = session.describe_prepared(b"")
    if result.status != ok:
        state = (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
        said = (result.error_field(psycopg.pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(
            errors="replace"
        )
        if "multiple commands" in said or "mehrere Befehle" in said:
            raise DataError(f"{place}: data.query is more than one statement", hint="write one select")
        told = said if state.startswith("42") else f"is refused by the server ({state})"
        raise DataError(f"{place}: data.query: {told}", hint="correct the query, or what the user may read")
    if not result.nfields:
        raise DataError(f"{place}: data.query may only read", hint="write one select")
    fields = range(result.nfields)
    return [(result.fname(field) or b"").decode() for field in fields], [
        result.ftype(field) for field in fields
    ]


def _plain(texts: Texts) -> list[str]:
    return [text or "" for text in texts]


def _truths(texts: Texts) -> list[str]:
    return [{"t": "true", "f": "false"}.get(text or "", "") for text in texts]


def _floats(texts: Texts) -> list[str]:
    return of_floats(_plain(texts))


def _times(texts: Texts) -> list[str]:
    return list(map(stamped, _plain(texts)))


_WRITERS: dict[
    int, Callable[[Texts], list[str]]
] = {  # oid: bool, real, double precision, time, timestamp, with zones
    16: _truths,
    700: _floats,
    701: _floats,
    1083: _times,
    1114: _times,
    1184: _times,
    1266: _times,
}


_VERIFY = "set sslmode=verify-full in data.source, and sslrootcert to the file of the server's authority"
_WHY = (  # words of libpq and of the server, which gives no code before it lets anybody in
    (
        ("method requirement",),
        "the server asks for the password in clear, and nothing shows that it is the server",
        _VERIFY,
    ),
    (
        ("certificate verify failed", "server certificate", "root certificate"),
        "the server's certificate is by no authority that is believed here, or of another name",
        _VERIFY,
    ),
    (
        ("password", "no pg_hba.conf entry", "authentication failed", "role "),
        "the server does not let this user in",
        "set data.password_file in site.toml, PGPASSWORD or ~/.pgpass; check user and pg_hba.conf",
    ),
    (("SSL", "certificate"), "no encrypted connection can be made", _VERIFY),
    (("database ",), "there is no such database", "check data.source in site.toml"),
)


def _unreachable(place: Origin, server: Server, error: Exception) -> DataError:
    """Why there is no connection. What libpq says may hold what was typed as a password, and is not told."""
    said = str(error)
    if place.password_file is not None and "password authentication failed" in said:
        message = f"{place}: the server does not take the password in {place.password_file}"
        return DataError(message, hint="write the right one there (data.password_file); check the user, too")
    if any(word in said for word in ("FATAL", "SSL", "password", "certificate")):
        for words, message, hint in _WHY:
            if any(word in said.replace(server.name, "") for word in words):
                return DataError(f"{place}: {message}", hint=hint)
    where = f"{server.host or 'the local socket'}, port {server.port}"
    message = f"{place}: no server answers at {where}, or it refuses to"
    return DataError(message, hint="is it running, and open to this machine? its log says why it refuses")


@contextmanager
def _explained(place: Origin) -> Iterator[None]:
    psycopg = library(place)
    try:
        yield
    except psycopg.Error as error:
        raise _refusal(place, error.sqlstate or "", type(error).__name__) from None


def _refusal(place: Origin, state: str, name: str) -> DataError:
    if state == "25006":
        return DataError(
            f"{place}: data.query may only read", hint="write one select, of nothing that writes"
        )
    if state == "57014":
        message = f"{place}: data.query took more than {place.timeout_seconds} s"
        return DataError(message, hint="make it faster, or raise data.timeout_seconds")
    if state == "42601":  # it was parsed before, and is wrong in brackets alone
        return DataError(f"{place}: data.query goes on after a semicolon", hint="end it there")
    if state == "42501":
        return DataError(f"{place}: the user may not read all that data.query asks for", hint="grant select")
    return DataError(f"{place}: data.query fails ({name} {state})", hint="try it by hand")
