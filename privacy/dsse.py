"""DSSE envelopes (secure-systems-lab/dsse, v1): a payload, its type, and an Ed25519 signature over both.

What is signed opens with "DSSEv1 " in letters. Every statement of the protocol that a key signs opens with a length
in four bytes (`privacy.signing`), and a signed note ends in a line break, which our payloads never do. So no
envelope is one of those. The id of a key is the key itself, in hex.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import MalformedMessage
from privacy.signing import holds, is_identity, public_identity

MAX_ENVELOPE: Final = 1 << 26


@dataclass(frozen=True)
class Signed:
    """A payload that the holder of `key` signed."""

    payload: bytes
    key: bytes


def sealed(payload: bytes, payload_type: str, key: Ed25519PrivateKey) -> bytes:
    """The envelope of a payload, as JSON. ValueError for one that ends in a line break."""
    if payload.endswith(b"\n"):
        raise ValueError("a payload does not end in a line break")
    signature = key.sign(_statement(payload, payload_type))
    return _envelope(Signed(payload, public_identity(key)), signature, payload_type)


def _envelope(signed: Signed, signature: bytes, payload_type: str) -> bytes:
    content = {
        "payloadType": payload_type,
        "payload": b64encode(signed.payload).decode(),
        "signatures": [{"keyid": signed.key.hex(), "sig": b64encode(signature).decode()}],
    }
    return json.dumps(content, indent=1).encode()


def signed_from_bytes(envelope: bytes, payload_type: str) -> Signed:
    """What a key signed. MalformedMessage for anything but an envelope of this type with one true signature.

    It has to be the very bytes that `sealed` makes: what is not signed in it can say nothing.
    """
    try:
        content = json.loads(envelope) if len(envelope) <= MAX_ENVELOPE else None
    except (ValueError, RecursionError):
        content = None
    match content:
        case {
            "payloadType": str(told),
            "payload": str(payload),
            "signatures": [{"keyid": str(keyid), "sig": str(signature)}],
        } if told == payload_type:
            found, shown = Signed(_bytes(payload), _key(keyid)), _bytes(signature)
            is_signed = holds(found.key, shown, _statement(found.payload, payload_type))
            if is_signed and _envelope(found, shown, payload_type) == envelope:
                return found
            raise MalformedMessage("the signature of this envelope is false")
    raise MalformedMessage("this is no envelope of this kind with one signature")


def _statement(payload: bytes, payload_type: str) -> bytes:
    """The pre-authentication encoding: lengths in decimal before type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if not is_identity(key) or key.hex() != text:
        raise MalformedMessage("the key of this envelope is none")
    return key


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Error, ValueError):
        raise MalformedMessage("an envelope's content is no base 64") from None
