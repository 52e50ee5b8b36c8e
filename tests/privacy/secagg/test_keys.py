"""privacy.secagg.keys: the primitives as we use them, by the vectors of their standards."""

from __future__ import annotations

import hmac
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from privacy.secagg.keys import _SMALL_ORDER as SMALL_ORDER
from privacy.secagg.keys import Channel, KeyPair, channel_pair, derive, is_public_key, kem_pair

SECRETS = st.binary(min_size=32, max_size=32)
P = 2**255 - 19


def _x25519(scalar: bytes, coordinate: bytes) -> bytes:
    return KeyPair(X25519PrivateKey.from_private_bytes(scalar), b"").agree(coordinate)


def test_agreement_gives_the_vectors_of_rfc_7748_section_5_2() -> None:
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    coordinate = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    shared = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert _x25519(scalar, coordinate).hex() == shared
    scalar = coordinate = bytes([9]) + bytes(31)
    for _ in range(1000):
        scalar, coordinate = _x25519(scalar, coordinate), scalar
    assert scalar.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_the_key_derivation_gives_the_vector_of_rfc_5869_appendix_a_1() -> None:
    kdf = HKDF(hashes.SHA256(), 32, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    assert kdf.derive(b"\x0b" * 22).hex() == expected


@given(SECRETS, SECRETS, st.lists(st.binary(max_size=9), max_size=3))
def test_derive_is_extract_then_expand_over_the_framed_label(
    secret: bytes, salt: bytes, parts: list[bytes]
) -> None:
    info = b"".join(len(part).to_bytes(4, "big") + part for part in [b"secagg/4/use", *parts])
    key = hmac.digest(salt, secret, "sha256")
    assert derive(secret, salt, "use", *parts) == hmac.digest(key, info + b"\x01", "sha256")


def test_sealing_gives_test_cases_13_and_14_of_the_gcm_specification() -> None:
    channel = Channel(bytes(32), b"")
    assert channel.seal(b"").hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    sealed = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    assert channel.seal(bytes(16)).hex() == sealed


def _encodings_of_small_order() -> list[bytes]:
    """All 32-byte strings that X25519 reads as a point of small order: with p added, and with the top bit set."""
    values = {base + shift for base in SMALL_ORDER for shift in (0, P) if base + shift < 2**255}
    return [(value + top).to_bytes(32, "little") for value in sorted(values) for top in (0, 2**255)]


def test_every_point_that_x25519_maps_to_zero_is_refused() -> None:
    private = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    encodings = _encodings_of_small_order()
    assert len(encodings) == 14
    for public in encodings:
        assert not is_public_key(public)
        with pytest.raises(ValueError):
            private.exchange(X25519PublicKey.from_public_bytes(public))


@given(SECRETS)
def test_honest_keys_are_accepted_and_have_one_encoding(secret: bytes) -> None:
    public = channel_pair(secret, bytes(32)).public
    assert is_public_key(public)
    assert not is_public_key((int.from_bytes(public, "little") | 1 << 255).to_bytes(32, "little"))
    assert not is_public_key(public[:31])
    assert not is_public_key((P + 9).to_bytes(32, "little"))


@given(SECRETS, SECRETS)
def test_both_ends_agree(one: bytes, other: bytes) -> None:
    ours, theirs = channel_pair(one, bytes(32)), channel_pair(other, bytes(32))
    assert ours.agree(theirs.public) == theirs.agree(ours.public)


def test_labels_and_contexts_give_distinct_keys() -> None:
    secret = bytes(range(32))
    publics = {
        pair(secret, context).public
        for pair in (channel_pair, kem_pair)
        for context in (b"a" * 32, b"b" * 32)
    }
    assert len(publics) == 4


@given(SECRETS, st.binary(max_size=70), st.integers(0, 85 * 8))
def test_a_sealed_message_opens_unaltered_in_its_own_channel_only(
    shared: bytes, text: bytes, bit: int
) -> None:
    roster = bytes(32)
    parts = shared, b"Z" * 32, b"ciphertext"
    channel = Channel.between(*parts, roster, 1, 2)
    sealed = channel.seal(text)
    assert channel.open(sealed) == text
    others = [(roster, 2, 1), (roster, 1, 3), (roster, 0, 2), (b"r" * 32, 1, 2)]
    assert all(Channel.between(*parts, *other).open(sealed) is None for other in others)
    for at in range(3):
        wrong = [b"w" + part[1:] if at == place else part for place, part in enumerate(parts)]
        assert wrong[at] == parts[at] or Channel.between(*wrong, roster, 1, 2).open(sealed) is None
    altered = bytearray(sealed)
    altered[bit // 8 % len(sealed)] ^= 1 << bit % 8
    assert channel.open(bytes(altered)) is None
    assert all(channel.open(sealed[:size]) is None for size in (0, 1, 15, len(sealed) - 1))


def test_no_secret_is_in_a_repr() -> None:
    pair = channel_pair(bytes(range(32)), bytes(32))
    assert "private" not in repr(kem_pair(bytes(range(32)), bytes(32)))
    assert repr(pair) == f"KeyPair(public={pair.public!r})"
    assert "key" not in repr(Channel(bytes(range(32)), b""))


def test_channel_keys_of_a_cohort_are_all_distinct() -> None:
    secrets = [bytes([slot]) * 32 for slot in range(8)]
    pairs = [channel_pair(secret, bytes(32)) for secret in secrets]
    keys = sorted(
        Channel.between(pairs[i].agree(pairs[j].public), bytes(32), b"", bytes(32), i, j).key
        for i in range(8)
        for j in range(8)
        if i != j
    )
    assert len(keys) == 56
    assert all(one != other for one, other in pairwise(keys))
