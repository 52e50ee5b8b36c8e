"""Nanoseconds for one draw of the exact noise."""

from __future__ import annotations

import os

from benchmarks.results import keep, table
from benchmarks.timing import least
from privacy.mechanism.noise import Stream, discrete_gaussian, poisson_sample

SIZES = (2_114, 211_400, 1_626_442)


def main() -> None:
    """Measure, and write the part."""
    works = {
        f"{size:,} draws at once": (lambda size=size: discrete_gaussian(Stream(os.urandom(32)), size))
        for size in SIZES
    }
    took = least(works, seconds=3)
    rows = {
        name: [f"{1e6 * spent / size:.1f} ns"]
        for (name, spent), size in zip(took.items(), SIZES, strict=True)
    }
    coins = least({"coins": lambda: poisson_sample(Stream(os.urandom(32)), 1_000_000, 0.1)}, seconds=1)[
        "coins"
    ]
    rows["a coin of a Poisson sample, of 1,000,000 records at rate .1"] = [f"{coins:.1f} ns"]
    keep("The sampler", table(["exact discrete Gaussian, for one draw", "processor time"], rows))
