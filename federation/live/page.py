"""A live page: one HTML file and one JSON snapshot, read-only, for people at this very machine.

    GET /                the page, as it was given
    GET /snapshot.json   what `snapshot` returns now; the page asks for it every second or two

It listens on a loopback address only, since it asks nobody for a password; whoever has an account on the machine
can read it. What a browser could be tricked into is closed: an answer goes only to requests that name this very
address (a foreign name that was pointed at 127.0.0.1 is refused), other pages can neither read nor frame it, and of
the page itself only the scripts and styles run that it was given with. Nothing that is asked changes anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any, Final

from federation.errors import InputError

Snapshot = Callable[[], Mapping[str, Any]]

_SECONDS: Final = 10.0  # for a request to arrive, and for an answer to be taken
_AT_ONCE: Final = 16  # connections; more are closed unanswered
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@contextmanager
def serve_page(address: str, html: str, snapshot: Snapshot) -> Iterator[str]:
    """Show `html` and the snapshots at HOST:PORT until the context ends; yields the URL. Port 0 takes a free one.

    Scripts and styles stand in `<script>` and `<style>` without attributes. InputError unless the address is one of
    this machine alone and is free.
    """
    host, port = local_address(address)
    try:
        server = _Server(host, port)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"--status {address}: {reason}", hint="name another port, or 0") from None
    where = f"[{host}]" if ":" in host else host
    known = frozenset(f"{name}:{server.server_port}" for name in (where, "localhost"))
    server.RequestHandlerClass = partial(_Handler, known=known, page=html.encode(), snapshot=snapshot)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="live-page", daemon=True)
    thread.start()
    try:
        yield f"http://{where}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def local_address(address: str) -> tuple[str, int]:
    """Host and port of a page, if they are of this machine alone. InputError otherwise.

    >>> local_address("127.0.0.1:8080"), local_address("localhost:0"), local_address("[::1]:80")
    (('127.0.0.1', 8080), ('127.0.0.1', 0), ('::1', 80))
    """
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (
        not colon
        or not re.fullmatch("[0-9]{1,5}", port)
        or int(port) > 65535
        or (":" in bare and bare == host)
    ):
        hint = "write HOST:PORT, such as 127.0.0.1:8080"
        raise InputError(f"--status {address}: is no address of a page", hint=hint)
    bare = "127.0.0.1" if bare == "localhost" else bare
    try:
        is_local = ip_address(bare).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        hint = "name 127.0.0.1; from another machine go through ssh -L"
        raise InputError(f"--status {address}: others could read the page, which asks no password", hint=hint)
    return bare, int(port)


def policy_of(html: str) -> str:
    """The Content-Security-Policy of a page: its own scripts and styles, its own snapshots, and nothing else."""
    allowed: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    rules = ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"]
    rules += [
        "frame-ancestors 'none'",
        *(f"{kind}-src {' '.join(found)}" for kind, found in allowed.items() if found),
    ]
    return "; ".join(rules)


class _Server(ThreadingHTTPServer):
    """A thread for each connection, up to a limit."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((host, port), BaseHTTPRequestHandler)

    def server_bind(self) -> None:
        """Without asking the network for the name of this machine, as the base class does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else no restart for a minute
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _SECONDS

    def __init__(self, *args: Any, known: frozenset[str], page: bytes, snapshot: Snapshot) -> None:
        self._known, self._page, self._snapshot = known, page, snapshot
        super().__init__(*args)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def version_string(self) -> str:
        """Nothing about our software."""
        return "status"

    def log_message(self, *_: object) -> None:
        """Who looks is not noted."""

    def _answer(self) -> None:
        if (
            self.headers.get_all("Host") != [self.headers.get("Host")]
            or self.headers["Host"] not in self._known
        ):
            return self._send(403, "text/plain", b"this page answers to its own address only\n")
        if self.path == "/":
            return self._send(200, "text/html", self._page)
        if self.path != "/snapshot.json":
            return self._send(404, "text/plain", b"there is no such page\n")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return self._send(403, "text/plain", b"not for other pages\n")
        return self._send(200, "application/json", json.dumps(self._snapshot(), allow_nan=False).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        policy = policy_of(body.decode()) if kind == "text/html" else "default-src 'none'"
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
