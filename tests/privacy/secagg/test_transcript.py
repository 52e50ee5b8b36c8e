"""privacy.secagg.statements: no two different rounds share a link of the chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy.secagg.messages import Adverts
from privacy.secagg.server import Phase
from privacy.secagg.statements import bind_adverts, bind_masks, bind_session
from tests.privacy.secagg.rounds import CONTEXT, SESSION, Round, make_roster


def test_every_parameter_and_the_callers_session_and_the_roster_are_bound() -> None:
    round_ = Round(5, colluders=1, dropouts=1)
    parameters, root = round_.parameters, round_.roster.root
    others = [
        replace(parameters, colluders=2),
        replace(parameters, dropouts=0),
        replace(parameters, ring_bits=22),
        replace(parameters, length=8),
        replace(parameters, levels=(1,)),
        replace(parameters, members=(*parameters.members[:4], "someone-else")),
    ]
    links = {bind_session(SESSION, root, each) for each in [parameters, *others]}
    links.add(bind_session(b"other".ljust(32), root, parameters))
    links.add(bind_session(SESSION, make_roster(parameters.members, serial=2).root, parameters))
    assert len(links) == 9


def test_every_advert_and_its_slot_are_bound() -> None:
    adverts = Adverts.from_bytes(Round(5).until(Phase.SHARE).inbox[0]).by_slot
    changed = {**adverts, 4: replace(adverts[4], commitments=(b"x" * 32,) * 2)}
    resigned = {**adverts, 4: replace(adverts[4], signature=b"x" * 64)}
    moved = {**{slot: adverts[slot] for slot in range(4)}, 5: adverts[4]}
    sets = [adverts, changed, resigned, moved, {slot: adverts[slot] for slot in range(4)}]
    links = {bind_adverts(SESSION, Adverts(each)) for each in sets}
    assert len({*links, bind_adverts(bytes(32), Adverts(adverts))}) == 6


def test_params_are_bound_and_the_sharers_as_a_set() -> None:
    assert bind_masks(SESSION, CONTEXT, [2, 0, 1]) == bind_masks(SESSION, CONTEXT, {0, 1, 2})
    sets = [{0, 1, 2}, {0, 1}, {0, 1, 3}, {258, 1}]
    pairs = [(SESSION, CONTEXT), (CONTEXT, SESSION), (SESSION, SESSION)]
    assert len({bind_masks(*pair, chosen) for pair in pairs for chosen in sets}) == 12


def test_sessions_and_contexts_have_32_bytes() -> None:
    round_ = Round(5)
    with pytest.raises(ValueError, match="32 bytes"):
        bind_session(bytes(31), round_.roster.root, round_.parameters)
    with pytest.raises(ValueError, match="32 bytes"):
        bind_masks(SESSION, bytes(33), [1])
