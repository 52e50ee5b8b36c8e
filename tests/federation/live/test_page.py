"""The live page: what it shows, and to whom."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import pytest

from federation.errors import InputError
from federation.live import page
from federation.live.page import local_address, policy_of, serve_page

HTML = "<!doctype html><style>p{color:red}</style><p>now</p><script>let a = 1</script>"


@pytest.fixture
def port() -> Iterator[int]:
    with serve_page("127.0.0.1:0", HTML, lambda: {"round": 3}) as url:
        yield urlsplit(url).port or 0


def ask(
    port: int, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_it_shows_the_page_and_what_is_true_now(port: int) -> None:
    status, headers, body = ask(port)
    assert (status, body) == (200, HTML)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    status, headers, body = ask(port, "/snapshot.json")
    assert (status, json.loads(body)) == (200, {"round": 3})
    assert headers["Cache-Control"] == "no-store"
    assert ask(port, "/snapshot.json", "HEAD")[2] == ""


def test_only_what_the_page_was_given_with_can_run_or_load(port: int) -> None:
    headers = ask(port)[1]
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'")
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    assert "frame-ancestors 'none'" in policy
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert headers["Server"].strip() == "status"
    # printf 'alert(1)' | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy_of(
        "<script>alert(1)</script>"
    )


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil:{port}"]
)
def test_another_name_for_this_machine_gets_nothing(port: int, host: str) -> None:
    """A page elsewhere can point its own name at 127.0.0.1; the browser then takes us for its server."""
    for path in ("/", "/snapshot.json"):
        status, _, body = ask(port, path, headers={"Host": host.format(port=port)})
        assert status == 403
        assert "round" not in body
        assert "now" not in body


def test_localhost_is_its_name_too(port: int) -> None:
    assert ask(port, headers={"Host": f"localhost:{port}"})[0] == 200


def test_two_host_headers_are_none(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil\r\n\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_may_not_ask_for_a_snapshot(port: int, site: str) -> None:
    assert ask(port, "/snapshot.json", headers={"Sec-Fetch-Site": site})[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(port: int, method: str) -> None:
    assert ask(port, "/snapshot.json", method)[0] == 501


@pytest.mark.parametrize("path", ["/x", "/snapshot.json?x", "/../etc/passwd", "/favicon.ico"])
def test_there_is_nothing_else(port: int, path: str) -> None:
    assert ask(port, path)[0] == 404


def test_more_connections_than_it_has_room_for_are_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(page._AT_ONCE)]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one_more:
            assert one_more.recv(1) == b""
    finally:
        for line in held:
            line.close()


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:80", "192.168.1.1:80", "fed.example.org:80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999",
     "::1:80", "[::]:80", "http://127.0.0.1:80", "127.0.0.1:-1"],
)  # fmt: skip
def test_an_address_that_others_could_reach_is_refused(address: str) -> None:
    with pytest.raises(InputError):
        local_address(address)


def test_a_port_that_is_taken_is_named(port: int) -> None:
    with pytest.raises(InputError, match=f"127.0.0.1:{port}"), serve_page(f"127.0.0.1:{port}", "", dict):
        pass


def test_a_page_can_be_had_again_at_once_where_another_was() -> None:
    """A site that is started again finds the address still held by connections that ended."""
    with serve_page("127.0.0.1:0", HTML, dict) as url:
        place = urlsplit(url)
        with socket.create_connection(("127.0.0.1", place.port or 0)) as client:
            client.sendall(f"GET / HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode())
            while client.recv(1 << 16):  # the other end closes first, and holds on to the address
                pass
    with serve_page(place.netloc, HTML, dict) as again:
        assert again == url
