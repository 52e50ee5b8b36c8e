"""Seeds of excess noise: of a sum the first that it does not need is opened, if it can be; never another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from privacy.errors import FaultyClient, UnsafeParameters
from privacy.secagg.client import ClientMachine
from privacy.secagg.messages import Reveal
from privacy.secagg.opened import recount
from privacy.secagg.parameters import Parameters
from privacy.secagg.server import Phase
from privacy.secagg.shamir import PRIME
from privacy.secagg.statements import sign_reveal
from privacy.secagg.states import Shares
from tests.privacy.secagg.rounds import Round, entropy, identity, site

LEVELS = (1, 3)


def _rules(n: int, levels: tuple[int, ...], *, colluders: int = 0, dropouts: int = 99) -> Parameters:
    return Parameters.choose(
        map(site, range(n)), colluders=colluders, dropouts=dropouts, ring_bits=20, length=1, levels=levels
    )


@pytest.mark.parametrize(
    ("levels", "opened"),
    [
        ((), {0: None, 3: None}),
        ((3,), {0: 1, 1: None, 2: None, 3: None}),
        ((1, 3), {0: 1, 1: 2, 2: None, 3: None}),
        ((1, 2, 3), {0: 1, 1: 2, 2: 3, 3: None}),
        ((2, 3), {0: 1, 1: 2, 2: 2, 3: None}),
    ],
)
def test_the_opened_level_is_the_first_that_the_missing_do_not_need(
    levels: tuple[int, ...], opened: dict[int, int | None]
) -> None:
    """Of seven sites three may be missing. A component of level l is needed if more than D_(l-1) are."""
    rules = _rules(7, levels)
    for missing, level in opened.items():
        assert rules.opened_level(7 - missing) == level
        if level is not None:
            assert missing <= (0, *levels)[level - 1], "what is opened is of noise that nobody missing needs"


@pytest.mark.parametrize("levels", [(0, 3), (3, 1), (1, 1, 3), (1, 2), (1, 4), (-1, 3), (4,)])
def test_levels_ascend_to_as_many_as_may_be_missing(levels: tuple[int, ...]) -> None:
    with pytest.raises(UnsafeParameters, match="ascend from 1 to 3"):
        _rules(7, levels)


def test_there_are_no_levels_where_nobody_may_be_missing_nor_on_a_ring() -> None:
    with pytest.raises(UnsafeParameters, match="ascend"):
        _rules(7, (1,), dropouts=0)
    ring = _rules(200, (), colluders=2, dropouts=6)
    assert ring.fewest_neighbors
    with pytest.raises(UnsafeParameters, match="complete graph only") as caught:
        replace(ring, levels=(ring.tolerated,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("excess", [[], [bytes(32)], [bytes(32)] * 3, [bytes(32), bytes(31)]])
def test_a_site_brings_one_seed_of_32_bytes_for_each_level(excess: list[bytes]) -> None:
    round_ = Round(7, colluders=0, levels=LEVELS)
    with pytest.raises(ValueError, match="32 bytes of excess noise for each level"):
        ClientMachine(
            site(0),
            identity(site(0)),
            round_.roster,
            round_.parameters,
            bytes(32),
            round_.floor,
            entropy("any"),
            excess,
        )


def _lose(round_: Round, lost: set[int]) -> Round:
    round_.until(Phase.MASK).step(round_.everyone - lost)
    return round_.until(Phase.DONE)


@pytest.mark.parametrize(("lost", "level"), [(set(), 1), ({6}, 2), ({5, 6}, None), ({4, 5, 6}, None)])
def test_of_those_in_the_sum_one_level_is_opened_and_the_sum_is_as_it_was(
    lost: set[int], level: int | None
) -> None:
    round_ = _lose(Round(7, colluders=0, levels=LEVELS), lost)
    stay = round_.everyone - lost
    assert round_.result() == round_.sum_over(stay)
    expected = {slot: (level, round_.excess(slot)[level - 1]) for slot in stay} if level else {}
    assert round_.server.opened_excess == expected
    assert round_.server.opened is not None
    made = recount(round_.roster, round_.parameters, round_.server.opened, round_.uploads)
    assert made.tolist() == round_.result(), "whoever uses it takes the noise out; the sum holds it still"


def test_who_never_shared_is_missing_as_well() -> None:
    """F4: counted by those who shared and were lost, level 1 would be opened here."""
    round_ = Round(7, colluders=0, levels=LEVELS).until(Phase.SHARE)
    round_.step(round_.everyone - {6})
    round_.until(Phase.DONE)
    assert {level for level, _ in round_.server.opened_excess.values()} == {2}


class _Wrong(ClientMachine):
    """Reveals wrong shares of excess noise, under its good signature."""

    def _reveal(self, state: Any, data: bytes) -> tuple[Any, bytes]:
        after, reply = super()._reveal(state, data)
        reveal = Reveal.from_bytes(reply)
        wrong = {owner: (share + 1) % PRIME for owner, share in reveal.excess_shares.items()}
        made = replace(reveal, excess_shares=wrong)
        survivors = reveal.seed_shares.keys()
        return after, sign_reveal(
            self._identity, state.transcript, survivors, state.accepted, made
        ).to_bytes()


class _Dealer(ClientMachine):
    """Deals shares of its excess noise that are of no polynomial."""

    def _split(self, *arguments: Any) -> dict[int, Shares]:
        dealt = super()._split(*arguments)
        return {at: (s, m, *((e + at**4) % PRIME for e in rest)) for at, (s, m, *rest) in dealt.items()}


def _with(machine: type[ClientMachine]) -> Round:
    round_ = Round(7, colluders=0, levels=LEVELS)
    round_.clients[2].__class__ = machine
    return _lose(round_, set())


def test_a_wrong_share_of_excess_noise_proves_its_holder_faulty_and_changes_nothing() -> None:
    round_ = _with(_Wrong)
    assert round_.result() == round_.sum_over(range(7))
    assert round_.server.opened_excess.keys() == round_.everyone
    assert {name: type(fault) for name, fault in round_.server.blame.items()} == {site(2): FaultyClient}


def test_excess_noise_that_cannot_be_rebuilt_stays_in_and_its_dealer_is_named() -> None:
    round_ = _with(_Dealer)
    assert round_.result() == round_.sum_over(range(7))
    assert round_.server.opened_excess.keys() == round_.everyone - {2}
    assert {name: type(fault) for name, fault in round_.server.blame.items()} == {site(2): FaultyClient}


def _without(reveal: Reveal) -> Reveal:
    return replace(reveal, excess_shares={})


def _of_the_lost(reveal: Reveal) -> Reveal:
    return replace(reveal, excess_shares={**reveal.excess_shares, 6: 1})


@pytest.mark.parametrize("change", [_without, _of_the_lost])
def test_other_shares_of_excess_noise_than_asked_for_are_refused(change: Callable[[Reveal], Reveal]) -> None:
    round_ = Round(7, colluders=0, levels=LEVELS).until(Phase.MASK)
    round_.step(round_.everyone - {6})
    round_.until(Phase.REVEAL)
    round_.receive(1, change(Reveal.from_bytes(round_.answer(1))).to_bytes())
    assert "other shares than those asked for" in round_.server.faulty[site(1)]
