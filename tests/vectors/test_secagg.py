"""The known answers of secure aggregation are the ones on file, and follow from the specification alone.

The second half is an implementation of its own: Python's integers, hashlib, hmac and the primitives of the
`cryptography` package, written from docs/protocol.md, with nothing of privacy.secagg.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from math import gcd
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
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


SITES, LOST, LEVELS = range(5), 4, 2
STAYED = [slot for slot in SITES if slot != LOST]
NAMES = ["s", "m", "e1", "e2"]
SUITE = "secagg/4/"


def slots(chosen: Iterable[int]) -> bytes:
    return b"".join(u(2, each) for each in sorted(chosen))


class Second:
    """The round on file, computed again."""

    def __init__(self) -> None:
        self.sites, self.bits = ROUND["sites"], ROUND["ring bits"]
        self.length = len(self.sites[0]["vector"])
        self.steps = {step["step"]: step for step in ROUND["steps"]}
        names = [blob(site["id"].encode()) for site in self.sites]
        rules = u(4, ROUND["colluders"]) + u(4, ROUND["dropouts"]) + u(1, self.bits) + u(8, self.length)
        rules += u(1, LEVELS) + b"".join(u(4, level) for level in ROUND["levels"])
        session, root = bytes.fromhex(ROUND["session"]), bytes.fromhex(ROUND["consortium"]["root"])
        self.c = h(SUITE + "session", session, root, rules + u(4, len(SITES)) + b"".join(names))
        self.roots = [bytes.fromhex(site["drawn"][0]) for site in self.sites]
        self.secrets = [self.shared(slot) for slot in SITES]
        channel = [kdf(root, self.c, SUITE + "channel secret") for root in self.roots]
        self.channel_keys = [kdf(secret, self.c, SUITE + "channel key") for secret in channel]
        self.kem_keys = [
            MLKEM768PrivateKey.from_seed_bytes(
                kdf(secret, self.c, SUITE + "kem d") + kdf(secret, self.c, SUITE + "kem z")
            )
            for secret in channel
        ]
        bodies = [self.advert(slot) for slot in SITES]
        self.adverts = b"\x04\x02" + u(2, 5) + b"".join(u(2, slot) + body for slot, body in enumerate(bodies))
        self.a = h(SUITE + "adverts", self.c, self.adverts)
        self.t = h(SUITE + "masks", self.a, bytes.fromhex(ROUND["context"]), slots(SITES))

    def shared(self, slot: int) -> dict[str, bytes]:
        root = self.roots[slot]
        excess = [bytes.fromhex(each) for each in self.sites[slot]["seeds of excess noise"]]
        s, m = (kdf(root, self.c, SUITE + use) for use in ("mask secret", "self seed"))
        return dict(zip(NAMES, [s, m, *excess], strict=True))

    def identity(self, slot: int) -> bytes:
        return bytes.fromhex(self.sites[slot]["identity private key"])

    def advert(self, slot: int) -> bytes:
        commitments = (
            h(SUITE + "commitment", self.c, u(2, slot), what.encode(), secret)
            for what, secret in self.secrets[slot].items()
        )
        kem_key = self.kem_keys[slot].public_key().public_bytes_raw()
        statement = public(self.channel_keys[slot]) + kem_key + b"".join(commitments)
        return statement + signed(self.identity(slot), SUITE + "advert", self.c, u(2, slot), statement)

    def halves(self, slot: int, peer: int) -> tuple[bytes, bytes]:
        s, ends = self.secrets[slot]["s"], (u(2, slot), u(2, peer))
        return kdf(s, self.a, SUITE + "half", *ends), kdf(s, self.a, SUITE + "wrap half", *ends)

    def share(self, what: str, owner: int, holder: int) -> bytes:
        key = kdf(self.roots[owner], self.a, SUITE + "polynomial", what.encode())
        stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(2 * 48))
        return shares(self.secrets[owner][what], stream, [holder])[0]

    def portion(self, sender: int, to: int) -> list[bytes]:
        return [*self.halves(sender, to), *(self.share(what, sender, to) for what in NAMES)]

    def dealt(self, sender: int, to: int) -> bytes:
        ends = self.a, u(2, sender), u(2, to)
        names = ["x", "y", *NAMES]
        parts = zip(names, self.portion(sender, to), strict=True)
        digests = b"".join(h(SUITE + "part", *ends, what.encode(), part) for what, part in parts)
        return digests + signed(self.identity(sender), SUITE + "dealt", *ends, digests)

    def sealed(self, sender: int) -> bytes:
        out = b"\x04\x03" + u(2, 4)
        for case in ROUND["encapsulated"]:
            if case["from"] == sender:
                to, ciphertext = case["to"], bytes.fromhex(case["ciphertext"])
                encapsulated = self.kem_keys[to].decapsulate(ciphertext)
                assert encapsulated.hex() == case["secret"]
                agreed = x25519(self.channel_keys[sender], public(self.channel_keys[to]))
                ends = u(2, sender), u(2, to)
                key = kdf(agreed + encapsulated, self.a, SUITE + "channel", *ends, ciphertext)
                plain, address = b"".join(self.portion(sender, to)), self.a + b"".join(ends)
                seal = AESGCM(key).encrypt(bytes(12), plain, address)
                out += u(2, to) + ciphertext + seal + self.dealt(sender, to)
        return out

    def accepted(self, slot: int) -> bytes:
        peers = [peer for peer in SITES if peer != slot]
        taken = (u(2, peer) + h(SUITE + "taken", self.dealt(peer, slot)) for peer in peers)
        return h(SUITE + "accepted", self.a, b"".join(taken))

    def vector(self, slot: int) -> bytes:
        key = kdf(self.secrets[slot]["m"], self.t, SUITE + "self mask", u(2, slot))
        total = [x + m for x, m in zip(self.sites[slot]["vector"], self.mask(key), strict=True)]
        for peer in SITES:
            if peer != slot:
                low, high = sorted((slot, peer))
                halves = self.halves(low, high)[0] + self.halves(high, low)[0]
                pair = self.mask(kdf(halves, self.t, SUITE + "pair mask", u(2, low), u(2, high)))
                sign = 1 if slot < peer else -1
                total = [x + sign * m for x, m in zip(total, pair, strict=True)]
        return packed([x % (1 << self.bits) for x in total], self.bits)

    def wraps(self, slot: int) -> bytes:
        out = u(2, 4)
        for peer in SITES:
            if peer != slot:
                ends = u(2, slot), u(2, peer)
                key = kdf(self.halves(peer, slot)[1], self.t, SUITE + "wrap", *ends)
                half, address = self.halves(slot, peer)[0], self.t + b"".join(ends)
                out += u(2, peer) + AESGCM(key).encrypt(bytes(12), half, address)
        return out

    def upload(self, slot: int) -> bytes:
        vector = h(SUITE + "vector", self.vector(slot))
        return h(SUITE + "upload", vector, self.wraps(slot), self.accepted(slot))

    def mask(self, key: bytes) -> list[int]:
        return mask(key, self.length, self.bits)

    def vote(self, slot: int, survivors: Iterable[int]) -> bytes:
        upload = self.upload(slot)
        return upload + signed(self.identity(slot), SUITE + "vote", self.t, slots(survivors), upload)

    def reveal(self, slot: int) -> bytes:
        """One is missing: the first level of noise is needed, the second is not."""
        seeds, excess = u(2, 4), u(2, 4)
        for owner in STAYED:
            seeds += u(2, owner) + self.share("m", owner, slot)
            excess += u(2, owner) + self.share("e2", owner, slot)
        body = seeds + u(2, 1) + u(2, LOST) + self.share("s", LOST, slot) + excess
        parts = self.t, slots(STAYED), self.accepted(slot), body
        return body + signed(self.identity(slot), SUITE + "reveal", *parts)


@pytest.fixture(scope="module")
def second() -> Second:
    return Second()


def test_the_roster_is_signed_as_specified() -> None:
    case = ROUND["consortium"]
    data = bytes.fromhex(case["signed roster"])
    size = int.from_bytes(data[:4], "big")
    roster, rest = data[4 : 4 + size], data[4 + size :]
    assert h("secagg/4/roster", roster).hex() == case["root"]
    assert rest[:34] == u(2, 1) + bytes.fromhex(case["public key"])
    statement = blob(b"secagg/4/roster") + h("secagg/4/roster", roster)
    Ed25519PublicKey.from_public_bytes(rest[2:34]).verify(rest[34:], statement)


def test_links_adverts_and_shares_follow_from_the_specification(second: Second) -> None:
    assert {"C": second.c.hex(), "A": second.a.hex(), "T": second.t.hex()} == ROUND["links"]
    for slot in SITES:
        answers = second.steps["advertise"]["answers"], second.steps["share"]["answers"]
        assert answers[0][str(slot)] == (b"\x04\x01" + second.advert(slot)).hex()
        assert answers[1][str(slot)] == second.sealed(slot).hex()
        assert second.steps["share"]["requests"][str(slot)] == second.adverts.hex()


def test_uploads_and_votes_follow_from_the_specification(second: Second) -> None:
    for slot in STAYED:
        signature = second.vote(slot, SITES)[32:]
        masked = b"\x04\x05" + signature + second.wraps(slot) + second.vector(slot)
        assert second.steps["mask"]["answers"][str(slot)] == masked.hex()
        vote = b"\x04\x07" + second.vote(slot, STAYED)
        assert second.steps["commit"]["answers"][str(slot)] == vote.hex()
    votes = b"".join(u(2, slot) + second.vote(slot, STAYED) for slot in STAYED[:3])  # a quorum
    certificate = b"\x04\x08" + u(2, 4) + slots(STAYED) + u(2, 3) + votes + u(2, 0)
    assert set(second.steps["reveal"]["requests"].values()) == {certificate.hex()}


def test_reveals_and_the_sum_follow_from_the_specification(second: Second) -> None:
    for slot in STAYED:
        assert second.steps["reveal"]["answers"][str(slot)] == (b"\x04\x09" + second.reveal(slot)).hex()
    vectors = [second.sites[slot]["vector"] for slot in STAYED]
    assert [sum(column) % (1 << second.bits) for column in zip(*vectors, strict=True)] == ROUND["sum"]
    names = [site["id"] for site in second.sites]
    assert ROUND["survivors"] == [names[slot] for slot in STAYED]
    assert ROUND["opened"] == {
        "self seeds": {names[slot]: second.secrets[slot]["m"].hex() for slot in STAYED},
        "mask secrets": {names[LOST]: second.secrets[LOST]["s"].hex()},
        "excess noise": {names[slot]: [2, second.secrets[slot]["e2"].hex()] for slot in STAYED},
    }


def test_the_keys_on_file_follow_from_the_specification(second: Second) -> None:
    keys = ROUND["keys"]
    assert keys["mask half from 0 to 1"] == second.halves(0, 1)[0].hex()
    assert keys["wrap half from 1 to 0"] == second.halves(1, 0)[1].hex()
    assert keys["accepted by 0"] == second.accepted(0).hex()
    assert keys["KEM public key of 0"] == second.kem_keys[0].public_key().public_bytes_raw().hex()
