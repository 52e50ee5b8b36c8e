"""One attempt at one round, sans-IO: who is waited for, what is ignored, when the round is void."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.model.params import params_bytes
from federation.round.messages import (
    FRAME_ROOM,
    PEER_ROOM,
    Broadcast,
    Frame,
    Invitation,
    Kind,
    Member,
    Paired,
    Reason,
    abort_body,
)
from federation.round.terms import Terms
from federation.round.transport import Outgoing
from privacy.roster import Entry, Roster, SignedRoster
from privacy.secagg.ring import packed_size
from privacy.signing import public_identity
from server.coordinator import Coordinator
from simulations.world import World
from tests.worlds import contribute, opened, plan_of, start, terms_for

Sites = dict[str, Site]
COORDINATOR = Ed25519PrivateKey.generate()
PLAN = plan_of()
PARAMS = start(PLAN)
STEPS = (Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST, Kind.CERTIFICATE)  # while nobody is lost


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    with opened(PLAN, tmp_path, 4) as (world, parties):
        join(world, parties)
        yield parties


def settled(sites: Mapping[str, Site], attempt: int = 1) -> Terms:
    members = [site.member for site in sites.values()]
    return terms_for(PLAN, members, PARAMS, attempt)


def roster_for(members: Iterable[Member], keys: Mapping[str, Ed25519PrivateKey]) -> Roster:
    return Roster(
        1,
        tuple(Entry(one.site, one.site, public_identity(keys[one.site]), one.size) for one in members),
        coordinator=public_identity(COORDINATOR),
    )


def roster_of(sites: Mapping[str, Site]) -> Roster:
    keys = {name: site.trust.identity for name, site in sites.items()}
    return roster_for((site.member for site in sites.values()), keys)


def join(world: World, sites: Mapping[str, Site]) -> None:
    for site in sites.values():
        site.join(bytes(16), PLAN, SignedRoster.by(roster_of(sites), [world.consortium]))


def opened_round(
    sites: Mapping[str, Site], attempt: int = 1, following: Coordinator | None = None
) -> tuple[Coordinator, list[Outgoing]]:
    coordinator = Coordinator(settled(sites, attempt), roster_of(sites), COORDINATOR)
    return coordinator, coordinator.start(params_bytes(PARAMS), following)


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
    for kind in STEPS:
        assert kinds(requests) == {kind}
        assert [request.to for request in requests] == sorted(sites)
        assert coordinator.result is None
        requests = answered(coordinator, sites, requests)
    assert requests == []
    assert coordinator.survivors == tuple(sorted(sites))
    assert coordinator.left == {}
    terms = settled(sites)
    trainers = {name: site.load(PLAN) for name, site in sites.items()}
    expected = terms.codec.from_ring(contribute(trainers)(terms, PARAMS).total)
    assert coordinator.result is not None
    assert np.array_equal(terms.codec.from_ring(coordinator.result), expected)


def test_params_travel_with_the_broadcast_and_only_there(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    params = params_bytes(PARAMS)
    while requests:
        carried = [params in request.data for request in requests]
        assert carried == [kinds(requests) == {Kind.BROADCAST}] * len(requests)
        if all(carried):
            paired = Paired.from_bytes(Frame.from_bytes(requests[0].data).body)
            assert Broadcast.from_bytes(paired.own).params == params
        requests = answered(coordinator, sites, requests)


@pytest.mark.parametrize("last", [True, False], ids=["after the others", "before the others"])
@pytest.mark.parametrize("stage", STEPS)
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
    gone_from_the_sum = stage is not Kind.CERTIFICATE
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


@pytest.mark.parametrize("body", [abort_body(Reason.BUDGET), b"no reason"], ids=["aborts", "babbles"])
def test_a_stranger_neither_leaves_nor_is_missed(body: bytes, sites: Sites) -> None:
    """A node without a site has the name "", and a site that is left out has its own: neither is in the cohort."""
    coordinator, _ = opened_round(sites)
    for name in ("", "elm"):
        assert coordinator.receive(name, Frame(Kind.ABORT, *settled(sites).place, body).to_bytes()) == []
        assert coordinator.receive(name, b"") == []
    assert (coordinator.left, coordinator.gone, coordinator.reasons) == ({}, set(), {})


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), kind=st.sampled_from(list(Kind)), framed=st.booleans())
def test_no_bytes_of_one_site_break_the_round(data: bytes, kind: Kind, framed: bool) -> None:
    """One site out of four may be lost by what it sends; anything but that would raise here."""
    members = [Member(name, 40) for name in ("ash", "birch", "cedar", "dogwood")]
    terms = terms_for(PLAN, members, PARAMS)
    keys = {member.site: Ed25519PrivateKey.generate() for member in members}
    coordinator = Coordinator(terms, roster_for(members, keys), COORDINATOR)
    coordinator.start(params_bytes(PARAMS), None)
    sent = Frame(kind, *terms.place, data).to_bytes() if framed else data
    assert coordinator.receive("ash", sent) == []
    assert coordinator.result is None


def refused_share(terms: Terms, slot: int) -> bytes:
    return Frame(Kind.ABORT, *terms.place, abort_body(Reason.SHARE, slot)).to_bytes()


def test_who_says_that_a_share_does_not_open_counts_as_lost_and_both_are_named(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    names, terms = sorted(sites), settled(sites)
    for _ in range(2):
        requests = answered(coordinator, sites, requests)
    assert coordinator.is_training
    coordinator.receive(names[1], refused_share(terms, 0))
    coordinator.receive(names[1], refused_share(terms, 2))  # one accusation an attempt
    for request in requests:
        if request.to != names[1]:
            after = coordinator.receive(request.to, sites[request.to].receive(request.data))
    assert coordinator.accused == {names[1]: names[0]}
    assert coordinator.reasons == {names[1]: "share"}
    assert coordinator.lost == {names[1]: f"its share from {names[0]}, slot 0, does not open"}
    assert coordinator.charged == set(names) - {names[1]}
    assert coordinator.gone == set(), "it answers, and is not greeted for that"
    assert kinds(after) == {Kind.SURVIVORS}


@pytest.mark.parametrize("steps", [0, 1, 2], ids=["advertise", "share", "train"])
@pytest.mark.parametrize("slot", [1, 4, 65535], ids=["itself", "beyond", "far beyond"])
def test_an_accusation_that_cannot_be_true_accuses_nobody(steps: int, slot: int, sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    accuser = sorted(sites)[1]
    for _ in range(steps):
        requests = answered(coordinator, sites, requests)
    coordinator.receive(accuser, refused_share(settled(sites), 0 if steps < 2 and slot == 1 else slot))
    assert coordinator.accused == {}
    assert coordinator.reasons == {accuser: "protocol"}


def test_who_has_answered_is_not_believed_the_opposite(sites: Sites) -> None:
    coordinator, requests = opened_round(sites)
    first = sorted(sites)[0]
    for _ in range(2):
        requests = answered(coordinator, sites, requests)
    coordinator.receive(first, sites[first].receive(requests[0].data))
    coordinator.receive(first, refused_share(settled(sites), 1))
    assert (coordinator.accused, coordinator.left) == ({}, {})


@pytest.mark.parametrize("stage", STEPS)
def test_a_reply_longer_than_the_plan_has_room_for_is_not_even_parsed(
    stage: Kind, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, requests = opened_round(sites)
    first, terms = sorted(sites)[0], settled(sites)
    while kinds(requests) != {stage}:
        requests = answered(coordinator, sites, requests)
    reply = Frame.from_bytes(sites[first].receive(requests[0].data))
    rules = terms.parameters
    room = FRAME_ROOM + PEER_ROOM * rules.count
    if stage is Kind.BROADCAST:
        room += packed_size(rules.length, rules.ring_bits)
    long = replace(reply, body=bytes(room)).to_bytes()

    def never(data: bytes) -> Frame:
        raise AssertionError("its body was copied")

    with monkeypatch.context() as patched:
        patched.setattr(Frame, "header", staticmethod(lambda data: replace(reply, body=b"")))
        patched.setattr(Frame, "from_bytes", staticmethod(never))
        assert coordinator.receive(first, long) == []
    assert "are the most" in coordinator.left[first]
    assert coordinator.receive(first, reply.to_bytes()) == [], "the right one still counts"


def following_of(sites: Sites) -> Coordinator:
    """The second round, to be prepared by the first."""
    return Coordinator(replace(settled(sites), round=2), roster_of(sites), COORDINATOR)


def test_the_next_round_s_keys_travel_with_this_round_and_it_begins_with_its_params(sites: Sites) -> None:
    following = following_of(sites)
    coordinator, requests = opened_round(sites, following=following)
    carried = {}
    while requests:
        for request in requests:
            frame = Frame.from_bytes(request.data)
            if frame.kind in (Kind.BROADCAST, Kind.CERTIFICATE):
                onward = Frame.from_bytes(Paired.from_bytes(frame.body).following)
                carried[request.to, frame.kind] = onward.kind, onward.round
        requests = answered(coordinator, sites, requests)
    assert carried == {
        (name, kind): (onward, 2)
        for name in sites
        for kind, onward in ((Kind.BROADCAST, Kind.INVITE), (Kind.CERTIFICATE, Kind.ADVERTS))
    }
    assert coordinator.following is following
    assert following.is_prepared
    requests = following.start(params_bytes(PARAMS), None)
    for kind in (Kind.BROADCAST, Kind.CERTIFICATE):
        assert kinds(requests) == {kind}
        requests = answered(following, sites, requests)
    assert following.survivors == tuple(sorted(sites))
    assert following.result is not None
    assert coordinator.result is not None
    codec = following.terms.codec
    apart = codec.from_ring(following.result) - codec.from_ring(coordinator.result)
    assert np.abs(apart).max() <= len(sites), "the same full batches, but for how each site rounds"


def test_a_round_is_prepared_with_those_who_stayed(sites: Sites) -> None:
    silent, *here = sorted(sites)
    coordinator, requests = opened_round(sites, following=following_of(sites))
    while requests:
        if kinds(requests) == {Kind.BROADCAST}:
            assert requests[0].to == silent
            for request in requests[1:]:
                coordinator.receive(request.to, sites[request.to].receive(request.data))
            requests = coordinator.deadline()
            assert kinds(requests) == {Kind.SURVIVORS}, "a vote before the sum is opened"
        requests = answered(coordinator, sites, requests)
    assert coordinator.result is not None
    assert coordinator.following is not None
    assert coordinator.following.is_prepared
    assert coordinator.following.partners == set(here)
    requests = coordinator.following.start(params_bytes(PARAMS), None)
    while requests:
        requests = answered(coordinator.following, sites, requests)
    assert coordinator.following.survivors == tuple(here), "the round after it needs no invitation"
    assert coordinator.following.gone == set(), "nobody asked for it"


@pytest.mark.parametrize("stage", [Kind.BROADCAST, Kind.CERTIFICATE])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rubbish=st.binary(max_size=60), kind=st.sampled_from([None, *Kind]))
def test_what_a_site_answers_to_the_next_round_never_harms_this_one(
    stage: Kind, rubbish: bytes, kind: Kind | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened(PLAN, tmp_path_factory.mktemp("next"), 4) as (world, sites):
        join(world, sites)
        following = following_of(sites)
        coordinator, requests = opened_round(sites, following=following)
        sent = rubbish if kind is None else Frame(kind, *following.terms.place, rubbish).to_bytes()
        while requests:
            replies = [(request.to, sites[request.to].receive(request.data)) for request in requests]
            if kinds(requests) == {stage}:
                frame = Frame.from_bytes(replies[0][1])
                body = replace(Paired.from_bytes(frame.body), following=sent).to_bytes()
                replies[0] = replies[0][0], replace(frame, body=body).to_bytes()
            requests = [one for reply in replies for one in coordinator.receive(*reply)]
        assert coordinator.survivors == tuple(sorted(sites))
        assert coordinator.result is not None
        assert coordinator.left == {}
        assert sorted(sites)[0] not in following.partners


def test_a_vector_for_the_next_round_before_it_has_params_is_ignored(sites: Sites) -> None:
    """One site holds this round open, until the next one has all its shares and waits for its params."""
    following, bad, vectors = following_of(sites), min(sites), dict[str, Paired]()
    coordinator, requests = opened_round(sites, following=following)
    while requests:
        replies = {request.to: sites[request.to].receive(request.data) for request in requests}
        if kinds(requests) == {Kind.BROADCAST}:
            vectors = {to: Paired.from_bytes(Frame.from_bytes(data).body) for to, data in replies.items()}
        if kinds(requests) == {Kind.CERTIFICATE}:
            frame = Frame.from_bytes(replies[bad])
            held, paired = vectors[bad], Paired.from_bytes(frame.body)
            of_old = replace(frame, body=replace(paired, own=held.own).to_bytes())
            assert coordinator.receive(bad, of_old.to_bytes()) == [], "a message of the step before"
            early = replace(held, following=b"", heads=paired.heads).to_bytes()
            onward = Frame(Kind.MASKED, *following.terms.place, early).to_bytes()
            replies = {to: data for to, data in replies.items() if to != bad}
            replies[bad] = replace(frame, body=replace(paired, following=onward).to_bytes()).to_bytes()
        requests = [one for reply in replies.items() for one in coordinator.receive(*reply)]
    assert coordinator.survivors == tuple(sorted(sites))
    assert following.partners == set(sites)
    assert (coordinator.left, following.left) == ({}, {})
