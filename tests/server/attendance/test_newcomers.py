"""Who is shown the plan between two rounds: strangers at once, those who did not join after ever more rounds."""

from __future__ import annotations

import pytest

from server.attendance.newcomers import Newcomers


def disturbed(*, comes_and_goes: bool, rounds: int) -> list[int]:
    """After which rounds everybody is asked, where one site never joins."""
    newcomers, found = Newcomers(), []
    newcomers.asked({"ash", "elm"}, {"ash"}, 0)
    for done in range(1, rounds):
        reach = frozenset[str]() if comes_and_goes and done % 2 else frozenset({"elm"})
        if newcomers.are_due(reach, done):
            newcomers.asked({"ash", "elm"}, {"ash"}, done)
            found.append(done)
    return found


def test_whoever_is_new_is_asked_at_once_and_whoever_joined_is_none() -> None:
    newcomers = Newcomers()
    newcomers.asked({"ash", "birch"}, {"ash", "birch"}, 0)
    assert not newcomers.are_due(frozenset(), 1)
    assert newcomers.are_due({"elm"}, 1)
    newcomers.asked({"ash", "elm"}, {"ash", "elm"}, 1)
    assert not newcomers.are_due(frozenset(), 2)


def test_whoever_died_with_the_question_is_asked_again_when_it_is_back() -> None:
    newcomers = Newcomers()
    newcomers.asked({"ash", "elm"}, {"ash"}, 3)
    assert not newcomers.are_due(frozenset(), 4)
    assert newcomers.are_due({"elm"}, 5)
    newcomers.asked({"ash", "elm"}, {"ash", "elm"}, 5)
    newcomers.asked({"ash", "elm"}, {"ash"}, 6)
    assert not newcomers.are_due({"elm"}, 7), "what it was told before it joined is forgotten"
    assert newcomers.are_due({"elm"}, 10)


@pytest.mark.parametrize("comes_and_goes", [False, True])
def test_whoever_never_joins_disturbs_few_rounds(comes_and_goes: bool) -> None:
    found = disturbed(comes_and_goes=comes_and_goes, rounds=1000)
    assert 3 <= len(found) <= 10
    pauses = [after - before for before, after in zip([0, *found], found, strict=False)]
    assert pauses == sorted(pauses)
