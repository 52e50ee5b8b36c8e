"""A mechanism that is exactly as private as it claims is not found exceeding, and one that is less is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from privacy.accounting.events import GaussianEvent, ReplacedEvent
from privacy.accounting.merged import merge
from privacy.accounting.remembered import auditors
from privacy.accounting.risks.enclosed import above
from privacy.accounting.risks.figures import Pair
from simulations.attacking.people import People
from simulations.attacking.proven import lines
from simulations.attacking.verdict import (
    Count,
    Part,
    counts_of_models,
    counts_of_pairs,
    most_right,
    paired,
)
from tests.scale import scaled
from tests.simulations.attacking.chance import Chance, stream

MODELS, UNITS, DELTA = 16, 300, 1e-5


def pair_of(*events: GaussianEvent | ReplacedEvent) -> Pair:
    return above(auditors(merge(events) or ()), DELTA)


def exceeding(mu: float, claimed: float, runs: int, seed: int, models: int = MODELS) -> int:
    """Of so many attacks, by the likelihood of a Gaussian mechanism, which no attack betters; two halves each."""
    chance, pair = Chance(seed), pair_of(GaussianEvent(1 / claimed, 1.0, 1))
    found = 0
    for _ in range(runs):
        parts: list[Part] = []
        for _ in range(2):
            bits = chance.uniform(models, UNITS) < 0.5
            parts.append(({"best": mu * bits + chance.normal(models, UNITS)}, bits))
        found += any(one.exceeds for one in counts_of_models(parts, pair))
    return found


@pytest.mark.power
@pytest.mark.parametrize("models", [2, MODELS])
@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_the_best_attack_on_what_keeps_its_claim_exceeds_it_in_1_of_100_at_most(
    mu: float, models: int
) -> None:
    runs = scaled(3)
    assert exceeding(mu, mu, runs, seed=1, models=models) <= 1 + runs / 50


@pytest.mark.power
def test_a_mechanism_that_breaks_its_claim_is_found() -> None:
    runs = scaled(3)
    assert exceeding(1.5, 1.0, runs, seed=2) == runs


def test_guesses_that_all_hang_together_are_no_false_alarm() -> None:
    """In each model all guesses are right, or all wrong: an interval for independent ones would be too narrow."""
    chance, pair = Chance(4), pair_of(GaussianEvent(10.0, 1.0, 1))
    for _ in range(3):
        bits = chance.uniform(MODELS, UNITS) < 0.5
        scores = np.where(chance.uniform(MODELS, 1) < 0.5, bits, ~bits) + 1e-3 * chance.normal(MODELS, UNITS)
        assert not any(one.exceeds for one in counts_of_models([({"all": scores}, bits)], pair))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_what_is_proven_is_what_the_best_attack_has_or_little_more(share: float) -> None:
    """Of a Gaussian mechanism, by hand: half of the units are in, and those beyond a place are accused."""
    at = brentq(lambda x: norm.sf(x) + norm.sf(x - 1) - 2 * share, -10, 10)
    best = norm.sf(at - 1) / (norm.sf(at) + norm.sf(at - 1))
    assert best <= most_right(share, lines(pair_of(GaussianEvent(1.0, 1.0, 1)))) <= best + 0.01


def people(members: NDArray[np.bool_], stratum: NDArray[np.int64]) -> People:
    return People("record", {}, np.arange(len(members)), members, np.ones_like(members), stratum, 1)


def of_kind(attack: str, found: Part) -> list[Count]:
    told = counts_of_pairs(found, pair_of(ReplacedEvent(4.0, 0.2, 20)))
    return [one for one in told if one.attack == attack]


def test_pairs_are_of_a_member_and_another_of_the_same_class_and_site() -> None:
    chance = Chance(5)
    members, stratum = chance.uniform(400) < 0.7, (4 * chance.uniform(400)).astype(np.int64)
    who = people(members, stratum)
    wise = np.where(members, 1.0, 0.0) + stratum * 100.0  # a pair over two strata would be guessed wrongly
    found = paired(who, {"wise": wise, "blind": np.zeros(400)}, stream(1))
    assert found is not None
    pairs = sum(min((members & at).sum(), (~members & at).sum()) for at in (stratum == k for k in range(4)))
    assert len(found[0]["wise"]) == pairs and (found[0]["wise"] == 1.0).all()
    assert all(one.right == one.guesses for one in of_kind("wise", found))
    last = of_kind("blind", found)[-1]
    assert last.guesses == pairs and 0.3 < last.right / pairs < 0.7, "ties are guessed by a coin"


def test_too_few_pairs_are_none() -> None:
    members = np.arange(40) < 35
    assert paired(people(members, np.zeros(40, np.int64)), {"x": np.zeros(40)}, stream(1)) is None


def test_a_run_that_tells_of_everybody_exceeds_and_one_that_guesses_does_not() -> None:
    chance = Chance(6)
    found: Part = {"all": np.ones(300), "blind": chance.normal(300)}, chance.uniform(300) < 0.5
    assert any(one.exceeds for one in of_kind("all", found))
    assert not any(one.exceeds for one in of_kind("blind", found))
