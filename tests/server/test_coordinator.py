"""One attempt at one round, sans-IO: who is waited for, what is ignored, when the round is void."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.messages import Broadcast, Frame, Invitation, Kind, Member, Reason, abort_body
from federation.terms import Terms, params_bytes
from federation.transport import Outgoing
from server.coordinator import Coordinator
from tests.worlds import contribute, opened, plan_of, start, terms_for

Sites = dict[str, Site]
PLAN = plan_of()
PARAMS = start(PLAN)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    with opened(PLAN, tmp_path, 4) as (_, parties):
        for site in parties.values():
            site.join(bytes(16), PLAN)
        yield parties


def settled(sites: Mapping[str, Site], attempt: int = 1) -> Terms:
    members = [site.member for site in sites.values()]
    return terms_for(PLAN, members, PARAMS, attempt)


def opened_round(sites: Mapping[str, Site], attempt: int = 1) -> tuple[Coordinator, list[Outgoing]]:
    coordinator = Coordinator(settled(sites, attempt), params_bytes(PARAMS))
    return coordinator, coordinator.open()


def answered(coordinator: Coordinator, sites: Sites, requests: list[Outgoing]) -> list[Outgoing]:
    """The next step's requests, after every site has answered this one's."""
    following: list[Outgoing] = []
    for request in requests:
        assert not following, "a step ends with its last answer"
        following = coordinator.receive(request.to, sites[request.to].receive(request.data))
    return following


def kinds(messages: list[Outgoing]) -> set[Kind]:
    return {Frame.from_bytes(message.data).kind for message in messages}


def abort(terms: Terms, reason: Reason = Reason.BUDGET) -> bytes:
    return Frame(Kind.ABORT, *terms.place, abort_body(reason)).to_bytes()


def test_a_round_goes_from_invitations_to_the_exact_sum(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    invitation = Invitation.from_bytes(Frame.from_bytes(requests[0].data).body)
    assert [member.site for member in invitation.members] == sorted(sites)
    for kind in (Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST, Kind.SURVIVORS):
        assert kinds(requests) == {kind}
        assert [request.to for request in requests] == sorted(sites)
        assert coordinator.result is None
        requests = answered(coordinator, sites, requests)
    assert requests == []
    assert coordinator.survivors == tuple(sorted(sites))
    assert coordinator.left == {}
    terms = settled(sites)
    trainers = {name: site.load(PLAN) for name, site in sites.items()}
    expected = sum(terms.codec.from_ring(contribute(trainers)(terms, name, PARAMS)) for name in sites)
    assert coordinator.result is not None
    assert np.array_equal(terms.codec.from_ring(coordinator.result), expected)


def test_params_travel_with_the_broadcast_and_only_there(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    params = params_bytes(PARAMS)
    while requests:
        carried = [params in request.data for request in requests]
        assert carried == [kinds(requests) == {Kind.BROADCAST}] * len(requests)
        if all(carried):
            assert Broadcast.from_bytes(Frame.from_bytes(requests[0].data).body).params == params
        requests = answered(coordinator, sites, requests)


@pytest.mark.parametrize("last", [True, False], ids=["after the others", "before the others"])
@pytest.mark.parametrize("stage", [Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST, Kind.SURVIVORS])
def test_a_site_that_aborts_is_not_waited_for(sites: Sites, stage: Kind, last: bool) -> None:
    """Nobody calls `deadline`: the round goes on at once, whenever the abort comes."""
    coordinator, requests = opened_round(sites)
    while kinds(requests) != {stage}:
        requests = answered(coordinator, sites, requests)
    replies = [(request.to, sites[request.to].receive(request.data)) for request in requests[1:]]
    leaving = (requests[0].to, abort(settled(sites)))
    replies = [*replies, leaving] if last else [leaving, *replies]
    for site, data in replies[:-1]:
        assert coordinator.receive(site, data) == []
    requests = coordinator.receive(*replies[-1])
    assert coordinator.left == {leaving[0]: "budget"}
    while requests:
        assert leaving[0] not in [request.to for request in requests]
        requests = answered(coordinator, sites, requests)
    assert coordinator.result is not None
    gone_from_the_sum = stage is not Kind.SURVIVORS
    assert (leaving[0] not in coordinator.survivors) == gone_from_the_sum


def test_the_round_is_void_at_once_when_too_many_abort(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    names = [request.to for request in requests]
    for request in requests[2:]:
        coordinator.receive(request.to, sites[request.to].receive(request.data))
    coordinator.receive(names[0], abort(settled(sites)))
    with pytest.raises(TooFewSurvivors) as caught:
        coordinator.receive(names[1], abort(settled(sites)))
    assert (caught.value.got, caught.value.needed) == (2, 3)
    assert coordinator.result is None
    assert coordinator.survivors == ()


def test_an_abort_of_an_earlier_attempt_makes_nobody_leave(sites: Sites) -> None:
    coordinator, requests = opened_round(sites, attempt=2)
    assert coordinator.receive("ash", abort(settled(sites, attempt=1))) == []
    assert coordinator.left == {}
    while requests:
        requests = answered(coordinator, sites, requests)
    assert "ash" in coordinator.survivors


def test_replies_of_another_attempt_count_for_nothing(sites: Sites) -> None:
    _, earlier = opened_round(sites, attempt=1)
    stale = {request.to: sites[request.to].receive(request.data) for request in earlier}
    coordinator, _ = opened_round(sites, attempt=2)
    assert [coordinator.receive(site, data) for site, data in stale.items()] == [[]] * 4
    with pytest.raises(TooFewSurvivors) as caught:
        coordinator.deadline()
    assert caught.value.got == 0


def test_a_reply_to_a_step_that_is_not_due_is_held_against_nobody(sites: Sites) -> None:
    """A transport promises no order; the reply that is due still counts."""
    coordinator, requests = opened_round(sites)
    early = Frame(Kind.REVEAL, *settled(sites).place, b"early").to_bytes()
    assert coordinator.receive("ash", early) == []
    assert coordinator.left == {}
    while requests:
        requests = answered(coordinator, sites, requests)
    assert "ash" in coordinator.survivors


def test_a_deadline_goes_on_with_those_who_answered(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    for request in requests[1:]:
        coordinator.receive(request.to, sites[request.to].receive(request.data))
    following = coordinator.deadline()
    assert [message.to for message in following] == [request.to for request in requests[1:]]


def test_a_stranger_is_not_counted(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    reply = sites[requests[0].to].receive(requests[0].data)
    assert coordinator.receive("mallory", reply) == []
    assert coordinator.receive("", abort(settled(sites))) == []
    while requests:
        requests = answered(coordinator, sites, requests)
    assert coordinator.survivors == tuple(sorted(sites))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), kind=st.sampled_from(list(Kind)), framed=st.booleans())
def test_no_bytes_of_one_site_break_the_round(data: bytes, kind: Kind, framed: bool) -> None:
    """One site out of four may be lost by what it sends; anything but that would raise here."""
    members = [Member(name, 40) for name in ("ash", "birch", "cedar", "dogwood")]
    terms = terms_for(PLAN, members, PARAMS)
    coordinator = Coordinator(terms, params_bytes(PARAMS))
    coordinator.open()
    sent = Frame(kind, *terms.place, data).to_bytes() if framed else data
    assert coordinator.receive("ash", sent) == []
    assert coordinator.result is None
