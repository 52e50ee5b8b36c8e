"""Asking the site's own process, from the process in which Flower runs code of the coordinator's."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from clients.door.wire import read, seconds_left, write
from federation.errors import TransportError
from federation.round.transport import LARGEST

_PAUSE: Final = 0.1


def ask_site(path: Path, data: bytes, timeout: float) -> bytes:
    """Ask the service at `path`; its reply within `timeout` seconds, or `TransportError`."""
    if not 0 < len(data) <= LARGEST:
        raise TransportError(f"a request of {len(data)} bytes cannot be carried")
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            _connect(connection, path, deadline)
            write(connection, data, deadline)
            reply = read(connection, deadline)
    except OSError as error:
        raise TransportError(
            f"the site's service does not answer ({type(error).__name__})",
            hint="is `federation join` running, and does its log say that it turned this user away?",
        ) from error
    if not reply:
        raise TransportError("the site's service could not answer", hint="its own log says why")
    return reply


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    while True:
        connection.settimeout(seconds_left(deadline))
        try:
            return connection.connect(str(path))
        except BlockingIOError:  # others connect faster than the service can take them
            time.sleep(min(_PAUSE, seconds_left(deadline)))
