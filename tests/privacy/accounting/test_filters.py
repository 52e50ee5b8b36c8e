"""A budget holds whatever is asked, in whatever order, by whoever has seen whatever; and says why it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting import rdp
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.events import Event, GaussianEvent, NonPrivateEvent
from privacy.accounting.filters import (
    UNSAMPLED,
    USUAL,
    Admission,
    Budget,
    Filter,
    Foreseen,
    admit,
    filter_from_json,
    room_for,
)
from privacy.accounting.pld import epsilon
from privacy.accounting.rdp import renyi
from privacy.errors import BudgetExceeded, UnsafeParameters, UnsupportedEvent
from privacy.mechanism.noise import Stream

DELTA = 1e-5
GDP = Filter(None)
NEVER_SAMPLED = st.builds(GaussianEvent, st.floats(2, 50), st.just(1.0), st.integers(1, 50))
ANY = st.builds(
    GaussianEvent,
    st.floats(0.8, 20),
    st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    st.integers(1, 200),
    st.sampled_from([1, 1, 1, 2]),
)
BUDGETS = st.builds(Budget, st.floats(0.2, 8), st.sampled_from([1e-5, 1e-6]))


def promise(order: int, spent: float, delta: float) -> float:
    """The epsilon of an (order, spent)-RDP mechanism: Canonne, Kamath, Steinke 2020, proposition 12, as printed."""
    return spent + math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)


@pytest.mark.parametrize(
    ("target", "mu"), [(0.5, 0.1422), (1, 0.2681), (2, 0.5016), (4, 0.9249), (8, 1.666), (10, 2.000)]
)
def test_unsampled_releases_fill_a_budget_as_the_closed_form_and_the_library_say(
    target: float, mu: float
) -> None:
    """DP-1: the closed form to 1e-6, the table of reference values to 1e-4 (the last two have three decimals)."""
    found = math.sqrt(GDP.capacity(Budget(target, DELTA)))
    assert found == pytest.approx(mu, abs=1e-4 if mu < 1 else 5e-4)
    near, far = -target / found + found / 2, -target / found - found / 2
    assert norm.cdf(near) - math.exp(target) * norm.cdf(far) == pytest.approx(DELTA, rel=1e-6)
    by_library = pld.from_gaussian_mechanism(1 / found, value_discretization_interval=1e-4)
    assert by_library.get_epsilon_for_delta(DELTA) == pytest.approx(target, abs=1e-5)


@given(st.lists(ANY, min_size=1, max_size=3), st.sampled_from([3, 5, 9, 20]))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_a_filter_never_promises_less_than_was_spent(events: list[GaussianEvent], order: int) -> None:
    """DP-4: what the filter counts is at least what privacy loss distributions find."""
    used = sum(event.count * renyi(event, order) for event in events)
    limit = promise(order, used, DELTA)
    if limit > 0:
        assert Filter(order).load(events, Budget(limit, DELTA)) == pytest.approx(
            1, rel=1e-9, abs=1e-14 / used
        )
        assert epsilon(events, DELTA) <= limit + 1e-9


@given(st.lists(ANY, min_size=1, max_size=3), st.sampled_from([None, 3, 9, 20]))
@settings(max_examples=20)
def test_the_least_limit_holds_the_events_and_no_smaller_one_does(
    events: list[GaussianEvent], order: int | None
) -> None:
    rule = Filter(order)
    least = rule.least(events, DELTA)
    if 0 < least < 1e6:
        assert rule.load(events, Budget(least * (1 + 1e-9), DELTA)) <= 1
        assert rule.load(events, Budget(least * (1 - 1e-6), DELTA)) > 1
        if order is not None or all(event.sample_rate == 1 for event in events):
            assert epsilon(events, DELTA) <= least + 1e-4


def test_what_no_limit_holds_has_no_least_one_and_nothing_costs_nothing() -> None:
    for rule in (GDP, Filter(9)):
        assert rule.least([NonPrivateEvent()], DELTA) == math.inf
        assert rule.least([], DELTA) == rule.least([GaussianEvent(1.0, 1.0, 0)], DELTA) == 0


@given(st.lists(NEVER_SAMPLED, max_size=6), st.floats(0.1, 10))
def test_without_sampling_the_filter_loses_nothing(plans: list[GaussianEvent], limit: float) -> None:
    spent: list[Event] = []
    for plan in plans:
        fits = epsilon([*spent, plan], DELTA) <= limit
        try:
            admitted = admit(spent, plan, Budget(limit, DELTA), GDP)
        except BudgetExceeded:
            assert not fits
        else:
            assert fits
            spent.append(plan)
            assert admitted == Admission(epsilon(spent, DELTA), "filter")


@given(st.lists(ANY, min_size=1, max_size=5), BUDGETS)
@settings(max_examples=6, deadline=None, derandomize=True)
def test_whatever_is_asked_all_that_is_admitted_stays_within(
    plans: list[GaussianEvent], budget: Budget
) -> None:
    rule, spent, hows = Filter.frozen(budget, plans[0]), list[Event](), list[str]()
    for plan in plans:
        try:
            hows.append(admit(spent, plan, budget, rule).by)
        except BudgetExceeded:
            continue
        spent.append(plan)
        assert epsilon(spent, budget.delta) <= budget.epsilon
    # A plan that is admitted by its own epsilon is the first, and the last.
    assert "plan" not in hows or hows == ["plan"]


def divergence_by_the_library(event: GaussianEvent, order: int) -> float:
    """One release by dp-accounting, which knows no groups."""
    accountant = rdp.RdpAccountant([order])
    gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    accountant.compose(dp_accounting.PoissonSampledDpEvent(event.sample_rate, gaussian))
    return float(accountant._rdp[0])


def walk(
    answers: Sequence[int], menu: Sequence[GaussianEvent], admits: Callable[[list[Event]], bool]
) -> list[int]:
    """How often each event of the menu got in, for an adversary whose next wish follows from the last answer."""
    taken, spent, is_bold = [0] * len(menu), list[Event](), True
    for answer in answers:
        wish = answer % (len(menu) // 2) + (len(menu) // 2 if is_bold else 0)
        if is_bold := admits([*spent, menu[wish]]):
            spent.append(menu[wish])
            taken[wish] += 1
    return taken


def menu_of(stream: Stream) -> list[GaussianEvent]:
    """Forty events, the cheaper half first."""
    events = [
        GaussianEvent(
            round(math.exp(int(z) % 3000 / 1000), 3),
            (0.01, 0.05, 0.2, 0.6, 1.0)[int(rate) % 5],
            1 + int(count) % 300,
            (1, 1, 2, 3)[int(group) % 4],
        )
        for z, rate, count, group in stream.words(160).reshape(40, 4)
    ]
    return sorted(events, key=lambda event: event.count * renyi(event, 8))


def wishes(stream: Stream, walks: int) -> list[list[int]]:
    """Twelve answers for each walk."""
    return [[int(word) for word in row] for row in stream.words(12 * walks).reshape(walks, 12)]


def test_ten_thousand_adversaries_never_get_past_the_budget() -> None:
    """DP-13: whoever chooses noise, rate, count and group after every answer stays within what was fixed before.

    What got in is added up by the library, which does not know of the filter; groups by our own divergence.
    """
    stream, budget = Stream(bytes(32)), Budget(3.0, DELTA)
    menu = menu_of(stream)
    order = Filter.frozen(budget, GaussianEvent(2.0, 0.1, 200)).order
    assert order is not None
    rule = Filter(order)
    costs = np.array(
        [
            event.count
            * (divergence_by_the_library(event, order) if event.group == 1 else renyi(event, order))
            for event in menu
        ]
    )
    capacity = budget.epsilon - promise(order, 0.0, DELTA)
    walks = [
        walk(answers, menu, lambda events: rule.load(events, budget) <= 1)
        for answers in wishes(stream, 10_000)
    ]
    used = np.array(walks) @ costs
    assert used.max() <= capacity * (1 + 1e-9)
    assert used.max() > 0.97 * capacity, "no adversary came close: the walks test nothing"
    assert len(np.unique(walks, axis=0)) > 5000


def test_an_order_that_is_chosen_anew_for_every_question_admits_more() -> None:
    """DP-13, the control: the best order in hindsight admits what the one fixed beforehand refuses."""
    budget = Budget(3.0, DELTA)
    frozen = Filter.frozen(budget, GaussianEvent(2.0, 0.1, 200))
    spent: list[Event] = [GaussianEvent(0.8, 0.01, 500)]
    assert min(Filter(order).load(spent, budget) for order in range(2, 30)) < 1
    assert frozen.load(spent, budget) > 10


@given(st.lists(ANY, max_size=5), st.randoms(use_true_random=False), BUDGETS)
@settings(deadline=None, derandomize=True)
def test_jobs_that_run_side_by_side_weigh_the_same_in_any_order(
    events: list[GaussianEvent], shuffled: Any, budget: Budget
) -> None:
    """DP-47: the order is frozen, and what is used is a sum of what each job uses by itself."""
    rule = Filter.frozen(budget, GaussianEvent(1.0, 0.1, 10))
    mixed = list(events)
    shuffled.shuffle(mixed)
    whole = rule.load(events, budget)
    if math.isfinite(whole):
        assert rule.load(mixed, budget) == pytest.approx(whole, rel=1e-12)
        assert sum(rule.load([event], budget) for event in events) == pytest.approx(whole, rel=1e-9)


def test_raising_a_budget_keeps_the_filter_and_makes_room() -> None:
    """DP-47: the filter belongs to the pool; a later budget changes what it holds, not how it weighs."""
    plan = GaussianEvent(noise_multiplier(2.0, DELTA, 0.1, 100), 0.1, 100)
    rule = Filter.frozen(Budget(2.0, DELTA), plan)
    assert rule.load([plan], Budget(4.0, DELTA)) < rule.load([plan], Budget(2.0, DELTA))
    assert admit([plan], plan, Budget(6.0, DELTA), rule).by == "filter"


@pytest.mark.parametrize(("rate", "steps"), [(0.01, 1000), (0.02, 500), (0.1, 200), (0.5, 20)])
@pytest.mark.parametrize("target", [0.5, 1.0, 3.0, 8.0])
def test_the_frozen_order_is_within_two_percent_of_the_best_for_the_first_plan(
    rate: float, steps: int, target: float
) -> None:
    budget, plan = (
        Budget(target, DELTA),
        GaussianEvent(noise_multiplier(target, DELTA, rate, steps), rate, steps),
    )
    frozen = Filter.frozen(budget, plan).load([plan], budget)
    best = min(Filter(order).load([plan], budget) for order in range(2, 50))
    assert frozen <= 1.02 * best
    assert frozen < 1.8, "the filter wastes most of the budget"


@given(BUDGETS, ANY)
@settings(deadline=None, derandomize=True)
def test_no_first_plan_makes_a_filter_of_gdp_and_what_is_foreseen_decides_alone(
    budget: Budget, first: GaussianEvent
) -> None:
    rule = Filter.frozen(budget, first)
    assert rule.order is not None
    assert Filter.frozen(budget, first) == rule
    if first.sample_rate == 1:
        assert rule == Filter.frozen(budget, NonPrivateEvent(), USUAL)
    assert Filter.frozen(budget, first, UNSAMPLED) == GDP
    assert Filter.frozen(budget, first, USUAL) == Filter.frozen(budget, GaussianEvent(1.0, 1.0, 1), USUAL)
    assert filter_from_json(json.loads(json.dumps(rule.to_json()))) == rule


def planned(epsilon_: float, rate: float, steps: int) -> GaussianEvent:
    return GaussianEvent(noise_multiplier(epsilon_, DELTA, rate, steps), rate, steps)


def test_statistics_that_come_first_leave_room_for_the_training_that_follows() -> None:
    """Under a filter by the first plan the second was refused: GDP counts a training of samples as one of all."""
    budget, statistics, training = Budget(5.0, DELTA), planned(0.16, 1.0, 1), planned(3.0, 0.1, 200)
    assert GDP.load([statistics, training], budget) > 30
    for first, second in ((statistics, training), (training, statistics)):
        rule = Filter.frozen(budget, first)
        assert admit([first], second, budget, rule).by == "filter"
        assert rule.load([first, second], budget) < 0.5


@pytest.mark.parametrize("target", [0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize(("rate", "steps"), [(0.01, 1000), (0.1, 200), (0.5, 20)])
def test_the_order_for_a_foreseen_training_is_the_best_for_it(target: float, rate: float, steps: int) -> None:
    """Against every order, at the least noise with which the budget holds the training at all."""
    budget, foreseen = Budget(target, DELTA), Foreseen(rate, steps)
    rule = Filter.frozen(budget, NonPrivateEvent(), foreseen)
    plan = foreseen.at(noise_multiplier(target, DELTA, rate, steps) * 1.2)
    assert rule.load([plan], budget) <= 1.03 * min(
        Filter(order).load([plan], budget) for order in range(2, 50)
    )


def test_without_sampling_an_order_costs_a_sixth_of_the_budget_and_gdp_nothing() -> None:
    """What a site pays that foresees training and then never samples: up to epsilon 5, less than a fifth."""
    for target in (1.0, 3.0, 5.0):
        budget, plan = Budget(target, DELTA), planned(target, 1.0, 1)
        assert Filter.frozen(budget, plan).load([plan], budget) < 1.2
        assert Filter.frozen(budget, plan, UNSAMPLED).load([plan], budget) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("rule", [GDP, Filter(5)], ids=["gdp", "rdp"])
def test_the_room_that_is_told_is_admitted_and_a_little_more_is_not(rule: Filter) -> None:
    budget, spent, foreseen = Budget(5.0, DELTA), [planned(1.0, 1.0, 1)], Foreseen(0.1, 200)
    room = room_for(foreseen, spent, budget, rule)
    assert 0 < room < 5
    assert admit(spent, planned(0.99 * room, 0.1, 200), budget, rule).by == "filter"
    with pytest.raises(BudgetExceeded):
        admit(spent, planned(1.01 * room, 0.1, 200), budget, rule)


def test_where_nothing_fits_no_room_is_told_and_without_limit_there_is_all() -> None:
    spent = [planned(4.9, 1.0, 1)]
    assert room_for(USUAL, spent, Budget(3.0, DELTA), Filter(7)) == 0
    assert room_for(USUAL, spent, Budget(math.inf, DELTA), Filter(7)) == math.inf
    assert room_for(USUAL, [], Budget(3.0, DELTA), Filter(7), more=1e9) == 0


@pytest.mark.parametrize(
    ("rate", "steps"), [(0.0, 1), (1.1, 1), (math.nan, 1), (0.1, 0), (0.1, -1), (True, 1)]
)
def test_a_senseless_training_cannot_be_foreseen(rate: float, steps: int) -> None:
    with pytest.raises(UnsafeParameters):
        Foreseen(rate, steps)


def test_under_gdp_a_sampled_plan_counts_as_if_it_were_not_sampled() -> None:
    sampled, whole = GaussianEvent(5.0, 0.01, 3, 2), GaussianEvent(5.0, 1.0, 3, 2)
    assert GDP.load([sampled], Budget(3.0, DELTA)) == GDP.load([whole], Budget(3.0, DELTA)) > 0


def test_under_gdp_a_group_counts_as_less_noise() -> None:
    grouped, louder = GaussianEvent(6.0, 1.0, 3, 3), GaussianEvent(2.0, 1.0, 3)
    assert GDP.load([grouped], Budget(3.0, DELTA)) == GDP.load([louder], Budget(3.0, DELTA))


def test_a_plan_that_is_the_whole_budget_is_admitted_alone_and_nothing_after_it() -> None:
    """Privacy loss distributions are right for a plan that is fixed beforehand, and for nothing that follows it."""
    budget = Budget(3.0, DELTA)
    plan = GaussianEvent(noise_multiplier(3.0, DELTA, 0.1, 200), 0.1, 200)
    rule = Filter.frozen(budget, plan)
    assert rule.load([plan], budget) > 1
    assert admit([], plan, budget, rule) == Admission(epsilon([plan], DELTA), "plan")
    returned = GaussianEvent(1.0, 0.1, 0)
    assert admit([returned], plan, budget, rule).by == "plan", "what was never begun is not charged"
    least = GaussianEvent(1e6, 0.001, 1)
    for asked in (least, plan):
        with pytest.raises(BudgetExceeded):
            admit([plan], asked, budget, rule)
    with pytest.raises(
        BudgetExceeded, match="leaves no room for plans that were chosen after seeing results"
    ):
        admit([least], plan, budget, rule)


def test_half_a_budget_is_admitted_by_the_filter() -> None:
    budget = Budget(3.0, DELTA)
    plan = GaussianEvent(noise_multiplier(1.5, DELTA, 0.1, 100), 0.1, 100)
    rule = Filter.frozen(budget, plan)
    assert admit([], plan, budget, rule).by == "filter"
    assert rule.load([plan], budget) < 1


def test_a_refusal_says_what_is_spent_what_is_asked_and_what_that_makes() -> None:
    plan = GaussianEvent(noise_multiplier(3.0, DELTA, 1.0, 200), 1.0, 200)
    assert admit([], plan, Budget(3.0, DELTA), GDP).epsilon <= 3.0
    with pytest.raises(
        BudgetExceeded, match=r"budget is epsilon 3 .* 3 is spent, this plan asks for 3, together 4"
    ):
        admit([plan], plan, Budget(3.0, DELTA), GDP)


def test_a_release_without_noise_needs_a_site_without_budget() -> None:
    for rule in (GDP, Filter(8)):
        with pytest.raises(BudgetExceeded):
            admit([], NonPrivateEvent(), Budget(1e9, DELTA), rule)
        assert admit([], NonPrivateEvent(), Budget(math.inf, DELTA), rule) == Admission(math.inf, "filter")
        with pytest.raises(BudgetExceeded):
            admit([NonPrivateEvent()], GaussianEvent(100.0, 1.0, 1), Budget(1e9, DELTA), rule)


def test_nothing_uses_nothing_even_where_nothing_fits() -> None:
    tight, rule = Budget(0.01, DELTA), Filter(3)
    assert rule.capacity(tight) < 0
    assert rule.load([], tight) == rule.load([GaussianEvent(1.0, 0.1, 0)], tight) == 0
    assert rule.load([GaussianEvent(1e6, 0.001, 1)], tight) == math.inf


def test_a_budget_without_limit_leaves_a_filter_that_a_later_limit_can_use() -> None:
    plan = GaussianEvent(5.0, 0.1, 100)
    rule = Filter.frozen(Budget(math.inf, DELTA), plan)
    assert rule.load([plan], Budget(math.inf, DELTA)) == 0
    assert 0 < rule.load([plan], Budget(3.0, DELTA)) < 1
    assert Filter.frozen(Budget(math.inf, DELTA), NonPrivateEvent()).order is not None


@pytest.mark.parametrize(
    "limits",
    [
        *[(target, DELTA) for target in (0.0, -1.0, math.nan, -math.inf, True)],
        *[(1.0, delta) for delta in (0.0, 1.0, -1e-5, math.nan, True)],
    ],
)
def test_a_senseless_budget_is_refused(limits: tuple[float, float]) -> None:
    """DP-8: refused before any library is called."""
    with pytest.raises(UnsafeParameters):
        Budget(*limits)


@pytest.mark.parametrize("order", [1, 0, -2, 2.0, True, 10**5, math.nan, "8"])
def test_a_senseless_order_is_refused(order: Any) -> None:
    with pytest.raises(UnsafeParameters):
        Filter(order)


@pytest.mark.parametrize(
    "data", [{}, {"type": "gdp", "order": 3}, {"type": "rdp"}, {"type": "pld"}, {"type": "rdp", "order": "3"}]
)
def test_a_filter_that_is_not_known_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedEvent):
        filter_from_json(data)
