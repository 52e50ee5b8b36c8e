"""A hundred million coordinates: what a client and a server hold beside the vectors they were given."""

from __future__ import annotations

import os
import tracemalloc
from functools import partial

import numpy as np

from benchmarks.timing import Work, once
from privacy.secagg import ring
from privacy.secagg.masks import Mask, apply

LENGTH = 100_000_000
BITS = 20
SITES = 3


def rows(length: int = LENGTH) -> dict[str, list[str]]:
    """Three sites mask, a server adds and unmasks; the sum is checked element by element."""
    vector = np.arange(length, dtype=np.uint64) & np.uint64(2 ** (BITS - 2) - 1)
    pairs = {(low, high): os.urandom(32) for high in range(SITES) for low in range(high)}
    seeds = [os.urandom(32) for _ in range(SITES)]
    total = np.zeros(length, ring.lane_type(BITS))
    uploads: list[bytes] = []

    def mask(site: int) -> None:
        masks = [Mask(key, is_added=low == site) for (low, high), key in pairs.items() if site in (low, high)]
        lanes = ring.to_lanes(vector, BITS)
        apply(lanes, [Mask(seeds[site], is_added=True), *masks])
        ring.reduce(lanes, BITS)
        uploads.append(ring.pack(lanes, BITS))

    def unmask() -> None:
        apply(total, [Mask(seed, is_added=False) for seed in seeds])
        ring.reduce(total, BITS)

    clients, adding = [], []
    for site in range(SITES):
        clients.append(_measured(partial(mask, site)))
        adding.append(_measured(lambda: ring.accumulate(total, uploads.pop(), BITS)))
    unmasking = _measured(unmask)
    _check(total, vector)
    return {
        f"client: mask with {SITES - 1} peers, the packed vector included": _row(clients, length),
        "server: add one vector to the sum": _row(adding, length),
        f"server: take {SITES} self masks out": _row([unmasking], length),
        "the sum itself": [f"{total.nbytes / length:.3f}", ""],
    }


def _measured(work: Work) -> tuple[int, float]:
    """Bytes held at once at most by what the work allocates, and seconds."""
    tracemalloc.start()
    seconds = once(work) / 1e3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, seconds


def _row(measured: list[tuple[int, float]], length: int) -> list[str]:
    return [f"{max(peak for peak, _ in measured) / length:.3f}", f"{min(time for _, time in measured):.1f}"]


def _check(total: ring.Lanes, vector: ring.RingVector) -> None:
    step = 1 << 20
    for start in range(0, vector.size, step):
        assert np.array_equal(total[start : start + step], SITES * vector[start : start + step])
