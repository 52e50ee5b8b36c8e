"""Timing padding: replies leave after a whole multiple of a fixed interval, so latency says little about the data.

The time that a round takes grows with the number of records drawn for it, which is secret. So a site pads its reply
to every request that makes it read data. The interval follows from the plan alone: the time for the largest batch
that the site could draw, measured on synthetic records. Example: with an interval of 2 s, work of 1.3 s is answered
after 2 s, and work of 2.1 s, on a busy machine, after 4 s. An observer of the line sees only that multiple.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from federation.round.messages import Frame, Kind
from privacy.errors import MalformedMessage

_Receive = Callable[[bytes], bytes]


def padded(
    receive: _Receive,
    interval: Callable[[], float],
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> _Receive:
    """`receive`, with replies to BROADCAST padded to whole multiples of `interval()` seconds; 0 pads nothing."""

    def receive_padded(data: bytes) -> bytes:
        began, seconds = now(), interval()
        reply = receive(data)
        if seconds > 0 and _reads_data(data):
            spent = now() - began
            wait(max(1, math.ceil(spent / seconds)) * seconds - spent)
        return reply

    return receive_padded


def _reads_data(data: bytes) -> bool:
    try:
        return Frame.from_bytes(data).kind is Kind.BROADCAST
    except MalformedMessage:
        return False


def minute(seconds: float) -> str:
    """A time in seconds since 1970 as a ledger tells it to people: "2026-11-29T10:31Z"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")
