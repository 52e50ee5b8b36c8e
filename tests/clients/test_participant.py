"""One site in one attempt: the terms it settles itself, the fixed order, what it asks of its site and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clients.greeting.joined import Joined
from clients.participant import settle
from clients.policy import Policy
from clients.site import Site
from federation.model.params import params_bytes
from federation.round.messages import Broadcast, Frame, Invitation, Kind, Member
from federation.round.terms import Terms
from privacy.errors import FaultyServer, MalformedMessage, PolicyViolation, ProtocolError
from privacy.ledger.heads import Head
from privacy.roster import Roster
from privacy.secagg.messages import Certificate
from privacy.secagg.server import ServerMachine
from privacy.wire import digest
from tests.clients.sites import (
    DIMENSION,
    FIVE,
    ROSTER,
    SIZES,
    make_params,
    make_plan,
    make_roster,
    make_terms,
    make_trust,
)

PLAN = make_plan("record", "none")
TERMS = make_terms(PLAN)
POLICY = Policy.for_plan(PLAN)
AMSTERDAM = TERMS.members[0]
SHOWN = (Head("cleveland", bytes(32), 5, bytes(32), bytes(64)),)  # for the site to judge


def invite(terms: Terms = TERMS) -> Frame:
    return Frame(Kind.INVITE, *terms.place, Invitation(terms.members).to_bytes())


class Told:
    """Sites of a whole cohort in one attempt, and what each asked of its data and journal, in its order."""

    def __init__(self, terms: Terms = TERMS, *, cohort_minimum: int = 3) -> None:
        self.asked: dict[str, list[str]] = {name: [] for name in FIVE}
        self.released: list[Tensor] = []
        self.shown: list[tuple[Head, ...]] = []
        self.opened: list[str] = []
        self.refused = ""
        self.terms = terms
        self.participants = {
            member.site: Party(self, member, terms, cohort_minimum) for member in terms.members
        }
        self.machine = ServerMachine(ROSTER, terms.parameters, terms.session)
        self.machine.bind(terms.context(params_bytes(make_params())))

    def ask(self, name: str, what: str) -> None:
        if what == self.refused:
            raise ProtocolError(f"no {what}")
        self.asked[name].append(what)

    def requests(self, until: Kind, lost: str = "") -> dict[str, bytes]:
        """Play the round up to the requests of one kind, not delivered; `lost` sends no masked vector."""
        outgoing = []
        for name, participant in self.participants.items():
            outgoing += self.machine.receive(name, participant.advertise())
        for kind in (Kind.ADVERTS, Kind.BROADCAST, Kind.SURVIVORS, Kind.CERTIFICATE):
            if kind is Kind.SURVIVORS and not lost:
                continue
            frames = {message.to: self.body(kind, message.data) for message in outgoing}
            if kind is until:
                return frames
            outgoing = []
            for name, body in frames.items():
                if (kind, name) != (Kind.BROADCAST, lost):
                    _, reply = self.participants[name].answer(kind, body)
                    outgoing += self.machine.receive(name, reply)
            outgoing += self.machine.deadline() if kind is Kind.BROADCAST and lost else []
        raise AssertionError("no such request")

    def body(self, kind: Kind, data: bytes) -> bytes:
        if kind is not Kind.BROADCAST:
            return data
        return Broadcast(params_bytes(make_params()), data, SHOWN).to_bytes()


class Party(Site):
    """One site that was invited. Its release and its journal only say that they were asked."""

    def __init__(self, told: Told, member: Member, terms: Terms, cohort_minimum: int) -> None:
        nothing: Any = object()  # neither model nor data
        allows = Policy.for_plan(terms.plan)
        demands = allows.model_copy(update={"cohort_minimum": cohort_minimum})
        policies = iter([allows])  # a policy that turned stricter just after the site consented
        diary: Any = Diary(told, member.site)
        super().__init__(
            member, make_trust(member.site), lambda: next(policies, demands), diary, load=lambda _: nothing
        )
        self._told = told
        joined = Joined(terms.run, terms.plan, ROSTER, nothing, terms.dimension)
        self.participant = self._invited(joined, invite(terms))

    def release(
        self, terms: Terms, params: Tensor, heads: tuple[Head, ...] = (), excess: bytes = b""
    ) -> np.ndarray:
        self._told.ask(self.member.site, "release")
        self._told.released.append(params)
        self._told.shown.append(heads)
        return np.arange(terms.dimension, dtype=np.uint64)

    def advertise(self) -> bytes:
        return self.participant.machine.advertise()

    def answer(self, kind: Kind, body: bytes) -> tuple[Kind, bytes]:
        return self._reply(self.participant, kind, body)


class Diary:
    """In the place of a journal."""

    folder = None

    def __init__(self, told: Told, name: str) -> None:
        self.told, self.name = told, name

    def require_present(self, run: str) -> None:
        """Nobody has left."""

    def mask(self, run: str, round_number: int, attempt: int, *, suite: int, once: bool, size: int) -> None:
        assert size > 0
        self.told.ask(self.name, "masking")

    def reveal(self, run: str, round_number: int, survivors: str) -> None:
        machine = self.told.participants[self.name].participant.machine
        assert not repr(machine).endswith(", finished)")  # the shares are not revealed before this returns
        self.told.ask(self.name, "opening")
        self.told.opened.append(survivors)


def opening_of(*names: str) -> str:
    """How a journal says whose sum was opened."""
    return digest("federation/survivors/2", *(name.encode() for name in names)).hex()


def test_a_site_derives_the_terms_from_its_own_plan_and_the_cohort_it_is_shown() -> None:
    assert settle(PLAN, invite(), AMSTERDAM, DIMENSION, ROSTER, POLICY) == TERMS


@pytest.mark.parametrize("number", [0, 5, 2**32 - 1])
def test_a_round_outside_the_plan_is_refused(number: int) -> None:
    with pytest.raises(FaultyServer, match="of 4 that are played"):
        settle(PLAN, invite(replace(TERMS, round=number)), AMSTERDAM, DIMENSION, ROSTER, POLICY)


def test_the_first_and_the_last_round_are_not_outside() -> None:
    for number in (1, 4):
        assert (
            settle(PLAN, invite(replace(TERMS, round=number)), AMSTERDAM, DIMENSION, ROSTER, POLICY).round
            == number
        )


def test_a_cohort_below_the_plans_minimum_is_refused() -> None:
    plan = make_plan("record", "none", minimum=4)
    with pytest.raises(PolicyViolation, match="3 sites, the plan's minimum is 4"):
        settle(plan, invite(), AMSTERDAM, DIMENSION, ROSTER, POLICY)


def test_the_company_of_a_cohort_is_asked_for_again() -> None:
    """Another plan than the site consented to cannot come here; a policy that has turned stricter can."""
    for key in ("colluders_minimum", "survivors_minimum"):
        stricter = POLICY.model_copy(update={key: 4})
        with pytest.raises(PolicyViolation, match=rf"policy\.{key}"):
            settle(PLAN, invite(), AMSTERDAM, DIMENSION, ROSTER, stricter)


def test_a_cohort_of_another_size_than_the_plan_samples_is_refused() -> None:
    plan = make_plan("record", "none", **{"cohort.size": 4})
    with pytest.raises(PolicyViolation, match="a cohort of 3 sites, the plan's size is 4"):
        settle(plan, invite(), AMSTERDAM, DIMENSION, ROSTER, POLICY)
    four = make_terms(plan, {name: FIVE[name] for name in sorted(FIVE)[:4]})
    assert settle(plan, invite(four), AMSTERDAM, DIMENSION, ROSTER, POLICY).parties.required == 4


@pytest.mark.parametrize("member", [Member("zurich", 40), Member("amsterdam", 41), Member("amsterdam", 0)])
def test_an_invitation_must_show_the_site_as_it_introduced_itself(member: Member) -> None:
    with pytest.raises(FaultyServer, match="as it introduced itself"):
        settle(PLAN, invite(), member, DIMENSION, ROSTER, POLICY)


@pytest.mark.parametrize(
    "roster",
    [make_roster({**SIZES, "cleveland": 31}), make_roster({"amsterdam": 40, "berlin": 24})],
    ids=["resized", "absent"],
)
def test_an_invitation_must_show_the_others_as_the_roster_does(roster: Roster) -> None:
    with pytest.raises(FaultyServer, match="otherwise than the roster"):
        settle(PLAN, invite(), AMSTERDAM, DIMENSION, roster, POLICY)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=120), cut=st.integers(0, 200))
def test_an_invitation_of_any_bytes_is_terms_or_malformed(body: bytes, cut: int) -> None:
    for data in (body, invite().body[:cut] + body):
        try:
            found = settle(PLAN, replace(invite(), body=data), AMSTERDAM, DIMENSION, ROSTER, POLICY)
        except (MalformedMessage, FaultyServer, PolicyViolation):
            continue
        assert AMSTERDAM in found.members


def test_a_whole_round_gives_the_sum_and_asks_the_site_in_the_order_of_the_danger() -> None:
    told = Told()
    for name, body in told.requests(Kind.CERTIFICATE).items():
        kind, reply = told.participants[name].answer(Kind.CERTIFICATE, body)
        assert kind is Kind.REVEAL
        told.machine.receive(name, reply)
    assert told.machine.result is not None
    assert np.array_equal(told.machine.result, 3 * np.arange(DIMENSION))
    assert all(told.asked[name] == ["release", "masking", "opening"] for name in SIZES)
    assert all(np.array_equal(params, make_params()) for params in told.released)
    assert told.shown == [SHOWN] * 3
    assert told.opened == [opening_of(*SIZES)] * 3


def test_a_site_that_leaves_a_round_keeps_no_file_of_its_masked_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clients.participant._LARGE", 0)
    told = Told()
    bodies = told.requests(Kind.CERTIFICATE)
    spools = {name: told.participants[name].participant.spool for name in bodies}
    told.refused = "opening"
    for name, body in bodies.items():
        assert (spool := spools[name]) is not None and spool.close.alive
        with pytest.raises(ProtocolError, match="no opening"):
            told.participants[name].answer(Kind.CERTIFICATE, body)
        assert not spool.close.alive


def test_the_site_is_told_by_name_who_is_in_the_sum_if_somebody_was_lost() -> None:
    terms = make_terms(make_plan("record", "none", dropouts=1), FIVE)
    told = Told(terms)
    survivors = ("amsterdam", "cleveland", "dresden", "essen")
    bodies = told.requests(Kind.CERTIFICATE, lost="berlin")
    assert tuple(bodies) == survivors
    for name, body in bodies.items():
        told.machine.receive(name, told.participants[name].answer(Kind.CERTIFICATE, body)[1])
    assert told.machine.result is not None
    assert np.array_equal(told.machine.result, 4 * np.arange(DIMENSION))
    assert told.opened == [opening_of(*survivors)] * 4


def test_params_that_do_not_fit_or_are_not_finite_are_refused_before_anything_is_trained() -> None:
    nan = np.full(DIMENSION, np.nan, "<f4").tobytes()
    for data in (params_bytes(make_params(5)), params_bytes(make_params())[:-4], b"", nan):
        told = Told()
        shares = Broadcast.from_bytes(told.requests(Kind.BROADCAST)["berlin"]).shares
        with pytest.raises(MalformedMessage):
            told.participants["berlin"].answer(Kind.BROADCAST, Broadcast(data, shares).to_bytes())
        assert not told.asked["berlin"]


def test_a_broadcast_before_the_adverts_or_after_a_refusal_is_neither_trained_nor_masked() -> None:
    told = Told()
    body = told.requests(Kind.BROADCAST)["berlin"]
    early = Told()
    early.participants["berlin"].advertise()
    with pytest.raises(FaultyServer, match="BROADCAST"):
        early.participants["berlin"].answer(Kind.BROADCAST, body)
    with pytest.raises(ProtocolError):
        told.participants["berlin"].answer(Kind.ADVERTS, b"others")
    with pytest.raises(FaultyServer, match="BROADCAST"):
        told.participants["berlin"].answer(Kind.BROADCAST, body)
    assert not told.asked["berlin"] + early.asked["berlin"]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.value not in (5, 7, 9, 11)])
def test_a_frame_that_belongs_in_no_round_is_refused(kind: Kind) -> None:
    told = Told()
    told.participants["berlin"].advertise()
    with pytest.raises(FaultyServer, match=kind.name):
        told.participants["berlin"].answer(kind, b"")


def test_steps_cannot_be_left_out() -> None:
    certificate = Told().requests(Kind.CERTIFICATE)["berlin"]
    for done in (Kind.ADVERTS, Kind.BROADCAST):
        told = Told()
        told.requests(until=done)
        with pytest.raises(FaultyServer, match="out of order"):
            told.participants["berlin"].answer(Kind.CERTIFICATE, certificate)
        assert "opening" not in told.asked["berlin"]


@pytest.mark.parametrize("kind", [Kind.ADVERTS, Kind.BROADCAST, Kind.CERTIFICATE])
def test_the_same_request_gets_the_same_reply_and_asks_nothing_of_the_site_again(kind: Kind) -> None:
    told = Told()
    berlin = told.participants["berlin"]
    body = told.requests(kind)["berlin"]
    assert berlin.advertise() == berlin.advertise()
    first, asked = berlin.answer(kind, body), list(told.asked["berlin"])
    assert berlin.answer(kind, body) == first
    assert told.asked["berlin"] == asked


@pytest.mark.parametrize("kind", [Kind.ADVERTS, Kind.BROADCAST, Kind.SURVIVORS, Kind.CERTIFICATE])
def test_after_a_refused_request_the_secrets_are_gone_and_nothing_is_answered(kind: Kind) -> None:
    told = Told(make_terms(make_plan("record", "none", dropouts=1), FIVE))
    body = told.requests(kind, lost="berlin")["cleveland"]
    cleveland = told.participants["cleveland"]
    with pytest.raises(ProtocolError):
        cleveland.answer(kind, body + b"\0")
    assert repr(cleveland.participant.machine).endswith(", finished)")
    for again in (Kind.ADVERTS, kind):
        with pytest.raises(ProtocolError):
            cleveland.answer(again, body)
    with pytest.raises(ProtocolError):
        cleveland.advertise()


@pytest.mark.parametrize("duty", ["release", "masking", "opening"])
def test_what_the_site_refuses_leaves_nothing_and_ends_the_attempt(duty: str) -> None:
    told = Told()
    kind = Kind.CERTIFICATE if duty == "opening" else Kind.BROADCAST
    body = told.requests(kind)["berlin"]
    told.refused = duty
    with pytest.raises(ProtocolError, match=f"no {duty}"):
        told.participants["berlin"].answer(kind, body)
    told.refused = ""
    with pytest.raises(FaultyServer):
        told.participants["berlin"].answer(kind, body)
    assert duty not in told.asked["berlin"]


def test_a_certificate_with_too_few_or_forged_votes_is_refused_before_the_site_is_asked() -> None:
    for spoil in (without_a_vote, with_a_vote_of_another, with_fewer_survivors):
        told = Told(make_terms(make_plan("record", "none", dropouts=1), FIVE))
        body = told.requests(Kind.CERTIFICATE)["berlin"]
        with pytest.raises(FaultyServer, match="certificate"):
            told.participants["berlin"].answer(
                Kind.CERTIFICATE, spoil(Certificate.from_bytes(body)).to_bytes()
            )
        assert told.asked["berlin"] == ["release", "masking"]


def without_a_vote(certificate: Certificate) -> Certificate:
    votes = dict(certificate.votes)
    votes.popitem()
    return replace(certificate, votes=votes)


def with_a_vote_of_another(certificate: Certificate) -> Certificate:
    (first, vote), (second, _), *_ = certificate.votes.items()
    return replace(certificate, votes={**certificate.votes, first: vote, second: vote})


def with_fewer_survivors(certificate: Certificate) -> Certificate:
    return replace(certificate, survivors=certificate.survivors - {4})


def test_a_site_that_demands_more_sites_takes_no_part_whatever_the_plan_says() -> None:
    with pytest.raises(PolicyViolation, match="this site demands 4"):
        Told(cohort_minimum=4)
