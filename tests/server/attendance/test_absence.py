"""Who is away, and after how many rounds it is greeted again."""

from __future__ import annotations

from server.attendance.absence import LONGEST, Absence


def test_a_first_loss_is_greeted_at_once_and_again_after_a_pause() -> None:
    absence = Absence()
    absence.lost("a", 3)
    assert absence.away == ("a",)
    assert absence.due(3, now=100.0, pause=60.0) == ["a"]
    assert absence.due(4, now=159.0, pause=60.0) == []
    assert absence.due(4, now=160.0, pause=60.0) == ["a"]
    absence.back("a")
    assert absence.away == ()
    assert absence.due(5, now=999.0, pause=60.0) == []


def test_who_is_lost_again_and_again_is_greeted_after_ever_more_rounds() -> None:
    absence, number, pauses = Absence(), 1, []
    for _ in range(8):
        absence.lost("a", number)
        before = number
        while not absence.due(number, now=float(number), pause=0.0):
            number += 1
        pauses.append(number - before)
        absence.back("a")
    assert pauses == [0, 1, 3, 7, 15, LONGEST, LONGEST, LONGEST]


def test_a_loss_that_is_noted_twice_counts_once() -> None:
    absence = Absence()
    absence.lost("a", 1)
    absence.lost("a", 1)
    absence.back("a")
    absence.lost("a", 5)
    assert absence.due(5, now=0.0, pause=0.0) == []
    assert absence.due(6, now=0.0, pause=0.0) == ["a"]


def test_a_round_to_its_end_takes_a_loss_back() -> None:
    absence = Absence()
    for number in (1, 2):
        absence.lost("a", number)
        absence.stayed("a")
    absence.lost("a", 3)
    assert absence.due(3, now=0.0, pause=0.0) == ["a"], "as after a first loss"
