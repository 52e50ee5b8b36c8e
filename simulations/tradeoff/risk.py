"""What an epsilon means to one person, as odds of a guess."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal
from typing import Any

from privacy.accounting.risks.epsilon import advantage
from privacy.accounting.units import Unit

_MOST = 10**6
QUESTIONS = {
    "record": "a person's record was in the data",
    "patient": "a person's records were in the data of a site",
    "client": "a whole site took part",
}


def risk_of(epsilon: float | None, delta: float, unit: Unit) -> dict[str, Any]:
    """The bound of privacy/accounting/risks/epsilon.py, as a share of right guesses, and in words.

    `right` is the most that anybody's share of right guesses can be who starts at even odds: a half and half of the
    advantage.
    """
    bound = 1.0 if epsilon is None else advantage(epsilon, delta)
    right = min(1.0, math.nextafter((1 + bound) / 2, math.inf))
    return {"advantage": bound, "right": right, "short": short(right), "words": words(right, unit)}


def words(right: float, unit: Unit) -> str:
    """A sentence. The number is rounded up.

    >>> words(0.6225, "client")
    'Whoever guesses whether a whole site took part is right at most 63 times in 100.'
    """
    times = in_times(right)
    if times is None:
        return f"Whoever guesses whether {QUESTIONS[unit]} may be right every time: this bounds nothing."
    return f"Whoever guesses whether {QUESTIONS[unit]} is right at most {times[0]:,} times in {times[1]:,}."


def short(right: float) -> str:
    """The number of `words` alone.

    >>> short(0.6225), short(1.0)
    ('right 63 times in 100', 'right every time')
    """
    times = in_times(right)
    return "right every time" if times is None else f"right {times[0]:,} times in {times[1]:,}"


def in_times(right: float) -> tuple[int, int] | None:
    """The share as n times in 100, or in as many as it takes to be less than always; None if that is no bound.

    >>> in_times(0.5), in_times(0.6225), in_times(0.99967), in_times(1.0)
    ((50, 100), (63, 100), (9997, 10000), None)
    """
    whole = 100
    while whole <= _MOST:
        times = int((Decimal(right) * whole).to_integral_value(ROUND_CEILING))
        if times < whole:
            return times, whole
        whole *= 10
    return None
