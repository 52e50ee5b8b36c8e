"""Why there is no connection, in words for the people at a site, and what they can do about it.

What the other end or the network says is not repeated, but for the name in a certificate: the log makes that
printable. A trouble that lasts until somebody acts is retried more slowly than one that passes.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpcore
from cryptography import x509
from cryptography.x509.oid import NameOID

from clients.node.fleet import OTHER_VERSION, UNKNOWN_NODE, Refused, Strange
from clients.node.line import HandshakeFailed, Place, TooLong, TooSlow, Unreached, shown_by

_WRONG_NAME: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_HUNG_UP: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # a balancer whose server is away, say
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_TOO_NEW: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_SKEW: Final = 60.0  # seconds between two clocks that are worth telling
NOT_READY: Final = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and what to do. `lasts`: nothing changes until somebody does that.

    `is_gone`: the machine is there, and nobody listens: a coordinator that has ended, say.
    """

    what: str
    hint: str
    lasts: bool = False
    is_gone: bool = False

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}"


def trouble_of(error: Exception, place: Place, site: str) -> Trouble:
    """What an error of `Fleet` means. May connect once more, to see whose certificate is shown."""
    match error:
        case HandshakeFailed():
            found = _handshake(error, place)
        case Refused():
            found = _refused(error, place, site)
        case httpcore.RemoteProtocolError() if _is_cut(error):
            found = Trouble(f"the connection to {place.address} broke off", "it is tried again")
        case Strange() | TooLong() | httpcore.ProtocolError():
            found = _stranger(place)
        case httpcore.ProxyError():
            found = _proxy_refuses(str(error)[:3], place)
        case Unreached():
            found = _unreached(error.reason, place)
        case TooSlow() | httpcore.TimeoutException() | httpcore.NetworkError():
            found = Trouble(f"the connection to {place.address} broke off", "it is tried again")
        case _:
            found = Trouble(f"unexpected {type(error).__name__}", "it is tried again")
    return found


def _is_cut(error: Exception) -> bool:
    """Whether the other end hung up before its answer was whole; httpcore tells it as a fault of the protocol."""
    return any(words in str(error) for words in ("disconnected", "closed connection"))


def _handshake(error: HandshakeFailed, place: Place) -> Trouble:
    reason = error.reason
    if error.is_proxy and place.proxy is not None:
        return _proxy_distrusted(place.proxy.place)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _certificate(reason, place)
    if isinstance(reason, ssl.SSLError) and not isinstance(reason, _HUNG_UP):
        what = f"{place.address} answers, and not by TLS 1.2 or later"
        return Trouble(what, "check host and port of server.address with the coordinator", lasts=True)
    if isinstance(reason, TimeoutError):
        return Trouble(f"{place.address} takes the connection and says nothing", "it is tried again")
    return Trouble(f"{place.address} hung up during the TLS handshake", "it is tried again")


def _proxy_distrusted(proxy: str) -> Trouble:
    what = f"the proxy {proxy} shows a certificate that this machine does not trust"
    return Trouble(what, 'name the file of its authority: proxy_ca = "FILE", in [server] of site.toml', True)


def _certificate(error: ssl.SSLCertVerificationError, place: Place) -> Trouble:
    shown = certificate_at(place)
    if error.verify_code in _WRONG_NAME:
        names = f" (it is for {_names(shown)})" if shown is not None else ""
        what = f"the certificate at {place.address} is not for {place.host}{names}"
        return Trouble(
            what, "use the name that the certificate has, or ask the coordinator for another", True
        )
    today = f"this machine's clock says {datetime.now(UTC):%Y-%m-%d %H:%M}"
    if error.verify_code == _EXPIRED:
        when = f" on {shown.not_valid_after_utc:%Y-%m-%d}" if shown is not None else ""
        what = f"the certificate at {place.address}, or its authority's, expired{when}"
        return Trouble(what, f"ask the coordinator for a new one; {today}", lasts=True)
    if error.verify_code == _TOO_NEW:
        when = f" before {shown.not_valid_before_utc:%Y-%m-%d %H:%M}" if shown is not None else " yet"
        return Trouble(f"the certificate at {place.address} is not valid{when}", f"{today}: check it", True)
    signer = f"signed by {_signer(shown)}, " if shown is not None else ""
    what = (
        "something between this site and the coordinator opens TLS: "
        f"its certificate is {signer}not by {place.certificate.name}"
    )
    hint = f"ask for an exception for {place.address}; or the coordinator has a new authority: ask it for the file"
    return Trouble(what, hint, lasts=True)


def _refused(error: Refused, place: Place, site: str) -> Trouble:
    if error.code == OTHER_VERSION:
        what = "the coordinator runs another version of Flower"
        return Trouble(what, "install the same version of private-federation on both sides", lasts=True)
    skew = 0.0 if error.moment is None else error.moment - time.time()  # of the other clock, ahead of ours
    if error.status == 401 and abs(skew) > _SKEW:
        side = "behind" if skew > 0 else "ahead of"
        what = (
            f"this machine's clock is {abs(skew):.0f} s {side} the coordinator's, which refuses its signature"
        )
        return Trouble(what, "set the clock, by NTP", lasts=True)
    if error.status == 401 or error.code == UNKNOWN_NODE:  # a coordinator's gate says no more than the status
        what = "the coordinator does not know this node's key"
        hint = f"send {site}.pub, have it run serve with the new roster; check that no proxy removes headers"
        return Trouble(what, hint, lasts=True)
    if error.status in NOT_READY:
        return Trouble(f"{place.address} answers {error.status}: it is not ready", "it is tried again")
    return _stranger(place, f" (HTTP status {error.status})")


def _stranger(place: Place, more: str = "") -> Trouble:
    what = f"what answers at {place.address} speaks as no coordinator does{more}"
    return Trouble(what, "check host and port of server.address with the coordinator", lasts=True)


def _proxy_refuses(status: str, place: Place) -> Trouble:
    proxy = place.proxy.place if place.proxy is not None else "the proxy"
    if status == "407":
        return Trouble(
            f"the proxy {proxy} asks who we are", "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT", True
        )
    what = f"the proxy {proxy} does not connect to {place.address} (it says {status})"
    return Trouble(what, f"ask for a rule that lets this machine reach {place.address}", lasts=True)


def _unreached(reason: BaseException, place: Place) -> Trouble:
    target = f"the proxy {place.proxy.place}" if place.proxy is not None else place.address
    if isinstance(reason, socket.gaierror):
        return unknown_name(place)
    if isinstance(reason, ConnectionRefusedError):
        return Trouble(f"{target} refuses the connection", refused(place), is_gone=place.proxy is None)
    if isinstance(reason, TimeoutError):
        reach = place.address if place.proxy is None else place.proxy.place
        other = "set" if place.proxy is None else "check"
        hint = f"ask for a rule that lets this machine reach {reach}, or {other} HTTPS_PROXY"
        return Trouble(f"{target} does not answer", hint)
    told = (reason.strerror if isinstance(reason, OSError) else None) or type(reason).__name__
    return Trouble(f"{target} cannot be reached ({told})", "check this machine's network")


def unknown_name(place: Place) -> Trouble:
    """DNS knows no such name: the proxy's, if one is used, since nobody here looks up the coordinator's then."""
    if place.proxy is not None:
        return Trouble(
            f"the proxy's name {place.proxy.host} is not known here", "check HTTPS_PROXY, or ALL_PROXY"
        )
    hint = "is server.address in site.toml misspelled? if not, check this machine's DNS, or set HTTPS_PROXY"
    return Trouble(f"the name {place.host} is not known here", hint)


def refused(place: Place) -> str:
    """What to do where nothing listens."""
    if place.proxy is not None:
        return "check host and port of HTTPS_PROXY, or ALL_PROXY, with whoever runs the proxy"
    return "is federation serve running there, and is the port right?"


def certificate_at(place: Place) -> x509.Certificate | None:
    """The certificate that is shown for a place; None if none is shown, or none that can be read."""
    shown = shown_by(place)
    try:
        return None if shown is None else x509.load_der_x509_certificate(shown)
    except ValueError:
        return None


def _signer(shown: x509.Certificate) -> str:
    if shown.issuer == shown.subject:
        return "itself"
    return common_name(shown.issuer)


def common_name(name: x509.Name) -> str:
    """Whom a certificate names, in one of its two places."""
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for found in name.get_attributes_for_oid(kind):
            return str(found.value)
    return "nobody named"


def _names(shown: x509.Certificate) -> str:
    try:
        found = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return ", ".join(str(each.value) for each in list(found)[:5])
    except (x509.ExtensionNotFound, ValueError):
        return common_name(shown.subject)
