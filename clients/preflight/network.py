"""The way to the coordinator, step by step: proxy, name, port, TLS, clock. Nothing is said there but that we look.

The last steps are one request without content, over the very line that a site uses; what may be wrong with it is
told by the same words as later, when a connection is lost (`clients.node.trouble`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from clients.join import place_of
from clients.node.line import Answer, Line, Place
from clients.node.proxy import proxies_set
from clients.node.trouble import certificate_at, common_name, refused, trouble_of, unknown_name
from clients.policy import SiteFile
from clients.preflight.finding import Finding, fine, odd, wrong
from federation.errors import FederationError, InputError, TransportError
from federation.log import printable
from privacy.errors import PrivacyError

AHEAD: Final = 5.0
BEHIND: Final = 300.0
"""Seconds that this machine may be ahead of the coordinator, or behind it: beyond that its signature is void."""
_WORTH_TELLING: Final = 2.0
_SECONDS: Final = 20.0
_SOON: Final = 14  # days
_LARGEST: Final = 1 << 16


def network(rules: SiteFile, path: Path, *, is_patient: bool = False) -> Iterator[Finding]:
    """Each step of the way to the coordinator that the site file at `path` names; nothing after one that fails.

    `is_patient`: what may pass by itself is a warning, since the site will try again.
    """
    try:
        place = place_of(rules, path)
    except (FederationError, PrivacyError) as error:
        yield wrong("proxy" if rules.server is not None else "server", error)
        return
    yield _proxy(place)
    for step in (_name, _port):
        found = step(place, is_patient)
        yield found
        if found.level != "ok":
            return
    yield from _talk(place, rules.id, is_patient)


def _proxy(place: Place) -> Finding:
    names = proxies_set()
    if place.proxy is None:
        return fine("proxy", f"none is used ({names} is set)" if names else "none is named by HTTPS_PROXY")
    return fine("proxy", f"{place.proxy.url}, by {names}")


def _name(place: Place, is_patient: bool) -> Finding:
    host, port = _first(place)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        trouble = unknown_name(place)
        return _passing("name", trouble.what, trouble.hint, is_patient)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    return fine("name", f"{host} is {', '.join(addresses[:3])}")


def _port(place: Place, is_patient: bool) -> Finding:
    host, port = _first(place)
    target = f"{'the proxy ' if place.proxy is not None else ''}{host} port {port}"
    began = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except ConnectionRefusedError:
        hint = refused(place)
        return _passing("port", f"{target} refuses the connection", hint, is_patient)
    except OSError as error:
        why = (
            "does not answer" if isinstance(error, TimeoutError) else f"cannot be reached ({error.strerror})"
        )
        other = "check" if place.proxy is not None else "set"
        hint = f"ask for a rule that lets this machine reach {host} port {port}, or {other} HTTPS_PROXY"
        return _passing("port", f"{target} {why}", hint, is_patient)
    return fine("port", f"{host} port {port} answers in {1000 * (time.monotonic() - began):.0f} ms")


def _first(place: Place) -> tuple[str, int]:
    """Where the first connection goes: the proxy if there is one."""
    if place.proxy is not None:
        return place.proxy.host, place.proxy.port
    return place.host, int(place.address.rpartition(":")[2])


def _talk(place: Place, site: str, is_patient: bool) -> Iterator[Finding]:
    """TLS with the certificate that is pinned, and the clock that the answer tells."""
    try:
        line = Line(place)
    except OSError:  # also ssl.SSLError: the file is gone, closed to us, or no certificate
        told = f"{place.certificate.name} holds no certificate that can be read"
        yield wrong(
            "TLS", InputError(told, hint="ask the coordinator for it, and name it in server.certificate")
        )
        return
    began = time.time()
    try:
        answer = line.post("/", {}, b"", largest=_LARGEST, seconds=_SECONDS)
    except Exception as error:
        trouble = trouble_of(error, place, site)
        yield _passing("TLS", trouble.what, trouble.hint, is_patient and not trouble.lasts)
        return
    finally:
        line.close()
    yield _certificate(place)
    yield clock(answer, began, time.time())


def _certificate(place: Place) -> Finding:
    found = certificate_at(place)
    if found is None:
        return fine("TLS", f"{place.address} shows a certificate by {place.certificate.name}")
    ends, signer = found.not_valid_after_utc, printable(common_name(found.issuer))
    told = f"for {place.host}, valid until {ends:%Y-%m-%d}, signed by {signer}, which {place.certificate.name} pins"
    days = (ends - datetime.now(UTC)).days
    if days < _SOON:
        return odd("TLS", f"{told}: {days} days from now", "ask the coordinator for a new one in time")
    return fine("TLS", told)


def clock(answer: Answer, began: float, ended: float) -> Finding:
    """This machine's clock beside the one that the answer tells, in whole seconds, between two moments here."""
    theirs = answer.moment
    if theirs is None:
        return odd("clock", "the coordinator does not tell its time", "set the clock of this machine by NTP")
    ahead, behind = began - theirs - 1.0, theirs - ended  # at least so much, however long the answer took
    off, side = (ahead, "ahead of") if ahead > behind else (behind, "behind")
    told = f"{max(0.0, off):.0f} s {side} the coordinator's"
    if ahead > AHEAD or behind > BEHIND:
        hint = "set it by NTP, such as: timedatectl set-ntp true"
        return wrong("clock", InputError(f"this machine's clock is {told}, which refuses it", hint=hint))
    if off > _WORTH_TELLING:
        return odd(
            "clock", told, f"set it by NTP: more than {AHEAD:.0f} s ahead or {BEHIND:.0f} s behind is refused"
        )
    return fine("clock", "agrees with the coordinator's")


def _passing(name: str, what: str, hint: str, is_patient: bool) -> Finding:
    """Something that keeps the site from the coordinator now."""
    if is_patient:
        return odd(name, what, f"{hint}; this site keeps trying")
    return wrong(name, TransportError(what, hint=hint))
