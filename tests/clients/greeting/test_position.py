"""How far an invitation may be ahead, and that a far one ends nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clients.greeting.position import Position
from federation.round.messages import Frame, Kind, Reason
from federation.round.signed import ATTEMPTS_AHEAD, ROUNDS_AHEAD, ordered, rounds_ahead
from privacy.errors import FaultyServer
from tests.clients.sites import (
    COORDINATOR,
    FIVE,
    ROSTER,
    RUN,
    SIZES,
    Round,
    closing,
    hello,
    identity,
    invite,
    joined,
    kinds,
    make_plan,
    make_terms,
    refused,
)

PLAN = make_plan(rounds=500, sample_rate=0.1)
FAR = 50


def test_the_invitation_of_a_far_round_kills_none_of_those_between(tmp_path: Path) -> None:
    """One INVITE of round 50 ended rounds 2 to 49."""
    plan = make_plan(rounds=FAR)
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    Round(terms, sites).play()
    for site in sites.values():
        assert Frame.from_bytes(site.receive(invite(replace(terms, round=FAR)))).kind is Kind.ADVERT
    for number in (2, 3, 4):
        played = Round(replace(terms, round=number, attempt=number), sites).play()
        assert played.coordinator.survivors == tuple(SIZES)


def test_no_number_is_believed_that_is_beyond_every_accident(tmp_path: Path) -> None:
    site, terms = joined(tmp_path, PLAN)["berlin"], make_terms(PLAN)
    far = ROUNDS_AHEAD + 1
    for wrong in (replace(terms, round=far), replace(terms, attempt=ATTEMPTS_AHEAD + 1)):
        assert refused(site, invite(wrong)) is Reason.PROTOCOL
        assert "greet this site again" in str(site.last_error)
    assert Frame.from_bytes(site.receive(invite(terms))).kind is Kind.ADVERT
    site.receive(hello(PLAN, stands=(far - 1, 1000)))  # a site that was away hears where the run stands
    assert Frame.from_bytes(site.receive(invite(replace(terms, round=far, attempt=1001)))).kind is Kind.ADVERT


@pytest.mark.parametrize(
    ("sampled", "sites", "bound"),
    [
        ({}, 5, 64),
        ({"cohort.size": None, "cohort.sample_rate": 0.5}, 5, 104),
        ({"cohort.size": 3}, 300, 2823),
    ],
)
def test_where_cohorts_are_sampled_a_site_may_be_left_out_for_long(
    sampled: dict[str, object], sites: int, bound: int
) -> None:
    assert rounds_ahead(make_plan(**sampled), sites) == bound


def test_a_place_never_goes_back() -> None:
    place = Position().greeted((7, 10)).greeted((3, 5)).began(4).began(2)
    assert place == Position(done=7, attempts=10, begun=4)
    frame = Frame(Kind.INVITE, RUN, 3, 1)
    with pytest.raises(FaultyServer, match="over"):
        place.require_near(frame, PLAN, 5)


REQUESTS = (Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST, Kind.SURVIVORS, Kind.CERTIFICATE)


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_request_of_a_round_is_taken_from_anybody_else(kind: Kind, tmp_path: Path) -> None:
    """Forged, or made for another place: the round goes on as if it had never come, and nothing is charged."""
    plan = make_plan(minimum=5, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)
    lost = (("essen", Kind.BROADCAST),) if kind is Kind.SURVIVORS else ()

    def forging(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) == ("berlin", kind):
            before = sites["berlin"].journal.entries()
            for forged in (
                replace(frame, signature=b""),
                replace(frame, body=bytes(frame.body[:-1]) + bytes([frame.body[-1] ^ 1])),
                replace(frame, body=b""),
                replace(frame, attempt=frame.attempt + 1),
                ordered(frame, identity("essen"), plan.digest, ROSTER.root),
                ordered(frame, COORDINATOR, make_plan().digest, ROSTER.root),
                ordered(frame, COORDINATOR, plan.digest, bytes(32)),
            ):
                assert refused(sites["berlin"], forged.to_bytes()) is Reason.PROTOCOL
                assert "did not sign" in str(sites["berlin"].last_error)
            assert sites["berlin"].journal.entries() == before
        return frame

    played = Round(terms, sites).play(lost=lost, alter=forging)
    assert "berlin" in played.coordinator.survivors
    assert ("berlin", kind) in played.replies


def test_a_forged_end_ends_nothing(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    genuine = Frame.from_bytes(closing(PLAN, bytes([1]) * 32))
    for forged in (
        replace(genuine, signature=b""),
        replace(genuine, body=bytes([2]) * 32),
        ordered(genuine, identity("essen"), PLAN.digest, ROSTER.root),
        Frame.from_bytes(closing(PLAN, bytes([1]) * 32, bytes(16))),
    ):
        refused(sites["berlin"], replace(forged, run=RUN).to_bytes())
    assert "close" not in kinds(sites["berlin"])
    assert Round(make_terms(PLAN), sites).play().coordinator.survivors == tuple(SIZES)
