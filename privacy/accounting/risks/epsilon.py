"""What (epsilon, delta) means to one unit: how well anybody can tell whether it is in the data.

An attack guesses "in" or "out" from all that was released, and may know every other unit. (epsilon, delta) bounds
both of its errors: TPR <= e^epsilon FPR + delta, and the same with the complements (Wasserman and Zhou 2010;
Kairouz, Oh and Viswanath 2015). Where both hold with equality FPR is (1 - delta) / (e^epsilon + 1), and there
TPR - FPR is largest.
"""

from __future__ import annotations

import math


def advantage(epsilon: float, delta: float) -> float:
    """The most that TPR - FPR of any attack can be, rounded up: 0 is blind guessing, 1 is certainty.

    It is (e^epsilon - 1 + 2 delta) / (e^epsilon + 1), and some mechanism of this (epsilon, delta) reaches it.

    >>> round(advantage(1.0, 0.0), 4), advantage(0.0, 0.0), advantage(math.inf, 0.0)
    (0.4621, 0.0, 1.0)
    """
    without = math.tanh(epsilon / 2)  # the same with delta = 0, as exact where epsilon is small
    exact = without + delta * (1 - without)
    return min(1.0, math.nextafter(exact, math.inf)) if exact > 0 else 0.0
