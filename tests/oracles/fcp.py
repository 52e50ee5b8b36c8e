"""The parameter rule of Google's Federated Compute Platform, to compare ours with; and the results it must give.

Written from the rule: with A = floor(gamma n) colluders and D = n - ceil((1 - delta) n) dropouts, both random,
the smallest even degree k < n - 1 for which
  the ring falls apart with probability below 2^-41: n (n - k - 1) / 2 pairs of gaps, each of k missing sites;
  t1 < t2, where P[Hyp(n, A, k) > t1] <= 2^-41 / n and P[Hyp(n, n - D, k) < t2] <= 2^-20 / n;
and t = max(t1 + 1, 2). Against a semi-malicious server t1 is replaced by ceil((t1 + k - 1.25) / 2).

GOLDEN holds the degrees and thresholds of the table in google-parfait/federated-compute,
fcp/secagg/server/graph_parameter_finder_test.cc (facts only), for n = 10, 100, ..., 1,000,000.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln  # type: ignore[import-untyped]

_EDGE = 1e-14  # a rate times n that is an integer must round to it

Pair = tuple[int, int]

# (gamma, delta, is semi-malicious): (k, t) for rising powers of ten, None where the table has no entry.
GOLDEN: dict[tuple[float, float, bool], list[Pair | None]] = {
    (0.45, 0.45, False): [None, (92, 46), (822, 417), (3494, 1771), (5508, 2788), (6240, 3156)],
    (0.33, 0.33, False): [(8, 4), (68, 34), (286, 150), (422, 221), (480, 251), (518, 270)],
    (0.3, 0.3, True): [None, (92, 62), (872, 584), (4822, 3230), (9388, 6286), (11136, 7454)],
    (0.05, 0.33, False): [(4, 2), (28, 6), (72, 24), (86, 29), (96, 32), (102, 34)],
    (0.05, 0.33, True): [(8, 5), (72, 39), (398, 223), (746, 420), (882, 496), (970, 545)],
    (0.33, 0.05, False): [(4, 4), (34, 29), (78, 60), (92, 70), (102, 77), (110, 83)],
    (0.33, 0.05, True): [(4, 4), (42, 37), (132, 109), (178, 146), (196, 160), (212, 173)],
    (0.05, 0.05, False): [(2, 2), (12, 6), (30, 17), (34, 20), (36, 21), (38, 22)],
    (0.05, 0.05, True): [(2, 2), (16, 11), (52, 37), (62, 44), (68, 48), (74, 52)],
    (0.33, 0.0, False): [(4, 4), (26, 25), (38, 36), (42, 40), (46, 44), (50, 47)],
    (0.33, 0.0, True): [(4, 4), (26, 26), (38, 37), (42, 41), (46, 45), (50, 49)],
    (0.0, 0.33, False): [(4, 2), (26, 2), (38, 2), (42, 2), (46, 2), (50, 2)],
    (0.0, 0.33, True): [(8, 5), (68, 35), (228, 115), (326, 164), (372, 187), (410, 206)],
    (0.0, 0.0, False): [(2, 2)] * 6,
    (0.0, 0.0, True): [(2, 2)] * 6,
}


def find(n: int, gamma: float, delta: float, is_semi_malicious: bool) -> Pair | None:
    """The degree and threshold by FCP's rule; None if no degree will do. In floating point, to about 1e-8."""
    colluders, alive = floor((gamma + _EDGE) * n), ceil((1 - delta - _EDGE) * n)
    missing = colluders + floor((delta + _EDGE) * n)
    for k in range(2, n - 1, 2):
        if _log_chance_of_a_split(n, k, missing) >= -41 * log(2):
            continue
        t1 = k - _quantile(n, n - colluders, k, 2.0**-41 / n)
        t2 = _quantile(n, alive, k, 2.0**-20 / n)
        if is_semi_malicious:
            t1 = ceil((t1 + k - 1.25) / 2)
        if t1 < t2:
            return k, max(t1 + 1, 2)
    return None


def _log_chance_of_a_split(n: int, k: int, missing: int) -> float:
    if k > missing:
        return -np.inf
    pairs = log(n) + log(n - k - 1) - log(2)
    table = _log_factorials(n)
    return float(pairs + table[missing] + table[n - k] - table[n] - table[missing - k])


def _quantile(population: int, marked: int, drawn: int, bound: float) -> int:
    """The largest x with P[X < x] <= bound, for X marked ones among those drawn."""
    table = _log_factorials(population)
    low, high = max(0, drawn - (population - marked)), min(marked, drawn)
    x = np.arange(low, high + 1)
    rest, spare = drawn - x, population - marked - drawn + x
    ways = table[marked] - table[x] - table[marked - x]
    ways += table[population - marked] - table[rest] - table[spare]
    total = table[population] - table[drawn] - table[population - drawn]
    below = np.cumsum(np.exp(ways - total))
    return min(low + int(np.searchsorted(below, bound, side="right")), high)


@lru_cache(maxsize=8)
def _log_factorials(largest: int) -> NDArray[np.float64]:
    return np.asarray(gammaln(np.arange(largest + 1) + 1.0))
