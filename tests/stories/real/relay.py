"""A line from a site to the server that can be tapped, slowed, held and cut. It knows nothing of TLS."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

CHUNK: Final = 1 << 16
POLL: Final = 0.02


@dataclass
class Tap:
    """What passed in one connection: bytes as they were, up to the server and down to the site."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


class Relay:
    """Listens on a free port of loopback and passes everything on to another, as a context manager.

    `delay` seconds are added to every chunk; while `held` nothing passes, and nothing is lost; while `cut`
    there is no connection.
    """

    def __init__(self, target: int) -> None:
        self.target, self.taps = target, list[Tap]()
        self.delay, self.held, self.is_cut = 0.0, False, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.cut()
        self._thread.join()
        self._listener.close()

    def cut(self) -> None:
        """End every connection, and refuse new ones until `mend`."""
        self.is_cut = True
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut = False

    def counts(self) -> tuple[int, int]:
        """Bytes up and down so far."""
        return sum(len(tap.up) for tap in self.taps), sum(len(tap.down) for tap in self.taps)

    @property
    def address(self) -> str:
        """HOST:PORT for a site file."""
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            while not self._ended.is_set():
                if not waiting.select(POLL):
                    continue
                inner, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(inner,), daemon=True).start()

    def _connect(self, inner: socket.socket) -> None:
        try:
            if self.is_cut:
                return
            with socket.create_connection(("127.0.0.1", self.target)) as outer, inner:
                tap = Tap()
                with self._lock:
                    self._open |= {inner, outer}
                    self.taps.append(tap)
                back = threading.Thread(target=self._pass, args=(outer, inner, tap.down), daemon=True)
                back.start()
                self._pass(inner, outer, tap.up)
                back.join()
                with self._lock:
                    self._open -= {inner, outer}
        except OSError:
            pass  # the server is away: so is the line
        finally:
            inner.close()

    def _pass(self, source: socket.socket, target: socket.socket, taken: bytearray) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                while self.held and not self._ended.is_set():
                    time.sleep(POLL)
                if self.delay:
                    self._ended.wait(self.delay)
                taken += data
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR if self.is_cut else socket.SHUT_WR)
                if self.is_cut:
                    break
