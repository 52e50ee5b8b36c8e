"""A service ends with the first signal, its echo changes nothing, and a later one is as it was before."""

from __future__ import annotations

import signal
import time
from contextlib import nullcontext

import pytest

from clients.node import stopping
from clients.node.stopping import until_signal


def test_the_echo_of_a_signal_is_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[int] = []
    kept = {number: signal.signal(number, lambda number, _: later.append(number)) for number in (2, 15)}
    try:
        until_signal(nullcontext(), lambda: signal.raise_signal(15))
        signal.raise_signal(15)
        signal.raise_signal(2)
        assert later == []
        monkeypatch.setattr(stopping, "_ECHO", 0.0)
        time.sleep(0.01)
        signal.raise_signal(2)
        assert later == [2]
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_a_service_that_fails_leaves_the_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        until_signal(nullcontext(), fail)
    assert signal.getsignal(signal.SIGTERM) is before
