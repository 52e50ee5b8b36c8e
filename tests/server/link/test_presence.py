"""Who is connected: waited for, told, and with whom a run begins without the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from federation.errors import RosterError
from server.link import presence
from server.link.presence import Presence

SITES = ("east", "north", "west")


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was noted."""
    found: list[tuple[Any, ...]] = []
    for name in ("note", "warn"):
        monkeypatch.setattr(presence, name, lambda event, **facts: found.append((event, *facts.values())))
    monkeypatch.setattr(presence, "_PAUSE", 0.0)
    return found


def coming(*looks: tuple[str, ...]) -> Presence:
    """Sites as they are found, look by look; the last one stays."""
    left: Iterator[tuple[str, ...]] = iter(looks)
    return Presence(SITES, lambda: frozenset(next(left, looks[-1])))


def test_each_site_is_told_when_it_comes_and_goes(told: list[tuple[Any, ...]]) -> None:
    coming((), ("west",), ("west", "east"), ("west",), SITES).wait(3, 3, 60)
    assert told == [
        ("site_connected", "west", 1, 3),
        ("site_connected", "east", 2, 3),
        ("site_gone", "east", 1, 3),
        ("site_connected", "east", 2, 3),
        ("site_connected", "north", 3, 3),
    ]


def test_too_few_are_named_with_what_to_do() -> None:
    with pytest.raises(RosterError, match=r"1 of 3 sites.*minimum is 2 \(missing: east, north\)") as caught:
        coming(("west",)).wait(3, 2, 0)
    assert caught.value.exit_code == 4
    assert "federation join" in caught.value.hint


def test_enough_begin_without_the_others_when_patience_is_over(told: list[tuple[Any, ...]]) -> None:
    coming(("west", "east")).wait(3, 2, 0)
    assert told[-1][0] == "warning"
    assert "without north" in told[-1][1]
