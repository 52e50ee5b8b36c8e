"""Whoever stands between a site and its database is told no password, and does not pass for the server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from clients.data.sources.postgresql import require_query
from clients.rules.data import SiteData
from federation.errors import DataError
from tests.certificates import Authority
from tests.patience import patience

pytestmark = pytest.mark.extras
AUTHORITY = Authority("the clinic's authority")
HOST = "127.0.0.2"  # of this machine, and no name for it that we know
SECRET = b"correct horse"


class Between(Thread):
    """Speaks TLS, asks everybody for the password in clear, and remembers what it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        AUTHORITY.write(folder, HOST)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self._listening = socket.create_server((HOST, 0))
        self.port, self.heard = self._listening.getsockname()[1], b""
        self.start()

    def run(self) -> None:
        line, _ = self._listening.accept()
        self._listening.close()
        line.settimeout(patience(20))
        with suppress(OSError), line:
            first = line.recv(8)
            if int.from_bytes(first[4:], "big") == 80877103:  # asks for TLS
                line.sendall(b"S")
                line = self._context.wrap_socket(line, server_side=True)
            line.recv(4096)
            line.sendall(b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big"))
            self.heard = line.recv(4096)
            line.close()


@pytest.fixture
def between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    pytest.importorskip("psycopg", reason="needs the extra: make test-extras")
    for name in ("PGSSLROOTCERT", "PGREQUIREAUTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    server = Between(tmp_path)
    yield server
    server.join()


def refused(between: Between, folder: Path, options: str) -> str:
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET)
    url = f"postgresql://reader@{HOST}:{between.port}/clinic{options}"
    data = SiteData(source=url, query="select 1", pool="p", password_file=str(secret))
    with pytest.raises(DataError) as caught:
        require_query(data.origins(Path("/"))[0])
    between.join()
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "the server's certificate is by no authority that is believed here, or of another name"),
        ("?sslmode=require", "asks for the password in clear, and nothing shows that it is the server"),
        ("?sslmode=disable", "asks for the password in clear, and nothing shows that it is the server"),
    ],
    ids=["default", "require", "disable"],
)
def test_who_stands_between_is_told_no_password(
    between: Between, tmp_path: Path, options: str, expected: str
) -> None:
    line = refused(between, tmp_path, options)
    assert SECRET not in between.heard
    assert expected in line and "\n" not in line
    assert line.endswith(
        "; set sslmode=verify-full in data.source, and sslrootcert to the file of the server's authority"
    )


@pytest.mark.parametrize(("name", "host"), [("PGHOST", ""), ("PGHOSTADDR", "localhost")])
def test_the_environment_leads_nobody_to_a_server_that_is_taken_for_local(
    name: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg", reason="needs the extra: make test-extras")
    monkeypatch.setenv(name, HOST)
    data = SiteData(source=f"postgresql://{host}:1/clinic", query="select 1", pool="p")
    with pytest.raises(DataError, match=f"{name} names a server that data.source does not; name it there"):
        require_query(data.origins(tmp_path)[0])


def test_a_server_that_shows_who_it_is_may_ask_for_it(between: Between, tmp_path: Path) -> None:
    refused(between, tmp_path, f"?sslrootcert={tmp_path / 'ca.crt'}")  # it hangs up when it has heard enough
    assert SECRET in between.heard
