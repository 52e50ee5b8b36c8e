"""The grid of a sum, stated a second time: agrees with the first everywhere, and sees noise that is too little."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.audit.sums.grids import grid_fault
from federation.round.messages import Member
from federation.round.terms import Terms
from privacy.errors import UnsafeParameters
from privacy.mechanism.gaussian import GaussianMechanism
from tests.plans import plan_of


def terms_of(sites: int, dimension: int, **changes: object) -> Terms:
    plan = plan_of({"minimum": 3, "rounds": 4}, **changes)
    members = tuple(Member(f"site-{slot}", 100) for slot in range(sites))
    return Terms(plan, bytes(16), 1, 1, members, dimension)


@given(
    st.integers(4, 12),
    st.integers(1, 10**10),
    st.sampled_from([{}, {"noise": "site"}, {"noise": "central"}, {"unit": "client", "epsilon": 1.0}]),
    st.sampled_from([0.2, 1.0, 8.0]),
)
@settings(max_examples=200, deadline=None)
def test_both_statements_of_the_grid_agree(
    sites: int, dimension: int, where: dict[str, object], epsilon: float
) -> None:
    terms = terms_of(sites, dimension, **(where | {"epsilon": epsilon}))
    try:
        _ = terms.mechanism
    except UnsafeParameters:
        assert dimension > 10**7  # the widest noise is not wide enough
        return
    assert grid_fault(terms) == ""


@pytest.mark.parametrize("dimension", [31, 10**5, 10**8])
def test_a_grid_too_fine_and_a_width_of_another_model_are_seen(dimension: int) -> None:
    """The failing control: the same terms, with a mechanism for fewer parameters, more shares, or no rounding."""
    terms = terms_of(5, dimension)
    made = terms.mechanism
    assert made is not None and grid_fault(terms) == ""
    for other in (replace(made, shares=made.shares + 1), replace(made, dimension=max(1, dimension // 400))):
        assert grid_fault(_with(terms, other)) != ""


def _with(terms: Terms, mechanism: GaussianMechanism) -> Terms:
    other = replace(terms)
    codec = replace(terms.codec, step=mechanism.step)
    other.__dict__.update(mechanism=mechanism, codec=codec)
    return other
