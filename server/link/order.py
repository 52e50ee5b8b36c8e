"""What the coordinator tells its SuperLink, in one line over a pipe; it holds secrets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federation.round.transport import LARGEST


@dataclass(frozen=True)
class Order:
    """`public` and `local` are descriptors of listening sockets, `nodes` compressed points in hexadecimal.

    `largest`: bytes of the longest reply that a site may send.
    """

    public: int
    local: int
    certificate: str
    key: str
    nodes: tuple[str, ...]
    token: str = field(repr=False)
    secret: str = field(repr=False)
    largest: int = LARGEST

    def to_line(self) -> bytes:
        """The order as it goes over the pipe."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """What `to_line` wrote."""
        told = json.loads(line)
        return cls(**{**told, "nodes": tuple(told["nodes"])})


def node_key(point: bytes) -> bytes:
    """A node's key as Flower writes it, from the compressed point that a roster names."""
    key = EllipticCurvePublicKey.from_encoded_point(SECP384R1(), point)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
