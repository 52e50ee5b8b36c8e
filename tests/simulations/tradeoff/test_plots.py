"""What counts as a difference, and how names beside a drawing are kept apart."""

from __future__ import annotations

from itertools import pairwise

import pytest

from simulations.tradeoff.bands import differences
from simulations.tradeoff.plots import apart, is_clear, ticks


@pytest.mark.parametrize(
    ("ours", "theirs", "clear"),
    [
        ([0.9, 0.91, 0.92], [0.8, 0.81, 0.83], True),
        ([0.8, 0.81, 0.83], [0.9, 0.91, 0.92], True),
        ([0.9, 0.8], [0.8, 0.85], False),
        ([38 / 43, 39 / 43], [37 / 43, 38 / 43], False),  # one and the same record of 43, but for rounding
        ([0.9], [0.8], False),
        ([None, None], [0.8, 0.9], False),
    ],
    ids=["gain", "loss", "chance", "one record", "one seed", "not known"],
)
def test_a_difference_is_one_where_seeds_vary_and_agree_on_its_side(
    ours: list[float | None], theirs: list[float | None], clear: bool
) -> None:
    assert is_clear(differences(ours, theirs)) is clear


def test_names_never_overlap_and_stay_in_the_drawing() -> None:
    places = apart([10.0, 10.0, 11.0, 95.0, 99.0], 15, 0, 100)
    assert all(after - before >= 15 for before, after in pairwise(places))
    assert places[-1] <= 100


def test_ticks_are_round_and_few() -> None:
    for low, high in ((0.61, 0.94), (0.9, 0.904), (-3.0, 200.0)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 7
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
