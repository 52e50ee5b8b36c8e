"""Who begins a run: nothing unsigned, stale or of another run changes a ledger or a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clients.policy import Policy
from clients.site import Site
from federation.plan.plan import Plan
from federation.round.messages import Frame, Hello, Kind, Reason
from federation.round.signed import CLOCK_SKEW, LONGEST, ordered
from privacy.errors import FaultyServer
from privacy.roster import SignedRoster
from privacy.signing import public_identity
from server.voice import Voice
from tests.clients.sites import (
    CONSORTIUM,
    COORDINATOR,
    FIVE,
    RUN,
    SIGNED,
    SIZES,
    Round,
    approved,
    closing,
    hello,
    identity,
    invite,
    joined,
    kinds,
    make_plan,
    make_roster,
    make_site,
    make_terms,
    refused,
)

PLAN = make_plan()
OTHER = bytes(16)
END = bytes([1]) * 32
Change = Callable[[Frame], Frame]


def said_at(now: float, plan: Plan = PLAN, run: bytes = RUN) -> bytes:
    """A greeting that was made at this moment."""
    return Voice(plan, run, SIGNED, COORDINATOR, clock=lambda: now).hello((0, 0)).to_bytes()


def fresh(folder: Path, plan: Plan = PLAN, runs: int = 1) -> Site:
    policy = Policy.for_plan(plan).model_copy(
        update={"plans": approved(plan, runs=runs), "epsilon_max": 100.0}
    )
    return make_site(folder, plan, "berlin", 24, policy=policy)


def dated(change: Callable[[Hello], Hello]) -> Change:
    return lambda frame: replace(frame, body=change(Hello.from_bytes(frame.body)).to_bytes())


CHANGES: dict[str, Change] = {
    "unsigned": lambda frame: replace(frame, signature=b""),
    "signed by a site": lambda frame: ordered(
        replace(frame, signature=b""), identity("berlin"), PLAN.digest, SIGNED.read().root
    ),
    "signed by the consortium": lambda frame: ordered(frame, CONSORTIUM, PLAN.digest, SIGNED.read().root),
    "for another run": lambda frame: replace(frame, run=OTHER),
    "for another round": lambda frame: replace(frame, round=3),
    "for other attempts": lambda frame: replace(frame, attempt=7),
    "made later": dated(lambda read: replace(read, issued=read.issued + 1)),
    "longer": dated(lambda read: replace(read, expires=read.expires + 1)),
    "of another plan": dated(lambda read: replace(read, plan=make_plan(rounds=9).canonical())),
    "of another roster": dated(
        lambda read: replace(
            read, roster=SignedRoster.by(make_roster(FIVE, serial=9), [CONSORTIUM]).to_bytes()
        )
    ),
    "of an invitation": lambda frame: replace(
        frame, signature=Frame.from_bytes(invite(make_terms(PLAN))).signature
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_greeting_that_the_coordinator_did_not_sign_changes_nothing(
    change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No entry, no plan read, no data loaded, and an open run goes on."""
    site = make_site(tmp_path / "new", PLAN, "berlin", 24)
    altered = change(Frame.from_bytes(hello(PLAN))).to_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "from_canonical", classmethod(lambda *_: pytest.fail("the plan was read")))
        assert refused(site, altered) is Reason.PROTOCOL
    assert "did not sign" in str(site.last_error)
    assert kinds(site) == ["genesis"]
    sites = joined(tmp_path / "open", PLAN)
    before = sites["berlin"].journal.entries()
    refused(sites["berlin"], altered)
    assert sites["berlin"].journal.entries() == before
    assert Round(make_terms(PLAN), sites).play().coordinator.survivors == tuple(SIZES)


def test_a_roster_without_a_coordinator_s_key_begins_no_run(tmp_path: Path) -> None:
    roster = replace(SIGNED.read(), coordinator=b"")
    site = make_site(tmp_path, PLAN, "berlin", 24)
    body = replace(
        Hello.from_bytes(Frame.from_bytes(hello(PLAN)).body),
        roster=SignedRoster.by(roster, [CONSORTIUM]).to_bytes(),
    ).to_bytes()
    frame = ordered(Frame(Kind.HELLO, RUN, 0, 0, body), COORDINATOR, PLAN.digest, roster.root)
    assert refused(site, frame.to_bytes()) is Reason.PROTOCOL
    assert "names no coordinator's key" in str(site.last_error)
    assert "federation roster add ROSTER DIR/coordinator.pub" in str(site.last_error)
    assert kinds(site) == ["genesis"]


def test_a_site_that_has_pinned_a_coordinator_believes_no_roster_that_names_another(tmp_path: Path) -> None:
    for name, reason in (("coordinator", None), ("another", "has pinned")):
        site = make_site(tmp_path / name, PLAN, "berlin", 24)
        site.trust = replace(site.trust, coordinator=public_identity(identity(name)))
        kind = Frame.from_bytes(site.receive(hello(PLAN))).kind
        assert kind is (Kind.WELCOME if reason is None else Kind.ABORT)
        assert reason is None or reason in str(site.last_error)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (-CLOCK_SKEW - 2, "the coordinator is 10 minutes ahead of this machine; set both clocks"),
        (-CLOCK_SKEW + 2, ""),
        (0, ""),
        (600 + 600 + CLOCK_SKEW - 2, ""),
        (600 + 600 + CLOCK_SKEW + 2, "expired 10 minutes ago: it is old, or one of the two clocks is wrong"),
        (86_400, "expired 1420 minutes ago"),
    ],
    ids=["its clock is fast", "a little fast", "right", "a little old", "old", "of yesterday"],
)
def test_a_greeting_counts_for_a_while_and_a_wrong_clock_is_told(
    after: int, words: str, tmp_path: Path
) -> None:
    plan = make_plan(**{"cohort.deadline_seconds": 600})
    site = make_site(tmp_path, plan, "berlin", 24)
    site.clock = lambda: 1_000_000.0 + after
    reply = Frame.from_bytes(site.receive(said_at(1_000_000.0, plan)))
    if not words:
        assert reply.kind is Kind.WELCOME
        return
    assert reply.kind is Kind.ABORT
    assert words in str(site.last_error)
    assert kinds(site) == ["genesis"]


@pytest.mark.parametrize("expires", [0, -1, LONGEST + 1])
def test_a_greeting_that_counts_for_ever_or_never_is_refused(expires: int, tmp_path: Path) -> None:
    site = make_site(tmp_path, PLAN, "berlin", 24)
    read = Hello.from_bytes(Frame.from_bytes(hello(PLAN)).body)
    body = replace(read, expires=read.issued + expires).to_bytes()
    frame = ordered(Frame(Kind.HELLO, RUN, 0, 0, body), COORDINATOR, PLAN.digest, SIGNED.read().root)
    assert refused(site, frame.to_bytes()) is Reason.PROTOCOL
    assert isinstance(site.last_error, FaultyServer)
    assert kinds(site) == ["genesis"]


def test_a_replayed_greeting_of_an_older_run_changes_nothing_also_after_a_restart(tmp_path: Path) -> None:
    site = fresh(tmp_path, runs=2)
    old, new = said_at(1_000_000, run=OTHER), said_at(1_000_060)
    site.clock = lambda: 1_000_061.0
    assert Frame.from_bytes(site.receive(old)).kind is Kind.WELCOME
    assert Frame.from_bytes(site.receive(closing(PLAN, END, OTHER))).kind is Kind.CLOSED
    assert Frame.from_bytes(site.receive(new)).kind is Kind.WELCOME
    terms, before = make_terms(PLAN), site.journal.entries()
    advert = site.receive(invite(terms))
    assert refused(site, old) is Reason.PROTOCOL
    assert "older than the newest" in str(site.last_error)
    assert site.receive(invite(terms)) == advert
    site.journal.close()
    again = fresh(tmp_path, runs=2)
    again.clock, again.greetings = site.clock, site.greetings
    assert refused(again, old) is Reason.PROTOCOL
    assert Frame.from_bytes(again.receive(new)).kind is Kind.WELCOME
    assert again.journal.entries() == before


def test_a_run_that_is_over_is_greeted_without_work_and_begins_nothing(tmp_path: Path) -> None:
    """As by a server that was killed while it closed the run: it still has to tell the others."""
    site = fresh(tmp_path)
    site.receive(hello(PLAN))
    site.receive(closing(PLAN, END))
    before, loaded = site.journal.entries(), site.load
    site.load = lambda _: pytest.fail("the data were read")
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    site._joined = None
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    assert refused(site, invite(make_terms(PLAN))) is Reason.POLICY
    assert Frame.from_bytes(site.receive(closing(PLAN, END))).kind is Kind.CLOSED
    assert site.journal.entries() == before
    assert site.load is not loaded


@pytest.mark.parametrize("noise", ["distributed", "none"])
def test_fresh_run_ids_do_not_reserve_the_budget_again_and_again(noise: str, tmp_path: Path) -> None:
    """Three frames made 19.1 of 8.0, each for a run of its own; now the digest stands for one run."""
    plan = make_plan("record", noise)
    policy = Policy.for_plan(plan).model_copy(
        update={"epsilon_max": 100.0 if noise != "none" else float("inf")}
    )
    site = make_site(tmp_path, plan, "berlin", 24, policy=policy)
    assert Frame.from_bytes(site.receive(hello(plan))).kind is Kind.WELCOME
    before = site.journal.entries()
    for number in range(1, 6):
        assert refused(site, hello(plan, bytes([number]) * 16)) is Reason.POLICY
        site._joined = None  # as after a restart: the ledger counts, and not the process
        assert refused(site, hello(plan, bytes([number]) * 16)) is Reason.POLICY
        assert "policy.plans approves one run of this plan" in str(site.last_error)
    assert site.journal.entries() == before
    assert (
        Frame.from_bytes(site.receive(hello(plan))).kind is Kind.WELCOME
    )  # the same run again is the same run
    assert site.journal.entries() == before


def test_as_many_runs_as_are_approved_and_not_one_more(tmp_path: Path) -> None:
    site = fresh(tmp_path, make_plan(epsilon=1.0), runs=3)
    plan = make_plan(epsilon=1.0)
    for number in range(1, 6):
        run = bytes([number]) * 16
        kind = Frame.from_bytes(site.receive(hello(plan, run))).kind
        assert kind is (Kind.WELCOME if number <= 3 else Kind.ABORT)
        if number <= 3:
            site.receive(closing(plan, END, run))
    assert kinds(site).count("reserve") == 3


def test_a_run_that_people_closed_before_it_began_does_not_count(tmp_path: Path) -> None:
    """A coordinator cannot do the same: zeros are no digest of params."""
    site = fresh(tmp_path)
    site.receive(hello(PLAN))
    assert refused(site, closing(PLAN, bytes(32))) is Reason.PROTOCOL
    site.journal.abandon_run(RUN.hex(), "0" * 64, "")
    assert Frame.from_bytes(site.receive(hello(PLAN, OTHER))).kind is Kind.WELCOME
    site.receive(closing(PLAN, END, OTHER))
    assert refused(site, hello(PLAN, bytes([7]) * 16)) is Reason.POLICY
