"""The site's own process: owns data and keys, answers frames on a local socket.

Flower starts a fresh process for each message and runs code in it that the server sent. Nothing of a site
may live there. So the site is a process of its own, and the ClientApp hands it bytes through a Unix domain
socket; no port is opened. Who may call is decided by the kernel's word, before a byte is read
(`clients.door.callers`).

One connection is one request and one reply, each as a length of 4 octets, big-endian, and that many octets.
A length of zero is the only error reply: the text of an exception may quote the data, so it never leaves. The
service answers one request after the other, because the site is a state machine; it reads them side by side, so a
client that is silent keeps nobody waiting.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from clients.door.callers import Callers, caller_of
from clients.door.place import listen, lock, prepare
from clients.door.wire import read, write
from clients.node.answering import answered
from clients.node.stopping import until_signal
from federation.log import warn
from federation.round.transport import LARGEST

_CLIENTS: Final = 32  # that have not sent their whole request yet
_PAUSE: Final = 0.1
EXCHANGE_SECONDS: Final = 10.0
"""Seconds in which a client must have sent its whole request, or have taken its whole reply."""


class SiteService:
    """Answers each request of the `callers` on the socket at `path` with `receive(request)`, as a context manager.

    Entering raises `TransportError` when the socket cannot be had: another service is answering on it, the
    path is too long for one, its directory is open to others. The socket of a killed process is replaced.
    """

    def __init__(
        self,
        receive: Callable[[bytes], bytes],
        path: Path,
        callers: Callers,
        largest: Callable[[], int] = lambda: LARGEST,
    ) -> None:
        self._receive = receive
        self._callers = callers
        self._turned_away: set[str] = set()
        self._largest = largest
        self._answering = threading.Lock()
        self._reading: dict[socket.socket, None] = {}  # in the order of their arrival
        self._clients: set[threading.Thread] = set()
        self._guard = threading.Lock()  # of the two lines above
        self._path = path
        self._thread = threading.Thread(target=self._serve, name="site-service", daemon=True)
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        prepare(self._path, self._callers)
        self._lock = lock(self._path)
        try:
            self._listener = listen(self._path, self._callers)
        except BaseException:
            os.close(self._lock)
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop answering; a request in progress gets `EXCHANGE_SECONDS` to end (the journal bears a cut)."""
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        ends = time.monotonic() + EXCHANGE_SECONDS
        self._thread.join(EXCHANGE_SECONDS)
        with self._guard:
            for connection in self._reading:  # what has not been asked is not answered
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            clients = list(self._clients)
        for client in clients:
            client.join(max(0.0, ends - time.monotonic()))
        self._listener.close()
        self._path.unlink(missing_ok=True)
        os.close(self._lock)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the listener was shut down, or the process has no descriptor left just now
                self._stopping.wait(_PAUSE)
                continue
            if self._is_welcome(connection):
                self._admit(connection)
            else:
                connection.close()

    def _is_welcome(self, connection: socket.socket) -> bool:
        """Whether the caller is one of ours. Each reason to turn one away is told once."""
        try:
            why = self._callers.refusal(*caller_of(connection))
        except OSError as error:  # gone already
            why = type(error).__name__
        if why and why not in self._turned_away and len(self._turned_away) < _CLIENTS:
            self._turned_away.add(why)
            warn("caller_refused", detail=f"{why}; run flower-supernode as server.flower_user of site.toml")
        return not why

    def _admit(self, connection: socket.socket) -> None:
        """Read it beside the others. Where too many have not sent all, the one that came first is hung up on."""
        client = threading.Thread(target=self._exchange, args=(connection,), name="site-client", daemon=True)
        with self._guard:
            self._clients.add(client)
            self._reading[connection] = None
            if len(self._reading) > _CLIENTS:
                oldest = next(iter(self._reading))
                del self._reading[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        client.start()

    def _exchange(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._exchanged(connection)
            finally:
                self._settle(connection)
                with self._guard:
                    self._clients.discard(threading.current_thread())

    def _settle(self, connection: socket.socket) -> None:
        with self._guard:
            self._reading.pop(connection, None)

    def _exchanged(self, connection: socket.socket) -> None:
        try:
            request = read(connection, time.monotonic() + EXCHANGE_SECONDS, min(LARGEST, self._largest()))
            self._settle(connection)
            with self._answering:
                if self._stopping.is_set():
                    return
                reply = answered(self._receive, request) or b""
            del request
            write(connection, reply, time.monotonic() + EXCHANGE_SECONDS)
        except OSError as error:
            warn("connection_lost", detail=f"a local client broke off ({type(error).__name__})")


def serve_until_signal(
    receive: Callable[[bytes], bytes],
    path: Path,
    callers: Callers,
    ready: Callable[[], None],
    largest: Callable[[], int] = lambda: LARGEST,
) -> None:
    """Answer on the socket at `path` until SIGTERM or SIGINT; `ready` is called when it is open."""
    until_signal(SiteService(receive, path, callers, largest), ready)
