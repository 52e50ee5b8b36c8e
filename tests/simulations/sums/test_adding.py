"""A sum over all simulated sites: the integers that they would send, and the noise that they would leave."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clients.training.work import Trainer, contribution, fresh_excess, site_stream
from federation.kinds.base import Draws
from federation.plan.plan import Plan
from federation.round.messages import Member
from federation.round.parts import Sum, without_excess
from federation.round.terms import Terms
from privacy.mechanism.noise import SIGMA, VARIANCE, Stream
from simulations.sums.adding import Adding
from simulations.sums.works import Chance, OneByOne
from tests.worlds import opened, plan_of, start, terms_for

DIMENSION = 20_000  # of a made-up model: a variance is known to one in a hundred
SITES = tuple(Member(f"s{number:02}", 40) for number in range(6))


def one_by_one(trainers: dict[str, Trainer]) -> Callable[..., OneByOne]:
    return lambda terms, names, params, _: OneByOne(terms, names, params, trainers)


@pytest.mark.parametrize(
    "values", [{}, {"weights": "declared", "local_steps": 3}], ids=["uniform", "declared"]
)
def test_without_noise_the_sum_is_that_of_what_each_site_sends_integer_for_integer(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    plan = plan_of(sample_rate=0.5, **values)
    with opened(plan, tmp_path, 5) as (world, sites):
        trainers = {name: site.load(plan) for name, site in sites.items()}
        terms, params = terms_for(plan, world.members, start(plan)), start(plan)
        found = Adding(one_by_one(trainers))(terms, params)
    sent = [terms.codec.from_ring(contribution(terms, name, params, trainers[name])) for name in sites]
    assert np.array_equal(terms.codec.from_ring(found.total), sum(sent))
    assert (found.survivors, found.reduced) == (tuple(sites), ())


class Still:
    """Sites that contribute nothing: what is left is noise."""

    def __init__(self, count: int, parts: int = 4) -> None:
        self._places = [slice(start, min(start + parts, count)) for start in range(0, count, parts)]

    def clipped_gradients(self, _: float) -> Iterator[tuple[slice, Tensor]]:
        return ((place, self.zeros(place)) for place in self._places)

    def noised_updates(self, _: float, noised: Callable[[slice, Tensor], Tensor]) -> Iterator[Any]:
        return ((place, noised(place, self.zeros(place))) for place in self._places)

    @staticmethod
    def zeros(place: slice) -> Tensor:
        return torch.zeros(place.stop - place.start, DIMENSION, dtype=torch.float64)


def terms_of(noise: str, lost: int = 2) -> Terms:
    plan: Plan = plan_of(noise=noise, dropouts=lost, epsilon=8.0, minimum=3, rounds=1)
    return Terms(plan, bytes(16), 1, 1, SITES, DIMENSION)


def noise_of(terms: Terms, lost: int = 0, sites: int = len(SITES)) -> np.ndarray[Any, Any]:
    names = terms.parameters.members[:sites]
    chance = Chance(terms, names)
    total = terms.kind.summed(terms.parties, names, Still(sites), chance.draws, lost)  # type: ignore[arg-type]
    return terms.codec.from_ring(total).astype(np.float64)


def variance(drawn: np.ndarray[Any, Any]) -> float:
    """In whole shares."""
    return float((drawn**2).mean()) / VARIANCE


def is_about(found: float, expected: float) -> bool:
    """Within five standard errors: a false alarm once in two million."""
    return abs(found / expected - 1) < 5 * math.sqrt(2 / DIMENSION)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_the_noise_of_a_sum_is_what_the_sites_shares_leave_on_it(lost: int) -> None:
    """And the test finds a share that is missing, one too many, and excess noise that was never taken out."""
    terms, here = terms_of("distributed"), len(SITES) - lost
    levels = terms.levels
    each = levels.left[levels.level(lost)] / VARIANCE
    found = variance(noise_of(terms, lost, here))
    assert is_about(found, here * each)
    assert is_about(
        found, terms.kind.sum_variance(terms.parties, here, here if lost < 2 else 0) / scale(terms)
    )
    assert not is_about(found, (here - 1) * each)
    assert not is_about(found, (here + 1) * each)
    assert lost == 2 or not is_about(found, here)


def scale(terms: Terms) -> float:
    assert terms.mechanism is not None
    return (SIGMA * terms.mechanism.step) ** 2


def test_the_sites_themselves_leave_the_same_noise_once_a_server_has_taken_out_what_it_can() -> None:
    terms = terms_of("distributed")
    total, secrets = np.zeros(DIMENSION, np.uint64), {}
    for name in terms.parameters.members:
        secrets[name] = fresh_excess(terms)
        total = total + _sent(terms, name, secrets[name])
    left = without_excess(terms, total, terms.parameters.members, secrets)
    found = terms.codec.from_ring(left.total).astype(np.float64)
    expected = len(SITES) * terms.levels.left[0] / VARIANCE
    assert is_about(variance(found), expected)
    assert is_about(variance(noise_of(terms)), expected)


def _sent(terms: Terms, name: str, secret: bytes) -> np.ndarray[Any, np.dtype[np.uint64]]:
    from federation.round.parts import secrets_of, streams_of

    class Nothing:
        def clipped_gradients(self, _: float) -> Tensor:
            return torch.zeros(DIMENSION, dtype=torch.float64)

    parts = streams_of(terms, name, secrets_of(terms, name, secret))
    stream = site_stream(terms.plan, name, 1)
    return terms.kind.contribute(terms.parties, name, Nothing(), stream, parts)  # type: ignore[arg-type]


def test_under_central_noise_the_sites_add_none() -> None:
    assert not noise_of(terms_of("central", 0)).any()


def test_noise_at_the_sites_is_each_site_s_own() -> None:
    """Every row of a step has all of its noise, and no two rows have the same."""
    terms, seen = terms_of("site", 0), list[Tensor]()

    class Seen(Still):
        def noised_updates(self, norm: float, noised: Callable[[slice, Tensor], Tensor]) -> Iterator[Any]:
            for place, rows in super().noised_updates(norm, noised):
                seen.append(rows)
                yield place, rows * 0

    chance = Chance(terms, terms.parameters.members)
    terms.kind.summed(terms.parties, terms.parameters.members, Seen(len(SITES)), chance.draws, 0)  # type: ignore[arg-type]
    assert terms.mechanism is not None
    rows = torch.cat(seen).numpy() / terms.mechanism.step
    assert rows.shape == (len(SITES), DIMENSION)
    assert all(is_about(variance(row), 1.0) for row in rows)
    correlated = np.corrcoef(rows) - np.eye(len(SITES))
    assert np.abs(correlated).max() < 5 / math.sqrt(DIMENSION)


def test_two_sums_never_have_the_same_noise_where_privacy_is_promised() -> None:
    terms = terms_of("distributed")
    assert not np.array_equal(noise_of(terms), noise_of(terms))


def test_what_follows_from_the_cohort_alone_is_worked_out_once_and_is_the_same() -> None:
    first = terms_of("distributed")
    _ = first.mechanism, first.codec, first.parameters, first.parties
    plan = plan_of(noise="distributed", dropouts=2, epsilon=8.0, minimum=3, rounds=2)
    first = replace(first, plan=plan)
    _ = first.mechanism, first.codec, first.parameters, first.parties
    again = first.again(2, 5)
    anew = replace(first, round=2, attempt=5)
    assert again.codec is first.codec
    assert (again, again.codec, again.parameters, again.session) == (
        anew,
        anew.codec,
        anew.parameters,
        anew.session,
    )
    assert again.question(b"params") == anew.question(b"params")
    assert first.again(3, 1).parties is not first.parties, "the evaluation has another length"


def test_coins_of_each_site_are_its_own_without_privacy_and_nobody_s_with_it() -> None:
    plain = Terms(plan_of(minimum=3), bytes(16), 1, 1, SITES, 8)
    names = plain.parameters.members
    words = Chance(plain, names).draws.coins(slice(1, 3), 8)
    expected = [site_stream(plain.plan, name, 1).derive("rounding").words(8) for name in names[1:3]]
    assert np.array_equal(words, expected)
    secret = Draws(Stream(bytes(32)), Chance(terms_of("site", 0), names).draws.coins)
    assert not np.array_equal(secret.coins(slice(1, 3), 8), expected)


def test_a_sum_says_whose_it_is_and_whose_noise_was_never_drawn(tmp_path: Path) -> None:
    plan = plan_of(noise="distributed", dropouts=1, minimum=4)
    with opened(plan, tmp_path, 5) as (world, sites):
        trainers = {name: site.load(plan) for name, site in sites.items()}
        found: Sum = Adding(one_by_one(trainers))(terms_for(plan, world.members, start(plan)), start(plan))
    assert (found.reduced, found.left) == (tuple(sites), ())
