"""A killed site has no state to go on from: to the round it has vanished, and the sum is right without it."""

from __future__ import annotations

import pytest

from privacy.errors import ProtocolError
from privacy.secagg.server import Phase, TooFew
from tests.privacy.secagg.rounds import Round, entropy

PHASES = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.REVEAL]


def _restart(round_: Round, slot: int) -> None:
    """Another process, with other randomness; it is not invited to this attempt again."""
    round_.clients[slot].abort()
    round_.clients[slot] = round_.client(slot)
    round_.clients[slot]._entropy = entropy("another life")


@pytest.mark.parametrize("is_answered", [False, True])
@pytest.mark.parametrize("phase", PHASES)
def test_a_site_that_is_killed_in_any_step_is_one_that_vanished(phase: Phase, is_answered: bool) -> None:
    """34: before its answer or after it. What left before it died stands; from then on it answers nothing."""
    round_ = Round(5, colluders=1).until(phase)
    if is_answered:
        round_.receive(0, round_.answer(0))
    _restart(round_, 0)
    while round_.server.phase is not Phase.DONE:
        round_.step(round_.everyone - {0})
    is_in = phase is Phase.REVEAL or (phase is Phase.MASK and is_answered)
    assert round_.result() == round_.sum_over(round_.everyone - (set() if is_in else {0}))
    assert not round_.server.blame


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_fresh_process_answers_no_request_of_an_attempt_it_was_not_invited_to(phase: Phase) -> None:
    round_ = Round(5).until(phase)
    _restart(round_, 0)
    with pytest.raises(ProtocolError, match="out of order"):
        round_.answer(0)


def test_more_killed_sites_than_the_round_stands_leave_no_sum() -> None:
    round_ = Round(5, colluders=1).until(Phase.REVEAL)
    for slot in (0, 1):
        _restart(round_, slot)
    with pytest.raises(TooFew):
        round_.step()
