"""Measurements that come out the same every time: what the system would draw follows from a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """Within the context all chance follows from the number; canaries are fewer, for speed."""
    drawn = entropy(number)
    excess = partial(fresh_excess, entropy=drawn)
    with patch.object(os, "urandom", drawn), patch.object(playing, "fresh_excess", excess):
        with patch.object(measure, "CANARIES", 300):
            yield


def verdict_of(plan: Plan, number: int, seconds: float = 60.0) -> tuple[Figures, Verdict]:
    """What a measurement with this number comes to."""
    with fixed(number):
        figures = measure.measured(plan, "ash", seconds=seconds)
    return figures, judged(plan, figures)
