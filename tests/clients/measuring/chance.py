"""Measurements that come out the same every time: what the system would draw follows from a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest.mock import patch

from clients.measuring import measure, playing
from clients.training.work import fresh_excess
from federation.audit.measured.figures import Figures
from federation.audit.measured.judging import Verdict, judged
from federation.plan.plan import Plan
from privacy.mechanism.noise import Stream


def entropy(number: int) -> Callable[[int], bytes]:
    """Bytes in the place of the system's."""
    return Stream(number.to_bytes(32, "big")).take


@contextmanager
def fixed(number: int) -> Iterator[None]:
    """Within the context all chance follows from the number."""
    drawn = entropy(number)
    excess = partial(fresh_excess, entropy=drawn)
    with patch.object(os, "urandom", drawn), patch.object(playing, "fresh_excess", excess):
        yield


@contextmanager
def small() -> Iterator[None]:
    """Within the context fewer canaries and rounds are played, for speed."""
    with patch.object(measure, "CANARIES", 300), patch.object(measure, "_ROUNDS", 12):
        yield


def verdict_of(
    plan: Plan, number: int, seconds: float = 60.0, *, is_small: bool = True
) -> tuple[Figures, Verdict]:
    """What a measurement with this number comes to."""
    with fixed(number), small() if is_small else nullcontext():
        figures = measure.measured(plan, "ash", seconds=seconds)
    return figures, judged(plan, figures)
