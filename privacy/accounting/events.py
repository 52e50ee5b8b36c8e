"""Events: what was released, as frozen, tagged data.

An event holds what accounting needs to know of a release and nothing else. Its meaning never changes once it is
written, because a journal keeps events for years. An accountant refuses an event that it does not know; it never
ignores one. Neighboring datasets differ by one unit (a record, a patient or a client): added or removed, except
where an event says that it is replaced.

    >>> GaussianEvent(noise_multiplier=1.1, sample_rate=0.01, count=300).to_json()["type"]
    'gaussian'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from privacy.errors import UnsafeParameters, UnsupportedEvent

NOISE_MULTIPLIER_RANGE = (0.1, 1e6)  # below, epsilon is in the hundreds; above, nothing is left of the data
_MAX_COUNT = 10**9
MAX_GROUP = 1000
MIN_SAMPLE_RATE = 1e-6  # fewer than one of a million records a step: smaller, and float64 hides what is lost
MAX_EPSILON = (
    100.0  # beyond, a number promises nothing: no plan asks for more, and no row of a table says more
)
MIN_CLIPPING_NORM = 1e-30  # a float32 holds vectors of this length to a relative 1e-12
MIN_DELTA = 1e-10  # at a hundredth of it, the rounding errors of a Fourier transform in float64 show


@dataclass(frozen=True)
class NoisedEvent:
    """`count` releases of a Gaussian mechanism: noise of `noise_multiplier` times the sensitivity, per release.

    Each is computed on a fresh, secret Poisson sample of the data at `sample_rate`. The unit that is charged may
    hold up to `group` contributions, each sampled by itself: then a release moves by Binomial(group, sample_rate)
    times the sensitivity, at worst. How neighboring datasets differ is what the kinds of it say.
    """

    noise_multiplier: float
    sample_rate: float
    count: int
    group: int = 1
    tag: ClassVar[str]

    def __post_init__(self) -> None:
        lowest, highest = NOISE_MULTIPLIER_RANGE
        if not (is_number(self.noise_multiplier) and lowest <= self.noise_multiplier <= highest):
            message = f"a noise multiplier must be from {lowest:g} to {highest:g}"
            raise UnsafeParameters(message, hint="choose another epsilon")
        if not (is_number(self.sample_rate) and 0 < self.sample_rate <= 1):
            raise UnsafeParameters("a sample rate must be above 0 and at most 1")
        if type(self.count) is not int or not 0 <= self.count <= _MAX_COUNT:
            raise UnsafeParameters(
                f"a count of releases must be a whole number from 0 to {_MAX_COUNT}",
                hint="plan fewer rounds or local_steps",
            )
        if type(self.group) is not int or not 1 <= self.group <= MAX_GROUP:
            raise UnsafeParameters(
                f"a group must be a whole number from 1 to {MAX_GROUP}",
                hint="beyond that nothing is protected; bring fewer records of each person",
            )

    def to_json(self) -> dict[str, str | int | float]:
        """Plain data with the event's tag; a group of one is left out."""
        plain: dict[str, str | int | float] = {
            "type": self.tag,
            "noise_multiplier": self.noise_multiplier,
            "sample_rate": self.sample_rate,
            "count": self.count,
        }
        return plain if self.group == 1 else {**plain, "group": self.group}


@dataclass(frozen=True)
class GaussianEvent(NoisedEvent):
    """Releases for neighbors of which one has a unit that the other has not."""

    tag: ClassVar[str] = "gaussian"


@dataclass(frozen=True)
class ReplacedEvent(NoisedEvent):
    """Releases for neighbors of which each has another unit in the same place.

    That is what a part of a whole does (`privacy.accounting.units`): a contribution v becomes any other one that is
    no longer than the sensitivity, at worst -v. It is no GaussianEvent, so nothing counts it as one by mistake.
    """

    tag: ClassVar[str] = "gaussian-replaced"


@dataclass(frozen=True)
class NonPrivateEvent:
    """Something left without any protection: epsilon is infinite from here on."""

    def to_json(self) -> dict[str, str | int | float]:
        """Plain data with the tag "non-private"."""
        return {"type": "non-private"}


Event: TypeAlias = GaussianEvent | ReplacedEvent | NonPrivateEvent
_NOISED = {kind.tag: kind for kind in (GaussianEvent, ReplacedEvent)}


def event_from_json(data: Mapping[str, object]) -> Event:
    """The event that `to_json` wrote. UnsupportedEvent for anything else, UnsafeParameters out of range."""
    match dict(data):
        case {"type": "non-private", **rest} if not rest:
            return NonPrivateEvent()
        case {
            "type": str(tag),
            "noise_multiplier": int() | float() as noise_multiplier,
            "sample_rate": int() | float() as sample_rate,
            "count": int() as count,
            **rest,
        } if rest.keys() <= {"group"} and tag in _NOISED:
            group = rest.get("group", 1)
            return _NOISED[tag](noise_multiplier, sample_rate, count, group)  # type: ignore[arg-type]  # checked there
    raise UnsupportedEvent("an event of a kind that this version does not know", hint="install a newer one")


def is_number(value: object) -> bool:
    """Whether a value is a finite real number. True and False are not, though Python counts them as integers."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float is near
        return False
