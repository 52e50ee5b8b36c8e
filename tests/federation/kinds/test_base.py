"""A sum on the grid is that of its rows, wherever they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from federation.kinds.base import on_grid, sum_on_grid
from privacy.mechanism.encoding import Codec

EXTREMES = {"nothing": 0.0, "too long": 40.0, "beyond the box": 1e9, "infinite": math.inf, "none": math.nan}


@pytest.mark.parametrize("radius", [1.0, 10.0, 1000.0], ids=["ball", "box and ball", "box"])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_a_sum_on_the_grid_is_that_of_projected_rows(extreme: str, radius: float) -> None:
    codec = Codec(0.01, 1000, 0, 9)
    rows = torch.randn(9, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 10
    rows[4, 7] = EXTREMES[extreme]
    radii = [radius] * len(rows)
    assert np.array_equal(sum_on_grid(codec, rows, radii), on_grid(codec, rows, radii).sum(axis=0))
