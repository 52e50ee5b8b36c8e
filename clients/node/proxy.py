"""The proxy on the way out, as the environment names it: HTTPS_PROXY, or ALL_PROXY; NO_PROXY names exceptions."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment

from federation.errors import InputError

_PORTS = {"http": 3128, "https": 443}
_NAMES = ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Proxy:
    """Where it listens, whether it is spoken to by TLS, and what it is told of us. The password has no repr."""

    host: str
    port: int
    is_tls: bool
    login: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """As URL, without the login."""
        return f"{'https' if self.is_tls else 'http'}://{self.place}"

    @property
    def place(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxies_set() -> str:
    """The variables about proxies that the environment has, in words; "" if there are none."""
    return " and ".join(name for name in _NAMES if os.environ.get(name) or os.environ.get(name.lower()))


def proxy_for(address: str) -> Proxy | None:
    """The proxy to take to HOST:PORT, or none. InputError, which shows no password, if its URL is unusable."""
    found = getproxies_environment()
    name = next((name for name in ("https", "all") if found.get(name)), None)
    if name is None or _is_excepted(address, found.get("no", "")):
        return None
    url = found[name]
    try:
        return _parsed(urlsplit(url if "://" in url else f"http://{url}"))
    except ValueError as error:
        hint = (
            f"write {name.upper()}_PROXY=http://HOST:PORT or https://HOST:PORT; NO_PROXY names hosts without"
        )
        raise InputError(f"{name.upper()}_PROXY of the environment {error}", hint=hint) from None


def _is_excepted(address: str, exceptions: str) -> bool:
    """Whether NO_PROXY names a host: "*", its name, a domain around it, its address, a network; or HOST:PORT."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]").rstrip(".").lower()
    return any(_names(each.strip().lower(), host, port) for each in exceptions.split(",") if each.strip())


def _names(exception: str, host: str, port: str) -> bool:
    try:
        return ip_address(host) in ip_network(exception.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, at = exception.rpartition(":")
    if colon and at.isdecimal():
        exception = name if at == port else "-"
    domain = exception.strip("[]").removeprefix("*").lstrip(".")
    return exception == "*" or (bool(domain) and (host == domain or host.endswith(f".{domain}")))


def _parsed(parts: SplitResult) -> Proxy:
    if parts.scheme not in _PORTS:
        raise ValueError(f"names a proxy of the kind {parts.scheme[:20]!r}, which is not spoken here")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ValueError("is no proxy's URL")
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username is not None else None
    return Proxy(host, port or _PORTS[parts.scheme], parts.scheme == "https", login)
