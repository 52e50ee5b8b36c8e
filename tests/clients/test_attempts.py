"""A round tried again: after a restart, by a site that lost its memory, and with other survivors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.policy import Policy
from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.plan.plan import Plan
from federation.round.messages import Broadcast, Frame, Kind, Paired, Reason, abort_reason, accused_slot
from federation.round.terms import Terms
from privacy.errors import FaultyServer, LedgerRefusal, PolicyViolation, ProtocolError
from privacy.mechanism.encoding import RingVector
from privacy.secagg import graph
from privacy.secagg.messages import Certificate, Delivery
from tests import plans
from tests.clients.journal.journals import fill_the_disk
from tests.clients.sites import (
    FIVE,
    RUN,
    SIZES,
    SMALL,
    Round,
    approved,
    closing,
    hello,
    invite,
    joined,
    kinds,
    make_params,
    make_plan,
    make_site,
    make_terms,
    ordered,
    refused,
)


def restarted(folder: Path, plan: Plan, sites: dict[str, Site], name: str) -> Site:
    """A new process over the same journal, which nobody has greeted yet."""
    sites[name].close()
    sites[name] = make_site(folder, plan, name, FIVE[name])
    return sites[name]


def stored(site: Site, terms: Terms) -> RingVector:
    return site.release(terms, make_params(terms.dimension))


def test_a_restarted_site_knows_no_run_until_it_is_greeted_and_then_takes_part_again(tmp_path: Path) -> None:
    plan = make_plan()
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    before = Round(terms, sites).play()
    site = restarted(tmp_path, plan, sites, "berlin")
    second = replace(terms, round=2, attempt=2)
    for data in (
        invite(second),
        *(before.requests["berlin", kind] for kind in (Kind.INVITE, Kind.BROADCAST)),
    ):
        assert refused(site, data) is Reason.UNKNOWN_RUN
    assert kinds(site)[-1] == "reveal"
    assert Frame.from_bytes(site.receive(hello(plan))).kind is Kind.WELCOME
    assert Round(second, sites).play().coordinator.survivors == tuple(SIZES)
    assert kinds(site).count("reserve") == 1


def test_another_run_is_refused_until_the_first_one_is_over(tmp_path: Path) -> None:
    plan, terms = make_plan(epsilon=1.0), make_terms(make_plan(epsilon=1.0))
    allows = {"epsilon_max": 8.0, "plans": approved(plan, runs=2)}
    site = make_site(
        tmp_path, plan, "berlin", FIVE["berlin"], policy=Policy.for_plan(plan).model_copy(update=allows)
    )
    site.receive(hello(plan))
    advert, other = site.receive(invite(terms)), hello(plan, run=bytes(16))
    assert refused(site, other) is Reason.POLICY
    assert f"takes part in run {RUN.hex()}, which is not over" in str(site.last_error)
    assert site.receive(invite(terms)) == advert
    assert kinds(site) == ["genesis", "roster", "budget", "reserve"]
    assert Frame.from_bytes(site.receive(closing(plan, bytes([1]) * 32))).kind is Kind.CLOSED
    assert Frame.from_bytes(site.receive(other)).kind is Kind.WELCOME
    assert refused(site, invite(terms)) is Reason.UNKNOWN_RUN
    assert kinds(site) == ["genesis", "roster", "budget", "reserve", "close", "reserve"]


def test_the_id_of_a_part_is_no_way_into_another_plan_while_a_run_with_folds_is_open(tmp_path: Path) -> None:
    """Another plan under the id of a part, with folds or without, is another run: the open one goes on."""
    other = make_plan(epsilon=1.0)
    small = {name: value for name, value in SMALL.items() if name != "evaluation"}
    asked = {"metrics": ["accuracy"], "evaluation.epsilon": 1.0, "evaluation.folds": 3, "holdout": 0.0}
    plan, again = (plans.plan_of(small, asked, {"privacy.epsilon": 1.0, "seed": seed}) for seed in (1, 2))
    every = (*approved(plan), *approved(other), *approved(again))
    allows = {"epsilon_max": 50.0, "plans": every}
    policy = Policy.for_plan(plan).model_copy(update=allows)
    site = make_site(tmp_path, plan, "berlin", FIVE["berlin"], policy=policy)
    first, second = RUN[:-1] + b"\x01", RUN[:-1] + b"\x02"
    assert Frame.from_bytes(site.receive(hello(plan, run=first))).kind is Kind.WELCOME
    before, meter = kinds(site), site.meter
    for run in (first, second):
        for wrong in (other, again):
            assert refused(site, hello(wrong, run=run)) is Reason.POLICY
    assert kinds(site) == before
    advert = site.receive(invite(make_terms(plan, run=first)))
    assert Frame.from_bytes(advert).kind is Kind.ADVERT
    assert Frame.from_bytes(site.receive(hello(plan, run=second))).kind is Kind.WELCOME
    assert kinds(site) == before
    assert site.meter is meter, "what computing took is told of all parts, as their rounds are"


@pytest.mark.parametrize("noise", ["distributed", "site", "none"])
def test_an_attempt_on_record_is_over_after_a_restart_and_a_later_one_resends_the_same_bytes(
    noise: str, tmp_path: Path
) -> None:
    plan = make_plan("record", noise)
    sites, terms = joined(tmp_path, plan), make_terms(plan, attempt=2)
    first = Round(terms, sites)
    with pytest.raises(TooFewSurvivors):  # masked bytes of berlin have left, and its process is killed
        first.play(lost=(("amsterdam", Kind.BROADCAST),))
    before = stored(sites["berlin"], terms)
    assert kinds(sites["berlin"]) == ["genesis", "roster", "budget", "reserve", "begin", "release", "mask"]
    site = restarted(tmp_path, plan, sites, "berlin")
    site.receive(hello(plan))
    for attempt in (1, 2):
        again = Round(
            replace(terms, attempt=attempt), {**joined(tmp_path / str(attempt), plan), "berlin": site}
        )
        with pytest.raises(TooFewSurvivors):
            again.play()
        reply = Frame.from_bytes(again.replies["berlin", Kind.BROADCAST])
        assert (reply.kind, abort_reason(reply.body)) == (Kind.ABORT, Reason.POLICY)
        assert f"attempt {attempt} at round 1 is over" in str(site.last_error)
    assert kinds(site) == ["genesis", "roster", "budget", "reserve", "begin", "release", "mask"]
    third = Round(replace(terms, attempt=3), sites).play()
    assert kinds(site) == [
        "genesis",
        "roster",
        "budget",
        "reserve",
        "begin",
        "release",
        "mask",
        "mask",
        "reveal",
    ]
    assert np.array_equal(stored(site, terms), before)  # the very same noise
    vectors = [stored(other, terms) for other in sites.values()]
    ring = np.uint64((1 << terms.codec.ring_bits) - 1)
    assert third.coordinator.result is not None
    assert np.array_equal(third.coordinator.result, np.sum(vectors, axis=0, dtype=np.uint64) & ring)


def test_a_broadcast_before_the_adverts_neither_charges_nor_trains(tmp_path: Path) -> None:
    plan = make_plan()
    terms = make_terms(plan)
    ahead = Round(terms, joined(tmp_path / "other", plan)).play()
    site = joined(tmp_path, plan)["berlin"]
    site.receive(invite(terms))
    assert refused(site, ahead.requests["berlin", Kind.BROADCAST]) is Reason.PROTOCOL
    assert kinds(site) == ["genesis", "roster", "budget", "reserve"]


@pytest.mark.parametrize("hostile", ["altered", "digests", "signature", "missing", "unshared", "trailing"])
def test_a_delivery_that_does_not_open_charges_nothing(hostile: str, tmp_path: Path) -> None:
    plan = make_plan(minimum=5, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)

    def spoiled(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) != ("berlin", Kind.BROADCAST):
            return frame
        paired = Paired.from_bytes(frame.body)
        broadcast = Broadcast.from_bytes(paired.own)
        delivery = Delivery.from_bytes(broadcast.shares, len(terms.parameters.levels))
        sealed, sharers = dict(delivery.by_slot), delivery.sharers
        peer = min(sealed)
        first = sealed[peer]
        if hostile == "altered":
            sealed[peer] = replace(first, sealed=first.sealed[:-1] + bytes([first.sealed[-1] ^ 1]))
        elif hostile in ("digests", "signature"):
            flipped = bytes(octet ^ 1 for octet in getattr(first.dealt, hostile))
            sealed[peer] = replace(first, dealt=replace(first.dealt, **{hostile: flipped}))
        elif hostile == "missing":
            del sealed[peer]
        elif hostile == "unshared":
            sharers = sharers - {terms.parameters.slots["berlin"]}
        shares = Delivery(sharers, sealed).to_bytes() + (b"\0" if hostile == "trailing" else b"")
        own = replace(broadcast, shares=shares).to_bytes()
        return replace(frame, body=replace(paired, own=own).to_bytes())

    first = Round(terms, sites).play(alter=spoiled)
    reply = Frame.from_bytes(first.replies["berlin", Kind.BROADCAST])
    # A dealer may be at fault for the first three, and is named by its slot; for the others only the server can be.
    dealt = hostile in ("altered", "digests", "signature")
    assert (reply.kind, abort_reason(reply.body)) == (Kind.ABORT, Reason.SHARE if dealt else Reason.PROTOCOL)
    dealer = min(slot for name, slot in terms.parameters.slots.items() if name != "berlin")
    assert accused_slot(reply.body) == (dealer if dealt else None)
    assert kinds(sites["berlin"]) == ["genesis", "roster", "budget", "reserve"]
    assert kinds(sites["essen"])[4:] == ["begin", "release", "mask", "reveal"]  # the control
    again = first.requests["essen", Kind.BROADCAST]
    assert refused(sites["berlin"], again) is Reason.PROTOCOL  # the attempt is over
    assert kinds(sites["berlin"]) == ["genesis", "roster", "budget", "reserve"]


@pytest.mark.parametrize("kind", [Kind.ADVERTS, Kind.BROADCAST, Kind.CERTIFICATE])
def test_after_a_refused_request_an_attempt_is_over_and_the_next_one_goes_well(
    kind: Kind, tmp_path: Path
) -> None:
    plan = make_plan(minimum=5, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)

    def spoil(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) != ("berlin", kind):
            return frame
        if kind is Kind.ADVERTS:
            return replace(frame, body=bytes(frame.body) + b"\0")
        paired = Paired.from_bytes(frame.body)
        return replace(frame, body=replace(paired, own=bytes(paired.own) + b"\0").to_bytes())

    spoiled = Round(terms, sites).play(alter=spoil)
    site = sites["berlin"]
    assert Frame.from_bytes(spoiled.replies["berlin", kind]).kind is Kind.ABORT
    whole = Round(replace(terms, attempt=2), joined(tmp_path / "other", plan, FIVE)).play()
    for request in (Kind.ADVERTS, kind):
        own = replace(Frame.from_bytes(whole.requests["berlin", request]), attempt=1)
        assert refused(site, ordered(own, plan)) is Reason.PROTOCOL
    assert refused(site, invite(terms)) is Reason.PROTOCOL
    assert "reveal" not in kinds(site)
    if kind is Kind.CERTIFICATE:  # the others have opened the sum, with berlin in it
        again = Round(replace(terms, attempt=2), sites).play()
        assert again.coordinator.survivors == tuple(FIVE)


def test_a_certificate_with_too_few_votes_opens_nothing(tmp_path: Path) -> None:
    plan = make_plan(minimum=5, dropouts=1, colluders=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)

    def fewer(_: str, frame: Frame) -> Frame:
        if frame.kind is not Kind.CERTIFICATE:
            return frame
        certificate = Certificate.from_bytes(Paired.from_bytes(frame.body).own)
        assert len(certificate.votes) == terms.parameters.quorum
        votes = dict(list(certificate.votes.items())[1:])
        return replace(frame, body=Paired(replace(certificate, votes=votes).to_bytes()).to_bytes())

    with pytest.raises(TooFewSurvivors):
        Round(terms, sites).play(alter=fewer)
    for site in sites.values():
        assert isinstance(site.last_error, FaultyServer)
        assert "a certificate of 3 votes, 4 are needed" in str(site.last_error)
        assert kinds(site)[-1] == "mask"


def test_a_second_opening_with_other_survivors_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    plan = make_plan(minimum=5, dropouts=1, colluders=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)
    first = Round(terms, sites).play(lost=(("essen", Kind.BROADCAST),))
    assert first.coordinator.survivors == ("amsterdam", "berlin", "cleveland", "dresden")
    assert first.coordinator.result is not None
    for name in FIVE:
        restarted(tmp_path, plan, sites, name).receive(hello(plan))
    second = Round(replace(terms, attempt=2), sites)
    with pytest.raises(TooFewSurvivors):
        second.play()  # all five this time: the difference would be essen's
    for name in first.coordinator.survivors:
        assert isinstance(sites[name].last_error, ProtocolError)
        assert "opened for other survivors" in str(sites[name].last_error)
        assert kinds(sites[name]).count("reveal") == 1
    third = Round(replace(terms, attempt=3), sites).play(lost=(("essen", Kind.BROADCAST),))
    assert third.coordinator.result is not None
    assert np.array_equal(third.coordinator.result, first.coordinator.result)


def test_a_site_that_voted_for_fewer_helps_to_open_no_more(tmp_path: Path) -> None:
    """The server asks for votes without essen, then shows a certificate for everyone."""
    plan = make_plan(minimum=5, dropouts=1)
    whole = Round(make_terms(plan, FIVE), joined(tmp_path / "whole", plan, FIVE)).play()
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)

    def swap(_: str, frame: Frame) -> Frame:
        if frame.kind is not Kind.CERTIFICATE:
            return frame
        shown = Certificate.from_bytes(
            Paired.from_bytes(Frame.from_bytes(whole.requests["berlin", Kind.CERTIFICATE]).body).own
        )
        return replace(frame, body=Paired(shown.to_bytes()).to_bytes())

    with pytest.raises(TooFewSurvivors):
        Round(terms, sites).play(lost=(("essen", Kind.BROADCAST),), alter=swap)
    for name in ("amsterdam", "berlin", "cleveland", "dresden"):
        assert "another set than this site voted for" in str(sites[name].last_error)
        assert "reveal" not in kinds(sites[name])


def test_masking_is_on_record_before_masked_bytes_leave(tmp_path: Path) -> None:
    plan = make_plan()
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    site = sites["berlin"]

    def no_more_room(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) == ("berlin", Kind.BROADCAST):
            site.release(terms, make_params())
            fill_the_disk(site.journal)
        return frame

    played = Round(terms, sites)
    with pytest.raises(TooFewSurvivors):
        played.play(alter=no_more_room)
    assert Frame.from_bytes(played.replies["berlin", Kind.BROADCAST]).kind is Kind.ABORT
    fill_the_disk(site.journal, False)
    assert kinds(site) == ["genesis", "roster", "budget", "reserve", "begin", "release"]
    assert not isinstance(site.last_error, PolicyViolation | LedgerRefusal)


@pytest.mark.parametrize("limit", [4, 128], ids=["ring", "complete"])
def test_on_a_ring_a_site_masks_once_a_round(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that a round opens one set holds over several attempts for the complete graph only."""
    monkeypatch.setattr(graph, "COMPLETE_LIMIT", limit)
    plan = make_plan(minimum=5)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)
    assert (terms.parameters.fewest_neighbors > 0) is (limit == 4)
    with pytest.raises(TooFewSurvivors):
        Round(terms, sites).play(lost=(("essen", Kind.BROADCAST),))
    second = Round(replace(terms, attempt=2), sites)
    if limit == 128:
        assert second.play().coordinator.survivors == tuple(FIVE)
        return
    with pytest.raises(TooFewSurvivors):
        second.play()
    for name in ("amsterdam", "berlin", "cleveland", "dresden"):
        assert isinstance(sites[name].last_error, LedgerRefusal)
        assert "on a ring" in str(sites[name].last_error)
    assert {name: kinds(site).count("mask") for name, site in sites.items()} == dict.fromkeys(FIVE, 1)


def test_the_last_round_is_answered_again_after_its_opening_by_the_same_process_alone(tmp_path: Path) -> None:
    """A server that was killed before it noted the sum asks again; what a site then sends are the same bytes."""
    plan = make_plan(rounds=1)
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    first = Round(terms, sites).play()
    again = Round(replace(terms, attempt=2), sites).play()
    assert first.coordinator.result is not None
    assert np.array_equal(again.coordinator.result, first.coordinator.result)
    site = restarted(tmp_path, plan, sites, "berlin")
    site.receive(hello(plan))
    with pytest.raises(TooFewSurvivors):
        Round(replace(terms, attempt=3), sites).play()
    assert isinstance(site.last_error, LedgerRefusal)
    assert "round 1 was released and is over" in str(site.last_error)
    assert kinds(site).count("release") == 1
