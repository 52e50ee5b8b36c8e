"""Means of groups, combined: as others compute it, and between the groups that no bad site is in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.sums.combining import combined, trimmed


def means(groups: int, seed: int = 0, length: int = 7) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(groups, length, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("groups", range(1, 12))
def test_they_are_what_other_libraries_compute(groups: int) -> None:
    given, rows = means(groups), np.stack([one.numpy() for one in means(groups)])
    assert np.allclose(combined(given, None), rows.mean(axis=0), rtol=1e-12)
    assert np.allclose(combined(given, "mean"), rows.mean(axis=0), rtol=1e-12)
    assert np.allclose(combined(given, "median"), np.median(rows, axis=0), rtol=1e-12)
    if groups >= 3:
        cut = trimmed(groups) / groups
        assert np.allclose(combined(given, "trimmed-mean"), stats.trim_mean(rows, cut), rtol=1e-12)


@given(
    groups=st.integers(3, 11),
    seed=st.integers(0, 99),
    how=st.sampled_from(["median", "trimmed-mean"]),
    poison=st.sampled_from([1e30, -1e30, 3.0]),
)
def test_bad_groups_move_a_coordinate_no_further_than_the_others_reach(
    groups: int, seed: int, how: str, poison: float
) -> None:
    most = (groups - 1) // 2 if how == "median" else trimmed(groups)
    honest = means(groups - most, seed)
    everybody = [*honest, *[torch.full((7,), poison, dtype=torch.float64)] * most]
    rows, found = torch.stack(honest), combined(everybody, how)
    assert bool(((rows.amin(dim=0) <= found) & (found <= rows.amax(dim=0))).all())
    if abs(poison) > 1e3:
        moved = combined(everybody, "mean")
        assert not bool(((rows.amin(dim=0) <= moved) & (moved <= rows.amax(dim=0))).any()), "the control"


def test_one_mean_is_handed_on_bit_for_bit() -> None:
    (only,) = means(1)
    assert all(torch.equal(combined([only], how), only) for how in (None, "mean", "median"))
