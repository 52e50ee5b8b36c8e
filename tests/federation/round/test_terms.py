"""What every party derives alike: session, context, shares of noise, grid, ring, weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.kinds.base import Kind as Release
from federation.kinds.sums import NoisedSum, SummedGradients
from federation.kinds.updates import NoisedSteps
from federation.model.params import params_bytes, params_digest, params_from_bytes
from federation.plan.plan import Plan
from federation.round.cohort import required_survivors
from federation.round.messages import Frame, Invitation, Kind, Member
from federation.round.terms import Terms
from privacy.errors import MalformedMessage, UnsafeParameters
from privacy.mechanism.noise import MAX_DRAW, SIGMA
from privacy.secagg.parameters import Parameters
from tests.plans import plan_of

DIMENSION = 12


def make_plan(unit: str = "record", noise: str = "distributed", **changes: object) -> Plan:
    """Everyone is in every batch: calibrated in closed form, so that a test may ask for many plans."""
    return plan_of({"sample_rate": 1.0, "rounds": 4, "unit": unit, "noise": noise}, **changes)


def make_terms(plan: Plan, sizes: tuple[int, ...] = (40, 24, 30), dimension: int = DIMENSION) -> Terms:
    members = tuple(Member(f"site-{slot}", size) for slot, size in enumerate(sizes))
    return Terms(plan, bytes(range(16)), 1, 1, members, dimension)


PLAN = make_plan()
TERMS = make_terms(PLAN)
PARAMS = params_bytes(torch.zeros(DIMENSION))
OTHER_PLANS = [
    make_plan(**change)
    for change in (
        {"epsilon": 2.5},
        {"delta": 1e-6},
        {"clipping_norm": 1.5},
        {"learning_rate": 0.25},
        {"seed": 8},
        {"rounds": 5},
        {"name": "other"},
        {"colluders": 0},
        {"dropouts": 0},
        {"target": "sick"},
        {"holdout": 0.25},
    )
] + [
    make_plan("client"),
    make_plan("record", "site"),
    make_plan("record", "central"),
    make_plan("record", "none"),
]


# One session, one context, one question.


def test_two_parties_with_the_same_plan_and_invitation_have_the_same_terms() -> None:
    theirs = Plan.from_canonical(PLAN.canonical())
    frame = Frame(Kind.INVITE, *TERMS.place, Invitation(TERMS.members).to_bytes())
    shown = Invitation.from_bytes(Frame.from_bytes(frame.to_bytes()).body)
    other = Terms(theirs, frame.run, frame.round, frame.attempt, shown.members, DIMENSION)
    assert other == TERMS
    for derived in ("parameters", "mechanism", "codec", "session", "place"):
        assert getattr(other, derived) == getattr(TERMS, derived)
    assert other.context(PARAMS) == TERMS.context(PARAMS)
    assert other.question(PARAMS) == TERMS.question(PARAMS)
    assert len(TERMS.session) == len(TERMS.context(PARAMS)) == len(TERMS.question(PARAMS)) == 32
    assert len({TERMS.session, TERMS.context(PARAMS), TERMS.question(PARAMS)}) == 3


def changed_members(members: tuple[Member, ...]) -> st.SearchStrategy[tuple[Member, ...]]:
    resized = st.tuples(st.integers(0, 2), st.integers(1, 99)).map(
        lambda change: tuple(
            replace(member, size=change[1]) if slot == change[0] else member
            for slot, member in enumerate(members)
        )
    )
    renamed = st.text("abc-", min_size=1, max_size=5).map(lambda name: (Member(name, 40), *members[1:]))
    return st.one_of(resized, renamed, st.just(members[:2]), st.just((*members, Member("zurich", 9))))


CHANGES = st.one_of(
    st.fixed_dictionaries({"plan": st.sampled_from(OTHER_PLANS)}),
    st.fixed_dictionaries({"run": st.binary(min_size=16, max_size=16)}),
    st.fixed_dictionaries({"round": st.integers(1, 2**32 - 1)}),
    st.fixed_dictionaries({"attempt": st.integers(1, 2**32 - 1)}),
    st.fixed_dictionaries({"members": changed_members(TERMS.members)}),
    st.fixed_dictionaries({"dimension": st.integers(1, 2**40)}),
)


@settings(max_examples=300, deadline=None)
@given(CHANGES)
def test_every_difference_that_is_known_before_the_params_changes_the_session(
    change: dict[str, object],
) -> None:
    other = replace(TERMS, **change)  # type: ignore[arg-type]
    assert (other.session == TERMS.session) is (other == TERMS)


def test_no_two_of_many_plans_share_a_session() -> None:
    sessions = {replace(TERMS, plan=plan).session for plan in [PLAN, *OTHER_PLANS]}
    assert len(sessions) == len(OTHER_PLANS) + 1


def test_a_party_that_calibrates_otherwise_has_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = TERMS.session
    monkeypatch.setattr(Release, "noise_text", "1.234")
    assert make_terms(PLAN).session != expected


@given(st.binary(min_size=4 * DIMENSION, max_size=4 * DIMENSION))
def test_other_params_change_the_context_and_the_question_and_not_the_session(params: bytes) -> None:
    other = make_terms(PLAN)
    assert (other.context(params) == TERMS.context(PARAMS)) is (params == PARAMS)
    assert (other.question(params) == TERMS.question(PARAMS)) is (params == PARAMS)
    assert other.session == TERMS.session


def test_another_ring_or_limit_changes_the_context() -> None:
    """So masks made for two encodings never cancel, whatever made the encodings differ."""
    larger, smaller = make_terms(PLAN, (4000, 24, 30)), make_terms(PLAN, (12, 12, 12))
    for other in (larger, smaller, make_terms(make_plan("client")), make_terms(make_plan("record", "none"))):
        assert (other.codec.ring_bits, other.codec.limit) != (TERMS.codec.ring_bits, TERMS.codec.limit)
        assert other.context(PARAMS) != TERMS.context(PARAMS)


@settings(max_examples=100, deadline=None)
@given(CHANGES)
def test_attempts_share_a_question_and_other_cohorts_do_not(change: dict[str, object]) -> None:
    other = replace(TERMS, **change)  # type: ignore[arg-type]
    assert (other.question(PARAMS) == TERMS.question(PARAMS)) is (other.members == TERMS.members)


def test_later_attempts_and_rounds_compare_as_later() -> None:
    places = [replace(TERMS, round=number, attempt=attempt).place for number in (1, 2) for attempt in (1, 2)]
    assert places == sorted(places)


# The noise that the guarantee counts on.


COHORTS = st.tuples(st.integers(3, 40), st.integers(0, 12), st.integers(0, 40)).filter(
    lambda cohort: cohort[0] - cohort[1] >= 2
)


@settings(max_examples=300, deadline=None)
@given(cohort=COHORTS, norm=st.sampled_from([1e-3, 1.0, 500.0]), unit=st.sampled_from(["record", "client"]))
def test_every_sum_that_may_be_opened_carries_the_promised_noise(
    cohort: tuple[int, int, int], norm: float, unit: str
) -> None:
    """Whoever drops out, and with every colluder's noise subtracted: noise multiplier times sensitivity."""
    count, colluders, dropouts = cohort
    changes: dict[str, object] = {
        "colluders": colluders,
        "dropouts": dropouts,
        "minimum": max(3, colluders + 2),
    }
    plan = make_plan(unit, "distributed", clipping_norm=norm, **changes)
    terms = make_terms(plan, (30,) * count)
    mechanism, rules = terms.mechanism, terms.parameters
    assert mechanism is not None
    # The sensitivity on the grid: the norm, and half a unit of rounding at each end of every coordinate.
    sensitivity = norm + mechanism.step * math.sqrt(DIMENSION)
    for survivors in range(rules.required, count + 1):
        unknown = survivors - colluders
        assert unknown >= 1
        noise = SIGMA * mechanism.step * math.sqrt(unknown)
        assert noise >= plan.kind.noise_multiplier * sensitivity * (1 - 1e-12)
    fewest = SIGMA * mechanism.step * math.sqrt(rules.required - colluders)
    assert fewest <= plan.kind.noise_multiplier * sensitivity * (1 + 1e-4)  # and no more than promised


@settings(max_examples=200, deadline=None)
@given(COHORTS)
def test_shares_are_the_required_survivors_less_the_colluders(cohort: tuple[int, int, int]) -> None:
    count, colluders, dropouts = cohort
    plan = make_plan(colluders=colluders, dropouts=dropouts, minimum=max(3, colluders + 2))
    terms = make_terms(plan, (30,) * count)
    threshold = (count + colluders) // 2 + 1
    required = max(count - dropouts, threshold, 3)  # the sum of two would show each the other's
    assert required_survivors(plan, count) == terms.parameters.required == required
    assert terms.mechanism is not None
    assert terms.mechanism.shares == required - colluders


@pytest.mark.parametrize("noise", ["site", "central"])
@pytest.mark.parametrize("unit", ["record", "client"])
def test_noise_that_one_party_adds_is_never_shared(unit: str, noise: str) -> None:
    mechanism = make_terms(make_plan(unit, noise)).mechanism
    assert mechanism is not None
    assert mechanism.shares == 1


def test_the_mechanism_is_that_of_the_plan() -> None:
    plan = make_plan("client", clipping_norm=0.7)
    mechanism = make_terms(plan).mechanism
    assert mechanism is not None
    assert (mechanism.clipping_norm, mechanism.dimension, mechanism.sample_rate) == (0.7, DIMENSION, 1.0)
    assert mechanism.noise_multiplier == plan.kind.noise_multiplier
    assert make_terms(make_plan("record", "none")).mechanism is None


# Grid and ring.


def bound(terms: Terms) -> float:
    kind = terms.kind
    assert isinstance(kind, NoisedSum | NoisedSteps)
    return kind.bound(terms.parties)


@pytest.mark.parametrize(
    ("rate", "sizes", "records"),
    [
        (1.0, (40, 24, 30), 40),  # never more than there are
        (0.1, (4000, 10, 10), 568),  # 400 + 8 sqrt(400) + 8
        (0.1, (40, 24, 30), 28),
        (0.1, (1, 1, 1), 1),
    ],
)
def test_a_site_contributes_at_most_the_norm_times_the_most_records_of_a_batch(
    rate: float, sizes: tuple[int, ...], records: int
) -> None:
    plan = make_plan(sample_rate=rate, clipping_norm=0.5)
    assert bound(make_terms(plan, sizes)) == records * 0.5
    assert bound(make_terms(make_plan("client", clipping_norm=0.5), sizes)) == 0.5


@settings(max_examples=300, deadline=None)
@given(
    unit=st.sampled_from(["record", "client"]),
    noise=st.sampled_from(["site", "distributed", "central", "none"]),
    count=st.integers(3, 3000),
    size=st.integers(1, 10**6),
    dimension=st.integers(1, 20_000),
)
def test_the_ring_has_room_for_the_whole_cohort_at_its_limit_and_no_bit_too_many(
    unit: str, noise: str, count: int, size: int, dimension: int
) -> None:
    terms = make_terms(make_plan(unit, noise), (size, *(1,) * (count - 1)), dimension)
    codec = terms.codec
    added = MAX_DRAW if terms.mechanism is not None and not isinstance(terms.kind, NoisedSteps) else 0
    if noise == "distributed":
        added = terms.levels.max_draw  # of all parts of a share together
        assert MAX_DRAW <= added < 2 * MAX_DRAW
    largest = count * (codec.limit + added)
    assert codec.ring_bits == terms.parameters.ring_bits <= 62
    assert largest < 2 ** (codec.ring_bits - 1) <= 2 * largest
    extreme = np.full(1, -(codec.limit + added))
    total = (codec.to_ring(extreme) * np.uint64(count)) & np.uint64((1 << codec.ring_bits) - 1)
    assert int(codec.from_ring(total)[0]) == -largest
    if added:
        assert codec.limit * codec.step >= bound(terms)


def test_a_cohort_that_no_ring_can_hold_is_refused() -> None:
    with pytest.raises(UnsafeParameters):
        _ = make_terms(make_plan(), (2**50, 1, 1)).codec


def test_fixed_point_numbers_reach_to_sixteen_in_steps_of_a_millionth() -> None:
    for plan in (make_plan("record", "none"), make_plan("record", "site")):
        codec = make_terms(plan).codec
        assert codec.limit * codec.step == 16
        assert codec.step < 2e-6
        assert codec.headroom == 0


def test_a_noised_step_has_a_grid_of_its_own_with_room_for_its_noise() -> None:
    terms = make_terms(make_plan("record", "site"))
    assert terms.mechanism is not None
    assert isinstance(terms.kind, NoisedSteps)
    codec = terms.kind.step_codec(terms.parties)
    assert (codec.step, codec.headroom, codec.cohort) == (terms.mechanism.step, MAX_DRAW, 1)
    assert codec.limit * codec.step >= bound(terms) > (codec.limit - 1) * codec.step
    with pytest.raises(UnsafeParameters, match="no mechanism"):
        none = make_terms(make_plan("record", "none"))
        none.kind.mechanism(none.parties)


@pytest.mark.parametrize(
    ("unit", "noise", "each_step", "gradients"),
    [
        ("record", "site", True, False),
        ("record", "distributed", False, True),
        ("record", "central", False, True),
        ("record", "none", False, False),
        ("client", "site", False, False),
        ("client", "distributed", False, False),
        ("client", "central", False, False),
        ("client", "none", False, False),
    ],
)
def test_what_is_summed_follows_from_unit_and_noise(
    unit: str, noise: str, each_step: bool, gradients: bool
) -> None:
    terms = make_terms(make_plan(unit, noise))
    assert (isinstance(terms.kind, NoisedSteps), isinstance(terms.kind, SummedGradients)) == (
        each_step,
        gradients,
    )


def test_the_machines_get_the_plans_rules() -> None:
    found = make_terms(make_plan(colluders=1, dropouts=2)).parameters
    names = ("site-0", "site-1", "site-2")
    bits = found.ring_bits
    assert found == Parameters.choose(names, colluders=1, dropouts=2, ring_bits=bits, length=DIMENSION)


# Weights and sizes.


@given(st.lists(st.integers(1, 10**6), min_size=3, max_size=9))
def test_declared_weights_are_in_proportion_and_at_most_one(sizes: list[int]) -> None:
    plan = make_plan("client", weights="declared")
    terms = make_terms(plan, tuple(sizes))
    weights = [terms.kind.weight(terms.parties, member.site) for member in terms.members]
    assert max(weights) == 1.0
    assert all(weight > 0 for weight in weights)
    assert np.allclose(np.array(weights) / sum(weights), np.array(sizes) / sum(sizes))
    assert [terms.size(member.site) for member in terms.members] == sizes
    uniform = replace(terms, plan=make_plan("client"))
    assert [uniform.kind.weight(uniform.parties, member.site) for member in terms.members] == [1.0] * len(
        sizes
    )


# Params.


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_params_travel_to_the_last_bit(values: list[float]) -> None:
    params = torch.tensor(values, dtype=torch.float32)
    data = params_bytes(params)
    assert torch.equal(params_from_bytes(data, len(values)), params)
    assert len(data) == 4 * len(values)
    assert params_digest(data) != params_digest(data + b"\0")


def test_params_are_little_endian_floats() -> None:
    assert params_bytes(torch.tensor([1.0, -2.0])) == bytes.fromhex("0000803f 000000c0")


@given(st.binary(max_size=40), st.integers(1, 10))
def test_any_bytes_are_finite_params_of_the_models_size_or_malformed(data: bytes, dimension: int) -> None:
    try:
        params = params_from_bytes(data, dimension)
    except MalformedMessage:
        return
    assert params.shape == (dimension,)
    assert bool(torch.isfinite(params).all())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_params_that_are_not_finite_are_malformed(value: float) -> None:
    with pytest.raises(MalformedMessage, match="not finite"):
        params_from_bytes(np.array([0.0, value], "<f4").tobytes(), 2)
