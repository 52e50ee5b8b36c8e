"""Starts the SuperLink, and another one when it ended by itself.

The coordinator opens both listening sockets and keeps them: they are handed to every SuperLink in turn, so nobody
else can take the port in between. The child has a session of its own (Ctrl-C at a terminal is the coordinator's to
answer) and ends with the pipe that its order came through, however the coordinator ends.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from federation.errors import InputError, TransportError
from federation.log import warn
from federation.quiet import QUIET
from federation.round.transport import LARGEST
from server.link.certificates import Certificate
from server.link.order import Order

_AGAIN: Final = 5
"""Times in a minute that a SuperLink is started again before its coordinator gives up."""
_MINUTE: Final = 60.0
_END_SECONDS: Final = 5.0
_BIND_SECONDS: Final = 10.0  # for one of a coordinator before to end


def listen(host: str, port: int) -> socket.socket:
    """A socket at which sites dial `host`: at this very address if it is one, else at every address of the
    machine.

    InputError if that cannot be.
    """
    where, family = _address(host)
    ends = time.monotonic() + _BIND_SECONDS
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and where == "::":
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((where, port))
            listener.listen(512)
        except OSError as error:
            listener.close()
            if time.monotonic() < ends and error.errno == 98:  # EADDRINUSE
                time.sleep(0.2)
                continue
            reason = error.strerror or type(error).__name__
            raise InputError(f"--address {host}:{port}: {reason}", hint="name another port or host") from None
        return listener


def _address(host: str) -> tuple[str, socket.AddressFamily]:
    bare = host.strip("[]")
    try:
        version = ip_address(bare).version
    except ValueError:
        # A name: which interface its packets arrive at, the router in front of this machine may decide.
        return ("127.0.0.1", socket.AF_INET) if bare == "localhost" else ("0.0.0.0", socket.AF_INET)  # noqa: S104
    return bare, socket.AF_INET6 if version == 6 else socket.AF_INET


@dataclass(frozen=True)
class Place:
    """Where a SuperLink keeps what it has, 0700: its home and its log."""

    folder: Path

    def make(self) -> None:
        """Make it, for this user only."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)

    @property
    def log(self) -> Path:
        """What it said; of the newest one only."""
        return self.folder / "superlink.log"


class SuperLink:
    """A SuperLink for these nodes while the context lasts; `address`, `token`, `secret` are its coordinator's.

    `largest`: bytes of the longest reply of a node.
    """

    def __init__(
        self,
        place: Place,
        public: socket.socket,
        certificate: Certificate,
        nodes: tuple[bytes, ...],
        largest: int = LARGEST,
    ) -> None:
        self._place, self._public = place, public
        self._local = listen("127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._local.getsockname()[1]}"
        self.token, self.secret = secrets.token_hex(32), secrets.token_hex(32)
        self._order = Order(
            public=self._public.fileno(),
            local=self._local.fileno(),
            certificate=str(certificate.chain),
            key=str(certificate.key),
            nodes=tuple(node.hex() for node in nodes),
            token=self.token,
            secret=self.secret,
            largest=largest,
        )
        self._changing, self._ended = threading.Lock(), threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._starts: list[float] = []
        self.failure: str | None = None
        """Why there will be no other one, if that is so."""

    def __enter__(self) -> Self:
        self._place.make()
        self._start()
        threading.Thread(target=self._supervise, name="superlink", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with self._changing:
            self._ended.set()
        if self._child is not None:
            _end(self._child)
        self._local.close()

    @property
    def process(self) -> int:
        """The process id of the one that runs now."""
        return self._child.pid if self._child is not None else 0

    def require(self) -> None:
        """TransportError if it has ended for good."""
        if self.failure is not None:
            raise TransportError(self.failure, hint=f"see {self._place.log}")

    def renew(self) -> None:
        """Have another one take the place of one that is there and does not answer."""
        if self._child is not None:
            self._child.kill()

    def _start(self) -> None:
        """Start one, unless this has ended."""
        with self._changing:
            if self._ended.is_set():
                return
            descriptor = os.open(self._place.log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            try:
                child = subprocess.Popen(
                    [sys.executable, "-P", "-m", "server.link.superlink"],
                    stdin=subprocess.PIPE,
                    stdout=descriptor,
                    stderr=descriptor,
                    pass_fds=(self._order.public, self._order.local),
                    env=_environment(self._place.folder / "home"),
                    start_new_session=True,
                )
            finally:
                os.close(descriptor)
            assert child.stdin is not None  # noqa: S101
            self._child = child
            with suppress(OSError):  # it has ended already, which the supervisor sees
                child.stdin.write(self._order.to_line())
                child.stdin.flush()

    def _supervise(self) -> None:
        while not self._ended.is_set():
            child = self._child
            assert child is not None  # noqa: S101
            code = child.wait()
            if self._ended.is_set():
                return
            moment = time.monotonic()
            self._starts = [*(when for when in self._starts if moment - when < _MINUTE), moment]
            if len(self._starts) > _AGAIN:
                self.failure = f"the SuperLink ended {len(self._starts)} times in a minute (status {code})"
                return
            _end(child)
            warn("superlink_ended", status=code, detail="another one is started")
            self._start()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a SuperLink: it does so by itself when its pipe is closed."""
    if child.stdin is not None:
        with suppress(OSError):
            child.stdin.close()
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:  # stopped, or stuck in the system
        child.kill()
        child.wait()


def _environment(home: Path) -> dict[str, str]:
    """Nothing of Flower's that somebody set for another SuperLink; a home of its own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FLWR_")}
    return {**inherited, **QUIET, "FLWR_HOME": str(home)}
