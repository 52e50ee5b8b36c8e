"""Numbers that an earlier process worked out: each is proved before it is used, so a wrong one can do no harm.

To find a noise multiplier takes a library that takes a second to load, and then five or six looks. To see that one
is right takes neither. A memory may be a folder that somebody else writes into, so nothing of it is believed:

* An **epsilon** is used if the quick accountant (`privacy.accounting.above`) proves that the truth is not above it,
  and if it is not so far above the truth that no accountant of ours would have said it (`_SLACK`).
* A **noise multiplier** is used if its epsilon, found or remembered and proved, is within the target, and that of
  the next smaller one is not (`privacy.accounting.calibration`). So the noise is enough, whatever a memory holds.
  By a few thousandths of itself it may be more than was planned; other parties then refuse to go on with it.
* A **curve** is used if it never falls, if each of many of its points is proved as an epsilon is, and if no other
  point lies below the line between the two proved beside it.

* A **risk** is used if each of its figures is proved to be a bound (`privacy.accounting.risks.spent`).

What cannot be proved is worked out anew, as if nothing had been remembered. No audit remembers anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from privacy.accounting.events import is_number
from privacy.accounting.merged import Mechanism as One
from privacy.accounting.merged import Merged

if TYPE_CHECKING:
    from privacy.accounting.bounds import Mechanism

_ACCURACIES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_SLACK = 3e-3  # by how much of it an epsilon of the accountant may exceed what is proved
_SLACK_OF_GROUPS = 6e-2
_ABSOLUTE = 1e-4  # and beside that
_SURE = 3.0  # accuracies: what is so far below a bound is below the truth
_EVERY, _APART = 16, 1.06  # so many first points of a curve are proved, then each that is so much further


class Memory(Protocol):
    """Keeps answers, plain data, by the text of a question. It may forget anything, and may not raise."""

    def recall(self, question: str) -> object:
        """The answer, if there is one; None if not."""

    def keep(self, question: str, answer: object) -> None:
        """Remember an answer."""


class _Memories:
    """The memory in use: none, unless somebody has brought one."""

    now: Memory | None = None


@contextmanager
def remembering(memory: Memory) -> Iterator[None]:
    """Use a memory in this process while the body runs."""
    before, _Memories.now = _Memories.now, memory
    try:
        yield
    finally:
        _Memories.now = before


def recalled(*question: object) -> object:
    """What the memory says to a question: to be proved."""
    return None if _Memories.now is None else _Memories.now.recall(_text(question))


def keep(answer: object, *question: object) -> None:
    """Remember what was worked out."""
    if _Memories.now is not None:
        _Memories.now.keep(_text(question), answer)


def _text(question: Sequence[object]) -> str:
    """Floats as Python writes them are exact."""
    return repr(tuple(question))


def proved_epsilon(told: object, merged: Merged, delta: float) -> float | None:
    """An epsilon that was told, if it is proved to bound what these mechanisms cost, closely; None if not."""
    if not isinstance(told, float) or not is_number(told) or told <= 0:
        return None
    from privacy.accounting.above import upper

    mechanisms = auditors(merged)
    slack = _slack(one for one, _ in merged)
    for accuracy in _ACCURACIES:
        proved = upper(mechanisms, delta, accuracy)
        if proved <= told:
            return told if told <= proved * (1 + slack) + _ABSOLUTE else None
        if told < proved - _SURE * accuracy * max(1.0, proved):
            return None
    return None


def proved_curve(
    told: object, one: One, listed: Sequence[int], each: int, delta: float
) -> list[float] | None:
    """Epsilons that were told, if they bound what `listed` rounds of `each` releases cost; None if not."""
    if not isinstance(told, list) or len(told) != len(listed):
        return None
    if not all(isinstance(value, float) and is_number(value) for value in told) or told != sorted(told):
        return None
    from privacy.accounting.above import curve

    places = _places(len(listed))
    slack = _slack([one])
    for accuracy in _ACCURACIES:
        counts = [each * listed[place] for place in places]
        proved = curve(_mechanism(one, 1), counts, delta, accuracy)
        pairs = [(told[place], bound) for place, bound in zip(places, proved, strict=True)]
        if all(bound <= value for value, bound in pairs):
            is_close = all(value <= bound * (1 + slack) + _ABSOLUTE for value, bound in pairs)
            return told if is_close and _is_straight(told, listed, places) else None
        if any(value < bound - _SURE * accuracy * max(1.0, bound) for value, bound in pairs):
            return None
    return None


def _places(points: int) -> list[int]:
    """The first points, the last, and many between."""
    places = list(range(min(points, _EVERY)))
    while places[-1] < points - 1:
        places.append(min(points - 1, max(places[-1] + 1, math.floor(_APART * places[-1]))))
    return places


def _is_straight(told: Sequence[float], listed: Sequence[int], places: Sequence[int]) -> bool:
    """Whether what was not proved is not below the line between what was, on both sides of it."""
    for left, right in pairwise(places):
        rise = (told[right] - told[left]) / (listed[right] - listed[left])
        for place in range(left + 1, right):
            if told[place] < (told[left] + rise * (listed[place] - listed[left])) * (1 - _SLACK):
                return False
    return True


def proved_rdp(told: object, own: float) -> float | None:
    """What another library said by Renyi divergences, if it is what ours say; None if not."""
    return told if isinstance(told, float) and abs(told - own) <= 1e-6 * own else None


def proved_cross_check(told: object, epsilon: float, error: float) -> float | None:
    """What a third accountant said, if it is within its own error of what is reported; None if not.

    It is shown beside the reported epsilon, and nothing follows from it.
    """
    return told if isinstance(told, float) and abs(told - epsilon) <= error else None


def auditors(merged: Merged) -> list[Mechanism]:
    """Merged events as mechanisms of the auditor's accountant, by which all is proved."""
    return [_mechanism(one, count) for one, count in merged]


def _mechanism(one: One, count: int) -> Mechanism:
    """The same for the auditor's accountant, which halves the noise of what is replaced by itself."""
    from privacy.accounting.bounds import Mechanism

    z = one.noise_multiplier * math.sqrt(2) if one.replaced else one.noise_multiplier
    return Mechanism(z, one.sample_rate, count, one.group, one.replaced)


def _slack(ones: Iterator[One] | Sequence[One]) -> float:
    return max(_SLACK_OF_GROUPS if one.group > 1 else _SLACK for one in ones)
