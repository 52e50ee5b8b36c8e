"""Keys of nodes, and what a node puts on its requests."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def node() -> tuple[EllipticCurvePrivateKey, bytes]:
    """A node's key, and the point that a roster names."""
    key = generate_private_key(SECP384R1())
    return key, key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def signed(key: EllipticCurvePrivateKey, moment: datetime | None = None) -> dict[str, str]:
    """The headers of a request of this node, written from Flower's documentation of them."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    told = (moment or datetime.now(UTC)).isoformat()
    return {
        "flwr-public-key": b64encode(public).decode(),
        "flwr-signature": b64encode(key.sign(told.encode(), ECDSA(SHA256()))).decode(),
        "flwr-timestamp": told,
        "content-type": "application/protobuf",
    }
