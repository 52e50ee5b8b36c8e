"""How long a step waits: the deadline, or a grace once enough have answered."""

from __future__ import annotations

import pytest

from server.attendance import patience as module
from server.attendance.patience import GRACE, KEY_FACTOR, KEY_GRACE_SHARE, KEY_SHARE, LEAST, Patience


class Clock:
    """A clock that stands still until it is told otherwise."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


def begun(*, whole: float = 60.0, is_training: bool = False, is_last: bool = False) -> Patience:
    patience = Patience()
    patience.begins(whole, is_training=is_training, is_last=is_last)
    return patience


def test_before_enough_have_answered_the_first_steps_wait_the_deadline(clock: Clock) -> None:
    for is_training in (False, True):
        patience = begun(is_training=is_training)
        assert patience.left(is_enough=False) == 60.0
        clock.now += 59.0
        assert patience.left(is_enough=False) == 1.0
        clock.now += 2.0
        assert patience.left(is_enough=False) == 0.0


@pytest.mark.parametrize(("took", "grace"), [(0.1, 60 * KEY_GRACE_SHARE), (10.0, GRACE * 10.0), (40.0, 20.0)])
def test_the_grace_follows_what_enough_answers_took_and_the_deadline_bounds_it(
    took: float, grace: float, clock: Clock
) -> None:
    patience = begun()
    clock.now += took
    assert patience.left(is_enough=True) == pytest.approx(grace)
    clock.now += grace / 2
    assert patience.left(is_enough=True) == pytest.approx(grace / 2), "later answers do not move its end"


def test_a_key_step_that_lacks_answers_waits_a_multiple_of_what_earlier_ones_took(clock: Clock) -> None:
    patience = begun()
    clock.now += 5.0
    patience.left(is_enough=True)
    patience.begins(60.0, is_training=False, is_last=False)
    assert patience.left(is_enough=False) == max(KEY_FACTOR * 5.0, KEY_SHARE * 60.0)
    patience.begins(60.0, is_training=True, is_last=False)
    assert patience.left(is_enough=False) == 60.0, "training takes what it takes"
    patience.begins(60.0, is_training=False, is_last=True)
    assert patience.left(is_enough=False) == 60.0, "the last attempt waits for whoever may come"


@pytest.mark.parametrize("whole", [0.5, 2.0])
def test_a_short_deadline_is_the_longest_and_a_second_the_least(whole: float, clock: Clock) -> None:
    patience = begun(whole=whole)
    clock.now += 0.01
    assert patience.left(is_enough=True) == pytest.approx(min(whole - 0.01, LEAST))
