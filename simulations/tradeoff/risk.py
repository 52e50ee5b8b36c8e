"""What a run of a trade-off means to one person, as odds of a guess."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal
from typing import Any

from federation.report.risks.told import RiskFigures
from federation.report.risks.words import hits_of, lead
from privacy.accounting.risks.charged import risk_by_epsilon
from privacy.accounting.risks.charged import told as risk_told
from privacy.accounting.units import Unit

_MOST = 10**6
QUESTIONS = {
    "record": "a person's record was in the data",
    "patient": "a person's records were in the data of a site",
    "client": "a whole site took part",
}


def risk_of(known: RiskFigures | None, epsilon: float | None, delta: float, unit: Unit) -> dict[str, Any]:
    """The risk of a run as a share of right guesses, and in words, beside its figures.

    `known`: of the run's own mechanism. Of a run that an earlier version made, and of one that promises nothing, it
    is what follows from epsilon and delta alone. `right` is the most that anybody's share of right guesses can be
    who starts at even odds: a half and half of the advantage. `found`: of a hundred who are in the data, where one
    in a hundred others is accused.
    """
    told = None if known is None else known.to_json()
    if told is None and epsilon is not None:
        told = risk_told(risk_by_epsilon(epsilon, delta))
    bound = 1.0 if told is None else told["advantage"]
    right = min(1.0, math.nextafter((1 + bound) / 2, math.inf))
    said = {"right": right, "short": short(right), "words": words(right, unit)}
    return {**(told or {"advantage": bound}), **said, "found": hits_of(told), "hits": lead(told, unit)}


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
