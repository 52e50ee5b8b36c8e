"""The line to the coordinator: HTTPS, one authority trusted, every answer bounded in bytes and in time.

The other end is believed in nothing but its certificate: an answer is read up to the length that was asked for, as
it comes (no compression, no redirect, no cookie), and a request ends at its deadline however slowly bytes drip. The
system's own authorities count for one thing alone, the certificate of a proxy that is itself spoken to by TLS.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import httpcore

from clients.node.proxy import Proxy

_KEPT: Final = 50.0  # seconds that an unused connection stays open
_CONNECT: Final = 15.0  # seconds for each step until the connection stands
_SILENCE: Final = 30.0  # seconds without a byte
_CONNECTIONS: Final = 3  # the loop, the heartbeat, and one that is being replaced


class TooLong(Exception):
    """An answer has more bytes than were asked for."""


class TooSlow(Exception):
    """The deadline of a request passed."""


class HandshakeFailed(Exception):
    """TLS does not stand: with the coordinator, or with the proxy before it. `reason` is what ssl says."""

    def __init__(self, cause: BaseException, *, is_proxy: bool) -> None:
        super().__init__()
        self.reason, self.is_proxy = cause, is_proxy


class Unreached(Exception):
    """Nothing takes the connection, at the coordinator's place or the proxy's. `reason` is what the system says."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.reason = cause


class _Seen(Exception):
    """A certificate was shown, and the connection ends there."""

    def __init__(self, shown: bytes) -> None:
        super().__init__()
        self.shown = shown


@dataclass(frozen=True)
class Answer:
    """Status and body of an answer, and the clock of the other end as it tells it."""

    status: int
    body: bytes = field(repr=False)
    date: str = ""

    @property
    def moment(self) -> float | None:
        """That clock in seconds since 1970; None if it tells no time."""
        try:
            return parsedate_to_datetime(self.date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None


@dataclass(frozen=True)
class Place:
    """HOST:PORT of the coordinator, the certificate that is pinned; the proxy before it, its authority."""

    address: str
    certificate: Path
    proxy: Proxy | None = None
    proxy_authority: Path | None = None

    @property
    def host(self) -> str:
        """The host as certificates name it."""
        return self.address.rpartition(":")[0].strip("[]")


def pinned(certificate: Path) -> ssl.SSLContext:
    """TLS to whoever shows a certificate for the host that is signed by one in this file, and to nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # requires a certificate and checks the host's name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # what is pinned need not be a root
    context.load_verify_locations(cafile=certificate)
    return context


class Line:
    """Requests to one coordinator over connections that are kept open. May be used by several threads."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._due = _Due()
        self._pool = _pool(place, pinned(place.certificate), _Backend(place, self._due))

    def post(
        self, path: str, headers: Mapping[str, str], body: bytes, *, largest: int, seconds: float
    ) -> Answer:
        """The answer to a POST. httpcore's errors, TooLong or TooSlow if there is none that was asked for."""
        self._due.at = time.monotonic() + seconds
        told = [("Host", self.place.address), ("Accept-Encoding", "identity"), *headers.items()]
        timeouts = {"connect": _CONNECT, "pool": _CONNECT, "read": _SILENCE, "write": _SILENCE}
        url = f"https://{self.place.address}{path}"
        with self._pool.stream(
            "POST", url, headers=told, content=body, extensions={"timeout": timeouts}
        ) as answer:
            return Answer(answer.status, _bounded(answer.iter_stream(), largest), _date(answer.headers))

    def close(self) -> None:
        """Hang up."""
        self._pool.close()


def shown_by(place: Place, seconds: float = _CONNECT) -> bytes | None:
    """The certificate that is shown for a place, whoever signed it; none if nothing is shown. To tell people of it.

    Nothing of ours is sent over that connection: it ends with the handshake.
    """
    context, due = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), _Due()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is trusted, and nothing said
    due.at = time.monotonic() + seconds
    try:
        with _pool(place, context, _Backend(place, due, is_look=True)) as pool:
            pool.request("POST", f"https://{place.address}/", extensions={"timeout": {"connect": seconds}})
    except _Seen as seen:
        return seen.shown
    except Exception:
        return None
    return None


def _pool(place: Place, trusted: ssl.SSLContext, backend: httpcore.NetworkBackend) -> httpcore.ConnectionPool:
    """Connections to a place, through its proxy if it has one."""
    if place.proxy is None:
        return httpcore.ConnectionPool(
            ssl_context=trusted,
            max_connections=_CONNECTIONS,
            keepalive_expiry=_KEPT,
            network_backend=backend,
        )
    return httpcore.HTTPProxy(
        place.proxy.url,
        proxy_auth=place.proxy.login,
        ssl_context=trusted,
        proxy_ssl_context=_public(place.proxy_authority) if place.proxy.is_tls else None,
        max_connections=_CONNECTIONS,
        keepalive_expiry=_KEPT,
        network_backend=backend,
    )


def _public(authority: Path | None) -> ssl.SSLContext:
    """TLS to a proxy: by the authorities of this machine, and the one that the site file adds."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority is not None:
        context.load_verify_locations(cafile=authority)
    return context


def _bounded(parts: Iterable[bytes], largest: int) -> bytes:
    read = bytearray()
    for part in parts:
        if len(read) + len(part) > largest:
            raise TooLong
        read += part
    return bytes(read)


def _date(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return next((value.decode("ascii", "replace") for name, value in headers if name.lower() == b"date"), "")


class _Due(threading.local):
    """When the request of this thread has to be over."""

    at: float = float("inf")

    def within(self, timeout: float | None) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise TooSlow
        return left if timeout is None else min(left, timeout)


class _Backend(httpcore.SyncBackend):
    """Sockets whose every step ends at the deadline of the request: a limit for each step alone would add up."""

    def __init__(self, place: Place, due: _Due, *, is_look: bool = False) -> None:
        self._place, self._due, self._is_look = place, due, is_look

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        within = self._due.within(timeout)
        try:
            plain = super().connect_tcp(host, port, within, local_address, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise Unreached(error.__cause__ or error) from error
        is_tls_proxy = self._place.proxy is not None and self._place.proxy.is_tls
        return _Stream(plain, self._due, meets_proxy=is_tls_proxy, is_look=self._is_look)


class _Stream(httpcore.NetworkStream):
    """`meets_proxy`: the next handshake is one with the proxy. `is_look`: that with the coordinator is the end."""

    def __init__(
        self, inner: httpcore.NetworkStream, due: _Due, *, meets_proxy: bool, is_look: bool = False
    ) -> None:
        self._inner, self._due = inner, due
        self._meets_proxy, self._is_look = meets_proxy, is_look

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._due.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._due.within(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            secure = self._inner.start_tls(ssl_context, server_hostname, self._due.within(timeout))
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise HandshakeFailed(error.__cause__ or error, is_proxy=self._meets_proxy) from error
        if self._is_look and not self._meets_proxy:
            shown = secure.get_extra_info("ssl_object").getpeercert(True)
            secure.close()
            raise _Seen(shown)
        return _Stream(secure, self._due, meets_proxy=False, is_look=self._is_look)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
