"""Who is trusted, through which proxies, and what people are told when there is no connection."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path

import httpcore
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from clients.node import fleet, line
from clients.node.fleet import Fleet
from clients.node.line import Line, Place
from clients.node.proxy import Proxy
from clients.node.trial import tried
from clients.node.trouble import trouble_of
from tests.certificates import Authority
from tests.clients.node.superlink import NODE, Handler, SuperLink, half, proxy
from tests.patience import patience

KEY = generate_private_key(SECP384R1())


@pytest.fixture
def link(tmp_path: Path) -> Iterator[SuperLink]:
    with SuperLink.in_folder(tmp_path / "tls") as superlink:
        yield superlink


def told(place: Place) -> str:
    """What people are told when a node tries; "" if it is connected."""
    found = tried(place, KEY, "berlin")
    return "" if found is None else str(found)


def test_an_authority_that_is_pinned_is_trusted_and_nobody_else(link: SuperLink, tmp_path: Path) -> None:
    assert told(link.place()) == told(link.place("127.0.0.1")) == ""
    assert link.calls == ["activate-node", "deactivate-node"] * 2
    other = tmp_path / "other.crt"
    other.write_bytes(Authority("Hospital Proxy CA").pem)
    place = Place(f"localhost:{link.port}", other)
    assert told(place) == (
        "something between this site and the coordinator opens TLS: its certificate is signed by "
        "the federation's authority, not by other.crt; "
        f"ask for an exception for localhost:{link.port}; "
        "or the coordinator has a new authority: ask it for the file"
    )
    assert len(link.calls) == 4, "nothing was said to whoever is not trusted"


def test_what_the_system_trusts_counts_for_nothing(
    link: SuperLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(link.certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(link.certificate.parent))
    other = tmp_path / "other.crt"
    other.write_bytes(Authority().pem)
    assert "opens TLS" in told(Place(f"localhost:{link.port}", other))


def test_a_certificate_that_is_pinned_itself_is_trusted(link: SuperLink) -> None:
    assert told(Place(f"localhost:{link.port}", link.chain)) == ""


@pytest.mark.parametrize(
    ("hosts", "begins", "ends", "said"),
    [
        (
            ("fed.example.org", "fed2.example.org"),
            -1,
            1,
            "is not for localhost (it is for fed.example.org, fed2",
        ),
        (("127.0.0.1",), -1, 1, "is not for localhost (it is for 127.0.0.1); use the name"),
        (("localhost",), -2, -1, "expired on 20"),
        (("localhost",), 1, 2, "is not valid before 20"),
    ],
    ids=["another name", "an address", "expired", "of tomorrow"],
)
def test_what_is_wrong_with_a_certificate_is_told(
    hosts: tuple[str, ...], begins: int, ends: int, said: str, tmp_path: Path
) -> None:
    authority, folder = Authority(), tmp_path / "tls"
    authority.write(folder, "localhost")
    signed, key = authority.signed(*hosts, begins=timedelta(days=begins), ends=timedelta(days=ends))
    (folder / "server.crt").write_bytes(signed)
    (folder / "server.key").write_bytes(key)
    with SuperLink(folder / "ca.crt", folder / "server.crt", folder / "server.key") as link:
        assert said in told(link.place())
        assert link.calls == []


def test_what_does_not_speak_tls_or_is_not_there_is_told(tmp_path: Path) -> None:
    with SuperLink.in_folder(tmp_path / "tls", secure=False) as link:
        assert "answers, and not by TLS 1.2 or later" in told(link.place())
        place = link.place()
    assert f"{place.address} refuses the connection; is federation serve running" in told(place)
    unknown = Place("no-such-host.invalid:8443", place.certificate)
    assert "the name no-such-host.invalid is not known here" in told(unknown)


def test_older_tls_is_refused(tmp_path: Path) -> None:
    assert line.pinned(Authority().write(tmp_path, "x")).minimum_version.name == "TLSv1_2"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            412,
            '{"code": 2004, "detail": "x"}',
            "does not know this node's key; send berlin.pub, have it run serve",
        ),
        (412, '{"code": 1001, "detail": "x"}', "runs another version of Flower; install the same"),
        (401, "", "does not know this node's key; send berlin.pub, have it run serve"),
        (302, "", "speaks as no coordinator does (HTTP status 302)"),
        (503, "", "answers 503: it is not ready"),
        (404, "<html>", "speaks as no coordinator does (HTTP status 404)"),
        (200, "<html>", "speaks as no coordinator does; check host and port"),
    ],
    ids=["unknown", "version", "unknown to the gate", "portal", "not ready", "no such page", "a page"],
)
def test_what_the_coordinator_answers_is_told_in_words_of_ours(
    status: int, body: str, said: str, link: SuperLink
) -> None:
    link.misbehave("activate-node", lambda handler: handler.answer(status, body.encode()))
    assert said in told(link.place())


def test_a_coordinator_that_is_killed_in_an_answer_is_no_stranger(link: SuperLink) -> None:
    link.misbehave("activate-node", lambda handler: handler.hang_up())
    assert "broke off; it is tried again" in told(link.place())
    link.misbehave("activate-node", half)
    assert "broke off; it is tried again" in told(link.place())


@pytest.mark.parametrize(
    ("ahead", "said"), [(400, "400 s behind the coord"), (-400, "400 s ahead of the coord")]
)
def test_a_clock_that_is_off_is_told(ahead: int, said: str, link: SuperLink) -> None:
    def refuse(handler: Handler) -> None:
        handler.date_time_string = lambda timestamp=None: formatdate(time.time() + ahead, usegmt=True)  # type: ignore[method-assign]
        handler.answer(401, b"")

    link.misbehave("activate-node", refuse)
    found = re.sub(r"\b(399|401) s", "400 s", told(link.place()))  # a second may end in between
    assert said in found and "set the clock" in found


def by(port: int, *, is_tls: bool = False, login: tuple[str, str] | None = None) -> Proxy:
    return Proxy("localhost", port, is_tls, login)


def test_a_proxy_tunnels_and_sees_nothing(link: SuperLink) -> None:
    with proxy() as (port, asked):
        assert told(link.place(proxy=by(port, login=("me", "secret")))) == ""
    assert len(asked) == 1
    assert asked[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % link.port)
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in asked[0]
    assert b"flwr" not in asked[0]


def test_a_proxy_that_is_spoken_to_by_tls_needs_its_own_authority_which_counts_for_it_alone(
    link: SuperLink, tmp_path: Path
) -> None:
    authority = Authority("Hospital Proxy CA").write(tmp_path / "proxy", "localhost")
    with proxy(tmp_path / "proxy") as (port, asked):
        found = told(link.place(proxy=by(port, is_tls=True)))
        assert f"the proxy localhost:{port} shows a certificate that this machine does not trust" in found
        assert "proxy_ca" in found
        assert told(link.place(proxy=by(port, is_tls=True), authority=authority)) == ""
        assert len(asked) == 1
    with SuperLink.in_folder(tmp_path / "meddler") as meddler:
        (tmp_path / "meddler" / "ca.crt").replace(tmp_path / "proxy_ca.crt")
        with proxy(tmp_path / "proxy", to=meddler.port) as (port, _):
            both = (
                tmp_path / "both.crt"
            )  # the proxy signs both: its own certificate, and one for the coordinator
            both.write_bytes(authority.read_bytes() + (tmp_path / "proxy_ca.crt").read_bytes())
            assert "opens TLS" in told(link.place(proxy=by(port, is_tls=True), authority=both))
        assert meddler.calls == []


def test_a_proxy_that_breaks_tls_open_is_refused_by_name(link: SuperLink, tmp_path: Path) -> None:
    folder = tmp_path / "meddler"
    authority = Authority("Hospital Inspection CA")
    authority.write(folder, "localhost")
    with SuperLink(folder / "ca.crt", folder / "server.crt", folder / "server.key") as meddler:
        with proxy(to=meddler.port) as (port, asked):
            found = told(link.place(proxy=by(port)))
        assert "opens TLS: its certificate is signed by Hospital Inspection CA, not by ca.crt" in found
        assert f"ask for an exception for localhost:{link.port}" in found
        assert meddler.calls == link.calls == []
        assert len(asked) == 2, "the second is the look at the certificate"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "asks who we are; HTTPS_PROXY=http://USER:PASSWORD",
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "(it says 403); ask for a rule"),
        (b"HTTP/1.1 502 \x1b[2J evil\r\n\r\n", "(it says 502); ask for a rule"),
    ],
    ids=["407", "403", "502"],
)
def test_a_proxy_that_refuses_is_told(answer: bytes, said: str, link: SuperLink) -> None:
    with proxy(answer=answer) as (port, _):
        assert said in told(link.place(proxy=by(port)))
    assert f"the proxy localhost:{port} refuses the connection" in told(link.place(proxy=by(port)))


def test_a_proxy_s_name_that_is_not_known_is_told(link: SuperLink) -> None:
    place = link.place(proxy=Proxy("no-such-host.invalid", 3128, False))
    assert "the proxy's name no-such-host.invalid is not known here" in told(place)


def test_whoever_takes_the_connection_and_says_nothing_is_left_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_SECONDS", 0.5)
    certificate = Authority().write(tmp_path, "localhost")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = []
        threading.Thread(target=lambda: held.append(listener.accept()), daemon=True).start()
        place = Place(f"127.0.0.1:{listener.getsockname()[1]}", certificate)
        began = time.monotonic()
        assert "takes the connection and says nothing" in told(place)
        assert time.monotonic() - began < patience(4)
        for connection, _ in held:
            connection.close()


def test_connections_are_kept_and_a_closed_one_is_replaced(link: SuperLink) -> None:
    with closing(Line(link.place())) as open_line:
        calls = Fleet(open_line, KEY)
        assert calls.activate() == calls.activate() == NODE
        link.misbehave("activate-node", lambda handler: handler.hang_up())
        with pytest.raises((httpcore.NetworkError, httpcore.ProtocolError)):
            calls.activate()
        assert calls.activate() == NODE


def test_an_error_that_nobody_foresaw_is_a_trouble_too(link: SuperLink) -> None:
    found = trouble_of(ValueError("patient 12345"), link.place(), "berlin")
    assert str(found) == "unexpected ValueError; it is tried again"
