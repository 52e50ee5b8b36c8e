"""A mechanism that is exactly as private as it claims is not found exceeding, and one that is less is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.accounting.events import GaussianEvent, ReplacedEvent
from privacy.accounting.merged import merge
from privacy.accounting.remembered import auditors
from privacy.accounting.risks.enclosed import above
from privacy.accounting.risks.figures import Pair
from simulations.attacking.people import People
from simulations.attacking.verdict import Guesses, counts, paired
from tests.scale import scaled
from tests.simulations.attacking.chance import Chance, stream

UNITS, DELTA = 600, 1e-5


def pair_of(*events: GaussianEvent | ReplacedEvent) -> Pair:
    return above(auditors(merge(events) or ()), DELTA)


def best_guesses(mu: float, chance: Chance) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of each unit a bit, and what a Gaussian mechanism says of it: the likelihood, which no attack betters."""
    bits = chance.uniform(UNITS) < 0.5
    return mu * bits + chance.normal(UNITS), bits


def exceeding(mu: float, claimed: float, runs: int, seed: int) -> int:
    chance, pair = Chance(seed), pair_of(GaussianEvent(1 / claimed, 1.0, 1))
    told = (counts([Guesses({"best": best_guesses(mu, chance)})], pair) for _ in range(runs))
    return sum(any(one.exceeds for one in each) for each in told)


@pytest.mark.power
@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_the_best_attack_on_a_mechanism_that_keeps_its_claim_exceeds_it_in_1_of_100_at_most(
    mu: float,
) -> None:
    runs = scaled(3)
    assert exceeding(mu, mu, runs, seed=1) <= 1 + runs / 50


def test_a_mechanism_that_breaks_its_claim_is_found() -> None:
    assert exceeding(2.0, 0.5, runs=3, seed=2) == 3


def test_guesses_that_all_hang_together_are_no_false_alarm() -> None:
    """Everybody's score moved by the same coin: an interval for independent guesses would be far too narrow."""
    chance, pair = Chance(4), pair_of(GaussianEvent(10.0, 1.0, 1))
    for _ in range(3):
        bits = chance.uniform(UNITS) < 0.5
        scores = chance.normal(1)[0] + 1e-9 * chance.normal(UNITS)
        assert not any(one.exceeds for one in counts([Guesses({"all": (scores, bits)})], pair))


def people(members: NDArray[np.bool_], stratum: NDArray[np.int64]) -> People:
    return People("record", {}, np.arange(len(members)), members, np.ones_like(members), stratum, 1)


def test_pairs_are_of_a_member_and_another_of_the_same_class_and_site() -> None:
    chance = Chance(5)
    members, stratum = chance.uniform(400) < 0.7, (4 * chance.uniform(400)).astype(np.int64)
    who = people(members, stratum)
    wise = np.where(members, 1.0, 0.0) + stratum * 100.0  # a pair over two strata would be guessed wrongly
    found = paired(who, {"wise": wise, "blind": np.zeros(400)}, stream(1))
    assert found is not None
    gaps, right = found.by_attack["wise"]
    pairs = sum(min((members & at).sum(), (~members & at).sum()) for at in (stratum == k for k in range(4)))
    assert len(right) == pairs and right.all() and (gaps == 1.0).all()
    assert 0.3 < found.by_attack["blind"][1].mean() < 0.7, "ties are guessed by a coin"


def test_too_few_pairs_are_none() -> None:
    members = np.arange(40) < 35
    assert paired(people(members, np.zeros(40, np.int64)), {"x": np.zeros(40)}, stream(1)) is None


def test_one_in_the_place_of_another_is_proven_less_than_one_added() -> None:
    once, instead = GaussianEvent(4.0, 0.2, 20), ReplacedEvent(4.0, 0.2, 20)
    scores = np.arange(UNITS, dtype=np.float64)
    bits = np.arange(UNITS) >= UNITS * 0.35  # of the surest half all are right, of the others a part
    told = [counts([Guesses({"x": (scores, bits)})], pair_of(event)) for event in (once, instead)]
    assert sum(one.exceeds for one in told[0]) >= sum(one.exceeds for one in told[1])
