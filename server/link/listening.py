"""uvicorn on a socket that is open already, with room kept for those who belong here.

A connection takes a place from the moment it is accepted, before TLS. Addresses from which no site has ever spoken
share few places, and a connection that asks nothing is closed soon: so strangers can neither use up the
descriptors of this process nor keep sites out.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HANDSHAKE_SECONDS: Final = 10.0
FIRST_SECONDS: Final = 10.0
"""For the first request to arrive after TLS."""
IDLE_SECONDS: Final = 75.0
"""Between two requests, until the second has arrived with all its headers."""
STRANGERS, OF_ONE_STRANGER, ALL = 128, 32, 768
"""Connections from addresses that no site has spoken from: in all, and of one of them; and of everybody."""


class Doors:
    """How many connections there are, from where, and whether one more is let in."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._known: set[str] = set()

    def welcome(self, address: str) -> None:
        """A site has spoken from this address."""
        self._known.add(address)

    def enter(self, address: str) -> bool:
        """Whether one more connection from there is let in; it then has to `leave`."""
        free = ALL - sum(self._open.values())
        if self._open[address] >= free:  # so that no address, known or not, leaves nothing for the next one
            return False
        if address not in self._known:
            strangers = sum(count for name, count in self._open.items() if name not in self._known)
            if strangers >= STRANGERS or self._open[address] >= OF_ONE_STRANGER:
                return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One connection from there is over."""
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


class PlainServer(uvicorn.Server):
    """A server that leaves signals as they are: they end this process, and whoever started it starts another."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class GuardedServer(PlainServer):
    """A server on one open socket, whose connections go through `doors` before TLS begins."""

    def __init__(self, config: uvicorn.Config, doors: Doors, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._doors, self._tls = doors, tls
        self._entering: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept from now on."""
        listener = (sockets or [])[0]
        await self.lifespan.startup()
        self.servers = []
        listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(listener))
        self.started = True

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError:  # out of descriptors, or the client is gone already
                await asyncio.sleep(0.1)
                continue
            address = str(peer[0])
            if not self._admits(int(peer[1]), int(listener.getsockname()[1])) or not self._doors.enter(
                address
            ):
                connection.close()
                continue
            task = asyncio.create_task(self._enter(connection, address))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    def _admits(self, _port: int, _to: int) -> bool:
        """Whether whoever connects from a port to ours may, whatever room there is."""
        return True

    async def _enter(self, connection: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._doors.leave(address)

        def protocol() -> asyncio.Protocol:
            return _Guarded(self.config, self.server_state, self.lifespan.state, leave)

        try:
            await loop.connect_accepted_socket(
                protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=None if self._tls is None else 5.0,
            )
        except (OSError, ssl.SSLError, ConnectionError, TimeoutError):
            with suppress(OSError):
                connection.close()
            leave()


class LocalServer(GuardedServer):
    """The same on this machine, without TLS, for this user: others could use up descriptors, without any token."""

    def __init__(self, config: uvicorn.Config) -> None:
        doors = Doors()
        doors.welcome("127.0.0.1")
        super().__init__(config, doors, None)

    def _admits(self, port: int, to: int) -> bool:
        return owner_of(port, to) in (None, os.geteuid())


def owner_of(port: int, to: int, table: Path = Path("/proc/net/tcp")) -> int | None:
    """The user whose connection goes from this port of 127.0.0.1 to that one; None if the system does not tell."""
    here = "0100007F" if sys.byteorder == "little" else "7F000001"
    ends = [f"{here}:{port:04X}", f"{here}:{to:04X}"]
    try:
        lines = table.read_text("ascii").splitlines()[1:]
    except (OSError, ValueError):
        return None
    return next((int(line.split()[7]) for line in lines if line.split()[1:3] == ends), None)


class _Guarded(H11Protocol):
    """Closes a connection on which no request arrives in time, whatever drips in."""

    def __init__(
        self, config: uvicorn.Config, state: Any, app_state: dict[str, Any], leave: Callable[[], None]
    ) -> None:
        super().__init__(config, state, app_state)
        self._leave: Callable[[], None] = leave
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(FIRST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._leave()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect(None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:
            self._expect(IDLE_SECONDS)

    def _expect(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None or self.transport.is_closing() else self._alarm(seconds)

    def _alarm(self, seconds: float) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, self.transport.abort)
