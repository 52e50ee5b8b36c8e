"""Every way in which an active server can split small cohorts, by what real sites agree to, and what each comes to.

Each honest site is asked to vote for a smaller set, or for none beyond its vote for everyone, and is then shown a
certificate of all votes for that set or for everyone. Asking it for less, or showing it a set that it has not voted
for, never gives more: its vote can only help.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product

import pytest

from privacy.errors import FaultyServer
from privacy.mechanism.excess import Levels
from privacy.mechanism.noise import VARIANCE
from privacy.secagg.messages import Certificate, Delivery, Masked, Reveal, Survivors, Vote
from privacy.secagg.parameters import Parameters
from privacy.secagg.ring import packed_size
from privacy.secagg.server import Phase
from privacy.secagg.statements import accepted_digest, cast, taken_digest, upload_digest
from tests.adversary.closure import Closure
from tests.adversary.tapped import Tapped, share_the_channel
from tests.privacy.secagg.rounds import fork, identity, site

Sites = frozenset[int]
Asked = tuple[Sites, Sites]  # the set that a site is asked to vote for, and the one that it is then shown
Split = tuple[Asked, ...]  # for each honest site


@dataclass
class Splitter:
    """A round in which everybody has masked, whose sites can be asked again and again from there."""

    n: int
    bad: int
    levels: tuple[int, ...] = ()  # of excess noise
    round: Tapped = field(init=False)
    uploads: dict[int, Vote] = field(default_factory=dict)
    _given: dict[tuple[int, Asked, Sites], Reveal | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.round = Tapped(self.n, colluders=self.bad, levels=self.levels).until(Phase.MASK)
        rules = self.round.parameters
        for slot in range(self.n):
            data = self.round.answer(slot)
            self.round.view.hear(slot, data)
            masked = Masked.from_bytes(data, packed_size(rules.length, rules.ring_bits))
            delivery = Delivery.from_bytes(self.round.inbox[slot], len(self.levels))
            taken = {dealer: taken_digest(sealed.dealt) for dealer, sealed in delivery.by_slot.items()}
            accepted = accepted_digest(self.round.view.bound, taken)
            upload = upload_digest(masked.packed, masked.wraps, accepted)
            self.uploads[slot] = Vote(upload, masked.signature)

    @property
    def everyone(self) -> Sites:
        return self.round.everyone

    def sets(self) -> list[Sites]:
        """All that can be asked for."""
        sizes = range(self.round.parameters.required, self.n + 1)
        return [frozenset(each) for size in sizes for each in combinations(range(self.n), size)]

    def splits(self, smaller: list[list[Sites]]) -> Iterator[Split]:
        """Every site is asked for everyone or for one of the smaller sets, if it is in it, and shown either."""
        for sets in smaller:
            yield from product(*(self._choices(slot, sets) for slot in range(self.bad, self.n)))

    def _choices(self, slot: int, sets: list[Sites]) -> list[Asked]:
        mine = [each for each in sets if slot in each]
        voted = [(each, shown) for each in mine for shown in (each, self.everyone)]
        return [(self.everyone, self.everyone), *voted]

    def reveals(self, split: Split) -> dict[int, Reveal]:
        """What the honest sites give."""
        asked = dict(enumerate(split, self.bad))
        given = {slot: self._reveal(slot, asked) for slot in asked}
        return {slot: reveal for slot, reveal in given.items() if reveal is not None}

    def _reveal(self, slot: int, asked: Mapping[int, Asked]) -> Reveal | None:
        shown = asked[slot][1]
        has_voted = {voter for voter in shown if voter < self.bad or asked[voter][0] == shown}
        voters = self.everyone if shown == self.everyone else frozenset(has_voted)
        key = slot, asked[slot], voters
        if key not in self._given:
            self._given[key] = self._ask(slot, asked[slot], voters)
        return self._given[key]

    def _ask(self, slot: int, asked: Asked, voters: Sites) -> Reveal | None:
        client, (voted, shown) = fork(self.round.clients[slot]), asked
        if voted != self.everyone:
            client.commit(Survivors(voted).to_bytes())
        votes = {voter: self._vote(voter, shown) for voter in voters}
        try:
            return Reveal.from_bytes(client.reveal(Certificate(shown, votes).to_bytes()))
        except FaultyServer:
            return None

    def _vote(self, slot: int, target: Sites) -> Vote:
        return cast(identity(site(slot)), self.round.view.transcript, target, self.uploads[slot].upload)

    def closure(self, reveals: dict[int, Reveal]) -> Closure:
        """What all this comes to, with the colluders' roots."""
        self.round.view.reveals = reveals
        roots = [self.round.root(slot) for slot in range(self.bad)]
        return Closure(self.round.view, thorough=False).relay().saturate(*roots)


def _outcomes(splitter: Splitter, smaller: list[list[Sites]]) -> list[Closure]:
    """One for each different thing that can come of a split, unless another gives all of that and more."""
    met: dict[frozenset[tuple[int, Sites]], dict[int, Reveal]] = {}
    for split in splitter.splits(smaller):
        reveals = splitter.reveals(split)
        met.setdefault(frozenset((at, frozenset(each.seed_shares)) for at, each in reveals.items()), reveals)
    return [
        splitter.closure(reveals) for given, reveals in met.items() if not any(given < more for more in met)
    ]


def _smaller(splitter: Splitter, *, at_once: bool) -> list[list[Sites]]:
    sets = [each for each in splitter.sets() if each != splitter.everyone]
    return [sets] if at_once else [[each] for each in sets]


COHORTS = [(4, 0, True), (4, 1, True), (5, 1, True), (5, 0, False), (6, 0, False), (6, 1, False)]


@pytest.mark.parametrize(("n", "bad", "at_once"), COHORTS)
def test_at_most_one_secret_of_an_honest_site_is_ever_within_reach(n: int, bad: int, at_once: bool) -> None:
    """`at_once`: all smaller sets are asked for side by side; else each of them beside everyone."""
    splitter = Splitter(n, bad)
    outcomes = _outcomes(splitter, _smaller(splitter, at_once=at_once))
    sums = set()
    for known in outcomes:
        both = known.knows("self seed") & known.knows("mask secret")
        assert both == set(range(bad)), "only the colluders' own"
        assert known.knows("channel secret") == set(range(bad))
        assert not any(known.is_bare(slot) for slot in range(bad, n))
        sums.add(frozenset(known.knows("self seed") - set(range(bad))))
    assert frozenset(range(bad, n)) in sums, "everyone's sum can be opened"
    assert any(0 < len(each) < n - bad for each in sums), "and so can smaller ones"


@pytest.mark.parametrize(("n", "bad", "at_once"), COHORTS[:4])
def test_control_under_the_old_derivation_some_split_bares_a_vector(
    n: int, bad: int, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_the_channel(monkeypatch)
    splitter = Splitter(n, bad)
    outcomes = _outcomes(splitter, _smaller(splitter, at_once=at_once))
    assert any(known.is_bare(slot) for known in outcomes for slot in range(bad, n))


EXCESS = [(4, 0, (1,)), (4, 1, (1,)), (5, 0, (1, 2)), (5, 1, (1,))]


def _least_left(n: int, bad: int, levels: tuple[int, ...]) -> int:
    """The least variance that honest sites leave in a sum that some split opens, less what is charged for."""
    splitter, parts = Splitter(n, bad, levels), Levels(n - bad, (0, *levels))
    honest, found, sizes = frozenset(range(bad, n)), [], set()
    for known in _outcomes(splitter, _smaller(splitter, at_once=n == 4)):
        in_sum = known.knows("self seed") & honest
        if in_sum and known.knows("mask secret") & honest == honest - in_sum:
            sizes.add(len(in_sum))
            found.append(sum(parts.left[_stripped(known, slot, len(levels))] for slot in in_sum))
    assert len(sizes) > 1, "sums of several sizes can be opened"
    return min(found) - parts.shares * VARIANCE


def _stripped(known: Closure, slot: int, most: int) -> int:
    """The level down to which a site's noise is known: each seed gives its part, and all above."""
    return next((each - 1 for each in range(1, most + 1) if slot in known.knows(f"e{each}")), most)


@pytest.mark.parametrize(("n", "bad", "levels"), EXCESS)
def test_no_split_leaves_less_noise_in_a_sum_than_is_charged(
    n: int, bad: int, levels: tuple[int, ...]
) -> None:
    """I9, by what real machines give; all rules of it by counting are in tests/federation/round/test_parts.py."""
    assert _least_left(n, bad, levels) >= 0


def test_control_a_level_too_low_leaves_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the level that of who is lost after sharing, of a sum that lost a site nothing would be kept for it."""
    monkeypatch.setattr(Parameters, "opened_level", lambda *_: 1)
    assert _least_left(5, 1, (1,)) < 0
