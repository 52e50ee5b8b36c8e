"""Whom a site believes: pinned keys, a quorum of them, no roster from before, and its own line on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.trust import Trust
from federation.round.messages import Member
from privacy.errors import FaultyServer, MalformedMessage
from privacy.roster import Roster, SignedRoster
from privacy.signing import public_identity
from tests.clients.sites import FIVE, identity, make_roster

KEYS = [identity(f"consortium {number}") for number in range(3)]
BERLIN = Member("berlin", 24)
ROSTER = make_roster(FIVE, serial=3)
SIGNED = SignedRoster.by(ROSTER, KEYS)


def trust(quorum: int = 2, serial: int = 0, name: str = "berlin") -> Trust:
    return Trust(frozenset(public_identity(key) for key in KEYS), quorum, serial, identity(name))


def resized(roster: Roster, size: int) -> Roster:
    entries = (replace(entry, size=size) if entry.site == "berlin" else entry for entry in roster.entries)
    return replace(roster, entries=tuple(entries))


@settings(max_examples=40, deadline=None)
@given(
    signers=st.sets(st.sampled_from(range(3))),
    strangers=st.sets(st.sampled_from(["x", "y", "z"])),
    quorum=st.integers(1, 3),
)
def test_a_quorum_of_pinned_keys_must_have_signed_and_strangers_do_not_count(
    signers: set[int], strangers: set[str], quorum: int
) -> None:
    keys = [*(KEYS[number] for number in signers), *(identity(name) for name in strangers)]
    signed = SignedRoster.by(ROSTER, keys)
    if len(signers) >= quorum:
        assert trust(quorum).accept(signed, BERLIN) == ROSTER
    else:
        with pytest.raises(FaultyServer, match=f"signed by {len(signers)} of the pinned"):
            trust(quorum).accept(signed, BERLIN)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_roster_is_refused_wherever_it_was_changed(place: int, flip: int) -> None:
    octets = bytearray(SIGNED.roster)
    octets[place % len(octets)] ^= flip
    with pytest.raises((FaultyServer, MalformedMessage)):
        trust().accept(replace(SIGNED, roster=bytes(octets)), BERLIN)


@pytest.mark.parametrize("place", [0, 31, 32, 63])
def test_a_changed_signature_counts_for_nothing(place: int) -> None:
    key = public_identity(KEYS[0])
    octets = bytearray(SIGNED.signatures[key])
    octets[place] ^= 1
    spoiled = replace(SIGNED, signatures={**SIGNED.signatures, key: bytes(octets)})
    assert trust(quorum=2).accept(spoiled, BERLIN) == ROSTER
    with pytest.raises(FaultyServer, match="signed by 2 of the pinned consortium keys, 3"):
        trust(quorum=3).accept(spoiled, BERLIN)


def test_signatures_of_one_roster_do_not_serve_another() -> None:
    revoked = make_roster({**FIVE, "mallory": 1}, serial=3)
    with pytest.raises(FaultyServer, match="signed by 0"):
        trust(quorum=1).accept(SignedRoster(revoked.to_bytes(), SIGNED.signatures), BERLIN)


@pytest.mark.parametrize("serial", [0, 2, 3])
def test_a_roster_of_the_pinned_serial_or_later_is_accepted(serial: int) -> None:
    assert trust(serial=serial).accept(SIGNED, BERLIN) == ROSTER


def test_an_older_roster_is_refused() -> None:
    with pytest.raises(FaultyServer, match="serial 3, after one of serial 4"):
        trust(serial=4).accept(SIGNED, BERLIN)


def test_a_roster_must_hold_the_site() -> None:
    with pytest.raises(FaultyServer, match="does not hold zurich; ask the consortium"):
        trust(name="zurich").accept(SIGNED, Member("zurich", 9))


def test_a_roster_must_know_the_site_by_its_own_key_and_size() -> None:
    for wrong in (trust(name="amsterdam"), trust(name="another key")):
        with pytest.raises(FaultyServer, match="another key or size"):
            wrong.accept(SIGNED, BERLIN)
    for size in (0, 23, 25, 1 << 60):
        signed = SignedRoster.by(resized(ROSTER, size), KEYS)
        with pytest.raises(FaultyServer, match="another key or size"):
            trust().accept(signed, BERLIN)


def test_what_a_site_trusts_can_be_shown_without_its_key() -> None:
    assert "identity" not in repr(trust())
    assert "PrivateKey" not in repr(trust())
