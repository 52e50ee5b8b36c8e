"""Slices of a sum's sites as messages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from federation.errors import DataError, TransportError
from federation.round.messages import Member
from federation.round.terms import Terms
from privacy.errors import MalformedMessage, PolicyViolation, UnsafeParameters
from simulations.ray.slices import Slice, Work, cut, refused, summed, total
from tests.worlds import plan_of

PLAN = plan_of()
WORK = Work(PLAN.to_toml(), "/shared/sites", bytes(32))
MEMBERS = tuple(Member(name, 40) for name in ("ash", "birch", "cedar"))
TERMS = Terms(PLAN, b"r" * 16, 2, 5, MEMBERS, 4)


def test_a_slice_is_read_as_it_was_written() -> None:
    part = Slice.of(WORK, TERMS, ("ash", "cedar"), "seen", torch.tensor([1.0, -2.0, 0.5, 3.0]))
    again = Slice.from_bytes(part.to_bytes())
    assert torch.equal(again.params, part.params)
    assert (again.work, again.names, again.seen) == (part.work, part.names, part.seen)
    assert again.terms(PLAN) == TERMS
    with pytest.raises(MalformedMessage):
        Slice.from_bytes(part.to_bytes()[:-1])


def test_terms_of_another_cohort_are_not_taken_from_those_of_the_last_round() -> None:
    params = torch.zeros(4)
    first = Slice.of(WORK, TERMS, ("ash",), "", params).terms(PLAN)
    again = Slice.of(WORK, TERMS.again(3, 9), ("ash",), "", params).terms(PLAN, first)
    assert again == Terms(PLAN, TERMS.run, 3, 9, MEMBERS, 4)
    other = Terms(PLAN, TERMS.run, 3, 9, (*MEMBERS, Member("dogwood", 7)), 4)
    assert Slice.of(WORK, other, ("ash",), "", params).terms(PLAN, first) == other
    in_groups = Terms(PLAN, TERMS.run, 3, 9, MEMBERS, 4, other.members)
    assert Slice.of(WORK, in_groups, ("ash",), "", params).terms(PLAN, first) == in_groups


@pytest.mark.parametrize(("count", "parts"), [(7, 3), (2, 5), (0, 4), (6, 1)])
def test_slices_are_all_sites_in_order_and_about_equal(count: int, parts: int) -> None:
    names = [f"s{number}" for number in range(count)]
    slices = list(cut(names, parts))
    assert [name for part in slices for name in part] == names
    assert len(slices) == min(count, parts)
    sizes = [len(part) for part in slices]
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_partial_sums_are_added_around_the_ring() -> None:
    parts = [np.array([2**64 - 1, 5], np.uint64), np.array([3, 7], np.uint64)]
    assert total(map(summed, parts), 2).tolist() == [2, 12]
    with pytest.raises(MalformedMessage, match="another length"):
        total([summed(parts[0])], 3)


@pytest.mark.parametrize(
    "error", [DataError("x", hint="y"), UnsafeParameters("p", hint="q")], ids=["data", "unsafe"]
)
def test_an_error_of_ours_comes_back_as_it_was(error: DataError | UnsafeParameters) -> None:
    with pytest.raises(type(error)) as told:
        total([refused(error)], 2)
    assert (str(told.value), told.value.exit_code) == (str(error), error.exit_code)


def test_an_error_that_is_not_known_to_travel_ends_the_run_all_the_same() -> None:
    with pytest.raises(TransportError, match="no"):
        total([refused(PolicyViolation("no"))], 2)
