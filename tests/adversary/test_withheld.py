"""A server keeps an upload back, calls its site lost, and has the site's mask secret rebuilt by the others.

It then holds every message, the late upload, and whatever its colluders know. It must open the seals of its
colluders and no other, and the vector must stay hidden behind the self mask. Each control runs the same attack on
sites that derive the channel secret from what is shared, as suite 2 did: it opens every seal of the site and reads
the vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from privacy.secagg.graph import COMPLETE_LIMIT
from privacy.secagg.server import Phase
from tests.adversary.closure import Closure, attack
from tests.adversary.tapped import Tapped, derive_the_channel, share_the_channel
from tests.privacy.secagg.statistics import ALARM, chi_square_p_value

LONG = 1 << 14


@dataclass(frozen=True)
class Case:
    """A cohort of n whose plan allows for `colluders`; the first `bad` sites are some; and who is called lost."""

    n: int
    colluders: int
    victims: tuple[int, ...]
    bad: int = 0

    def round(self) -> Tapped:
        return Tapped(self.n, colluders=self.colluders, dropouts=len(self.victims))

    def seals(self, round_: Tapped, *victims: int) -> set[tuple[int, int]]:
        """Those to and from the colluders, and these sites."""
        sites = {*range(self.bad), *victims}
        return {(one, other) for one, other in round_.view.seals if one in sites or other in sites}

    def attack(self, round_: Tapped) -> Closure:
        roots = [round_.root(slot) for slot in range(self.bad)]
        return attack(round_.view, roots, thorough=self.n <= 10)


EVERY_VICTIM = [Case(4, 0, (slot,)) for slot in range(4)] + [Case(5, 1, (slot,)) for slot in range(5)]
LARGER = [Case(10, 1, (7,)), Case(40, 1, (20,))]
RING = [Case(130, 0, (64,)), Case(130, 1, (3, 77), bad=1), Case(150, 2, (5,), bad=2)]
SEVERAL = [Case(5, 0, (0, 4)), Case(7, 0, (1, 3, 6)), Case(7, 1, (2, 5))]
COLLUDING = [
    Case(4, 1, (3,), bad=1),
    Case(5, 1, (2,), bad=1),
    Case(7, 2, (3, 6), bad=2),
    Case(7, 4, (6,), bad=4),
    Case(10, 3, (3, 5, 9), bad=3),
    Case(40, 1, (11, 30), bad=1),
]
CASES = [*EVERY_VICTIM, *LARGER, *RING, *SEVERAL, *COLLUDING]
READ = [
    *EVERY_VICTIM,
    LARGER[0],
    RING[0],
    *SEVERAL,
    *COLLUDING[:-1],
]  # a control needs no second large cohort


def test_the_large_cohorts_are_rings() -> None:
    for case in CASES:
        shape = case.round().parameters.shape
        assert (shape.degree < case.n - 1) == (case.n > COMPLETE_LIMIT) == (case in RING)
        assert case.round().parameters.tolerated == len(case.victims), "each plan stands its losses"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_upload_that_was_kept_back_stays_hidden(case: Case) -> None:
    round_ = case.round().open(case.victims)
    known = case.attack(round_)
    assert known.opened.keys() == case.seals(round_)
    assert round_.result() == round_.sum_over(round_.everyone - set(case.victims))
    for victim in case.victims:
        assert known.facts["mask secret", victim] == round_.secrets(victim).mask
        assert [mask for mask in known.masks(victim) if mask not in known.facts] == [("self mask", victim)]
        assert not known.has_read(victim, round_.vectors[victim])


@pytest.mark.parametrize("case", READ, ids=str)
def test_control_the_same_attack_reads_it_if_one_secret_serves_for_both(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_the_channel(monkeypatch)
    round_ = case.round().open(case.victims)
    known = case.attack(round_)
    assert known.opened.keys() == case.seals(round_, *case.victims)
    assert round_.result() == round_.sum_over(round_.everyone - set(case.victims))
    for victim in case.victims:
        own = [seal for seal in known.opened if victim in seal]
        assert len(own) == 2 * round_.parameters.shape.degree
        assert known.has_read(victim, round_.vectors[victim])


@pytest.mark.parametrize("case", [*SEVERAL, COLLUDING[1]], ids=str)
def test_control_it_reads_it_if_the_channel_secret_follows_from_the_mask_secret(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    derive_the_channel(monkeypatch)
    round_ = case.round().open(case.victims)
    known = case.attack(round_)
    assert known.opened.keys() == case.seals(round_, *case.victims)
    assert all(known.has_read(victim, round_.vectors[victim]) for victim in case.victims)


def _plain(round_: Tapped, victim: int) -> Tapped:
    """Give the victim a vector that is anything but uniform."""
    round_.vectors[victim] = np.arange(LONG, dtype=np.uint64) % np.uint64(7)
    return round_


def _long(tag: str = "") -> Tapped:
    return _plain(Tapped(5, length=LONG, tag=tag, session=tag.ljust(32).encode()), 2)


def test_what_is_left_of_the_upload_is_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    round_ = _long().open([2])
    known = attack(round_.view, [round_.root(0)])
    assert chi_square_p_value(known.residue(2)) > ALARM
    assert chi_square_p_value(round_.view.uploads[2]) > ALARM
    share_the_channel(monkeypatch)
    bared = _long().open([2])
    residue = attack(bared.view).residue(2)
    assert chi_square_p_value(residue) < ALARM
    assert residue.tolist() == round_.vectors[2].tolist()


@pytest.mark.parametrize("is_opened", [True, False], ids=["opened", "voided"])
def test_two_attempts_with_one_vector_tell_nothing_together(is_opened: bool) -> None:
    """The site masks the same vector anew after an attempt that was opened without it, or not at all."""
    first, second = _long("first"), _long("second")
    first.open([2]) if is_opened else first.betray([2])
    second.open([2])
    both = [attack(attempt.view, [attempt.root(0)]) for attempt in (first, second)]
    shared = [list(known.facts.values()) for known in both]
    for known, others in zip(both, reversed(shared), strict=True):
        known.saturate(*others)
        assert 2 not in known.knows("self seed")
        assert all(0 in seal for seal in known.opened)
    uploads = [attempt.view.uploads[2] for attempt in (first, second)]
    for one, other in (uploads, [known.residue(2) for known in both]):
        assert chi_square_p_value(one - other) > ALARM


def test_control_two_attempts_under_the_old_derivation_differ_by_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share_the_channel(monkeypatch)
    first, second = (attack(_long(tag).open([2]).view).residue(2) for tag in ("first", "second"))
    assert not (first - second).any()


@pytest.mark.parametrize("n", [4, 5, 10])
def test_a_site_that_was_never_given_its_shares_has_nothing_to_lose(n: int) -> None:
    round_ = Tapped(n).open([n - 1], withheld=True)
    known = attack(round_.view)
    assert not known.opened
    assert n - 1 not in round_.view.uploads
    assert n - 1 in known.knows("mask secret")
    assert n - 1 not in known.knows("self seed")


def test_control_without_its_own_secret_for_seals_even_its_self_seed_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share_the_channel(monkeypatch)
    known = attack(Tapped(5).open([4], withheld=True).view)
    assert len(known.opened) == 2 * 4
    assert 4 in known.knows("self seed")


def _prepared(tags: tuple[str, str]) -> tuple[Tapped, Tapped]:
    """A round in which a site is lost, and the next one: its keys and vectors are there before the reveals."""
    present, following = (Tapped(5, tag=tag, session=bytes([number]) * 32) for number, tag in enumerate(tags))
    present.betray([2])
    following.until(Phase.MASK)
    for slot in following.everyone:
        following.view.hear(slot, following.answer(slot))
    present.until(Phase.DONE)
    return present, following


@pytest.mark.parametrize("tags", [("one", "two"), ("one", "one")], ids=["fresh roots", "repeated roots"])
def test_what_a_round_reveals_opens_nothing_of_the_round_prepared_beside_it(tags: tuple[str, str]) -> None:
    """Even if a site's randomness repeats, its secrets depend on the session."""
    present, following = _prepared(tags)
    revealed = attack(present.view).facts.values()
    known = Closure(following.view).saturate(*revealed)
    assert not known.opened
    assert {fact[0] for fact in known.facts} == {"given"}


def test_control_a_root_that_repeats_opens_its_site_in_both_rounds() -> None:
    present, following = _prepared(("one", "one"))
    known = Closure(following.view).saturate(present.root(2))
    assert {seal for seal in following.view.seals if 2 in seal} == known.opened.keys()
    assert known.has_read(2, following.vectors[2])
