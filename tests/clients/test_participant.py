"""One site in one attempt: the terms it settles itself, the fixed order, the params it was promised."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clients.participant import Participant, settle
from federation.messages import Broadcast, Frame, Invitation, Kind, Member
from federation.terms import Terms, params_bytes, params_digest
from privacy.errors import FaultyServer, MalformedMessage, PolicyViolation, ProtocolError
from privacy.secagg.messages import Survivors
from privacy.secagg.server import ServerMachine
from tests.clients.sites import DIMENSION, RUN, SIZES, make_params, make_plan, make_terms

PLAN = make_plan("record", "none")
TERMS = make_terms(PLAN)
AMSTERDAM = TERMS.members[0]


def invite(terms: Terms = TERMS) -> Frame:
    return Frame(Kind.INVITE, *terms.place, Invitation(terms.members, terms.params_digest).to_bytes())


class Told:
    """Participants of a whole cohort, and a record of what they asked their site to do."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.released: list[Tensor] = []
        self.opened: list[bytes] = []
        self.refuse_opening = False
        self.terms = terms
        self.participants = {
            name: Participant(terms, name, entropy=os.urandom, release=self._release, opening=self._opening)
            for name in SIZES
        }
        self.machine = ServerMachine(terms.parameters, terms.context)

    def _release(self, terms: Terms, params: Tensor) -> np.ndarray:
        self.released.append(params)
        return np.arange(terms.dimension, dtype=np.uint64)

    def _opening(self, terms: Terms, survivors: bytes) -> None:
        if self.refuse_opening:
            raise ProtocolError("opened before")
        self.opened.append(survivors)

    def requests(self, until: Kind) -> dict[str, Frame]:
        """Play the round up to the requests of one kind; these have not been delivered."""
        for name, participant in self.participants.items():
            outgoing = self.machine.receive(name, participant.advertise())
        for kind in (Kind.ADVERTS, Kind.BROADCAST, Kind.SURVIVORS):
            frames = {message.to: self.frame(kind, message.data) for message in outgoing}
            if kind is until:
                return frames
            for name, frame in frames.items():
                outgoing = self.machine.receive(name, self.participants[name].receive(frame).body)
        raise AssertionError("no such request")

    def frame(self, kind: Kind, data: bytes) -> Frame:
        if kind is Kind.BROADCAST:
            data = Broadcast(params_bytes(make_params()), data).to_bytes()
        return Frame(kind, *self.terms.place, data)


def test_a_site_derives_the_terms_from_its_own_plan_and_the_cohort_it_is_shown() -> None:
    assert settle(PLAN, invite(), AMSTERDAM, DIMENSION) == TERMS


@pytest.mark.parametrize("number", [0, 5, 2**32 - 1])
def test_a_round_outside_the_plan_is_refused(number: int) -> None:
    with pytest.raises(FaultyServer, match="of a plan of 4 rounds"):
        settle(PLAN, invite(replace(TERMS, round=number)), AMSTERDAM, DIMENSION)


def test_the_first_and_the_last_round_are_not_outside() -> None:
    for number in (1, 4):
        assert settle(PLAN, invite(replace(TERMS, round=number)), AMSTERDAM, DIMENSION).round == number


def test_a_cohort_below_the_plans_minimum_is_refused() -> None:
    plan = make_plan("record", "none", minimum=4)
    with pytest.raises(PolicyViolation, match="3 sites, the plan's minimum is 4"):
        settle(plan, invite(), AMSTERDAM, DIMENSION)


@pytest.mark.parametrize("member", [Member("zurich", 40), Member("amsterdam", 41), Member("amsterdam", 0)])
def test_an_invitation_must_show_the_site_as_it_introduced_itself(member: Member) -> None:
    with pytest.raises(FaultyServer, match="as it introduced itself"):
        settle(PLAN, invite(), member, DIMENSION)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=120), cut=st.integers(0, 200))
def test_an_invitation_of_any_bytes_is_terms_or_malformed(body: bytes, cut: int) -> None:
    for data in (body, invite().body[:cut] + body):
        try:
            found = settle(PLAN, replace(invite(), body=data), AMSTERDAM, DIMENSION)
        except (MalformedMessage, FaultyServer, PolicyViolation):
            continue
        assert AMSTERDAM in found.members


def test_a_whole_round_gives_the_sum_and_trains_once_on_the_params_that_were_promised() -> None:
    told = Told()
    for name, frame in told.requests(Kind.SURVIVORS).items():
        told.machine.receive(name, told.participants[name].receive(frame).body)
    assert told.machine.result is not None
    assert np.array_equal(told.machine.result, 3 * np.arange(DIMENSION))
    assert len(told.released) == 3
    assert all(np.array_equal(params, make_params()) for params in told.released)


def test_other_params_than_those_of_the_invitation_are_refused_before_anything_is_trained() -> None:
    told = Told()
    request = told.requests(Kind.BROADCAST)["berlin"]
    shares = Broadcast.from_bytes(request.body).shares
    for data in (params_bytes(make_params(seed=1)), params_bytes(make_params())[:-4], b""):
        with pytest.raises(FaultyServer, match="not those of the invitation"):
            told.participants["berlin"].receive(replace(request, body=Broadcast(data, shares).to_bytes()))
    assert not told.released
    told.participants["berlin"].receive(request)  # the true ones are still welcome
    assert len(told.released) == 1


def test_params_that_do_not_fit_or_are_not_finite_are_refused_even_if_promised() -> None:
    for data in (params_bytes(make_params(5)), np.full(DIMENSION, np.nan, "<f4").tobytes()):
        told = Told(replace(TERMS, params_digest=params_digest(data)))
        request = told.requests(Kind.BROADCAST)["berlin"]
        shares = Broadcast.from_bytes(request.body).shares
        with pytest.raises(MalformedMessage):
            told.participants["berlin"].receive(replace(request, body=Broadcast(data, shares).to_bytes()))
        assert not told.released


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.value not in (5, 7, 9)])
def test_a_frame_that_belongs_in_no_round_is_refused(kind: Kind) -> None:
    told = Told()
    told.participants["berlin"].advertise()
    with pytest.raises(FaultyServer, match=kind.name):
        told.participants["berlin"].receive(Frame(kind, RUN, 1, 1))


def test_steps_cannot_be_left_out() -> None:
    survivors = Told().requests(Kind.SURVIVORS)["berlin"]
    for done in (Kind.ADVERTS, Kind.BROADCAST):
        told = Told()
        told.requests(until=done)
        with pytest.raises(FaultyServer, match="out of order"):
            told.participants["berlin"].receive(survivors)


def test_the_same_request_gets_the_same_reply() -> None:
    told = Told()
    berlin = told.participants["berlin"]
    assert berlin.advertise() == berlin.advertise()
    request = told.requests(Kind.SURVIVORS)["berlin"]
    assert berlin.receive(request) == berlin.receive(request)


def test_an_opening_that_the_site_refuses_reveals_nothing_and_one_that_it_allows_is_told_first() -> None:
    told = Told()
    request = told.requests(Kind.SURVIVORS)["berlin"]
    told.refuse_opening = True
    with pytest.raises(ProtocolError, match="opened before"):
        told.participants["berlin"].receive(request)
    told.refuse_opening = False
    told.participants["berlin"].receive(request)
    assert told.opened == [Survivors(frozenset({0, 1, 2})).to_bytes()]
