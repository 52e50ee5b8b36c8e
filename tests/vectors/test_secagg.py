"""The known answers of secure aggregation are the ones on file, and follow from the specification alone.

The second half is an implementation of its own: Python's integers, hashlib, hmac and the primitives of the
`cryptography` package, written from docs/protocol.md, with nothing of privacy.secagg.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from math import gcd
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.generate import FILE, to_json

VECTORS: dict[str, Any] = json.loads(FILE.read_text())
ROUND: dict[str, Any] = VECTORS["round"]
P = 2**256 + 297


def test_the_answers_on_file_are_the_answers_given() -> None:
    assert to_json() == FILE.read_text(), "run python -m tests.vectors.generate and look at what changed"


def u(width: int, value: int) -> bytes:
    return value.to_bytes(width, "big")


def blob(data: bytes) -> bytes:
    return u(4, len(data)) + data


def framed(label: str, *parts: bytes) -> bytes:
    return blob(label.encode()) + b"".join(map(blob, parts))


def h(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(framed(label, *parts)).digest()


def kdf(secret: bytes, salt: bytes, label: str, *parts: bytes) -> bytes:
    extracted = hmac.digest(salt, secret, "sha256")
    return hmac.digest(extracted, framed(label, *parts) + b"\x01", "sha256")


def signed(private: bytes, label: str, *parts: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(private).sign(blob(label.encode()) + h(label, *parts))


def x25519(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def lane(bits: int) -> int:
    return next(width for width in (16, 32, 64) if bits <= width)


def packed(vector: list[int], bits: int) -> bytes:
    width = lane(bits)
    fields, words = width // gcd(bits, width), bits // gcd(bits, width)
    columns = -(-len(vector) // fields)
    padded = vector + [0] * (fields * columns - len(vector))
    strings = [sum(padded[f * columns + r] << f * bits for f in range(fields)) for r in range(columns)]
    lanes = [strings[r] >> w * width & (1 << width) - 1 for w in range(words) for r in range(columns)]
    return b"".join(each.to_bytes(width // 8, "little") for each in lanes)


def mask(key: bytes, length: int, bits: int) -> list[int]:
    size = lane(bits) // 8
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size * length))
    elements = [int.from_bytes(stream[at : at + size], "little") for at in range(0, size * length, size)]
    return [element % (1 << bits) for element in elements]


def shares(secret: bytes, drawn: bytes, slots: list[int]) -> list[bytes]:
    """Coefficients of the higher powers are drawn first."""
    above = [int.from_bytes(drawn[at : at + 48], "big") % P for at in range(0, len(drawn), 48)]
    polynomial = [*above, int.from_bytes(secret, "big")]
    degree = len(polynomial) - 1
    values = [sum(a * (slot + 1) ** (degree - k) for k, a in enumerate(polynomial)) % P for slot in slots]
    return [u(33, value) for value in values]


def test_packing_follows_from_the_specification() -> None:
    for case in VECTORS["packing"]:
        assert packed(case["vector"], case["bits"]).hex() == case["packed"]


def test_sharing_follows_from_the_specification() -> None:
    case = VECTORS["shamir"]
    drawn = bytes.fromhex("".join(case["drawn for the coefficients"]))
    dealt = shares(bytes.fromhex(case["secret"]), drawn, list(range(5)))
    assert [share.hex() for share in dealt] == case["shares by slot"]


def test_parameters_follow_from_the_specification() -> None:
    for case in [*VECTORS["parameters"], *VECTORS["rings"]]:
        n, c = case["n"], case["colluders"]
        quorum = (n + c) // 2 + 1
        assert case["quorum"] == quorum
        assert case["required"] == n - min(case["dropouts"], n - max(quorum, 3))
        assert "degree" in case or case["threshold"] == quorum


class Second:
    """The round on file, computed again."""

    def __init__(self) -> None:
        self.sites, self.bits = ROUND["sites"], ROUND["ring bits"]
        self.length = len(self.sites[0]["vector"])
        self.steps = {step["step"]: step for step in ROUND["steps"]}
        names = [blob(site["id"].encode()) for site in self.sites]
        rules = u(4, ROUND["colluders"]) + u(4, ROUND["dropouts"]) + u(1, self.bits) + u(8, self.length)
        session, root = bytes.fromhex(ROUND["session"]), bytes.fromhex(ROUND["consortium"]["root"])
        self.c = h("secagg/3/session", session, root, rules + u(4, 4) + b"".join(names))
        roots = [bytes.fromhex(site["drawn"][0]) for site in self.sites]
        self.secrets = [kdf(root, self.c, "secagg/3/mask secret") for root in roots]
        self.seeds = [kdf(root, self.c, "secagg/3/self seed") for root in roots]
        channel_secrets = [kdf(root, self.c, "secagg/3/channel secret") for root in roots]
        self.mask_keys = [kdf(secret, self.c, "secagg/3/mask key") for secret in self.secrets]
        self.channel_keys = [kdf(secret, self.c, "secagg/3/channel key") for secret in channel_secrets]
        bodies = [self.advert(slot) for slot in range(4)]
        self.adverts = b"\x03\x02" + u(2, 4) + b"".join(u(2, slot) + body for slot, body in enumerate(bodies))
        self.a = h("secagg/3/adverts", self.c, self.adverts)
        everyone = b"".join(u(2, slot) for slot in range(4))
        self.t = h("secagg/3/masks", self.a, bytes.fromhex(ROUND["context"]), everyone)

    def identity(self, slot: int) -> bytes:
        return bytes.fromhex(self.sites[slot]["identity private key"])

    def advert(self, slot: int) -> bytes:
        commitment = h("secagg/3/commitment", self.c, u(2, slot), self.seeds[slot])
        statement = public(self.mask_keys[slot]) + public(self.channel_keys[slot]) + commitment
        return statement + signed(self.identity(slot), "secagg/3/advert", self.c, u(2, slot), statement)

    def sealed(self, sender: int) -> bytes:
        drawn = [bytes.fromhex(each) for each in self.sites[sender]["drawn"][1:3]]
        of_secret = shares(self.secrets[sender], drawn[0], self._holders(sender))
        of_seed = shares(self.seeds[sender], drawn[1], self._holders(sender))
        out = b"\x03\x03" + u(2, 3)
        for at, to in enumerate(self._holders(sender)):
            if to != sender:
                address = self.a + u(2, sender) + u(2, to)
                agreed = x25519(self.channel_keys[sender], public(self.channel_keys[to]))
                key = kdf(agreed, self.a, "secagg/3/channel", address)
                out += u(2, to) + AESGCM(key).encrypt(bytes(12), of_secret[at] + of_seed[at], address)
        return out

    def _holders(self, sender: int) -> list[int]:
        return [slot for slot in range(4) if slot != sender] + [sender]

    def upload(self, slot: int) -> bytes:
        key = kdf(self.seeds[slot], self.t, "secagg/3/self mask", u(2, slot))
        total = [x + m for x, m in zip(self.sites[slot]["vector"], self.mask(key), strict=True)]
        for peer in range(4):
            if peer != slot:
                agreed = x25519(self.mask_keys[slot], public(self.mask_keys[peer]))
                ends = [
                    part for at in sorted((slot, peer)) for part in (u(2, at), public(self.mask_keys[at]))
                ]
                pair = self.mask(kdf(agreed, self.t, "secagg/3/pair mask", *ends))
                sign = 1 if slot < peer else -1
                total = [x + sign * m for x, m in zip(total, pair, strict=True)]
        return packed([x % (1 << self.bits) for x in total], self.bits)

    def mask(self, key: bytes) -> list[int]:
        return mask(key, self.length, self.bits)

    def vote(self, slot: int, survivors: range) -> bytes:
        slots = b"".join(u(2, each) for each in survivors)
        upload = h("secagg/3/upload", self.upload(slot))
        return upload + signed(self.identity(slot), "secagg/3/vote", self.t, slots, upload)


@pytest.fixture(scope="module")
def second() -> Second:
    return Second()


def test_the_roster_is_signed_as_specified() -> None:
    case = ROUND["consortium"]
    data = bytes.fromhex(case["signed roster"])
    size = int.from_bytes(data[:4], "big")
    roster, rest = data[4 : 4 + size], data[4 + size :]
    assert h("secagg/3/roster", roster).hex() == case["root"]
    assert rest[:34] == u(2, 1) + bytes.fromhex(case["public key"])
    statement = blob(b"secagg/3/roster") + h("secagg/3/roster", roster)
    Ed25519PublicKey.from_public_bytes(rest[2:34]).verify(rest[34:], statement)


def test_links_adverts_and_shares_follow_from_the_specification(second: Second) -> None:
    assert {"C": second.c.hex(), "A": second.a.hex(), "T": second.t.hex()} == ROUND["links"]
    for slot in range(4):
        answers = second.steps["advertise"]["answers"], second.steps["share"]["answers"]
        assert answers[0][str(slot)] == (b"\x03\x01" + second.advert(slot)).hex()
        assert answers[1][str(slot)] == second.sealed(slot).hex()
        assert second.steps["share"]["requests"][str(slot)] == second.adverts.hex()


def test_uploads_and_votes_follow_from_the_specification(second: Second) -> None:
    for slot in range(3):
        signature = second.vote(slot, range(4))[32:]
        masked = b"\x03\x05" + signature + second.upload(slot)
        assert second.steps["mask"]["answers"][str(slot)] == masked.hex()
        vote = b"\x03\x07" + second.vote(slot, range(3))
        assert second.steps["commit"]["answers"][str(slot)] == vote.hex()
    votes = b"".join(u(2, slot) + second.vote(slot, range(3)) for slot in range(3))
    certificate = b"\x03\x08" + u(2, 3) + b"\0\0\0\1\0\2" + u(2, 3) + votes
    assert set(second.steps["reveal"]["requests"].values()) == {certificate.hex()}


def test_reveals_and_the_sum_follow_from_the_specification(second: Second) -> None:
    for slot in range(3):
        reveal = b"\x03\x09" + u(2, 3)
        for owner in range(4):
            index = 1 if owner == 3 else 2
            drawn = bytes.fromhex(second.sites[owner]["drawn"][index])
            secret = second.secrets[owner] if owner == 3 else second.seeds[owner]
            reveal += (u(2, 1) if owner == 3 else b"") + u(2, owner) + shares(secret, drawn, [slot])[0]
        assert second.steps["reveal"]["answers"][str(slot)] == reveal.hex()
    vectors = [site["vector"] for site in second.sites[:3]]
    assert [sum(column) % (1 << second.bits) for column in zip(*vectors, strict=True)] == ROUND["sum"]
    assert ROUND["survivors"] == [site["id"] for site in second.sites[:3]]
