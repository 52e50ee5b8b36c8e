"""DSSE envelopes: the specification's own encoding, and no byte that is not signed."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.dsse import sealed, signed_from_bytes
from privacy.errors import MalformedMessage
from privacy.signing import is_signed, public_identity

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
TYPE = "http://example.com/HelloWorld"
ENVELOPE = sealed(b"hello world", TYPE, KEY)


def test_what_is_signed_is_the_encoding_of_the_specification() -> None:
    """protocol.md of DSSE: "DSSEv1 29 http://example.com/HelloWorld 11 hello world"."""
    content = json.loads(ENVELOPE)
    (signature,) = content["signatures"]
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["keyid"]))
    key.verify(b64decode(signature["sig"]), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world")
    assert signed_from_bytes(ENVELOPE, TYPE).payload == b"hello world"
    assert signed_from_bytes(ENVELOPE, TYPE).key == public_identity(KEY)


def test_no_byte_of_an_envelope_can_be_another() -> None:
    for place in range(len(ENVELOPE)):
        for byte in {ENVELOPE[place] ^ 1, ord(" ")} - {ENVELOPE[place]}:
            edited = ENVELOPE[:place] + bytes([byte]) + ENVELOPE[place + 1 :]
            with pytest.raises(MalformedMessage):
                signed_from_bytes(edited, TYPE)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", ENVELOPE + b"\n", ENVELOPE[:-1], b"[" * 100_000],
    ids=["empty", "list", "object", "no text", "longer", "shorter", "deep"],
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        signed_from_bytes(data, TYPE)


def test_an_envelope_of_another_type_or_key_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        signed_from_bytes(ENVELOPE, "application/vnd.in-toto+json")
    mixed = json.loads(ENVELOPE)
    mixed["signatures"][0]["keyid"] = public_identity(OTHER).hex()
    with pytest.raises(MalformedMessage):
        signed_from_bytes(json.dumps(mixed, indent=1).encode(), TYPE)


def test_an_envelope_is_no_statement_of_the_protocol() -> None:
    signature = b64decode(json.loads(ENVELOPE)["signatures"][0]["sig"])
    assert not is_signed(public_identity(KEY), signature, "DSSEv1", b"hello world")
    with pytest.raises(ValueError, match="line break"):
        sealed(b"log\n1\nroot\n", TYPE, KEY)
