"""Events are checked when built, survive JSON, and unknown ones are refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import GaussianEvent, NonPrivateEvent, ReplacedEvent, event_from_json
from privacy.errors import UnsafeParameters, UnsupportedEvent

NOISED = st.builds(
    GaussianEvent,
    st.floats(0.1, 1e6),
    st.floats(0, 1, exclude_min=True),
    st.integers(0, 10**9),
    st.integers(1, 1000),
)
EVENTS = NOISED | NOISED.map(lambda event: ReplacedEvent(**vars(event))) | st.just(NonPrivateEvent())


@given(EVENTS)
def test_an_event_survives_json(event: GaussianEvent | NonPrivateEvent) -> None:
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event


@pytest.mark.parametrize(
    "arguments",
    [
        *[(z, 0.1, 1) for z in (math.nan, math.inf, 0.0, -1.0, 0.01, 1e7, True, "1")],
        *[(1.0, rate, 1) for rate in (0.0, -0.1, 1.1, math.nan, True)],
        *[(1.0, 0.1, count) for count in (-1, 2.5, True, math.nan, 10**10)],
        *[(1.0, 0.1, 1, group) for group in (0, -1, 1.0, True, math.nan, 1001, "1", None)],
    ],
)
def test_what_is_out_of_range_is_no_event(arguments: tuple[Any, ...]) -> None:
    """DP-8: refused before any library is called."""
    with pytest.raises(UnsafeParameters):
        GaussianEvent(*arguments)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"type": "laplace", "scale": 1.0},
        {"type": "gaussian"},
        {"type": "gaussian", "noise_multiplier": "1", "sample_rate": 1.0, "count": 1},
        {"type": "gaussian", "noise_multiplier": 1.0, "sample_rate": 1.0, "count": 1, "unit": "patient"},
        {"type": "non-private", "but": "only a little"},
    ],
)
def test_what_is_unknown_is_refused_and_never_ignored(data: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedEvent):
        event_from_json(data)


def test_a_stored_event_out_of_range_is_refused() -> None:
    with pytest.raises(UnsafeParameters):
        event_from_json({"type": "gaussian", "noise_multiplier": 1.0, "sample_rate": 1.0, "count": True})


def test_what_was_written_before_there_were_groups_means_a_group_of_one() -> None:
    plain = {"type": "gaussian", "noise_multiplier": 1.0, "sample_rate": 0.1, "count": 3}
    assert event_from_json(plain) == GaussianEvent(1.0, 0.1, 3, group=1)
    assert GaussianEvent(1.0, 0.1, 3).to_json() == plain
    assert GaussianEvent(1.0, 0.1, 3, group=2).to_json() == {**plain, "group": 2}


@pytest.mark.parametrize("group", [0, 1.5, True, "2", None, [1]])
def test_a_stored_group_that_is_none_is_refused(group: object) -> None:
    plain = {"type": "gaussian", "noise_multiplier": 1.0, "sample_rate": 0.1, "count": 3, "group": group}
    with pytest.raises(UnsafeParameters):
        event_from_json(plain)
