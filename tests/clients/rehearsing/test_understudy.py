"""A rehearsal at a site: it plays as a run does, and nothing of the site is in it, spent by it, or left of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.policy import Policy
from clients.rehearsing.understudy import A_DAY, LONGEST
from clients.trust import genuine_heads, require_own_ledgers
from federation.plan.plan import Plan
from federation.round.messages import (
    Frame,
    Invitation,
    Kind,
    Member,
    Paired,
    Reason,
    Welcome,
    abort_reason,
)
from federation.round.signed import is_consent
from privacy.errors import FaultyServer
from privacy.ledger.heads import REHEARSED, Head
from privacy.signing import public_identity
from server.memory.heads import Heads
from server.voice import Voice
from tests.clients.rehearsing.stage import REHEARSAL, Clock, Taped, play, stage
from tests.clients.sites import (
    COORDINATOR,
    ROSTER,
    RUN,
    SIGNED,
    SIZES,
    approved,
    hello,
    identity,
    kinds,
    make_plan,
    ordered,
    refused,
)

PLAN = make_plan(rounds=3)
DRY = PLAN.rehearsal()


def files(folder: Path) -> dict[str, bytes]:
    """Every file there, but for what SQLite shares among processes."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    ("unit", "noise"),
    [("record", "distributed"), ("record", "site"), ("record", "central"), ("record", "none"),
     ("patient", "distributed"), ("client", "distributed")],
)  # fmt: skip
def test_every_kind_of_plan_is_rehearsed_in_two_rounds(unit: str, noise: str, tmp_path: Path) -> None:
    plan = make_plan(unit, noise, rounds=5)
    receipts = play(plan.rehearsal(), stage(tmp_path, plan), Taped())
    assert [(receipt.round, receipt.survivors) for receipt in receipts] == [
        (1, tuple(SIZES)),
        (2, tuple(SIZES)),
    ]


def test_a_rehearsal_touches_no_file_of_the_site_and_does_not_ask_for_its_data(tmp_path: Path) -> None:
    """Neither the journal, nor data, nor what is remembered of rosters and greetings."""
    sites, opened = stage(tmp_path, PLAN), list[str]()
    before, watching = files(tmp_path), True

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if watching and event in ("open", "sqlite3.connect") and args:
            opened.append(str(args[0]))

    for site in sites.values():
        site.load = lambda _: pytest.fail("a rehearsal asked for the data")
    sys.addaudithook(hear)
    receipts = play(DRY, sites, Taped())
    watching = False
    assert len(receipts) == 2
    assert files(tmp_path) == before
    assert [name for name in opened if str(tmp_path) in name] == []
    assert {kind for site in sites.values() for kind in kinds(site)} == {"genesis"}


def test_rehearsals_use_up_no_approval_and_a_run_afterwards_is_as_if_there_had_been_none(
    tmp_path: Path,
) -> None:
    sites = stage(tmp_path, PLAN)
    for number in range(3):
        play(DRY, sites, Taped(), bytes([number]) * 16)
    assert len(play(PLAN, sites, Taped(), RUN)) == 3
    assert kinds(sites["berlin"]).count("reserve") == 1
    assert kinds(sites["berlin"])[-1] == "close"


def test_the_rehearsal_of_a_plan_that_is_not_approved_is_refused(tmp_path: Path) -> None:
    policy = Policy.for_plan(PLAN).model_copy(update={"plans": approved(make_plan(rounds=9))})
    site = stage(tmp_path, PLAN, policy=policy)["berlin"]
    assert refused(site, hello(DRY, REHEARSAL)) is Reason.POLICY


def test_approving_a_rehearsal_approves_no_run_and_a_site_without_understudy_plays_none(
    tmp_path: Path,
) -> None:
    """Also where the task is approved, and nobody has to name a digest."""
    policy = Policy.for_plan(PLAN).model_copy(
        update={"plans": approved(DRY), "tasks": ("tabular-classification",)}
    )
    site = stage(tmp_path, PLAN, policy=policy)["berlin"]
    site.understudy = None
    assert refused(site, hello(DRY, REHEARSAL)) is Reason.PROTOCOL
    assert kinds(site) == ["genesis"]


# One is not the other.


def relabelled(data: bytes, run: bytes) -> bytes:
    return replace(Frame.from_bytes(data), run=run).to_bytes()


@pytest.mark.parametrize("is_renamed", [False, True])
def test_what_was_said_in_a_rehearsal_is_refused_in_a_run(is_renamed: bool, tmp_path: Path) -> None:
    """Under its own run's id, and under that of the run."""
    sites, tape = stage(tmp_path, PLAN), Taped()
    play(DRY, sites, tape)
    for site in sites.values():
        assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    before = {name: kinds(site) for name, site in sites.items()}
    for name, request, _ in tape.frames:
        if Frame.header(request).kind is not Kind.HELLO or is_renamed:
            data = relabelled(request, RUN) if is_renamed else request
            assert Frame.from_bytes(sites[name].receive(data)).kind is Kind.ABORT
    assert {name: kinds(site) for name, site in sites.items()} == before


def test_what_was_said_in_a_run_is_refused_in_a_rehearsal(tmp_path: Path) -> None:
    run, tape = stage(tmp_path / "run", PLAN), Taped()
    play(PLAN, run, tape, RUN)
    sites = stage(tmp_path / "dry", PLAN)
    for site in sites.values():
        assert Frame.from_bytes(site.receive(hello(DRY, REHEARSAL))).kind is Kind.WELCOME
    for name, request, _ in tape.frames:
        data = relabelled(request, REHEARSAL)
        if Frame.header(data).kind is not Kind.HELLO:
            assert Frame.from_bytes(sites[name].receive(data)).kind is Kind.ABORT
            understudy = sites[name].understudy
            assert understudy is not None
    assert {kind for site in sites.values() for kind in kinds(site)} == {"genesis"}


def heads_in(tape: Taped) -> list[Head]:
    found: list[Head] = []
    for _, _, data in tape.frames:
        frame = Frame.from_bytes(data)
        if frame.kind is Kind.WELCOME:
            found.append(Welcome.from_bytes(frame.body).head)
        elif frame.kind in (Kind.MASKED, Kind.REVEAL):
            found += Paired.from_bytes(frame.body).heads
    return found


def test_a_head_of_a_rehearsal_is_no_head_of_a_ledger_to_site_server_and_auditor(tmp_path: Path) -> None:
    """Else a server could show it later, as one of a ledger that its site hides or has cut."""
    sites, tape = stage(tmp_path, PLAN), Taped()
    play(DRY, sites, tape)
    heads = heads_in(tape)
    assert len(heads) == 5 * len(SIZES)
    assert {head.ledger for head in heads} == {REHEARSED}
    for head in heads:
        key = ROSTER.by_site[head.site].key
        assert head.is_signed_by(key, rehearsed=True)  # the control
        assert not head.is_signed_by(key)
        known = Heads(ROSTER)
        known.note(head)
        assert known.all() == ()
        with pytest.raises(FaultyServer, match="did not sign"):
            genuine_heads([head], ROSTER, "essen")
        require_own_ledgers([head], head.site, key, bytes(32), frozenset)
    own = [head for head in heads if head.site == "berlin"]
    assert Frame.from_bytes(sites["berlin"].receive(hello(PLAN, heads=(own[-1],)))).kind is Kind.WELCOME
    real = sites["berlin"].journal.head()
    assert real.is_signed_by(public_identity(identity("berlin")))
    assert not real.is_signed_by(public_identity(identity("berlin")), rehearsed=True)


def test_a_consent_to_a_rehearsal_is_none_to_a_run(tmp_path: Path) -> None:
    tape = Taped()
    play(DRY, stage(tmp_path, PLAN), tape)
    for name, _, reply in tape.frames[: len(SIZES)]:
        welcome, key = Welcome.from_bytes(Frame.from_bytes(reply).body), ROSTER.by_site[name].key
        assert is_consent(welcome, REHEARSAL, key, rehearsed=True)
        assert not is_consent(welcome, REHEARSAL, key)
        assert not is_consent(replace(welcome, plan_digest=PLAN.digest), REHEARSAL, key, rehearsed=True)
        assert not is_consent(welcome, RUN, key, rehearsed=True)


def test_keys_of_a_rehearsal_never_come_back(tmp_path: Path) -> None:
    sites, tapes = stage(tmp_path, PLAN), (Taped(), Taped(), Taped())
    for number, tape in enumerate(tapes[:2]):
        play(DRY, sites, tape, bytes([number]) * 16)
    play(PLAN, sites, tapes[2], RUN)
    adverts = [
        reply for tape in tapes for _, _, reply in tape.frames if Frame.header(reply).kind is Kind.ADVERT
    ]
    keys = [Frame.from_bytes(reply).body[2:34] for reply in adverts]
    assert len(keys) == len(set(keys)) >= 9


# What goes before what, and how much of it.


def test_while_a_run_is_open_nothing_is_rehearsed(tmp_path: Path) -> None:
    site = stage(tmp_path, PLAN)["berlin"]
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    assert refused(site, hello(DRY, REHEARSAL)) is Reason.POLICY


def test_a_run_ends_a_rehearsal_and_a_strangers_greeting_does_not(tmp_path: Path) -> None:
    sites, tape = stage(tmp_path, PLAN), Taped()
    play(DRY, sites, tape, close=False)
    last = tape.frames[-1]
    site = sites[last[0]]
    forged = relabelled(hello(PLAN), b"\x01" * 16)
    assert refused(site, forged) is Reason.PROTOCOL
    assert site.receive(last[1]) == last[2]  # the rehearsal still answers
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    assert refused(site, last[1]) is Reason.UNKNOWN_RUN


def test_only_so_many_rehearsals_a_day_are_played_and_only_the_coordinators_count(tmp_path: Path) -> None:
    clock = Clock()
    policy = Policy.for_plan(PLAN).model_copy(update={"rehearsals": 2})
    site = stage(tmp_path, PLAN, policy=policy, clock=clock)["berlin"]

    def asked(number: int) -> Frame:
        clock.now += 1
        return Frame.from_bytes(site.receive(at(clock, bytes([number]) * 16)))

    for _ in range(5):  # a recorded one under other ids: nobody's key signed that
        assert refused(site, relabelled(at(clock, REHEARSAL), b"\x09" * 16)) is Reason.PROTOCOL
    assert asked(1).kind is asked(1).kind is asked(2).kind is Kind.WELCOME  # the same again is free
    assert abort_reason(asked(3).body) is Reason.POLICY
    clock.now += A_DAY
    assert asked(4).kind is Kind.WELCOME


def test_a_site_may_take_part_in_no_rehearsal(tmp_path: Path) -> None:
    policy = Policy.for_plan(PLAN).model_copy(update={"rehearsals": 0})
    assert refused(stage(tmp_path, PLAN, policy=policy)["berlin"], hello(DRY, REHEARSAL)) is Reason.POLICY


def at(clock: Clock, run: bytes, plan: Plan = DRY) -> bytes:
    return Voice(plan, run, SIGNED, COORDINATOR, clock=clock).hello((0, 0)).to_bytes()


def test_no_third_round_is_played_and_none_after_an_hour(tmp_path: Path) -> None:
    clock = Clock()
    site = stage(tmp_path, PLAN, clock=clock)["berlin"]
    site.receive(at(clock, REHEARSAL))
    body = Invitation(tuple(Member(name, size) for name, size in SIZES.items())).to_bytes()
    assert refused(site, ordered(Frame(Kind.INVITE, REHEARSAL, 3, 1, body), DRY)) is Reason.PROTOCOL
    first = ordered(Frame(Kind.INVITE, REHEARSAL, 1, 1, body), DRY)
    assert Frame.from_bytes(site.receive(first)).kind is Kind.ADVERT
    clock.now += LONGEST + 1
    assert refused(site, first) is Reason.UNKNOWN_RUN


def test_what_is_left_of_a_rehearsal_is_nothing(tmp_path: Path) -> None:
    sites = stage(tmp_path, PLAN)
    play(DRY, sites, Taped())
    for site in sites.values():
        assert site.understudy is not None
        assert site.understudy._playing is None
        assert site.largest == 1 << 24
