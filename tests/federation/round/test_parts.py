"""DP-62: What is left of the noise, whoever is lost, and however the server asks for secrets (I9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from federation.round.messages import Member
from federation.round.parts import secrets_of, streams_of, without_excess
from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.excess import Levels, levels_between
from privacy.mechanism.noise import SIGMA, VARIANCE, Stream
from privacy.secagg.parameters import Parameters
from tests.plans import plan_of
from tests.privacy.mechanism.laws import p_value

FALSE_ALARM = 1e-6  # of each statistical test below; keys are fixed, so none ever flickers
DIMENSION = 30_000


class NothingToSay:
    """A site without records in its batch: all that it sends is noise."""

    def clipped_gradients(self, clipping_norm: float) -> Tensor:
        return torch.zeros(DIMENSION, dtype=torch.float64)

    update = figures = noised_update = clipped_gradients  # type: ignore[assignment]


def terms_for(sites: int, dropouts: int, colluders: int, **changes: object) -> Terms:
    given = {"minimum": sites, "dropouts": dropouts, "colluders": colluders, "noise": "distributed"}
    plan = plan_of({"sample_rate": 1.0, "rounds": 4}, given, **changes)
    members = tuple(Member(f"site-{slot}", 10) for slot in range(sites))
    return Terms(plan, bytes(16), 1, 1, members, DIMENSION)


def first_of(slot: int) -> bytes:
    return bytes([200 + slot]) * 32


def name(slot: int) -> str:
    return f"site-{slot}"


@lru_cache(maxsize=64)
def upload(terms: Terms, slot: int) -> RingVector:
    """What one site sends, from fixed keys."""
    parts = streams_of(terms, name(slot), secrets_of(terms, name(slot), first_of(slot)))
    stream = Stream(bytes([slot + 1]) * 32)
    return terms.kind.contribute(terms.parties, name(slot), NothingToSay(), stream, parts)  # type: ignore[arg-type]


def opened_by(terms: Terms, survivors: Iterable[int], level: int) -> Mapping[str, bytes]:
    """The first secret above this level, of each survivor."""
    if level >= terms.levels.secrets:
        return {}
    return {name(slot): secrets_of(terms, name(slot), first_of(slot))[level] for slot in survivors}


def left(terms: Terms, survivors: Sequence[int], level: int) -> NDArray[np.int64]:
    """The noise of a sum from which all above this level is taken out, in grid units."""
    names = [name(slot) for slot in survivors]
    total = np.sum([upload(terms, slot) for slot in survivors], axis=0, dtype=np.uint64)
    opened = without_excess(terms, total, names, opened_by(terms, survivors, level))
    return terms.codec.from_ring(opened.total)


def every_loss(terms: Terms) -> Iterator[tuple[int, ...]]:
    """Every set of survivors that a round may open."""
    sites = range(len(terms.members))
    for lost in range(terms.levels.lost[-1] + 1):
        yield from combinations(sites, len(sites) - lost)


@pytest.mark.parametrize(
    ("sites", "dropouts", "colluders", "levels"),
    [(5, 1, 1, 3), (5, 2, 0, 3), (6, 2, 0, 1), (6, 2, 1, 3), (7, 2, 1, 3), (7, 3, 0, 2), (7, 3, 0, 3)],
)
def test_what_is_left_is_what_the_guarantee_counts_on_whoever_is_lost(
    sites: int, dropouts: int, colluders: int, levels: int
) -> None:
    """Chi-square for every set of survivors, against the variance on paper: never below sigma^2 with c known."""
    terms = terms_for(sites, dropouts, colluders, **{"secure_aggregation.excess_levels": levels})
    assert terms.levels.lost[-1] == dropouts
    for survivors in every_loss(terms):
        lost = sites - len(survivors)
        level = terms.levels.level(lost)
        variance = len(survivors) * terms.levels.left[level]
        assert variance - colluders * terms.levels.left[level] >= terms.levels.shares * VARIANCE
        drawn = left(terms, survivors, level)
        assert p_value(drawn, variance) > FALSE_ALARM, survivors
        for wrong in (0.87, 1.15):  # the failing control
            assert p_value(drawn, wrong * variance) < FALSE_ALARM


def test_of_the_noise_of_a_model_too_large_for_the_usual_grid_the_same_shares_are_left() -> None:
    """Wide noise, in parts of its own draws: to the last bit what stays, and its variance whoever is lost."""
    terms = terms_for(6, 2, 1, epsilon=0.2)
    mechanism = terms.mechanism
    assert mechanism is not None and mechanism.width == 16
    for survivors in ((0, 1, 2, 3, 4, 5), (0, 1, 3, 4, 5), (1, 2, 3, 5)):
        level = terms.levels.level(6 - len(survivors))
        drawn, kept = left(terms, survivors, level), np.zeros(DIMENSION, np.int64)
        for slot in survivors:
            streams = streams_of(terms, name(slot), secrets_of(terms, name(slot), first_of(slot)))
            sources = [Stream(bytes([slot + 1]) * 32).derive("noise"), *streams]
            for part, source in zip(terms.levels.parts[: level + 1], sources, strict=False):
                kept += mechanism.noise(source, part)
        assert np.array_equal(drawn, kept)
        variance = 16**2 * len(survivors) * terms.levels.left[level]
        told = terms.kind.sum_variance(terms.parties, len(survivors), len(survivors))
        assert told == pytest.approx(variance * terms.codec.step**2)
        assert p_value(drawn, variance) > FALSE_ALARM
        for wrong in (0.87, 1.15):  # the failing control
            assert p_value(drawn, wrong * variance) < FALSE_ALARM
        assert int(np.abs(drawn).max()) <= terms.codec.headroom


def test_a_level_too_low_would_leave_less_than_is_charged() -> None:
    """The failing control of the choice of level: F4 counts who was lost of those who shared."""
    terms = terms_for(7, 2, 1)
    survivors, needed = (0, 1, 2, 3, 4), terms.levels.shares * VARIANCE
    honest = survivors[: -terms.plan.secure_aggregation.colluders]
    for level, is_enough in ((2, True), (1, False), (0, False)):
        drawn = left(terms, survivors, level) if level == 2 else _stripped(terms, survivors, level)
        expected = len(survivors) * terms.levels.left[level]
        assert p_value(drawn, expected) > FALSE_ALARM
        assert (len(honest) * terms.levels.left[level] >= needed) is is_enough


def _stripped(terms: Terms, survivors: Sequence[int], level: int) -> NDArray[np.int64]:
    """The sum with more taken out than its level allows, by somebody who was given the secrets."""
    as_if = len(terms.members) - terms.levels.lost[level]
    total = np.sum([upload(terms, slot) for slot in survivors], axis=0, dtype=np.uint64)
    for slot in survivors:
        streams = streams_of(terms, name(slot), secrets_of(terms, name(slot), first_of(slot))[level:])
        total = total - terms.kind.excess(terms.parties, len(terms.members) - as_if, streams)
    return terms.codec.from_ring(total & np.uint64((1 << terms.codec.ring_bits) - 1))


def test_the_sum_without_excess_is_that_of_the_parts_that_stay_to_the_last_bit() -> None:
    """At no loss, at one and at two: what is taken out is just what each site drew from its secrets."""
    terms = terms_for(7, 2, 1)
    for survivors in (range(7), range(1, 7), range(2, 7)):
        level = terms.levels.level(7 - len(survivors))
        kept = np.zeros(DIMENSION, np.int64)
        for slot in survivors:
            streams = streams_of(terms, name(slot), secrets_of(terms, name(slot), first_of(slot)))
            sources = [Stream(bytes([slot + 1]) * 32).derive("noise"), *streams]
            for part, source in zip(terms.levels.parts[: level + 1], sources, strict=False):
                kept += terms.mechanism.noise(source, part)  # type: ignore[union-attr]
        assert np.array_equal(left(terms, survivors, level), kept)


def test_what_cannot_be_rebuilt_stays_in_and_is_told() -> None:
    terms = terms_for(5, 1, 1)
    names, total = [name(slot) for slot in range(5)], sum(upload(terms, slot) for slot in range(5))
    opened = opened_by(terms, (0, 1, 3), 0)
    found = without_excess(terms, total, names, opened)
    assert found.reduced == ("site-0", "site-1", "site-3")
    assert found.left == ("site-2", "site-4")
    known = terms.kind.sum_variance(terms.parties, 5, len(found.reduced))
    assert known == pytest.approx((3 * 0.75 + 2) * (SIGMA * terms.codec.step) ** 2)
    drawn = terms.codec.from_ring(found.total)
    assert p_value(drawn, (3 * 0.75 + 2) * VARIANCE) > FALSE_ALARM
    assert p_value(drawn, 5 * 0.75 * VARIANCE) < FALSE_ALARM, "the failing control"


def test_a_sum_at_the_last_level_and_one_without_levels_are_left_as_they_are() -> None:
    for terms, count in ((terms_for(5, 1, 1), 4), (terms_for(5, 0, 1), 5)):
        total = np.arange(DIMENSION, dtype=np.uint64)
        found = without_excess(terms, total, [name(slot) for slot in range(count)], {name(0): first_of(0)})
        assert np.array_equal(found.total, total)
        assert (found.reduced, found.left) == ((), ())


def test_secrets_are_a_site_s_in_a_round_whatever_the_attempt_and_follow_one_from_another() -> None:
    terms = terms_for(7, 2, 1)
    one, *others = secrets_of(terms, name(0), first_of(0))
    assert (one, len(others)) == (first_of(0), terms.levels.secrets - 1)
    assert secrets_of(replace(terms, attempt=9), name(0), first_of(0)) == (one, *others)
    elsewhere = [
        secrets_of(terms, name(1), first_of(0)),
        secrets_of(replace(terms, round=2), name(0), first_of(0)),
        secrets_of(replace(terms, run=bytes([1]) * 16), name(0), first_of(0)),
        secrets_of(terms, name(0), first_of(1)),
    ]
    assert len({(*others,), *((*rest,) for _, *rest in elsewhere)}) == 5
    drawn = [streams_of(at, name(0), [one])[0].take(32) for at in (terms, replace(terms, round=2))]
    assert len({one, *others, *drawn}) == 3 + len(others)


@pytest.mark.parametrize("first", [b"", bytes(31), bytes(33)])
def test_a_secret_of_another_length_is_refused(first: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        secrets_of(terms_for(5, 1, 1), name(0), first)
    with pytest.raises(ValueError, match="levels"):
        secrets_of(terms_for(5, 0, 1), name(0), bytes(32))


def test_without_secrets_a_site_adds_its_whole_share_in_one_part() -> None:
    terms = terms_for(5, 1, 1)
    drawn = terms.codec.from_ring(
        terms.kind.contribute(terms.parties, name(0), NothingToSay(), Stream(bytes(32)))  # type: ignore[arg-type]
    )
    assert p_value(drawn, VARIANCE) > FALSE_ALARM


# I9. A round opens the sum over S. Honest sites reveal for S, for one other set, or not at all: a journal allows
# one set a round. From t shares a secret is rebuilt, and the c colluders give theirs of every one.

Rule = Callable[["Split"], NDArray[np.int64]]


@dataclass(frozen=True)
class Split:
    """A cohort in which every honest site is assigned: 0 does not answer, 1 reveals for S, 2 for the other set."""

    parameters: Parameters
    levels: Levels
    opened: frozenset[int]
    other: frozenset[int]
    assigned: NDArray[np.int8]  # (assignments, honest sites)

    @property
    def honest(self) -> range:
        return range(self.parameters.count - self.parameters.colluders)

    def given(self, to: int) -> NDArray[np.int64]:
        """Shares that are given for S (1) or the other set (2), those of all colluders with them."""
        count: NDArray[np.int64] = (self.assigned == to).sum(axis=1) + self.parameters.colluders
        return count

    def level(self, survivors: frozenset[int]) -> int:
        """By the rule of the machines: the first secret that a sum over these opens, less one."""
        found = self.parameters.opened_level(len(survivors))
        return len(self.parameters.levels) if found is None else found - 1


def splits(count: int, colluders: int, dropouts: int) -> Iterator[Split]:
    """Every (S, other set, who reveals for which) in which S is opened; the colluders are the last slots."""
    names = tuple(f"{slot:03d}" for slot in range(count))
    rules = {"colluders": colluders, "dropouts": dropouts, "ring_bits": 32, "length": 1}
    most = count - Parameters(names, **rules).required
    lost = levels_between(most, 3)
    parameters, levels = Parameters(names, **rules, levels=lost[1:]), Levels(count - colluders, lost)
    honest = count - colluders
    every = np.array(list(product(range(3), repeat=honest)), np.int8)
    sets = [frozenset(some) for less in range(most + 1) for some in combinations(range(count), count - less)]
    for opened in sets:
        in_it = np.array([slot in opened for slot in range(honest)])
        mine = every[~((every == 1) & ~in_it).any(axis=1)]
        mine = mine[(mine == 1).sum(axis=1) + colluders >= parameters.threshold]
        for other in sets:
            in_other = np.array([slot in other for slot in range(honest)])
            yield Split(parameters, levels, opened, other, mine[~((mine == 2) & ~in_other).any(axis=1)])


def as_built(split: Split) -> NDArray[np.int64]:
    """The level to which each honest site's noise is stripped, (assignments, honest sites); shares are counted."""
    of_it, of_other = split.level(split.opened), split.level(split.other)
    stripped = np.full(split.assigned.shape, of_it)
    if of_other < of_it:
        rebuilt = split.given(2) >= split.parameters.threshold
        members = [slot in split.other for slot in split.honest]
        stripped[np.ix_(rebuilt, members)] = of_other
    return stripped


def several_others(split: Split) -> NDArray[np.int64]:
    """More than can be: all who do not reveal for S reveal for sets of one level, the first, with everybody in."""
    stripped = np.full(split.assigned.shape, split.level(split.opened))
    stripped[split.given(2) >= split.parameters.threshold] = 0
    return stripped


def revealed_by_itself(split: Split) -> NDArray[np.int64]:
    """F5: a site sends its own secrets for the set that it reveals for."""
    stripped = np.full(split.assigned.shape, split.level(split.opened))
    stripped[split.assigned == 2] = min(split.level(split.other), split.level(split.opened))
    return stripped


def counting_the_sharers(split: Split) -> NDArray[np.int64]:
    """F4: who never shared is not counted as lost; the other set is U2 here."""
    of_it = split.level(split.opened)
    if split.opened <= split.other:
        of_it = split.levels.level(len(split.other) - len(split.opened))
    return np.full(split.assigned.shape, of_it)


def least(rule: Rule, count: int, colluders: int, dropouts: int) -> int:
    """The least variance that honest sites leave in an opened sum, over what the guarantee counts on."""
    found = []
    for split in splits(count, colluders, dropouts):
        if len(split.assigned):
            left_of = np.array(split.levels.left)[rule(split)]
            in_sum = [slot in split.opened for slot in split.honest]
            found.append(left_of[:, in_sum].sum(axis=1).min() - split.levels.shares * VARIANCE)
    assert found
    return int(min(found))


COHORTS = [
    (count, colluders, dropouts)
    for count in range(3, 8)
    for colluders in range(count - 1)
    for dropouts in (1, 2, 3)
    if (count + colluders) // 2 + 1 <= count - dropouts and count - dropouts >= 3
]


@pytest.mark.parametrize(("count", "colluders", "dropouts"), COHORTS)
def test_no_choice_of_voters_and_revealers_leaves_less_than_is_charged(
    count: int, colluders: int, dropouts: int
) -> None:
    assert least(as_built, count, colluders, dropouts) >= 0
    assert least(several_others, count, colluders, dropouts) >= 0


def test_the_rules_that_look_simpler_leave_less() -> None:
    """The failing controls of the test above: F5, each site reveals its own; F4, lost of those who shared."""
    assert (7, 1, 2) in COHORTS
    assert least(revealed_by_itself, 7, 1, 2) < 0
    assert least(counting_the_sharers, 7, 1, 2) < 0


def test_one_share_fewer_to_rebuild_a_secret_would_leave_less() -> None:
    """The threshold is what holds it: 2 t > n + c."""

    def with_fewer(split: Split) -> NDArray[np.int64]:
        stripped = np.full(split.assigned.shape, split.level(split.opened))
        rebuilt = split.given(2) >= split.parameters.threshold - 1
        members = [slot in split.other for slot in split.honest]
        stripped[np.ix_(rebuilt, members)] = np.minimum(
            split.level(split.other), stripped[np.ix_(rebuilt, members)]
        )
        return stripped

    assert any(least(with_fewer, *cohort) < 0 for cohort in COHORTS if cohort[0] == 5)
