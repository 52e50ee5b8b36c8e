"""A PostgreSQL server of the tests' own, with the table of `stores.py` in it. It listens to this machine alone."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from clients.rules.data import SiteData
from clients.rules.origin import Origin
from tests.clients.data.sources.stores import COLUMNS, SOME, Rows, text_of

SECRET = "correct horse & battery"  # noqa: S105
SELECT = "select * from admissions order by id"


@dataclass(frozen=True)
class Clinic:
    """A running server: `url` for the user that may only read, by TCP and with a password."""

    url: str
    secret: Path
    socket: Path
    port: int

    def origin(self, query: str = SELECT, **keys: Any) -> Origin:
        """What a query answers, as a site file would ask for it."""
        data = SiteData(source=self.url, query=query, pool="p", password_file=str(self.secret), **keys)
        return data.origins(Path("/"))[0]

    def run(self, *statements: str) -> None:
        """Have the owner carry out statements."""
        import psycopg

        with psycopg.connect(
            host=str(self.socket), port=self.port, user="owner", dbname="clinic"
        ) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def ask(self, question: str) -> Any:
        """The owner's answer to a question of one value."""
        import psycopg

        with psycopg.connect(
            host=str(self.socket), port=self.port, user="owner", dbname="clinic"
        ) as connection:
            return connection.execute(question.encode()).fetchone()[0]  # type: ignore[index]

    def keep(self, rows: Rows, name: str = "admissions") -> None:
        """Make a table of these rows."""
        types = ", ".join(f"{column} {kind}" for column, (_, kind) in COLUMNS.items())
        begin = f"insert into {name} ({', '.join(COLUMNS)}) values "  # noqa: S608
        self.run(
            f"drop table if exists {name}",
            f"create table {name} (id serial, {types})",
            *(f"{begin} ({', '.join(map(_literal, row))})" for row in rows),
            f"grant select on {name} to reader",
        )


def _literal(value: object) -> str:
    return "null" if value is None else "'" + text_of(value).replace("'", "''") + "'"


@contextmanager
def running() -> Iterator[Clinic]:
    """A server that runs until this ends. Skips where there is none, or no library that speaks to one."""
    pytest.importorskip("psycopg", reason="needs the extra: make test-extras")
    programs = shutil.which("initdb") or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    if programs is None:
        pytest.skip("no initdb here: on Debian, apt-get install postgresql")
    where, user = Path(programs).resolve().parent, _user()
    folder = Path(tempfile.mkdtemp(prefix="clinic-"))
    server: subprocess.Popen[bytes] | None = None
    try:
        if user is not None:
            shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        _begin(where, folder, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen(
            [where / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port), *_options()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **_as(user),
        )
        yield _filled(folder, port, server)
    finally:
        if server is not None:
            server.terminate()
            server.wait()
        shutil.rmtree(folder)


def _user() -> str | None:
    """Who runs it: PostgreSQL refuses to run as root."""
    if os.geteuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _as(user: str | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _options() -> Sequence[str]:
    settings = ("listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB", "max_connections=10")
    return [part for setting in settings for part in ("-c", setting)]


def _begin(where: Path, folder: Path, user: str | None) -> None:
    command = [
        where / "initdb",
        "-D",
        folder / "data",
        "-U",
        "owner",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **_as(user))
    rules = "local all owner trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
    (folder / "data" / "pg_hba.conf").write_text(rules)


def _filled(folder: Path, port: int, server: subprocess.Popen[bytes]) -> Clinic:
    import psycopg

    while True:  # until it answers, however busy the machine is
        try:
            with psycopg.connect(
                host=str(folder), port=port, user="owner", dbname="postgres", autocommit=True
            ) as connection:
                connection.execute("create database clinic")
            break
        except psycopg.OperationalError:
            if server.poll() is not None:
                raise
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(f"{SECRET}\n")
    os.chown(secret, os.geteuid(), os.getegid())
    clinic = Clinic(f"postgresql://reader@127.0.0.1:{port}/clinic?sslmode=disable", secret, folder, port)
    clinic.run(f"create role reader login password '{SECRET}'")
    clinic.keep(SOME)
    return clinic


def without_password(origin: Origin) -> Origin:
    """The same, and nobody says the password."""
    return replace(origin, password_file=None)
