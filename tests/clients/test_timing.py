"""The time of an answer: whole paces, whatever was computed."""

from __future__ import annotations

import pytest

from clients.timing import padded
from federation.round.messages import RUN_ID_BYTES, Frame, Kind


class Clock:
    """Time that passes only by work and by waiting."""

    def __init__(self) -> None:
        self.now, self.waited = 0.0, 0.0

    def work(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.waited += seconds
        self.now += seconds


def message(kind: Kind) -> bytes:
    return Frame(kind, bytes(RUN_ID_BYTES), 1, 2, b"params").to_bytes()


def answered_after(work: float, pace: float, data: bytes) -> float:
    """When the answer to `data` leaves if computing it takes `work` seconds."""
    clock = Clock()

    def receive(request: bytes) -> bytes:
        assert request == data
        clock.work(work)
        return b"reply"

    answer = padded(receive, lambda: pace, lambda: clock.now, clock.wait)
    assert answer(data) == b"reply"
    return clock.now


def test_an_answer_that_read_data_leaves_after_one_pace_whether_few_records_were_drawn_or_many() -> None:
    times = {answered_after(work, 0.5, message(Kind.BROADCAST)) for work in (0.0, 0.01, 0.2, 0.499, 0.5)}
    assert times == {0.5}


@pytest.mark.parametrize(("work", "after"), [(0.51, 1.0), (1.0, 1.0), (1.3, 1.5)])
def test_longer_work_is_answered_after_the_next_whole_pace(work: float, after: float) -> None:
    assert answered_after(work, 0.5, message(Kind.BROADCAST)) == pytest.approx(after)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.BROADCAST])
def test_what_reads_no_data_is_not_held_back(kind: Kind) -> None:
    assert answered_after(0.1, 0.5, message(kind)) == pytest.approx(0.1)


def test_without_a_pace_nothing_is_held_back() -> None:
    assert answered_after(0.1, 0.0, message(Kind.BROADCAST)) == pytest.approx(0.1)


def test_bytes_that_are_no_message_are_passed_on() -> None:
    assert answered_after(0.1, 0.5, b"nonsense") == pytest.approx(0.1)
