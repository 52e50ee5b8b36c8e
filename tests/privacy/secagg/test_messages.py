"""privacy.secagg.messages: any bytes are one message or malformed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.secagg.keys import mask_pair
from privacy.secagg.messages import (
    SEALED_BYTES,
    Advert,
    Adverts,
    Certificate,
    Delivery,
    Kind,
    Masked,
    Reveal,
    SealedShares,
    SharePair,
    Survivors,
    Vote,
    kind_of,
)
from privacy.secagg.shamir import PRIME
from privacy.secagg.statements import has_repeated_keys
from privacy.suite import SUITE

PACKED = 23
PUBLIC = st.binary(min_size=32, max_size=32).map(lambda secret: mask_pair(secret, bytes(32)).public)
DIGESTS = st.binary(min_size=32, max_size=32)
SIGNATURES = st.binary(min_size=64, max_size=64)
ADVERTS = st.builds(Advert, PUBLIC, PUBLIC, DIGESTS, SIGNATURES)
VOTES = st.builds(Vote, DIGESTS, SIGNATURES)
SLOTS = st.integers(0, 2**16 - 1)
SHARES = st.integers(0, PRIME - 1)
SEALED = st.binary(min_size=SEALED_BYTES, max_size=SEALED_BYTES)


@st.composite
def reveals(draw: st.DrawFn) -> Reveal:
    shares = draw(st.dictionaries(SLOTS, SHARES, max_size=6))
    seeds = draw(st.sets(st.sampled_from(sorted(shares)))) if shares else set()
    of_seeds = {slot: share for slot, share in shares.items() if slot in seeds}
    return Reveal(of_seeds, {slot: share for slot, share in shares.items() if slot not in seeds})


MESSAGES = st.one_of(
    ADVERTS,
    st.dictionaries(SLOTS, ADVERTS, max_size=3).map(Adverts),
    st.dictionaries(SLOTS, SEALED, max_size=4).map(SealedShares),
    st.builds(Delivery, st.frozensets(SLOTS, max_size=6), st.dictionaries(SLOTS, SEALED, max_size=4)),
    st.builds(Masked, SIGNATURES, st.binary(min_size=PACKED, max_size=PACKED)),
    st.frozensets(SLOTS, max_size=6).map(Survivors),
    VOTES,
    st.builds(Certificate, st.frozensets(SLOTS, max_size=6), st.dictionaries(SLOTS, VOTES, max_size=3)),
    reveals(),
    st.builds(SharePair, SHARES, SHARES),
)
Message = (
    Advert | Adverts | SealedShares | Delivery | Masked | Survivors | Vote | Certificate | Reveal | SharePair
)
PARSERS: list[Callable[[bytes], Message]] = [
    Advert.from_bytes,
    Adverts.from_bytes,
    SealedShares.from_bytes,
    Delivery.from_bytes,
    lambda data: Masked.from_bytes(data, PACKED),
    Survivors.from_bytes,
    Vote.from_bytes,
    Certificate.from_bytes,
    Reveal.from_bytes,
    SharePair.from_bytes,
]


def _parse(message: Message, data: bytes) -> Message:
    return Masked.from_bytes(data, PACKED) if isinstance(message, Masked) else type(message).from_bytes(data)


@settings(max_examples=200)
@given(MESSAGES)
def test_a_message_comes_back(message: Message) -> None:
    assert _parse(message, message.to_bytes()) == message


@settings(max_examples=400)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(st.integers(1, 9), st.binary(max_size=300)).map(lambda pair: bytes([2, pair[0]]) + pair[1]),
    )
)
def test_any_bytes_are_malformed_or_the_one_form_of_a_message(data: bytes) -> None:
    for parse in PARSERS:
        try:
            message = parse(data)
        except MalformedMessage:
            continue
        assert message.to_bytes() == data


@settings(max_examples=400)
@given(MESSAGES, st.data())
def test_a_mutated_message_is_malformed_or_the_one_form_of_another(
    message: Message, data: st.DataObject
) -> None:
    octets = bytearray(message.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(octets))))
    mutated = bytes(octets[:cut])
    try:
        parsed = _parse(message, mutated)
    except MalformedMessage:
        return
    assert parsed.to_bytes() == mutated


@given(MESSAGES, st.binary(min_size=1, max_size=5))
def test_a_longer_message_is_malformed(message: Message, tail: bytes) -> None:
    with pytest.raises(MalformedMessage):
        _parse(message, message.to_bytes() + tail)


def test_every_parser_refuses_other_kinds_and_versions() -> None:
    for kind in Kind:
        body = bytes(200)
        for parse, own in zip(PARSERS, Kind, strict=False):
            if own is not kind:
                with pytest.raises(MalformedMessage, match="expected"):
                    parse(bytes([SUITE, kind]) + body)
    for wrong in (b"", b"\x03", b"\x01\x01", b"\x02\x01", b"\x03\x00", b"\x03\x0a"):
        with pytest.raises(MalformedMessage):
            kind_of(wrong)


def test_slots_out_of_order_or_twice_are_malformed() -> None:
    for slots in (b"\x00\x01\x00\x00", b"\x00\x01\x00\x01"):
        with pytest.raises(MalformedMessage, match="ascending"):
            Survivors.from_bytes(b"\x03\x06\x00\x02" + slots)


def test_a_reveal_never_holds_both_kinds_of_share_of_a_site() -> None:
    with pytest.raises(MalformedMessage, match="both kinds"):
        Reveal.from_bytes(Reveal({1: 5, 2: 6}, {2: 7}).to_bytes())


def test_an_unreduced_share_is_malformed() -> None:
    assert Reveal.from_bytes(Reveal({0: PRIME - 1}, {}).to_bytes()).seed_shares == {0: PRIME - 1}
    with pytest.raises(MalformedMessage, match="reduced"):
        Reveal.from_bytes(Reveal({0: PRIME}, {}).to_bytes())


def _public(name: bytes) -> bytes:
    return mask_pair(name * 32, bytes(32)).public


def test_layouts_are_those_of_the_specification() -> None:
    advert = Advert(_public(b"1"), _public(b"2"), b"c" * 32, b"s" * 64)
    body = advert.mask_key + advert.channel_key + advert.commitment + advert.signature
    assert advert.to_bytes() == b"\x03\x01" + body
    assert Adverts({258: advert}).to_bytes() == b"\x03\x02" + b"\0\x01" + b"\x01\x02" + body
    assert SealedShares({3: b"s" * 82}).to_bytes() == b"\x03\x03" + b"\0\x01" + b"\0\x03" + b"s" * 82
    sharers, sealed = b"\0\x02" + b"\0\x01\0\x03", b"\0\x01" + b"\0\x03" + b"s" * 82
    assert Delivery(frozenset({3, 1}), {3: b"s" * 82}).to_bytes() == b"\x03\x04" + sharers + sealed
    assert Masked(b"s" * 64, b"xy").to_bytes() == b"\x03\x05" + b"s" * 64 + b"xy"
    assert Survivors(frozenset({2, 1})).to_bytes() == b"\x03\x06" + b"\0\x02" + b"\0\x01\0\x02"
    vote = Vote(b"u" * 32, b"s" * 64)
    assert vote.to_bytes() == b"\x03\x07" + b"u" * 32 + b"s" * 64
    votes = b"\0\x01" + b"\0\x01" + b"u" * 32 + b"s" * 64
    assert Certificate(frozenset({3, 1}), {1: vote}).to_bytes() == b"\x03\x08" + sharers + votes
    seed, key = b"\0\x01" + b"\0\x01" + bytes(32) + b"\x09", b"\0\x01" + b"\0\x02" + bytes(32) + b"\x07"
    assert Reveal({1: 9}, {2: 7}).to_bytes() == b"\x03\x09" + seed + key


def test_repeated_keys_are_seen_across_sites_and_within_one() -> None:
    """5: duplicate public keys."""
    one, two, three = _public(b"1"), _public(b"2"), _public(b"3")
    rest = bytes(32), bytes(64)
    assert has_repeated_keys([Advert(one, one, *rest)])
    assert has_repeated_keys([Advert(one, two, *rest), Advert(three, one, *rest)])
    assert not has_repeated_keys([Advert(one, two, *rest)])


def test_no_share_and_no_vector_is_in_a_repr() -> None:
    assert repr(Reveal({1: 987654321}, {})) == "Reveal()"
    assert repr(SharePair(987654321, 987654321)) == "SharePair()"
    assert "vector" not in repr(Masked(b"s" * 64, b"vector"))
