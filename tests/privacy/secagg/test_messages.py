"""privacy.secagg.messages: any bytes are one message or malformed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.secagg.keys import channel_pair, kem_pair
from privacy.secagg.messages import (
    WRAP_BYTES,
    Advert,
    Adverts,
    Certificate,
    Dealt,
    Delivery,
    Kind,
    Masked,
    Portion,
    Reveal,
    Sealed,
    SealedShares,
    Survivors,
    Vote,
    kind_of,
)
from privacy.secagg.shamir import PRIME
from privacy.secagg.statements import has_repeated_keys
from privacy.suite import SUITE

PACKED = 23
LEVELS = 2  # of excess noise, in every message that has a place for them


def _octets(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


PUBLIC = _octets(32).map(lambda secret: channel_pair(secret, bytes(32)).public)
KEM_KEYS = st.sampled_from([kem_pair(bytes([at]) * 32, bytes(32)).public for at in range(5)])
DIGESTS, SIGNATURES = _octets(32), _octets(64)
ADVERTS = st.builds(Advert, PUBLIC, KEM_KEYS, st.tuples(*[DIGESTS] * (2 + LEVELS)), SIGNATURES)
VOTES = st.builds(Vote, DIGESTS, SIGNATURES)
SLOTS = st.integers(0, 2**16 - 1)
SHARES = st.integers(0, PRIME - 1)
PORTIONS = st.builds(Portion, DIGESTS, DIGESTS, st.tuples(*[SHARES] * (2 + LEVELS)))
DEALT = st.builds(Dealt, _octets(32 * (4 + LEVELS)), SIGNATURES)
SEALED = st.builds(Sealed, _octets(1088), _octets(146 + 33 * LEVELS), DEALT)
WRAPS = st.dictionaries(SLOTS, _octets(WRAP_BYTES), max_size=3)


@st.composite
def reveals(draw: st.DrawFn) -> Reveal:
    shares = draw(st.dictionaries(SLOTS, SHARES, max_size=6))
    seeds = draw(st.sets(st.sampled_from(sorted(shares)))) if shares else set()
    of_seeds = {slot: share for slot, share in shares.items() if slot in seeds}
    of_keys = {slot: share for slot, share in shares.items() if slot not in seeds}
    return Reveal(of_seeds, of_keys, draw(st.dictionaries(SLOTS, SHARES, max_size=3)), draw(SIGNATURES))


MESSAGES = st.one_of(
    ADVERTS,
    st.dictionaries(SLOTS, ADVERTS, max_size=3).map(Adverts),
    st.dictionaries(SLOTS, SEALED, max_size=4).map(SealedShares),
    st.builds(Delivery, st.frozensets(SLOTS, max_size=6), st.dictionaries(SLOTS, SEALED, max_size=4)),
    st.builds(Masked, SIGNATURES, WRAPS, _octets(PACKED)),
    st.frozensets(SLOTS, max_size=6).map(Survivors),
    VOTES,
    st.builds(Certificate, st.frozensets(SLOTS, max_size=6), st.dictionaries(SLOTS, VOTES, max_size=3)),
    reveals(),
    PORTIONS,
    DEALT,
)
Message = (
    Advert
    | Adverts
    | SealedShares
    | Delivery
    | Masked
    | Survivors
    | Vote
    | Certificate
    | Reveal
    | Portion
    | Dealt
)
PARSERS: list[Callable[[bytes], Message]] = [
    partial(Advert.from_bytes, levels=LEVELS),
    partial(Adverts.from_bytes, levels=LEVELS),
    partial(SealedShares.from_bytes, levels=LEVELS),
    partial(Delivery.from_bytes, levels=LEVELS),
    lambda data: Masked.from_bytes(data, PACKED),
    Survivors.from_bytes,
    Vote.from_bytes,
    Certificate.from_bytes,
    Reveal.from_bytes,
    partial(Portion.from_bytes, levels=LEVELS),
    partial(Dealt.from_bytes, levels=LEVELS),
]


def _parse(message: Message, data: bytes) -> Message:
    if isinstance(message, Masked):
        return Masked.from_bytes(data, PACKED)
    return type(message).from_bytes(data, LEVELS)


@settings(max_examples=200)
@given(MESSAGES)
def test_a_message_comes_back(message: Message) -> None:
    assert _parse(message, message.to_bytes()) == message


@settings(max_examples=400)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(st.integers(1, 9), st.binary(max_size=300)).map(
            lambda pair: bytes([SUITE, pair[0]]) + pair[1]
        ),
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
    for wrong in (b"", b"\x04", b"\x01\x01", b"\x03\x01", b"\x04\x00", b"\x04\x0a"):
        with pytest.raises(MalformedMessage):
            kind_of(wrong)


def test_slots_out_of_order_or_twice_are_malformed() -> None:
    for slots in (b"\x00\x01\x00\x00", b"\x00\x01\x00\x01"):
        with pytest.raises(MalformedMessage, match="ascending"):
            Survivors.from_bytes(b"\x04\x06\x00\x02" + slots)


def _reveal(seeds: dict[int, int], keys: dict[int, int], excess: dict[int, int] | None = None) -> Reveal:
    return Reveal(seeds, keys, excess or {}, b"s" * 64)


def test_a_reveal_never_holds_both_kinds_of_share_of_a_site() -> None:
    with pytest.raises(MalformedMessage, match="both kinds"):
        Reveal.from_bytes(_reveal({1: 5, 2: 6}, {2: 7}).to_bytes())


def test_an_unreduced_share_is_malformed() -> None:
    assert Reveal.from_bytes(_reveal({0: PRIME - 1}, {}).to_bytes()).seed_shares == {0: PRIME - 1}
    with pytest.raises(MalformedMessage, match="reduced"):
        Reveal.from_bytes(_reveal({0: PRIME}, {}).to_bytes())


def test_a_kem_key_that_is_not_reduced_is_malformed() -> None:
    advert = Advert(_public(b"1"), _kem(b"1"), (b"c" * 32,) * 2, b"s" * 64)
    assert Advert.from_bytes(advert.to_bytes()) == advert
    unreduced = replace(advert, kem_key=b"\xff\xff\xff" + advert.kem_key[3:])
    with pytest.raises(MalformedMessage, match="KEM key"):
        Advert.from_bytes(unreduced.to_bytes())


def _public(name: bytes) -> bytes:
    return channel_pair(name * 32, bytes(32)).public


def _kem(name: bytes) -> bytes:
    return kem_pair(name * 32, bytes(32)).public


def _sealed(levels: int) -> Sealed:
    return Sealed(b"k" * 1088, b"x" * (146 + 33 * levels), Dealt(b"d" * 32 * (4 + levels), b"s" * 64))


@pytest.mark.parametrize("levels", [0, 3])
def test_layouts_are_those_of_the_specification(levels: int) -> None:
    advert = Advert(_public(b"1"), _kem(b"2"), (b"c" * 32,) * (2 + levels), b"s" * 64)
    body = advert.channel_key + advert.kem_key + b"c" * 32 * (2 + levels) + advert.signature
    assert len(body) == 1344 + 32 * levels
    assert advert.to_bytes() == b"\x04\x01" + body
    assert Adverts({258: advert}).to_bytes() == b"\x04\x02" + b"\0\x01" + b"\x01\x02" + body
    entry = b"k" * 1088 + b"x" * (146 + 33 * levels) + b"d" * 32 * (4 + levels) + b"s" * 64
    assert len(entry) == 1426 + 65 * levels
    of = {3: _sealed(levels)}
    assert SealedShares(of).to_bytes() == b"\x04\x03" + b"\0\x01" + b"\0\x03" + entry
    sharers, sealed = b"\0\x02" + b"\0\x01\0\x03", b"\0\x01" + b"\0\x03" + entry
    assert Delivery(frozenset({3, 1}), of).to_bytes() == b"\x04\x04" + sharers + sealed
    portion = Portion(b"x" * 32, b"y" * 32, tuple(range(2 + levels)))
    shares = b"".join(bytes(32) + bytes([share]) for share in range(2 + levels))
    assert portion.to_bytes() == b"x" * 32 + b"y" * 32 + shares
    assert list(portion.parts) == ["x", "y", "s", "m", "e1", "e2", "e3"][: 4 + levels]
    assert [Dealt(bytes(range(128)), b"").of(part)[0] for part in ("x", "y", "s", "m")] == [0, 32, 64, 96]


def test_layouts_of_uploads_votes_and_reveals_are_those_of_the_specification() -> None:
    wraps = b"\0\x01" + b"\0\x07" + b"w" * 48
    assert Masked(b"s" * 64, {7: b"w" * 48}, b"xy").to_bytes() == b"\x04\x05" + b"s" * 64 + wraps + b"xy"
    assert Survivors(frozenset({2, 1})).to_bytes() == b"\x04\x06" + b"\0\x02" + b"\0\x01\0\x02"
    vote = Vote(b"u" * 32, b"s" * 64)
    assert vote.to_bytes() == b"\x04\x07" + b"u" * 32 + b"s" * 64
    sharers, votes = b"\0\x02" + b"\0\x01\0\x03", b"\0\x01" + b"\0\x01" + b"u" * 32 + b"s" * 64
    assert Certificate(frozenset({3, 1}), {1: vote}).to_bytes() == b"\x04\x08" + sharers + votes + b"\0\0"
    ring = Certificate(frozenset({3, 1}), {1: vote}, {1: vote, 3: vote}).to_bytes()
    assert ring == b"\x04\x08" + sharers + votes + b"\0\x02" + votes[2:] + b"\0\x03" + votes[4:]
    seed, key = b"\0\x01" + b"\0\x01" + bytes(32) + b"\x09", b"\0\x01" + b"\0\x02" + bytes(32) + b"\x07"
    assert _reveal({1: 9}, {2: 7}).to_bytes() == b"\x04\x09" + seed + key + b"\0\0" + b"s" * 64
    assert _reveal({1: 9}, {2: 7}, {1: 9}).body == seed + key + seed


def test_repeated_keys_are_seen_across_sites() -> None:
    """5: duplicate public keys, of either kind."""
    one, two, three = _public(b"1"), _public(b"2"), _public(b"3")
    kem, other, last = _kem(b"1"), _kem(b"2"), _kem(b"3")
    rest = (bytes(32),) * 2, bytes(64)
    assert has_repeated_keys([Advert(one, kem, *rest), Advert(two, other, *rest), Advert(one, last, *rest)])
    assert has_repeated_keys([Advert(one, kem, *rest), Advert(two, other, *rest), Advert(three, kem, *rest)])
    assert not has_repeated_keys([Advert(one, kem, *rest), Advert(two, other, *rest)])


def test_no_share_no_half_and_no_vector_is_in_a_repr() -> None:
    assert repr(Reveal({1: 987654321}, {}, {1: 987654321}, b"")) == "Reveal(signature=b'')"
    assert repr(Portion(b"half" * 8, b"half" * 8, (987654321,) * 2)) == "Portion()"
    assert "vector" not in repr(Masked(b"s" * 64, {}, b"vector"))
