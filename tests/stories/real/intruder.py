"""Whoever can reach a port of the server: asks for all of Flower's interface, with a node's key or without.

What there is to ask is read from the installed Flower, so that what a newer one adds is tried, too.
"""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_INTEGERS: Final = {
    FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_SINT32,
}  # fmt: skip


class Offer(NamedTuple):
    """A path of Flower's API, and the message that it takes, None if it takes no message."""

    method: str
    path: str
    takes: type[Message] | None


class Answer(NamedTuple):
    """What came back: status 0 if nothing did."""

    status: int
    body: bytes


def offers() -> tuple[Offer, ...]:
    """All of them."""
    from fastapi.routing import iter_route_contexts
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES
    from flwr.superlink.main import create_app

    found = []
    for context in iter_route_contexts(create_app().routes):
        path = str(getattr(context.route, "path", ""))
        for method in sorted(getattr(context.route, "methods", None) or ()):
            found.append(Offer(method, path, PROTOBUF_REQUEST_TYPES.get((method, path))))
    return tuple(found)


class Intruder:
    """Asks at a port of loopback. `key`: signs as the node that has it; `claims`: fields of every message."""

    def __init__(
        self, port: int, authority: Path | None, key: EllipticCurvePrivateKey | None = None, **claims: Any
    ) -> None:
        scheme, self._key, self._claims = "https" if authority else "http", key, claims
        trusted = ssl.create_default_context(cafile=str(authority)) if authority else True
        self._client = httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", verify=trusted, timeout=60.0)

    def ask(self, offer: Offer, headers: Mapping[str, str] = {}, path: str | None = None) -> Answer:
        """Ask for one thing, with a message that is filled in."""
        content = b"" if offer.takes is None else filled(offer.takes, self._claims).SerializeToString()
        return self.send(offer.method, path or offer.path, content, headers)

    def send(self, method: str, path: str, content: bytes, headers: Mapping[str, str] = {}) -> Answer:
        """Send bytes to a path."""
        media = _media()
        everything = {"content-type": media, "accept": media, **self._signed(), **headers}
        try:
            with self._client.stream(method, path, content=content, headers=everything) as response:
                return Answer(response.status_code, b"".join(_first(response.iter_raw())))
        except httpx.TransportError:
            return Answer(0, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _signed(self) -> dict[str, str]:
        if self._key is None:
            return {}
        now = datetime.now(UTC).isoformat()
        public = pem_of(self._key)
        signature = self._key.sign(now.encode(), ECDSA(SHA256()))
        names = _header_names()
        values = (b64encode(public).decode(), now, b64encode(signature).decode())
        return dict(zip(names, values, strict=True))


def node_key(path: Path) -> EllipticCurvePrivateKey:
    """A node's private key from its file."""
    key = load_ssh_private_key(path.read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


def pem_of(key: EllipticCurvePrivateKey) -> bytes:
    """The public half, as Flower writes it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def filled(kind: type[Message], claims: Mapping[str, Any], depth: int = 3) -> Message:
    """A message with something in every field; `claims` say what, by the field's name, at any depth."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        with suppress(TypeError, ValueError, AttributeError):
            _fill(message, field, claims, depth)
    return message


def _fill(message: Message, field: FieldDescriptor, claims: Mapping[str, Any], depth: int) -> None:
    is_many = field.is_repeated
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if depth and not field.message_type.GetOptions().map_entry:
            inner = getattr(message, field.name)
            target = inner.add() if is_many else inner
            target.SetInParent()
            target.CopyFrom(filled(type(target), claims, depth - 1))
        return
    value: Any = claims.get(field.name)
    if value is None:
        value = 1 if field.type in _INTEGERS else 1.0
        if field.type == FieldDescriptor.TYPE_STRING:
            value = "x"
        elif field.type == FieldDescriptor.TYPE_BYTES:
            value = b"x"
        elif field.type == FieldDescriptor.TYPE_BOOL:
            value = True
    if is_many:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _media() -> str:
    from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

    return str(PROTOBUF_MEDIA_TYPE)


def _header_names() -> tuple[str, str, str]:
    from flwr.common.constant import TIMESTAMP_HEADER
    from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER

    return FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER


def _first(chunks: Iterator[bytes], most: int = 1 << 16) -> Iterator[bytes]:
    """What comes first: a stream may never end."""
    taken = 0
    for chunk in chunks:
        yield chunk
        taken += len(chunk)
        if taken >= most:
            return


def listening(processes: list[int]) -> dict[int, str]:
    """The TCP ports on which some processes listen, with the address in hex as the kernel writes it."""
    inodes = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            with suppress(OSError):
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address, _, port = words[1].rpartition(":")
                found[int(port, 16)] = address
    return found
