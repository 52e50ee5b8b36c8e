"""privacy.secagg.statements: no two sets can both be opened, however voters and server conspire."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from privacy.errors import FaultyServer
from privacy.secagg.messages import Certificate
from privacy.secagg.parameters import Parameters
from privacy.secagg.statements import cast, check_certificate, is_cast
from tests.privacy.secagg.rounds import identity, make_roster, site

TRANSCRIPT = bytes(range(32))
KEYS = [make_roster([site(slot)]).entries[0].key for slot in range(5)]


def _certificate(survivors: set[int], voters: set[int]) -> Certificate:
    votes = {slot: cast(identity(site(slot)), TRANSCRIPT, survivors, bytes([slot]) * 32) for slot in voters}
    return Certificate(frozenset(survivors), votes)


def test_a_quorum_of_survivors_is_accepted_and_one_fewer_is_not() -> None:
    check_certificate(_certificate({0, 1, 2, 3}, {0, 2, 3}), TRANSCRIPT, KEYS, 3)
    with pytest.raises(FaultyServer, match="2 votes, 3"):
        check_certificate(_certificate({0, 1, 2, 3}, {0, 2}), TRANSCRIPT, KEYS, 3)


def test_a_vote_is_about_one_set_round_and_upload() -> None:
    vote = cast(identity(site(1)), TRANSCRIPT, {0, 1, 2}, b"u" * 32)
    assert is_cast(vote, KEYS[1], TRANSCRIPT, frozenset({2, 1, 0}))
    assert not is_cast(vote, KEYS[2], TRANSCRIPT, {0, 1, 2})
    assert not is_cast(vote, KEYS[1], bytes(32), {0, 1, 2})
    assert not is_cast(vote, KEYS[1], TRANSCRIPT, {0, 1})


# What a hostile server can get, counted out: each honest site does one of the things that its rules allow, each
# colluder everything. A site's rules: reveal for everyone, or vote for one smaller set and reveal for it alone.
def _opened(n: int, c: int, quorum: int, threshold: int, smaller: list[frozenset[int]]) -> bool:
    """Whether for some site outside a smaller set both secrets, or for two smaller sets sums, can be opened."""
    honest = range(c, n)
    choices = [None, *smaller]
    for picks in product(choices, repeat=len(honest)):
        camps = {each: c + picks.count(each) for each in choices}
        opened = [each for each in smaller if camps[each] >= quorum]
        helpers = {each: camps[each] >= threshold for each in choices}
        if len(opened) > 1 or (opened and helpers[None]):
            return True
    return False


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_with_this_quorum_and_threshold_one_set_is_opened_at_most(n: int) -> None:
    """25: everything that honest and colluding sites may do, for every number of colluders."""
    for c in range(n - 1):
        rules = Parameters.choose(map(site, range(n)), colluders=c, dropouts=n, ring_bits=8, length=1)
        sets = [frozenset(range(n)) - set(gone) for gone in [(n - 1,), (n - 2,)]]
        assert not _opened(n, c, rules.quorum, rules.threshold, sets)


@pytest.mark.parametrize(("n", "c"), [(4, 0), (5, 1), (6, 2), (7, 1)])
def test_with_a_quorum_and_threshold_one_lower_two_sets_could_be_opened(n: int, c: int) -> None:
    """The failing control."""
    rules = Parameters.choose(map(site, range(n)), colluders=c, dropouts=n, ring_bits=8, length=1)
    sets = [frozenset(range(n)) - set(gone) for gone in [(n - 1,), (n - 2,)]]
    assert _opened(n, c, rules.quorum - 1, rules.threshold - 1, sets)


def test_a_vote_of_every_subset_of_five_counts_for_that_subset_only() -> None:
    sets = [frozenset(each) for size in (3, 4) for each in combinations(range(5), size)]
    for survivors in sets:
        certificate = _certificate(set(survivors), set(survivors))
        for other in sets:
            moved = Certificate(
                other, {slot: vote for slot, vote in certificate.votes.items() if slot in other}
            )
            if other == survivors:
                check_certificate(moved, TRANSCRIPT, KEYS, 3)
            else:
                with pytest.raises(FaultyServer):
                    check_certificate(moved, TRANSCRIPT, KEYS, 3)
