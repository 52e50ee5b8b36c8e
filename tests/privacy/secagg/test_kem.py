"""privacy.secagg.kem: FIPS 203 as we use it, by answers of another implementation and by its own rules."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mlkem

from privacy.errors import UnsafeParameters
from privacy.secagg.kem import CIPHERTEXT_BYTES, KEM_KEY_BYTES, KemPair, encapsulate, is_kem_key, require_kem
from tests import ROOT
from tests.privacy.secagg.rounds import Round, entropy

CASES: list[dict[str, str]] = json.loads((ROOT / "tests/vectors/mlkem.json").read_text())["cases"]
Q, COEFFICIENTS = 3329, 768


def _pair(name: str) -> KemPair:
    draw = entropy(name)
    return KemPair.from_seed(draw(32), draw(32))


def _values(case: dict[str, str]) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in case.items()}


@pytest.mark.parametrize("case", CASES, ids=["first", "second", "third"])
def test_keys_and_secrets_are_those_of_another_implementation(case: dict[str, str]) -> None:
    known = _values(case)
    pair = KemPair.from_seed(known["d"], known["z"])
    assert hashlib.sha256(pair.public).digest() == known["SHA-256 of the public key"]
    assert pair.decapsulate(known["ciphertext"]) == known["secret"]


def test_what_is_encapsulated_is_decapsulated_and_new_each_time() -> None:
    pair = _pair("one")
    made = [encapsulate(pair.public) for _ in range(5)]
    assert len({secret for secret, _ in made}) == len({ciphertext for _, ciphertext in made}) == 5
    for secret, ciphertext in made:
        assert (len(secret), len(ciphertext)) == (32, CIPHERTEXT_BYTES)
        assert pair.decapsulate(ciphertext) == secret
        assert _pair("another").decapsulate(ciphertext) != secret


@pytest.mark.parametrize("at", [0, 500, 959, 960, 1087])
def test_an_altered_ciphertext_gives_the_secret_of_implicit_rejection(at: int) -> None:
    """FIPS 203, algorithm 18: SHAKE-256 of z and the ciphertext, which only the key's holder can work out."""
    d, z = (entropy(name)(32) for name in "dz")
    pair = KemPair.from_seed(d, z)
    secret, ciphertext = encapsulate(pair.public)
    altered = ciphertext[:at] + bytes([ciphertext[at] ^ 1]) + ciphertext[at + 1 :]
    rejected = hashlib.shake_256(z + altered).digest(32)
    assert pair.decapsulate(altered) == rejected != secret


def _with_coefficient(public: bytes, at: int, value: int) -> bytes:
    """The key with one coefficient replaced: 12 bits each, two in three bytes."""
    number = int.from_bytes(public[: 3 * COEFFICIENTS // 2], "little")
    number += (value - (number >> 12 * at) % 4096) << 12 * at
    return number.to_bytes(3 * COEFFICIENTS // 2, "little") + public[3 * COEFFICIENTS // 2 :]


@pytest.mark.parametrize("at", [0, 1, 383, 767])
@pytest.mark.parametrize("value", [0, Q - 1, Q, Q + 1, 4095])
def test_a_key_is_refused_if_and_only_if_a_coefficient_is_not_reduced(at: int, value: int) -> None:
    assert is_kem_key(_with_coefficient(_pair("one").public, at, value)) == (value < Q)


@pytest.mark.parametrize("size", [0, 1, KEM_KEY_BYTES - 1, KEM_KEY_BYTES + 1])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    assert is_kem_key(bytes(KEM_KEY_BYTES))
    assert not is_kem_key(bytes(size))


def test_seeds_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        KemPair.from_seed(bytes(32), bytes(31))


def _unsupported(*_: Any) -> Any:
    raise UnsupportedAlgorithm("ML-KEM-768 is not supported by this backend.")


@pytest.mark.parametrize("is_older", [True, False], ids=["no module", "no backend"])
def test_a_build_without_ml_kem_takes_part_in_nothing_and_says_so_in_one_line(
    is_older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no mode with X25519 alone. Package versions before 47, and builds against an older OpenSSL."""
    client = Round(3).clients[0]
    if is_older:
        monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mlkem", None)
    else:
        monkeypatch.setattr(mlkem.MLKEM768PrivateKey, "from_seed_bytes", _unsupported)
        monkeypatch.setattr(mlkem.MLKEM768PublicKey, "from_public_bytes", _unsupported)
    for ask in (client.advertise, require_kem, lambda: Round(3), lambda: is_kem_key(bytes(KEM_KEY_BYTES))):
        with pytest.raises(UnsafeParameters, match="no ML-KEM-768") as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert "finished" in repr(client)
