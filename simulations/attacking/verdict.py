"""Whether an attack found more than the plan proves that any attack can.

All scores of a model hang together, so no interval that takes units for independent may decide.

* **Models trained anew**: each unit is in by a fair coin. Let the attacker accuse the surest share a of the units
  of a model, by scores alone. P(accused | in) <= exp(e) P(accused | out) + d(e), so in the mean over coins and
  noise, and whatever hangs together within a model, of those accused at most (exp(e) + d(e) / 2a) / (1 + exp(e))
  are right: the least of that over e is what is `proven`. Models are independent of each other, given those that
  the attacker knows. So the mean over models has a lower end by Student's t, with a deviation no less than that of
  independent guesses. An attacker knows one half of the models and accuses by the other half; then the other way
  around.
* **The run itself** is one model, and held out a fixed share of each class, so its coins are not independent. But
  of a member and another of the same class of the same site, paired by chance, each is as likely to be the member.
  So the attacker is asked which of each pair it is; what is proven is the trade-off of one unit in the place of
  another, and the theorem for one run says how many may be right (Steinke, Nasr and Jagielski 2023; Mahloujifar,
  Melis and Chaudhuri 2024). It allows for the rare draw that tells of everybody at once, and so sees little.

How many are accused is fixed beforehand, as shares of all. The chance of a false alarm, 1 %, is shared out evenly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import stdtrit

from federation.audit.measured.onerun import from_curve, is_incredible
from privacy.accounting.risks.figures import Pair
from privacy.mechanism.noise import Stream
from simulations.attacking.models import Floats
from simulations.attacking.people import Bits, People
from simulations.attacking.proven import Lines, lines

FALSE_ALARM: Final = 0.01
SHARES: Final = (0.01, 0.03, 0.1, 0.3, 0.5)
"""Of the units of a model, the surest."""
OF_PAIRS: Final = (0.03, 0.1, 0.3, 1.0)
_LEAST, _MOST = 10, 5_000  # pairs that are guessed
_WRONG = 10  # accusations that have to be wrong, in the mean, for a law of large numbers
_LOOKS = 2  # the run itself, and the models that are trained anew

Scores = Mapping[str, Floats]  # by attack: of each model and each unit, or of each pair
Part = tuple[Scores, Bits]


@dataclass(frozen=True)
class Count:
    """Of so many `guesses` so many were `right`; `exceeds`: that is more than the plan proves.

    `low`: the lower end of the share that is right, in the mean; `proven`: the most that it can be. None for one
    run.
    """

    attack: str
    guesses: int
    right: int
    exceeds: bool
    low: float | None = None
    proven: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


def counts_of_models(parts: Sequence[Part], pair: Pair) -> list[Count]:
    """Of attacks on models (models, units), each part with what was in, held against the trade-off of a unit."""
    known = lines(pair)
    asked = [
        (attack, scores, within, number, most)
        for by_attack, within in parts
        for attack, scores in by_attack.items()
        for number, most in _shares(len(within), within.shape[1], known)
    ]
    chance = FALSE_ALARM / _LOOKS / max(1, len(asked))
    return [_of_models(*each, chance) for each in asked]


def most_right(share: float, known: Lines) -> float:
    """The share of right ones, at the most, where this share of all units is accused, and half of them are in.

    >>> most_right(0.5, [(0.0, 0.2)]), round(most_right(0.01, [(0.0, 0.2), (1.0, 0.001)]), 3)
    (0.6, 0.744)
    """
    return min(1.0, *((math.exp(e) + d / (2 * share)) / (1 + math.exp(e)) for e, d in known))


def _shares(models: int, units: int, known: Lines) -> Iterator[tuple[int, float]]:
    """How many are accused in each model, and the share of right ones that is proven."""
    for number in sorted({round(share * units) for share in SHARES} - {0}):
        most = most_right(number / units, known)
        if models * number * (1 - most) >= _WRONG:
            yield number, most


def _of_models(attack: str, scores: Floats, within: Bits, number: int, most: float, chance: float) -> Count:
    surest = np.argsort(-scores, axis=1, kind="stable")[:, :number]
    right = np.take_along_axis(within, surest, axis=1).sum(axis=1)
    models, shares = len(right), right / number
    variance = max(float(shares.var(ddof=1)), most * (1 - most) / number)
    low = float(shares.mean()) - float(stdtrit(models - 1, 1 - chance)) * math.sqrt(variance / models)
    return Count(attack, models * number, int(right.sum()), low > most, low, most)


def counts_of_pairs(part: Part, pair: Pair) -> list[Count]:
    """Of guesses about pairs, how sure and whether right, held against the trade-off of one in another's place."""
    by_attack, inverse = part[0], from_curve(lines(pair))
    size = len(part[1])
    numbers = sorted({min(_MOST, round(share * size)) for share in OF_PAIRS if round(share * size) >= _LEAST})
    asked = [(attack, gaps, number) for attack, gaps in by_attack.items() for number in numbers]
    chance, found = FALSE_ALARM / _LOOKS / max(1, len(asked)), []
    for attack, gaps, number in asked:
        surest = np.argsort(-np.abs(gaps), kind="stable")[:number]
        right = int(np.where(gaps[surest] == 0, part[1][surest], gaps[surest] > 0).sum())
        exceeds = 2 * right > number and is_incredible(right, number, size, inverse, chance)
        found.append(Count(attack, number, right, exceeds))
    return found


def paired(people: People, scores: Scores, secret: Stream) -> Part | None:
    """Of each pair by how much the member's score is the larger; and a coin, which decides where both are the same.

    None where too few are paired.
    """
    members, others = _pairs(people, secret)
    if len(members) < _LEAST:
        return None
    coin = (secret.derive("first").words(len(members)) >> np.uint64(63)).astype(bool)
    return {attack: of[members] - of[others] for attack, of in scores.items()}, coin


def _pairs(people: People, secret: Stream) -> tuple[Any, Any]:
    """Within each class of each site as many pairs as there are, by chance."""
    order = np.argsort(secret.derive("pairs").words(people.size), kind="stable")
    members, others = [], []
    for stratum in np.unique(people.stratum):
        own = order[people.stratum[order] == stratum]
        inside, outside = own[people.members[own]], own[~people.members[own]]
        pairs = min(len(inside), len(outside))
        members.append(inside[:pairs])
        others.append(outside[:pairs])
    return np.concatenate(members), np.concatenate(others)
