"""Whether an attack found more than the plan proves that any attack can.

All scores of a model hang together, so no interval that takes units for independent may decide. What decides is
the theorem for one run (Steinke, Nasr and Jagielski 2023; Mahloujifar, Melis and Chaudhuri 2024): if each unit is
in by a fair coin of its own, and the attacker accuses so many, then under a trade-off so many of them are right
with at most some small chance, whatever the attacker does and however the guesses hang together.

* **Models trained anew** have such coins. The attacker knows all about one half of the models, and guesses of the
  other half; then the other way around. Several models with coins of their own are one run with as many more.
* **The run itself** held out a fixed share of each class, so its coins are not independent. But of a member and
  another of the same class of the same site, paired by chance, each is as likely to be the member. So the attacker
  is asked which of each pair it is; what is proven is then the trade-off of one unit in the place of another.

How many are accused is fixed beforehand, as shares of all. The chance of a false alarm, 1 %, is shared out evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from federation.audit.measured.onerun import Inverse, from_curve, is_incredible
from privacy.accounting.risks.figures import Pair
from privacy.mechanism.noise import Stream
from simulations.attacking.models import Floats
from simulations.attacking.people import Bits, People
from simulations.attacking.proven import lines

FALSE_ALARM: Final = 0.01
SHARES: Final = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
"""Of all who might be accused, the surest that are."""
_LEAST, _MOST = 10, 5000  # accused
_LOOKS = 2  # the run itself, and the models that are trained anew


@dataclass(frozen=True)
class Count:
    """Of `accused` so many were `right`; `exceeds`: that is more than the plan proves."""

    attack: str
    accused: int
    right: int
    exceeds: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "attack": self.attack,
            "accused": self.accused,
            "right": self.right,
            "exceeds": self.exceeds,
        }


@dataclass(frozen=True)
class Guesses:
    """Scores by attack, each with the bits that were guessed, under a fair coin each."""

    by_attack: Mapping[str, tuple[Floats, Bits]]


def counts(parts: Sequence[Guesses], pair: Pair) -> list[Count]:
    """What attacks found in one look, each part by itself, held against a trade-off."""
    inverse = from_curve(lines(pair))
    asked = [
        (attack, scores, bits, accused)
        for part in parts
        for attack, (scores, bits) in part.by_attack.items()
        for accused in _numbers(len(bits))
    ]
    chance = FALSE_ALARM / _LOOKS / max(1, len(asked))
    return [_counted(*each, inverse, chance) for each in asked]


def _numbers(size: int) -> Iterator[int]:
    """How many are accused."""
    yield from sorted({min(_MOST, round(share * size)) for share in SHARES if round(share * size) >= _LEAST})


def _counted(attack: str, scores: Floats, bits: Bits, accused: int, inverse: Inverse, chance: float) -> Count:
    surest = np.argsort(-scores, kind="stable")[:accused]
    right = int(bits[surest].sum())
    exceeds = 2 * right > accused and is_incredible(right, accused, len(bits), inverse, chance)
    return Count(attack, accused, right, exceeds)


def paired(people: People, scores: Mapping[str, Floats], secret: Stream) -> Guesses | None:
    """A member and another of each pair, and of which of them the attacker is surer; None where nobody is paired.

    The bit says that the guess is right. Where both scores are the same the first one is guessed, which is the
    member by a coin.
    """
    members, others = _pairs(people, secret)
    if len(members) < _LEAST:
        return None
    coin = (secret.derive("first").words(len(members)) >> np.uint64(63)).astype(bool)
    found = {}
    for attack, of in scores.items():
        gap = of[members] - of[others]
        found[attack] = (np.abs(gap), np.where(gap == 0, coin, gap > 0))
    return Guesses(found)


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
