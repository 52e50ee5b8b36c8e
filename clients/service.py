"""The site's own process: owns data and keys, answers frames on a local socket.

Flower starts a fresh process for each message and runs code in it that the server sent. Nothing of a site
may live there. So the site is a process of its own, and the ClientApp hands it bytes through a Unix domain
socket in a directory that only the site's user can enter; no port is opened.

One connection is one request and one reply, each as a length of 4 octets, big-endian, and that many octets.
A length of zero is the only error reply: the text of an exception may quote the data, so it never leaves. The
service answers one request after the other, because the site is a state machine; it reads them side by side, so a
client that is silent keeps nobody waiting.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, Self

from federation.errors import TransportError
from federation.log import warn
from federation.round.transport import LARGEST

_LENGTH: Final = struct.Struct(">I")
_LONGEST_PATH: Final = 100
_BACKLOG: Final = 128
_CLIENTS: Final = 32  # that have not sent their whole request yet
_CHUNK: Final = 1 << 20
_PAUSE: Final = 0.1
EXCHANGE_SECONDS: Final = 10.0
"""Seconds in which a client must have sent its whole request, or have taken its whole reply."""


class SiteService:
    """Answers each request on the socket at `path` with `receive(request)`, as a context manager.

    Entering raises `TransportError` when the socket cannot be had: another service is answering on it, the
    path is too long for one, its directory is open to others. The socket of a killed process is replaced.
    """

    def __init__(
        self, receive: Callable[[bytes], bytes], path: Path, largest: Callable[[], int] = lambda: LARGEST
    ) -> None:
        self._receive = receive
        self._largest = largest
        self._answering = threading.Lock()
        self._reading: dict[socket.socket, None] = {}  # in the order of their arrival
        self._clients: set[threading.Thread] = set()
        self._guard = threading.Lock()  # of the two lines above
        self._path = path
        self._thread = threading.Thread(target=self._serve, name="site-service", daemon=True)
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        _check_folder(self._path)
        self._lock = _lock(self._path)
        try:
            self._listener = _listen(self._path)
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
            self._admit(connection)

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
            request = _read(connection, time.monotonic() + EXCHANGE_SECONDS, min(LARGEST, self._largest()))
            self._settle(connection)
            with self._answering:
                if self._stopping.is_set():
                    return
                reply = self._answer(request)
            del request
            _write(connection, reply, time.monotonic() + EXCHANGE_SECONDS)
        except OSError as error:
            warn("connection_lost", detail=f"a local client broke off ({type(error).__name__})")

    def _answer(self, request: bytes) -> bytes:
        try:
            reply = self._receive(request)
        except BaseException as error:
            # No signal reaches this thread, so a task's code raised it, whatever it is. The thread must go on: else
            # the site would answer nobody. The text may quote the data: only its kind is logged, nothing is sent.
            warn("failed", detail=f"a request failed ({type(error).__name__})")
            return b""
        if len(reply) > LARGEST:
            warn("failed", detail=f"a reply of {len(reply)} bytes is too long to send")
            return b""
        return reply


def ask_site(path: Path, data: bytes, timeout: float) -> bytes:
    """Ask the service at `path`; its reply within `timeout` seconds, or `TransportError`."""
    if not 0 < len(data) <= LARGEST:
        raise TransportError(f"a request of {len(data)} bytes cannot be carried")
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            _connect(connection, path, deadline)
            _write(connection, data, deadline)
            reply = _read(connection, deadline)
    except OSError as error:
        raise TransportError(
            f"the site's service does not answer ({type(error).__name__})",
            hint="is `federation join` running?",
        ) from error
    if not reply:
        raise TransportError("the site's service could not answer", hint="its own log says why")
    return reply


def serve_until_signal(
    receive: Callable[[bytes], bytes],
    path: Path,
    ready: Callable[[], None],
    largest: Callable[[], int] = lambda: LARGEST,
) -> None:
    """Answer on the socket at `path` until SIGTERM or SIGINT; `ready` is called when it is open.

    For the main thread of a process. Signals are caught before the socket exists, so none leaves it behind.
    """
    told = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with SiteService(receive, path, largest):
            ready()
            told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    while True:
        connection.settimeout(_seconds_left(deadline))
        try:
            return connection.connect(str(path))
        except BlockingIOError:  # others connect faster than the service can take them
            time.sleep(min(_PAUSE, _seconds_left(deadline)))


def _read(connection: socket.socket, deadline: float, largest: int = LARGEST) -> bytes:
    (length,) = _LENGTH.unpack(_read_exactly(connection, _LENGTH.size, deadline))
    if length > largest:
        raise ConnectionAbortedError("a frame longer than any that is carried")
    return _read_exactly(connection, length, deadline)


def _read_exactly(connection: socket.socket, length: int, deadline: float) -> bytes:
    """Grows with what has arrived: a length that lies costs no memory."""
    data = bytearray()
    while len(data) < length:
        connection.settimeout(_seconds_left(deadline))
        part = connection.recv(min(_CHUNK, length - len(data)))
        if not part:
            raise ConnectionAbortedError("the peer left in the middle of a frame")
        data += part
    return bytes(data)


def _write(connection: socket.socket, data: bytes, deadline: float) -> None:
    connection.settimeout(_seconds_left(deadline))
    connection.sendall(_LENGTH.pack(len(data)))
    connection.sendall(data)


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _check_folder(path: Path) -> None:
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise TransportError(f"{path} is too long for a socket", hint=f"use at most {_LONGEST_PATH} bytes")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = path.parent.stat()
    if place.st_uid != os.geteuid() or stat.S_IMODE(place.st_mode) & 0o077:
        raise TransportError(f"{path.parent} is open to other users", hint=f"chmod 700 {path.parent}")


def _lock(path: Path) -> int:
    """A lock that ends with the process, so two services never both take a socket for a leftover."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise _occupied(path) from None
    return lock


def _listen(path: Path) -> socket.socket:
    if path.exists():
        _remove_leftover(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # between these lines the directory, closed to others, guards the socket
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise TransportError(f"no socket can be made at {path} ({error.strerror})") from error
    return listener


def _remove_leftover(path: Path) -> None:
    if not path.is_socket():
        raise TransportError(f"{path} exists and is not a socket", hint="name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise _occupied(path)


def _occupied(path: Path) -> TransportError:
    return TransportError(f"another process answers at {path}", hint="stop it, or name another socket")
