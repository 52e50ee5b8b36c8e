"""privacy.roster: who belongs to a consortium is the consortium's word, not the server's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import FaultyServer, MalformedMessage, PolicyViolation
from privacy.roster import Entry, Roster, SignedRoster
from privacy.secagg.parameters import Floor, Parameters, member_keys
from privacy.signing import public_identity, sign
from tests.privacy.secagg.rounds import identity, make_roster

NAMES = ["a", "b", "c", "d", "e"]
CONSORTIUM = [identity(f"consortium {number}") for number in range(3)]
PINNED = [public_identity(key) for key in CONSORTIUM]


def _signed(*signers: int) -> SignedRoster:
    return SignedRoster.by(make_roster(NAMES), [CONSORTIUM[number] for number in signers])


def test_a_quorum_of_pinned_keys_makes_a_roster() -> None:
    for signers in ((0, 1), (1, 2), (0, 1, 2)):
        assert _signed(*signers).verified(PINNED, 2, serial=1) == make_roster(NAMES)


def test_fewer_than_the_quorum_do_not() -> None:
    with pytest.raises(FaultyServer, match="signed by 1 of the pinned consortium keys, 2"):
        _signed(0).verified(PINNED, 2, serial=0)


def test_keys_that_are_not_pinned_do_not_count() -> None:
    """2: a roster, and so every advert under it, signed by an unknown root."""
    stranger = identity("not of the consortium")
    signed = SignedRoster.by(make_roster(NAMES), [CONSORTIUM[0], stranger])
    with pytest.raises(FaultyServer, match="signed by 1"):
        signed.verified(PINNED, 2, serial=0)


def test_pinning_one_key_twice_counts_it_once() -> None:
    with pytest.raises(FaultyServer, match="signed by 1"):
        _signed(0).verified([PINNED[0], PINNED[0]], 2, serial=0)


def test_a_roster_changed_after_it_was_signed_is_refused() -> None:
    """8: the server adds sites of its own."""
    longer = make_roster([*NAMES, "f"]).to_bytes()
    with pytest.raises(FaultyServer, match="signed by 0"):
        replace(_signed(0, 1), roster=longer).verified(PINNED, 2, serial=0)


def test_a_signature_on_something_else_does_not_count() -> None:
    roster = make_roster(NAMES)
    other = sign(CONSORTIUM[0], "secagg/3/advert", roster.to_bytes())
    with pytest.raises(FaultyServer, match="signed by 1"):
        SignedRoster(roster.to_bytes(), {**_signed(1).signatures, PINNED[0]: other}).verified(
            PINNED, 2, serial=0
        )


def test_a_roster_older_than_one_seen_before_is_refused() -> None:
    """3: a site that was revoked since is on the old roster only."""
    with pytest.raises(FaultyServer, match="serial 1, after one of serial 2"):
        _signed(0, 1).verified(PINNED, 2, serial=2)


def test_no_quorum_is_no_check() -> None:
    with pytest.raises(ValueError, match="at least one"):
        _signed().verified(PINNED, 0, serial=0)


def test_a_pinned_key_of_small_order_signs_nothing() -> None:
    """12: under the neutral element, R = identity and S = 0 satisfy the equation for every statement."""
    neutral = (1).to_bytes(32, "little")
    forged = SignedRoster(make_roster(NAMES).to_bytes(), {neutral: neutral + bytes(32)})
    with pytest.raises(FaultyServer, match="signed by 0"):
        forged.verified([neutral], 1, serial=0)


def test_rosters_that_name_a_site_or_a_key_twice_or_a_weak_key_do_not_exist() -> None:
    entries = make_roster(NAMES).entries
    bad = [
        (entries[1], entries[0]),
        (entries[0], entries[0]),
        (entries[0], replace(entries[1], key=entries[0].key)),
        (replace(entries[0], key=bytes(32)), entries[1]),
        (replace(entries[0], key=b"short"), entries[1]),
    ]
    for each in bad:
        with pytest.raises(MalformedMessage):
            Roster(1, each)


KEYS = st.integers(0, 10**6).map(lambda number: public_identity(identity(str(number))))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ENTRIES = st.builds(Entry, TEXTS, TEXTS, KEYS, st.integers(0, 2**64 - 1))
ROSTERS = st.builds(
    lambda serial, entries: Roster(serial, tuple(sorted(entries, key=lambda entry: entry.site))),
    st.integers(0, 2**64 - 1),
    st.lists(ENTRIES, max_size=5, unique_by=(lambda entry: entry.site, lambda entry: entry.key)),
)


@settings(deadline=None)
@given(ROSTERS)
def test_a_roster_comes_back(roster: Roster) -> None:
    assert Roster.from_bytes(roster.to_bytes()) == roster
    signed = SignedRoster.by(roster, CONSORTIUM)
    assert SignedRoster.from_bytes(signed.to_bytes()) == signed


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_roster_is_malformed_or_the_one_form_of_another(data: st.DataObject) -> None:
    for message, parse in ((make_roster(NAMES), Roster.from_bytes), (_signed(0, 1), SignedRoster.from_bytes)):
        octets = bytearray(message.to_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        mutated = bytes(octets[: data.draw(st.one_of(st.none(), st.integers(0, len(octets))))])
        try:
            assert parse(mutated).to_bytes() == mutated
        except MalformedMessage:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_malformed_or_a_roster(data: bytes) -> None:
    for parse in (Roster.from_bytes, SignedRoster.from_bytes):
        try:
            assert parse(data).to_bytes() == data
        except MalformedMessage:
            continue


def test_every_field_is_in_the_root() -> None:
    roster = make_roster(NAMES)
    first = roster.entries[0]
    changes = [{"site": "A"}, {"organization": "x"}, {"key": PINNED[0]}, {"size": 1}]
    rosters = [replace(roster, entries=(replace(first, **each), *roster.entries[1:])) for each in changes]
    roots = {each.root for each in [roster, replace(roster, serial=2), *rosters]}
    assert len(roots) == 6


def test_a_floor_lets_pass_what_meets_it_and_keys_come_by_slot() -> None:
    roster = make_roster(NAMES)
    parameters = Parameters.choose(NAMES[:4], colluders=1, dropouts=1, ring_bits=20, length=1)
    Floor(4, 1, 1).check(parameters, roster)
    assert member_keys(parameters, roster) == tuple(entry.key for entry in roster.entries[:4])
    with pytest.raises(PolicyViolation, match="demands 5"):
        Floor(5, 1, 1).check(parameters, roster)
