"""A site as the outside reaches it: bytes in, one frame out, and never more than a reason."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from clients.policy import Policy
from clients.training.work import Trainer
from federation.errors import DataError, TaskError, TooFewSurvivors
from federation.model.params import params_bytes
from federation.model.task import Dataset
from federation.plan.plan import Plan
from federation.round.messages import (
    Broadcast,
    Frame,
    Hello,
    Kind,
    Member,
    Paired,
    Reason,
    Welcome,
    abort_reason,
)
from federation.round.signed import is_consent
from privacy.errors import (
    BudgetExceeded,
    FaultyServer,
    JournalMisuse,
    LedgerRefusal,
    PolicyViolation,
    ProtocolError,
    UnsafeParameters,
)
from privacy.roster import SignedRoster
from privacy.signing import public_identity
from tests.clients.sites import (
    CONSORTIUM,
    FIVE,
    ROSTER,
    RUN,
    SIGNED,
    SIZES,
    Round,
    approved,
    greeting_of,
    hello,
    identity,
    invite,
    joined,
    kinds,
    make_params,
    make_plan,
    make_roster,
    make_site,
    make_terms,
    ordered,
    refused,
    without_head,
)

# Joining.


@pytest.mark.parametrize("noise", ["distributed", "none"])
def test_a_site_welcomes_a_plan_that_it_allows_and_says_what_it_worked_out(
    noise: str, tmp_path: Path
) -> None:
    plan = make_plan("record", noise)
    site = make_site(tmp_path, plan, "berlin", 24)
    reply = Frame.from_bytes(site.receive(hello(plan)))
    assert (reply.kind, reply.run) == (Kind.WELCOME, RUN)
    welcome = Welcome.from_bytes(reply.body)
    assert (welcome.member, welcome.plan_digest) == (Member("berlin", 24), plan.digest)
    assert (welcome.noise_multiplier, welcome.root) == (plan.kind.noise_text, ROSTER.root)
    assert (welcome.head, welcome.heads) == (site.journal.head(), ())
    assert is_consent(welcome, RUN, public_identity(identity("berlin")))
    assert not is_consent(welcome, bytes(16), public_identity(identity("berlin")))
    assert site.last_error is None


def test_consent_is_idempotent_and_charges_once(tmp_path: Path) -> None:
    plan = make_plan()
    site = make_site(tmp_path, plan, "berlin", 24)
    greeting = hello(plan)
    assert site.receive(greeting) == site.receive(greeting)
    assert kinds(site) == ["genesis", "roster", "budget", "reserve"]


def test_consent_in_the_middle_of_a_round_does_not_end_it(tmp_path: Path) -> None:
    plan = make_plan()
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    advert = sites["berlin"].receive(invite(terms))
    sites["berlin"].receive(hello(plan))
    assert sites["berlin"].receive(invite(terms)) == advert


def test_the_roster_comes_first_then_policy_then_the_budget_then_the_data(tmp_path: Path) -> None:
    plan = make_plan()
    read: list[Plan] = []

    def load(allowed: Plan) -> Trainer:
        read.append(allowed)
        raise DataError("no such file")

    twice = Policy.for_plan(plan).model_copy(update={"plans": approved(plan, runs=2)})
    strict = Policy.for_plan(make_plan("record", "site"))
    site = make_site(tmp_path / "strict", plan, "berlin", 24, policy=strict, load=load)
    unsigned = SignedRoster(SIGNED.roster, {})
    assert refused(site, hello(plan, roster=unsigned)) is Reason.PROTOCOL
    assert refused(site, hello(plan)) is Reason.POLICY
    assert kinds(site) == ["genesis"]  # not even a reservation
    site = make_site(tmp_path / "spent", plan, "berlin", 24, policy=twice, load=load)
    with pytest.raises(DataError):
        site.join(bytes(16), plan, SIGNED)
    assert read == [plan]
    assert refused(site, hello(plan)) is Reason.BUDGET
    assert kinds(site) == ["genesis", "roster", "budget", "reserve", "refuse"]
    assert read == [plan]


def test_another_plan_under_a_joined_run_is_refused_and_the_first_one_goes_on(tmp_path: Path) -> None:
    plan, other = make_plan(), make_plan(learning_rate=0.1)
    policy = Policy.for_plan(plan).model_copy(update={"plans": approved(plan, other)})
    site = make_site(tmp_path, plan, "berlin", 24, policy=policy)
    site.receive(hello(plan))
    assert refused(site, hello(other)) is Reason.POLICY
    assert refused(site, hello(make_plan(learning_rate=0.2))) is Reason.POLICY  # never approved
    assert kinds(site) == ["genesis", "roster", "budget", "reserve"]
    terms = make_terms(plan)
    assert Frame.from_bytes(site.receive(invite(terms))).kind is Kind.ADVERT


def test_a_plan_that_is_not_in_canonical_form_is_refused(tmp_path: Path) -> None:
    plan = make_plan()
    site = make_site(tmp_path, plan, "berlin", 24)
    loose = plan.canonical().replace(b'"rounds":4', b'"rounds": 4')
    read = Hello.from_bytes(Frame.from_bytes(hello(plan)).body)
    for body in (replace(read, plan=loose).to_bytes(), plan.canonical()):
        assert refused(site, greeting_of(body)) is Reason.PROTOCOL
    assert kinds(site) == ["genesis"]


@pytest.mark.parametrize(
    "roster",
    [
        SignedRoster.by(make_roster(FIVE), [identity("somebody else")]),
        SignedRoster(make_roster({**FIVE, "zurich": 9}).to_bytes(), SIGNED.signatures),
        SignedRoster.by(make_roster({**FIVE, "berlin": 25}), [CONSORTIUM]),
        SignedRoster.by(make_roster({"amsterdam": 40, "cleveland": 30, "essen": 28}), [CONSORTIUM]),
    ],
    ids=["another consortium", "changed since it was signed", "another size", "absent"],
)
def test_a_roster_that_is_not_genuine_or_knows_the_site_otherwise_gets_no_consent(
    roster: SignedRoster, tmp_path: Path
) -> None:
    plan = make_plan()
    site = make_site(tmp_path, plan, "berlin", 24)
    assert refused(site, hello(plan, roster=roster)) is Reason.PROTOCOL
    assert isinstance(site.last_error, FaultyServer)
    assert kinds(site) == ["genesis"]


def test_another_genuine_roster_begins_the_run_anew_on_the_same_charge(tmp_path: Path) -> None:
    plan = make_plan()
    site, terms = joined(tmp_path, plan)["berlin"], make_terms(plan)
    advert = site.receive(invite(terms))
    later = SignedRoster.by(make_roster(FIVE, serial=2), [CONSORTIUM])
    assert Frame.from_bytes(site.receive(hello(plan, roster=later))).kind is Kind.WELCOME
    assert kinds(site) == ["genesis", "roster", "budget", "reserve", "roster"]
    assert site.receive(invite(terms)) != advert


# A round.


@pytest.mark.parametrize(
    ("unit", "noise"), [*product(("record", "client"), ("site", "distributed", "central", "none"))]
)
def test_a_round_of_sites_ends_with_the_sum_of_what_they_released(
    unit: str, noise: str, tmp_path: Path
) -> None:
    plan = make_plan(unit, noise)
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    played = Round(terms, sites).play()
    stored = [site.release(terms, make_params()) for site in sites.values()]  # resent, not drawn again
    ring = np.uint64((1 << terms.codec.ring_bits) - 1)
    assert played.coordinator.result is not None
    assert np.array_equal(played.coordinator.result, np.sum(stored, axis=0, dtype=np.uint64) & ring)
    for site in sites.values():
        budgets = ["budget", "budget"] if unit == "client" and noise != "none" else ["budget"]
        assert kinds(site)[2:] == [*budgets, "reserve", "begin", "release", "mask", "reveal"]
        assert site.last_error is None


def test_what_a_site_uploads_does_not_show_what_it_releases(tmp_path: Path) -> None:
    plan = make_plan("record", "none")  # deterministic: two attempts release the very same vector
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    uploads = []
    for attempt in (1, 2):
        played = Round(replace(terms, attempt=attempt), sites).play()
        uploads.append(Frame.from_bytes(played.replies["berlin", Kind.BROADCAST]).body)
    assert uploads[0] != uploads[1]


def test_every_replayed_request_gets_the_very_same_reply_beside_the_newest_head(tmp_path: Path) -> None:
    plan = make_plan()
    sites = joined(tmp_path, plan)
    played = Round(make_terms(plan), sites).play()
    before = kinds(sites["berlin"])
    for (name, kind), request in played.requests.items():
        if kind is not Kind.INVITE:  # checked below: keys are gone, the advert is not
            again = sites[name].receive(request)
            assert without_head(again) == without_head(played.replies[name, kind])
            if kind in (Kind.BROADCAST, Kind.CERTIFICATE):
                shown = Paired.from_bytes(Frame.from_bytes(again).body).heads
                assert shown == (sites[name].journal.head(),)
    for name in sites:
        assert sites[name].receive(played.requests[name, Kind.INVITE]) == played.replies[name, Kind.INVITE]
    assert kinds(sites["berlin"]) == before


@pytest.mark.parametrize("kind", [Kind.ADVERTS, Kind.BROADCAST, Kind.CERTIFICATE])
def test_a_request_before_its_turn_ends_the_attempt(kind: Kind, tmp_path: Path) -> None:
    """The requests are true ones of a cohort that went on without this site."""
    plan = make_plan(minimum=5, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)
    earlier = {Kind.ADVERTS: Kind.INVITE, Kind.BROADCAST: Kind.ADVERTS, Kind.CERTIFICATE: Kind.BROADCAST}
    ahead = Round(terms, joined(tmp_path / "other", plan, FIVE)).play()
    late = Round(terms, sites).play(lost=(("berlin", earlier[kind]),))
    assert late.coordinator.result is not None  # the others did not need it
    assert ("berlin", kind) not in late.requests
    assert refused(sites["berlin"], ahead.requests["berlin", kind]) is Reason.PROTOCOL
    assert isinstance(sites["berlin"].last_error, ProtocolError)
    assert kinds(sites["berlin"]) == ["genesis", "roster", "budget", "reserve"]  # neither begun nor trained
    if kind is not Kind.ADVERTS:  # then it was never invited, and had no secrets
        assert refused(sites["berlin"], invite(terms)) is Reason.PROTOCOL
        assert "out of order" in str(sites["berlin"].last_error)


def test_other_params_in_a_new_attempt_are_a_second_question_and_leave_the_data_unread(
    tmp_path: Path,
) -> None:
    plan = make_plan()
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    Round(terms, sites).play()
    before = kinds(sites["berlin"])
    for site in sites.values():
        assert site._joined is not None
        site._joined.trainer = replace(site._joined.trainer, data=cast(Dataset, None))  # unreadable
    with pytest.raises(TooFewSurvivors):
        Round(replace(terms, attempt=2), sites, params=make_params(seed=1)).play()
    for site in sites.values():
        assert isinstance(site.last_error, LedgerRefusal)
        assert "other params" in str(site.last_error)
        assert kinds(site) == before


def test_a_site_that_is_told_other_params_is_in_no_sum(tmp_path: Path) -> None:
    """Its vector is masked and signed for what it was told, so neither fits the others'."""
    plan = make_plan(minimum=5, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)

    def deceive(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) != ("berlin", Kind.BROADCAST):
            return frame
        paired = Paired.from_bytes(frame.body)
        told = Broadcast(params_bytes(make_params(seed=1)), Broadcast.from_bytes(paired.own).shares)
        return replace(frame, body=Paired(told.to_bytes()).to_bytes())

    played = Round(terms, sites).play(alter=deceive)
    assert played.coordinator.survivors == ("amsterdam", "cleveland", "dresden", "essen")
    assert "not signed for these params" in played.coordinator.left["berlin"]


def test_a_sum_is_opened_for_one_set_of_survivors_only_also_in_a_new_attempt(tmp_path: Path) -> None:
    """All five, then the same releases without one of them: the difference would be that one's, bare."""
    plan = make_plan(colluders=1, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)
    first = Round(terms, sites).play()
    assert first.coordinator.survivors == tuple(FIVE)
    assert first.coordinator.result is not None
    second = Round(replace(terms, attempt=2), sites)
    with pytest.raises(TooFewSurvivors):
        second.play(lost=(("essen", Kind.BROADCAST),))
    assert second.coordinator.result is None
    for name in list(FIVE)[:4]:
        reply = Frame.from_bytes(second.replies[name, Kind.CERTIFICATE])
        assert (reply.kind, abort_reason(reply.body)) == (Kind.ABORT, Reason.PROTOCOL)
        assert "opened for other survivors" in str(sites[name].last_error)
        assert kinds(sites[name])[-2:] == ["reveal", "mask"]  # masked again, and not opened again
    third = Round(replace(terms, attempt=3), sites).play()  # for the same set it is the same sum
    assert third.coordinator.result is not None
    assert np.array_equal(third.coordinator.result, first.coordinator.result)


def test_a_sum_is_not_opened_again_for_a_cohort_whose_slots_look_the_same(tmp_path: Path) -> None:
    """On the wire survivors are slots: 0 to 3 of one cohort of four are other sites than 0 to 3 of another."""
    plan = make_plan(colluders=0)
    sites = joined(tmp_path, plan, FIVE)
    without_essen = {name: size for name, size in FIVE.items() if name != "essen"}
    without_berlin = {name: size for name, size in FIVE.items() if name != "berlin"}
    Round(make_terms(plan, without_essen), sites).play()
    begun = kinds(sites["amsterdam"])
    again = Round(make_terms(plan, without_berlin, attempt=2), sites)
    with pytest.raises(TooFewSurvivors):
        again.play()
    assert isinstance(sites["amsterdam"].last_error, LedgerRefusal)
    assert kinds(sites["amsterdam"]) == begun


# Work that a server can make.


def test_a_frame_longer_than_its_plan_has_room_for_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    plan = make_plan()
    site = joined(tmp_path, plan)["berlin"]
    terms = make_terms(plan)
    huge = Frame(Kind.BROADCAST, *terms.place, bytes(1 << 26)).to_bytes()
    for kind, reason in ((Kind.HELLO, Reason.PROTOCOL), (Kind.BROADCAST, Reason.PROTOCOL)):
        data = bytes([kind]) + huge[1:]
        tracemalloc.start()
        assert refused(site, data) is reason
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
        assert "are the most" in str(site.last_error)
    assert refused(site, Frame(Kind.INVITE, bytes(16), 1, 1, huge).to_bytes()) is Reason.UNKNOWN_RUN
    assert (
        max(map(len, Round(terms, {**joined(tmp_path / "a", plan)}).play().requests.values())) < site.largest
    )


def test_a_plan_whose_task_failed_is_not_tried_for_every_hello(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def failing(*_: object) -> None:
        tried.append("tried")
        raise TaskError("the loss fails")

    monkeypatch.setattr("clients.site.try_out", failing)
    plan = make_plan()
    site = make_site(tmp_path, plan, "berlin", 24)
    for number in range(20):
        assert refused(site, hello(plan, bytes([number]) * 16)) is Reason.FAILED
    assert kinds(site) == ["genesis", "roster", "budget", "reserve", "close"]
    assert tried == ["tried"]
    assert "failed on made-up records before; correct it" in str(site.last_error)


# Invitations.


def test_a_cohort_below_the_sites_own_minimum_is_refused(tmp_path: Path) -> None:
    plan = make_plan(minimum=4)
    policy = Policy.for_plan(plan)
    site = make_site(tmp_path, plan, "berlin", 24, policy=policy)
    site.receive(hello(plan))
    assert refused(site, invite(make_terms(plan))) is Reason.POLICY  # the plan's minimum
    four = make_terms(plan, {name: FIVE[name] for name in list(FIVE)[:4]})
    assert Frame.from_bytes(site.receive(invite(four))).kind is Kind.ADVERT
    site.policy = lambda: policy.model_copy(update={"cohort_minimum": 5})  # tightened while the run goes on
    for terms in (four, replace(make_terms(plan, FIVE), round=2)):  # the plan allows smaller cohorts
        assert refused(site, invite(terms)) is Reason.POLICY
        assert "cohort.minimum is 4, the limit 5" in str(site.last_error)


@pytest.mark.parametrize(("noise", "dropouts"), [("none", 0), ("none", 1), ("distributed", 0)])
def test_two_bare_sums_with_and_without_a_site_are_not_opened(
    noise: str, dropouts: int, tmp_path: Path
) -> None:
    """The same params in two rounds, one of them without essen: the difference is the update of essen.

    A plan with a dropout says that this may be; and under noise the difference is noised as each sum is.
    """
    plan = make_plan("record", noise, dropouts=dropouts)
    sites = joined(tmp_path, plan, FIVE)
    everyone = Round(make_terms(plan, FIVE), sites).play()
    without = make_terms(plan, {name: size for name, size in FIVE.items() if name != "essen"}, round=2)
    for site in sites.values():  # greeted again in between: it is remembered
        site.receive(hello(plan))
    if (noise, dropouts) != ("none", 0):
        assert Round(without, sites).play().coordinator.result is not None
        return
    with pytest.raises(TooFewSurvivors):
        Round(without, sites).play()
    for name in list(FIVE)[:4]:
        assert "the cohort differs by 1 from that of this run's first round" in str(sites[name].last_error)
        assert kinds(sites[name])[-1] != "mask"
    assert everyone.coordinator.result is not None
    assert Round(make_terms(plan, FIVE, round=2), sites).play().coordinator.result is not None


@pytest.mark.parametrize(
    "sizes",
    [
        {"amsterdam": 40, "cleveland": 30, "dresden": 20},
        {**SIZES, "berlin": 25},
        {**SIZES, "cleveland": 31},
        {**SIZES, "zurich": 9},
    ],
    ids=["absent", "resized", "another resized", "a stranger"],
)
def test_an_invitation_that_does_not_show_the_sites_as_the_roster_does_gets_no_keys(
    sizes: dict[str, int], tmp_path: Path
) -> None:
    plan = make_plan()
    site = joined(tmp_path, plan)["berlin"]
    assert refused(site, invite(make_terms(plan, sizes))) is Reason.PROTOCOL


def test_an_attempt_that_is_over_cannot_be_taken_up_again(tmp_path: Path) -> None:
    plan = make_plan()
    site, terms = joined(tmp_path, plan)["berlin"], make_terms(plan)
    for newer in (replace(terms, attempt=2), replace(terms, round=3, attempt=3)):
        assert Frame.from_bytes(site.receive(invite(newer))).kind is Kind.ADVERT
    for older in (terms, replace(terms, round=3)):
        assert refused(site, invite(older)) is Reason.PROTOCOL
    again = site.receive(invite(replace(terms, round=3, attempt=3)))
    assert Frame.from_bytes(again).kind is Kind.ADVERT


def test_a_few_rounds_are_open_at_once_and_no_more(tmp_path: Path) -> None:
    """The next round is prepared while this one may still need another attempt; what is asked of stays."""
    plan = make_plan(rounds=9)
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    site = sites["berlin"]
    adverts = [site.receive(invite(replace(terms, round=number))) for number in (1, 2)]
    assert [site.receive(invite(replace(terms, round=number))) for number in (1, 2)] == adverts
    assert site.receive(invite(replace(terms, attempt=2))) not in adverts
    assert site.receive(invite(replace(terms, round=2))) == adverts[1]
    for number in (3, 4, 5, 9):
        site.receive(invite(replace(terms, round=number)))
    assert site._joined is not None
    assert sorted(site._joined.rounds) == [3, 4, 5, 9]
    Round(replace(terms, round=4, attempt=2), sites).play()
    assert sorted(site._joined.rounds) == [3, 4, 5, 9]
    for number, kept in ((5, [4, 5, 9]), (9, [9])):
        Round(replace(terms, round=number, attempt=number), sites).play()
        site.receive(invite(replace(terms, round=9, attempt=number + 1)))
        assert sorted(site._joined.rounds) == kept
        assert refused(site, invite(replace(terms, round=number - 1, attempt=9))) is Reason.PROTOCOL
        assert "a round that is over" in str(site.last_error)


def test_one_attempt_has_one_pair_of_keys_and_one_cohort(tmp_path: Path) -> None:
    plan = make_plan()
    site, terms = joined(tmp_path, plan)["berlin"], make_terms(plan)
    first = site.receive(invite(terms))
    for other in ({**SIZES, "essen": 28}, {"amsterdam": 40, "berlin": 24, "essen": 28}):
        assert refused(site, invite(make_terms(plan, other))) is Reason.PROTOCOL
        assert "an attempt that is over" in str(site.last_error)
    assert site.receive(invite(terms)) == first
    assert site.receive(invite(replace(terms, attempt=2))) != first


def test_messages_of_runs_and_rounds_that_a_site_is_not_in_are_refused(tmp_path: Path) -> None:
    plan = make_plan()
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    site = sites["berlin"]
    stranger = Frame(Kind.ADVERTS, bytes(16), 1, 1).to_bytes()
    assert refused(site, stranger) is Reason.UNKNOWN_RUN
    assert "not joined" in str(site.last_error)
    played = Round(terms, sites).play()
    frame = Frame.from_bytes(played.requests["berlin", Kind.BROADCAST])
    for changed in (replace(frame, attempt=2), replace(frame, round=2)):
        assert refused(site, changed.to_bytes()) is Reason.PROTOCOL
        assert "did not sign" in str(site.last_error)
        assert refused(site, ordered(changed, plan)) is Reason.PROTOCOL
        assert "not invited" in str(site.last_error)


@pytest.mark.parametrize(
    "error", [DataError, TaskError, PolicyViolation, BudgetExceeded, JournalMisuse, UnsafeParameters]
)
def test_whatever_is_wrong_with_the_data_the_server_hears_the_same(
    error: type[Exception], tmp_path: Path
) -> None:
    """A patient with one record too many must not look otherwise than a cell that is no number."""
    plan = make_plan()

    def load(_: Plan) -> Trainer:
        raise error("patient 12345 has 9 records")

    site = make_site(tmp_path, plan, "berlin", 24, load=load)
    assert abort_reason(Frame.from_bytes(site.receive(hello(plan))).body) is Reason.FAILED
    assert isinstance(site.last_error, error)
