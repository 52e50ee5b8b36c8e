"""`[consortium]` and `[server]` of a site file: whose rosters are believed, and where the coordinator is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Self

from cryptography import x509
from pydantic import AfterValidator, Field, field_validator, model_validator

from federation.config.schema import Mistake, Table, Texts
from federation.config.toml import PATHS
from federation.errors import SiteFileError
from privacy.signing import is_identity

KEY = re.compile(r"[0-9a-f]{64}")
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}\$?")  # as useradd and directories of accounts have them
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_FEW = 3
_LARGEST = 1 << 20  # bytes of a certificate file; a bundle of every public authority has a quarter of it


def check_address(address: str) -> str:
    """The address, if it is HOST:PORT. A Mistake otherwise."""
    if "://" in address or "/" in address:
        raise Mistake("is a URL", 'write HOST:PORT alone, such as "fed.example.org:8443"')
    host, colon, port = address.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise Mistake("has no port from 1 to 65535", 'write HOST:PORT, such as "fed.example.org:8443"')
    if not _is_host(host):
        raise Mistake("names no host", "write a name, an IPv4 address, or an IPv6 address in [brackets]")
    return address


def check_certificate(
    certificate: str, path: Path, now: datetime | None = None, key: str = "server.certificate"
) -> bytes:
    """What the certificate of the site file at `path` holds, if it can be pinned: PEM, public, valid today.

    SiteFileError otherwise.
    """
    now, data, value = now or datetime.now(UTC), _read(certificate, path, key), json.dumps(certificate)
    refuse, issuer = partial(SiteFileError, path=path, key=key, value=value), _issuer(key)
    if b"PRIVATE KEY" in data:
        raise refuse("holds a private key", hint="name the certificate alone, and keep the key elsewhere")
    try:
        found = x509.load_pem_x509_certificates(data)
        ends = [each.not_valid_after_utc for each in found]
        begins = [each.not_valid_before_utc for each in found]
    except ValueError:
        hint = f"ask {issuer} for it: a text that begins with -----BEGIN CERTIFICATE-----"
        raise refuse("is no certificate in PEM form", hint=hint) from None
    # A bundle may hold authorities that have passed; one that is valid is enough.
    if any(begin <= now <= end for begin, end in zip(begins, ends, strict=True)):
        return data
    if min(begins) > now:
        raise refuse(f"is not valid before {min(begins):%Y-%m-%d}", hint="check this machine's clock")
    raise refuse(f"expired on {max(ends):%Y-%m-%d}", hint=f"ask {issuer} for the new one")


def many_authorities(certificate: str, path: Path) -> str | None:
    """What is odd about pinning all that a file holds, if each of many could vouch for a coordinator; or None.

    A federation's own authority is one certificate, or a few while it changes; a bundle is of strangers.
    """
    count = len(_PEM.findall(_read(certificate, path, "server.certificate")))
    if count <= _FEW:
        return None
    told = (
        f"{certificate} holds {count} certificates" if certificate.isprintable() else f"{count} certificates"
    )
    return f"{told}, and each of their owners can vouch for another coordinator"


def _issuer(key: str) -> str:
    return "the coordinator" if key == "server.certificate" else "whoever runs the proxy"


def _read(certificate: str, path: Path, key: str) -> bytes:
    file = path.parent / certificate
    refuse = partial(SiteFileError, path=path, key=key, value=json.dumps(certificate))
    try:
        if not file.is_file():
            raise refuse("names no file", hint=f"ask {_issuer(key)} for the certificate, and put it there")
        with file.open("rb") as stream:
            return stream.read(_LARGEST)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or type(error).__name__})"
        raise refuse(reason, hint="check the file's permissions") from None


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    parts = host.rstrip(".").split(".")
    if all(part.isdecimal() for part in parts):  # digits and dots are an IPv4 address, or nothing
        return len(parts) == 4 and all(len(part) <= 3 and int(part) <= 255 for part in parts)
    return len(host) <= 253 and bool(_HOST.fullmatch(host))


def _no_escapes(path: str) -> str:
    """A path as it was meant: TOML reads "data\\table.csv" in double quotes as data, a tab, able.csv."""
    if not path.isprintable():
        raise Mistake("is no path: a backslash in double quotes begins an escape", PATHS)
    return path


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Mistake("is no name of a user or group", "see them with: getent passwd; getent group")
    return name


NameText = Annotated[str, AfterValidator(_plain_name)]
PathText = Annotated[str, AfterValidator(_no_escapes)]


class Consortium(Table):
    """`[consortium]`: the keys that may sign a roster, how many of them must have, and the oldest one accepted."""

    keys: Texts = Field(min_length=1, examples=['["64 hexadecimal digits"]'])
    quorum: int = Field(ge=1, le=1000, examples=["1"])
    serial: int = Field(default=0, ge=0, lt=1 << 53, examples=["3"])

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not all(KEY.fullmatch(key) for key in self.keys) or len(set(self.keys)) < len(self.keys):
            raise Mistake("must be distinct public keys", "copy them from the .pub files", ("keys",))
        if self.quorum > len(self.keys):
            raise Mistake(f"is more than the {len(self.keys)} keys", "pin more keys or lower it", ("quorum",))
        return self


class Endpoint(Table):
    """`[server]`: where the coordinator is, and the certificate of the authority that signed its certificate.

    `proxy_ca` is the authority of a proxy that is itself spoken to by TLS, and counts for nothing else.
    For `join --socket`: `flower_user` runs flower-supernode, and is not the site's own user; `socket_group` is
    the group to which the site's socket belongs, that user's own if it is left out. Without `flower_user` anybody
    in the group may call.
    `coordinator_key` pins the key that the coordinator signs with; without it the roster says which it is.
    """

    address: Annotated[str, AfterValidator(check_address)] = Field(
        min_length=1, examples=['"fed.example.org:8443"']
    )
    certificate: PathText = Field(min_length=1, examples=['"ca.crt"'])
    proxy_ca: PathText | None = Field(default=None, min_length=1, examples=['"proxy-ca.crt"'])
    flower_user: NameText | None = Field(default=None, min_length=1, examples=['"flwr"'])
    socket_group: NameText | None = Field(default=None, min_length=1, examples=['"flwr"'])
    coordinator_key: str | None = Field(default=None, examples=['"64 hexadecimal digits"'])

    @field_validator("coordinator_key")
    @classmethod
    def _key(cls, key: str | None) -> str | None:
        if key is not None and not (KEY.fullmatch(key) and is_identity(bytes.fromhex(key))):
            raise Mistake("is no public key", "copy it from the coordinator's .pub file")
        return key
