"""Adversaries with real noise: they see every release, choose the next by it, run jobs side by side, and give back.

What they learn is the privacy loss, log of the density with the unit over the density without. Delta at an epsilon
is the mean of max(0, 1 - exp(epsilon - loss)). Here it is estimated from thousands of games, with a delta large
enough to be seen, and compared with what the budget promises. Two rules that look much like ours fail by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from privacy.accounting.events import Event, GaussianEvent
from privacy.accounting.filters import Budget, Filter, admit
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Charge
from privacy.errors import BudgetExceeded
from privacy.ledger.state import Run
from privacy.mechanism.noise import Stream
from tests.scale import scaled

BUDGET = Budget(1.0, 0.05)
GAMES = scaled(4000)
CONTROLS = scaled(1000)
MOVES = 48
ERRORS = 4  # standard errors: a right rule fails by chance once in 30,000 times

Admits = Callable[[Sequence[Event], GaussianEvent], bool]
Charged = Callable[[Run, float], "Event | None"]
Record = Callable[[str, object], None]

pytestmark = pytest.mark.power


@dataclass
class Job:
    """A reserved run, and the loss that its rounds have brought."""

    run: Run
    event: GaussianEvent  # one round
    loss: float = 0.0


@dataclass
class Game:
    """One adversary against one site. `spent` keeps every round that was really begun."""

    admits: Admits
    charged: Charged
    jobs: list[Job] = field(default_factory=list)
    spent: list[GaussianEvent] = field(default_factory=list)

    @property
    def loss(self) -> float:
        return sum(job.loss for job in self.jobs)

    @property
    def open(self) -> list[Job]:
        return [job for job in self.jobs if job.run.closed is None and len(job.run.begun) < job.run.rounds]

    def reserve(self, wish: GaussianEvent, rounds: int) -> bool:
        whole = GaussianEvent(wish.noise_multiplier, wish.sample_rate, rounds, wish.group)
        held = [event for job in self.jobs if (event := self.charged(job.run, job.loss)) is not None]
        if admitted := self.admits(held, whole):
            run = Run("plan", Charge(whole, "record", summed=True), rounds, {"record": "filter"})
            self.jobs.append(Job(run, wish))
        return admitted

    def begin(self, job: Job, coins: NDArray[np.float64], normal: float) -> None:
        """One round, as it comes out with the unit in the data."""
        z, rate, group = job.event.noise_multiplier, job.event.sample_rate, job.event.group
        x = int(np.count_nonzero(coins[:group] < rate)) + z * normal
        hits = np.arange(group + 1)
        job.loss += float(np.log(np.sum(_chances(rate, group) * np.exp(hits * (2 * x - hits) / (2 * z * z)))))
        job.run.begun[len(job.run.begun) + 1] = "question"
        self.spent.append(job.event)


@lru_cache
def _chances(rate: float, group: int) -> NDArray[np.float64]:
    return np.array([math.comb(group, k) * rate**k * (1 - rate) ** (group - k) for k in range(group + 1)])


def play(game: Game, menu: Sequence[GaussianEvent], words: NDArray[np.uint64]) -> Game:
    """Bold while the loss is small, timid when it is not; up to three jobs at once; closes some of them early."""
    uniform = (words >> np.uint64(11)) * 2.0**-53 + 2.0**-54
    for move in uniform:
        choice, ready = move[0], game.open
        if ready and choice < 0.1:
            ready[int(move[1] * len(ready))].run.closed = "params"
        elif ready and (len(ready) == 3 or choice < 0.7):
            game.begin(ready[int(move[1] * len(ready))], move[2:5], float(ndtri(move[5])))
        else:
            half = len(menu) // 2
            wish = menu[int(move[1] * half) + (half if game.loss > BUDGET.epsilon / 2 else 0)]
            if not game.reserve(wish, 1 + int(4 * move[2])):
                game.reserve(menu[-1], 1)
    for job in game.open:  # whoever has room left uses it
        for move in uniform[: job.run.rounds - len(job.run.begun)]:
            game.begin(job, move[2:5], float(ndtri(move[6])))
    return game


def games(
    admits: Admits, menu: Sequence[GaussianEvent], number: int, charged: Charged | None = None
) -> Iterator[Game]:
    stream = Stream(bytes(range(32)))
    for _ in range(number):
        words = stream.words(MOVES * 7).reshape(MOVES, 7)
        yield play(Game(admits, charged or held), menu, words)


def held(run: Run, loss: float) -> Event | None:
    """What the ledger charges for a run, whatever came out."""
    charge = run.charged
    return None if charge is None else charge.to("record")


def held_if_it_hurt(run: Run, loss: float) -> Event | None:
    """A rule that gives rounds back after they were begun, if they happened to reveal little."""
    return None if run.begun and loss <= 0 else held(run, loss)


def delta_seen(played: Iterable[Game]) -> tuple[float, float]:
    """Delta at the budget's epsilon, and its standard error."""
    values = np.array([max(0.0, -math.expm1(BUDGET.epsilon - game.loss)) for game in played])
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def told(found: float, error: float) -> str:
    """A finding as `make power` writes it down."""
    return f"{found:.5f}, standard error {error:.5f}; promised {BUDGET.delta}"


def filtered(rule: Filter, budget: Budget) -> Admits:
    return lambda spent, asked: rule.load([*spent, asked], budget) <= 1


WHOLE = [
    GaussianEvent(z, 1.0, 1, group)
    for z, group in ((3.0, 1), (4.0, 2), (5.0, 1), (6.0, 1), (12.0, 2), (16.0, 1))
]
SAMPLED = [
    GaussianEvent(z, rate, 1, group)
    for z, rate, group in (
        (1.0, 0.2, 1),
        (1.5, 0.3, 2),
        (2.0, 0.5, 1),
        (3.0, 0.5, 1),
        (4.0, 0.3, 3),
        (4.0, 0.2, 1),
    )
]
CASES = pytest.mark.parametrize("menu", [WHOLE, SAMPLED], ids=["gdp", "rdp"])


@CASES
def test_an_adversary_who_sees_every_release_learns_no_more_than_the_budget(
    menu: list[GaussianEvent], record_property: Record
) -> None:
    """DP-13 and DP-47: adaptive, side by side, with rounds returned that were never begun.

    In the mean by what they learn; and in every single game, what was begun fits.
    """
    rule = Filter.frozen(BUDGET, menu[0])
    played = list(games(filtered(rule, BUDGET), menu, GAMES))
    found, error = delta_seen(played)
    record_property("delta", told(found, error))
    assert found <= BUDGET.delta + ERRORS * error
    assert found > BUDGET.delta / 20, "the adversaries learnt nothing: the games test nothing"
    used = [rule.load(game.spent, BUDGET) for game in played]
    assert max(used) <= 1 + 1e-12
    assert max(used) > 0.98, "no adversary came close: the games test nothing"


@CASES
def test_twice_the_budget_is_seen_to_be_too_much(menu: list[GaussianEvent], record_property: Record) -> None:
    """DP-13, a control: the same games find a filter that holds twice what was promised."""
    rule, twice = Filter.frozen(BUDGET, menu[0]), Budget(2 * BUDGET.epsilon, BUDGET.delta)
    found, error = delta_seen(games(filtered(rule, twice), menu, CONTROLS))
    record_property("delta", told(found, error))
    assert found > BUDGET.delta + ERRORS * error


def test_to_return_what_was_begun_is_seen_to_be_too_much(record_property: Record) -> None:
    """DP-47, a control: rounds given back because of what they showed."""
    found, error = delta_seen(games(filtered(Filter(None), BUDGET), WHOLE, CONTROLS, held_if_it_hurt))
    record_property("delta", told(found, error))
    assert found > BUDGET.delta + ERRORS * error


def test_the_same_holds_of_the_whole_admission_and_of_its_epsilon() -> None:
    """DP-4 and DP-13: `admit` itself, and privacy loss distributions of all that was begun, in some games."""

    def admits(spent: Sequence[Event], asked: GaussianEvent) -> bool:
        try:
            return admit(spent, asked, BUDGET, rule).by == "filter"
        except BudgetExceeded:
            return False

    rule = Filter.frozen(BUDGET, WHOLE[0])
    for game in games(admits, WHOLE, scaled(60)):
        assert epsilon(game.spent, BUDGET.delta) <= BUDGET.epsilon
    rule = Filter.frozen(BUDGET, SAMPLED[0])
    for game in games(filtered(rule, BUDGET), SAMPLED, scaled(12)):
        assert epsilon(game.spent, BUDGET.delta) <= BUDGET.epsilon
