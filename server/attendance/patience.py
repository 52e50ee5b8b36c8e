"""How long a step of a round waits for answers.

The plan's `cohort.deadline_seconds` is the longest that any step waits. Mostly far less is needed:

- Once as many sites have answered as a sum needs (`required`), the others get a grace: GRACE times what these took,
  and at least a share of the deadline, so that the time which honest sites need may differ.
- While fewer have answered, a key step (no site trains in it) waits KEY_FACTOR times the longest that enough
  answers to such a step took in this run, and at least a share of the deadline. Before anything is known of this
  run, and in the last attempt at a round, it waits the whole of it.

Both count from what enough *sites* took, never from a single slow one: so one site cannot stretch a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

GRACE: Final = 2.0
KEY_FACTOR: Final = 4.0
KEY_GRACE_SHARE, TRAINING_GRACE_SHARE, KEY_SHARE = 1 / 12, 1 / 6, 1 / 4
LEAST: Final = 1.0
"""Seconds that every grace and every key step lasts at least, unless the deadline is shorter."""


def machine_clock() -> float:
    """Seconds by the clock of this machine, which never goes back."""
    return time.monotonic()


@dataclass
class Patience:
    """The clock of the step at hand, and what answers took before."""

    clock: Callable[[], float] = machine_clock
    longest: float | None = None  # that enough answers to a key step took
    _began: float = 0.0
    _whole: float = 0.0
    _most: float = 0.0
    _is_training: bool = False
    _enough: float | None = None

    def begins(self, whole: float, *, is_training: bool, is_last: bool) -> None:
        """A step begins that waits `whole` seconds at most."""
        self._began, self._whole, self._is_training, self._enough = self.clock(), whole, is_training, None
        self._most = whole
        if not (is_training or is_last or self.longest is None):
            self._most = min(whole, max(LEAST, whole * KEY_SHARE, KEY_FACTOR * self.longest))

    def left(self, *, is_enough: bool) -> float:
        """Seconds that the step still waits. `is_enough`: as many have answered as a sum needs."""
        now = self.clock()
        if is_enough and self._enough is None:
            self._enough = now
            if not self._is_training:
                self.longest = max(self.longest or 0.0, now - self._began)
        ends = self._began + self._most
        if self._enough is not None:
            share = TRAINING_GRACE_SHARE if self._is_training else KEY_GRACE_SHARE
            grace = max(LEAST, share * self._whole, GRACE * (self._enough - self._began))
            ends = min(self._began + self._whole, self._enough + grace)
        return max(0.0, ends - now)
