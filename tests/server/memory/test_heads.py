"""What a server remembers of ledgers: only what sites signed, only the newest, and shown to a few."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from federation.round.messages import MAX_LEDGERS
from privacy.errors import FaultyClient
from privacy.ledger.chain import Entry, append
from privacy.ledger.heads import Head
from privacy.roster import Entry as RosterEntry
from privacy.roster import Roster
from privacy.signing import public_identity
from server.memory.heads import PEERS, Heads

NAMES = tuple(f"site {letter}" for letter in "abcdefghij")
KEYS = {name: Ed25519PrivateKey.generate() for name in NAMES}
ROSTER = Roster(1, tuple(RosterEntry(name, name, public_identity(KEYS[name]), 40) for name in NAMES))
ONE, OTHER = bytes(32), bytes([1]) * 32  # tags of two pools


def chain(site: str, length: int, word: str = "") -> list[Entry]:
    """The entries of a ledger; another word makes another ledger."""
    entries = [append(None, "genesis", {"site": site, "word": word}, KEYS[site])]
    for number in range(1, length):
        entries.append(append(entries[-1], "roster", {"serial": number, "root": ""}, KEYS[site]))
    return entries


def head(site: str, seq: int, ledger: bytes = ONE, word: str = "") -> Head:
    return Head.signed(site, ledger, chain(site, seq + 1, word)[seq], KEYS[site])


A, B = NAMES[:2]


def test_of_several_heads_the_newest_is_kept_in_any_order() -> None:
    for seqs in ((1, 3, 2), (3, 2, 1), (1, 2, 3)):
        heads = Heads(ROSTER, [head(A, seq) for seq in seqs])
        assert heads.all() == (head(A, 3),)
        assert heads.of(NAMES) == {}  # the site itself has shown none yet


def test_what_a_site_did_not_sign_is_not_believed_whoever_says_it() -> None:
    """DP-32: an altered head, one of a stranger, one that another site signed."""
    genuine = head(A, 5)
    stranger = Head.signed("zurich", ONE, chain(A, 1)[0], Ed25519PrivateKey.generate())
    for wrong in (
        replace(genuine, seq=6),
        replace(genuine, site=B),
        replace(genuine, ledger=OTHER),
        stranger,
    ):
        heads = Heads(ROSTER, [wrong])
        heads.note(wrong)
        assert heads.all() == ()


def test_a_site_shows_its_own_head_signed_by_the_key_of_the_roster() -> None:
    heads = Heads(ROSTER)
    assert heads.take(A, [head(A, 2)]) == head(A, 2)
    for shown in ((), (head(B, 2),), (head(B, 2), head(A, 3)), (replace(head(A, 3), seq=4),)):
        with pytest.raises(FaultyClient, match="shows no head") as error:
            heads.take(A, shown)
        assert error.value.site == A
    with pytest.raises(FaultyClient):
        heads.take("zurich", [replace(head(A, 2), site="zurich")])
    assert heads.of(NAMES) == {A: head(A, 2)}


def test_a_ledger_only_grows() -> None:
    """DP-33, DP-34: an older head, or another of the same length, is a ledger that was set back."""
    heads = Heads(ROSTER, [head(A, 5)])
    assert heads.take(A, [head(A, 5)]) == head(A, 5)  # nothing happened in between
    for seq, word in ((4, ""), (0, ""), (5, "made anew"), (4, "made anew")):
        with pytest.raises(FaultyClient, match="older than the one it showed before"):
            heads.take(A, [head(A, seq, word=word)])
    assert heads.all() == (head(A, 5),)
    assert heads.take(A, [head(A, 6)]) == head(A, 6)
    assert heads.of([A, B]) == {A: head(A, 6)}


def test_a_longer_ledger_of_other_entries_is_left_to_the_site_and_to_auditors() -> None:
    """The failing control: hashes alone do not show whether one head follows another."""
    heads = Heads(ROSTER, [head(A, 5)])
    assert heads.take(A, [head(A, 6, word="made anew")])


def test_the_ledger_of_another_pool_contradicts_nothing() -> None:
    heads = Heads(ROSTER, [head(A, 5)])
    assert not heads.contradicts(head(A, 1, OTHER))
    assert heads.take(A, [head(A, 1, OTHER)]) == head(A, 1, OTHER)
    assert not Heads(ROSTER).contradicts(head(A, 1))


@pytest.mark.parametrize("shown", [[5, 9], [9, 5]])
def test_the_ledger_of_another_pool_makes_nobody_forget_the_first_one(shown: list[int]) -> None:
    """DP-34: a peer that knows both of a site's ledgers, in any order, must not cover up that one was set back."""
    both = [head(A, seq, ONE if seq == 5 else OTHER) for seq in shown]
    heads = Heads(ROSTER, both)
    assert set(heads.shown_to(A, [A, B])) == set(heads.all()) == set(both)
    for seq, ledger in ((4, ONE), (8, OTHER)):
        with pytest.raises(FaultyClient):
            heads.take(A, [head(A, seq, ledger)])


@given(st.integers(3, len(NAMES)), st.data())
def test_each_site_is_shown_its_own_head_and_those_of_a_few_and_each_is_shown_to_a_few(
    size: int, data: st.DataObject
) -> None:
    """A witness entry stays small however large the cohort, and nobody's head is with the server only."""
    cohort = NAMES[:size]
    known = data.draw(st.sets(st.sampled_from(cohort)))
    heads = Heads(ROSTER, [HEADS[name] for name in known])
    seen: dict[str, int] = dict.fromkeys(known, 0)
    for site in cohort:
        shown = [one.site for one in heads.shown_to(site, cohort)]
        assert len(set(shown)) == len(shown) <= PEERS + 1
        assert (site in shown) is (site in known)
        for other in set(shown) - {site}:
            seen[other] += 1
    assert set(seen.values()) <= {min(PEERS, size - 1)}


HEADS = {name: head(name, 1) for name in NAMES}


# What a site may say of its ledgers.


def tag(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_a_flood_of_heads_is_neither_remembered_nor_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sites' 40,000 signed heads: 98 s, then the server died of an uncaught ValueError."""
    heads, verified = Heads(ROSTER), []
    monkeypatch.setattr(Head, "is_signed_by", lambda *_, **__: verified.append(1) is None)
    genuine = head(A, 1)
    for name in (A, B):
        for number in range(20_000):
            heads.note(replace(genuine, site=name, ledger=tag(number)))
    assert len(verified) == 2 * MAX_LEDGERS
    assert len(heads.all()) == 2 * MAX_LEDGERS
    for _ in range(20_000):
        heads.note(replace(genuine, ledger=tag(3), seq=1))
    assert len(verified) == 2 * MAX_LEDGERS
    assert len(heads.shown_to(A, NAMES)) <= MAX_LEDGERS + PEERS


def test_a_run_s_ledger_is_named_once_and_every_later_head_is_of_it() -> None:
    heads = Heads(ROSTER)
    assert heads.name(head(A, 1)) is False
    assert heads.take(A, [head(A, 2)])
    for shown in ([head(A, 9, OTHER)], [head(A, 3), head(A, 9, OTHER)], [head(A, 3), head(A, 4)]):
        with pytest.raises(FaultyClient, match=r"another ledger than its consent names|shows no head"):
            heads.take(A, shown)
    with pytest.raises(FaultyClient, match="another ledger"):
        heads.name(head(A, 9, OTHER))  # greeted again, with another pool
    assert heads.of([A]) == {A: head(A, 2)}


def test_a_new_ledger_beside_known_ones_is_told_and_there_are_a_few_at_most() -> None:
    assert Heads(ROSTER, [head(A, 5)]).name(head(A, 0, OTHER)) is True
    assert Heads(ROSTER, [head(A, 5)]).name(head(A, 6)) is False
    full = Heads(ROSTER, [head(A, 1, tag(number)) for number in range(MAX_LEDGERS)])
    assert full.name(head(A, 2, tag(0))) is False
    full = Heads(ROSTER, [head(A, 1, tag(number)) for number in range(MAX_LEDGERS)])
    with pytest.raises(FaultyClient, match="opens a ledger beside 16 others"):
        full.name(head(A, 1, tag(99)))
