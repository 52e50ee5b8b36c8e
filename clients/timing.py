"""When an answer leaves: after a whole number of paces, so that its time says little about the data.

How long a round takes grows with the records that were drawn for it, which are secret. A site therefore answers
what makes it read data only after a full pace, a time that follows from the plan alone: what the largest batch it
could draw takes, measured on made-up records. Work that takes longer than a pace, on a busy machine, is answered
after two of them, or three; that number is all that an observer of the line can see.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from federation.round.messages import Frame, Kind
from privacy.errors import MalformedMessage

_Receive = Callable[[bytes], bytes]


def paced(
    receive: _Receive,
    pace: Callable[[], float],
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> _Receive:
    """`receive`, with its answers to BROADCAST held back to whole multiples of `pace()` seconds, 0 for no wait."""

    def held_back(data: bytes) -> bytes:
        began, seconds = now(), pace()
        reply = receive(data)
        if seconds > 0 and _reads_data(data):
            spent = now() - began
            wait(max(1, math.ceil(spent / seconds)) * seconds - spent)
        return reply

    return held_back


def _reads_data(data: bytes) -> bool:
    try:
        return Frame.from_bytes(data).kind is Kind.BROADCAST
    except MalformedMessage:
        return False
