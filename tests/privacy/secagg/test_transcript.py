"""privacy.secagg.transcript: no two different rounds share a link of the chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy.secagg.messages import Adverts
from privacy.secagg.server import Phase
from privacy.secagg.transcript import bind_parameters, bind_roster, bind_sharers
from tests.privacy.secagg.rounds import CONTEXT, Round


def test_every_parameter_and_the_callers_context_are_bound() -> None:
    parameters = Round(5, colluders=1, dropouts=1).parameters
    others = [
        replace(parameters, colluders=2),
        replace(parameters, dropouts=0),
        replace(parameters, ring_bits=22),
        replace(parameters, length=8),
        replace(parameters, members=(*parameters.members[:4], "someone-else")),
    ]
    links = {bind_parameters(CONTEXT, each) for each in [parameters, *others]}
    assert len({*links, bind_parameters(b"other".ljust(32), parameters)}) == 7


def test_the_roster_binds_every_advert_and_its_slot() -> None:
    adverts = Adverts.from_bytes(Round(5).until(Phase.SHARE).inbox[0]).by_slot
    changed = {**adverts, 4: replace(adverts[4], commitment=b"x" * 32)}
    moved = {**{slot: adverts[slot] for slot in range(4)}, 5: adverts[4]}
    rosters = [adverts, changed, moved, {slot: adverts[slot] for slot in range(4)}]
    links = {bind_roster(CONTEXT, Adverts(roster)) for roster in rosters}
    assert len({*links, bind_roster(bytes(32), Adverts(adverts))}) == 5


def test_the_sharers_are_bound_as_a_set() -> None:
    assert bind_sharers(CONTEXT, [2, 0, 1]) == bind_sharers(CONTEXT, {0, 1, 2})
    sets = [{0, 1, 2}, {0, 1}, {0, 1, 3}, {258, 1}]
    assert len({bind_sharers(roster, chosen) for roster in (CONTEXT, bytes(32)) for chosen in sets}) == 8


def test_a_context_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        bind_parameters(bytes(31), Round(5).parameters)
