"""The lines to the sites: who is on the roster, why somebody is not, and how many bytes went each way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.errors import RosterError
from federation.plan.plan import Plan
from federation.round.messages import (
    FRAME_ROOM,
    PEER_ROOM,
    Frame,
    Hello,
    Kind,
    Member,
    Reason,
    Welcome,
    abort_body,
    heads_body,
)
from federation.round.signed import greeting_digest, require_obeyed, welcome_signed
from federation.round.transport import Arrival, Deadline, Outgoing
from privacy.errors import BudgetExceeded, PolicyViolation
from privacy.ledger.chain import append
from privacy.ledger.heads import Head
from privacy.roster import Entry, Roster, SignedRoster
from privacy.signing import public_identity
from server.memory.heads import Heads
from server.sessions import Lines, open_lines
from server.voice import Voice
from simulations.world import InProcess
from tests.worlds import plan_of

PLAN = plan_of()
RUN = bytes(range(16))
CONSORTIUM, COORDINATOR = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = {name: Ed25519PrivateKey.generate() for name in ("ash", "birch", "cedar", "dogwood")}
ROSTER = SignedRoster.by(
    Roster(
        1,
        tuple(Entry(name, name, public_identity(key), 40) for name, key in KEYS.items()),
        coordinator=public_identity(COORDINATOR),
    ),
    [CONSORTIUM],
)
VOICE = Voice(PLAN, RUN, ROSTER, COORDINATOR)
Answer = Callable[[bytes], bytes]


def head(site: str, entries: int = 1, key: Ed25519PrivateKey | None = None) -> Head:
    """The head of a ledger of so many entries, as its site signs it."""
    key = key or KEYS.get(site) or CONSORTIUM
    entry = append(None, "genesis", {"any": site}, key)
    for number in range(entries - 1):
        entry = append(entry, "roster", {"serial": number, "root": ""}, key)
    return Head.signed(site, bytes(32), entry, key)


def welcome(
    site: str,
    plan: Plan = PLAN,
    size: int = 40,
    heads: tuple[Head, ...] = (),
    own: Head | None = None,
    key: Ed25519PrivateKey | None = None,
    **changes: object,
) -> Answer:
    """A site that consents, shows its own head and these of others; under its own key, or another."""

    def answer(data: bytes) -> bytes:
        hello = Frame.from_bytes(data)
        assert (hello.kind, hello.run) == (Kind.HELLO, RUN)
        require_obeyed(hello, public_identity(COORDINATOR), PLAN.digest, ROSTER.read().root)
        shown = Hello.from_bytes(hello.body)
        assert (shown.plan, shown.roster) == (PLAN.canonical(), ROSTER.to_bytes())
        noise, root = plan.kind.noise_text, ROSTER.read().root
        bare = Welcome(
            Member(site, size), plan.digest, noise, root, greeting_digest(hello), own or head(site)
        )
        bare = replace(bare, **changes)  # type: ignore[arg-type]
        signed = welcome_signed(bare, RUN, key or KEYS.get(site) or CONSORTIUM)
        return hello.reply(Kind.WELCOME, replace(signed, heads=heads).to_bytes()).to_bytes()

    return answer


def refusal(reason: Reason) -> Answer:
    return lambda data: Frame.from_bytes(data).reply(Kind.ABORT, abort_body(reason)).to_bytes()


HEADS = Heads(Roster.from_bytes(ROSTER.roster))


class Doubling(InProcess):
    """Every reply arrives twice."""

    def send(self, messages: Iterable[Outgoing]) -> None:
        super().send([message for one in messages for message in (one, one)])


THREE = {"10": welcome("cedar"), "11": welcome("ash"), "12": welcome("birch")}


def join(answers: Mapping[str, Answer]) -> tuple[Lines, tuple[Member, ...]]:
    return open_lines(VOICE, InProcess(answers))


def test_the_roster_is_those_who_consented_in_the_order_of_their_ids() -> None:
    _, members = join({**THREE, "13": refusal(Reason.BUDGET)})
    assert members == (Member("ash", 40), Member("birch", 40), Member("cedar", 40))


def test_messages_go_to_addresses_and_come_back_under_ids() -> None:
    heard: list[tuple[str, bytes]] = []

    def listening(address: str) -> Answer:
        def answer(data: bytes) -> bytes:
            heard.append((address, data))
            return b"re:" + data

        return answer

    lines = Lines(
        InProcess({"10": listening("10"), "11": listening("11")}),
        {"ash": "11", "birch": "10"},
        VOICE,
        HEADS,
    )
    lines.send([Outgoing("ash", b"xy"), Outgoing("birch", b"z")])
    assert heard == [("11", b"xy"), ("10", b"z")]
    assert [lines.next(0), lines.next(0), lines.next(0)] == [("ash", b"re:xy"), ("birch", b"re:z"), None]
    assert lines.take_counts() == ({"ash": 5, "birch": 4}, {"ash": 2, "birch": 1})
    assert lines.take_counts() == ({}, {})


def test_a_reply_from_a_stranger_is_nobody_s() -> None:
    class Haunted(InProcess):
        def next(self, timeout: float) -> Arrival | Deadline:
            return Arrival("99", b"boo")

    assert Lines(Haunted({}), {"ash": "11"}, VOICE, HEADS).next(0) == ("", b"boo")


def test_a_consent_that_arrives_twice_is_one_site() -> None:
    _, members = open_lines(VOICE, Doubling(THREE))
    assert len(members) == 3


def test_a_refusal_that_arrives_twice_is_one_refusal() -> None:
    answers = {"10": welcome("ash"), "11": welcome("birch"), "12": refusal(Reason.BUDGET)}
    with pytest.raises(BudgetExceeded, match=r"^1 sites have no budget left"):
        open_lines(VOICE, Doubling(answers))


def test_a_site_whose_model_is_of_another_size_is_refused_and_one_whose_run_is_over_is_not() -> None:
    """What it consents to is what an auditor believes of the model's size."""
    sizes = {"10": 6, "11": 7, "12": 6, "13": 0}
    sites = dict(zip(sizes, ("ash", "birch", "cedar", "dogwood"), strict=True))
    answers = {name: welcome(sites[name], dimension=size) for name, size in sizes.items()}
    _, members = open_lines(VOICE, InProcess(answers), dimension=6)
    assert [member.site for member in members] == ["ash", "cedar", "dogwood"]


def test_a_second_node_that_answers_as_a_site_is_refused_and_the_run_begins_with_the_others() -> None:
    lines, members = join({**THREE, "13": welcome("ash")})
    assert [member.site for member in members] == ["ash", "birch", "cedar"]
    assert lines._addresses["ash"] == "11"


def test_a_node_that_answers_as_another_site_takes_nothing_from_it() -> None:
    """Whatever it knows of the other's consent: the key is not its own, or the greeting is an older one."""
    kept: list[bytes] = []

    def listening(data: bytes) -> bytes:
        kept.append(welcome("ash")(data))
        return kept[-1]

    join({**THREE, "11": listening})
    stolen = kept[0]
    later = replace(VOICE, clock=lambda: time.time() + 60)
    for impostor in (welcome("ash", key=KEYS["dogwood"]), lambda _: stolen):
        lines, members = open_lines(later, InProcess({"01": impostor, **THREE}))
        assert [member.site for member in members] == ["ash", "birch", "cedar"]
        assert lines._addresses == {"ash": "11", "birch": "12", "cedar": "10"}


@pytest.mark.parametrize(
    ("reasons", "error", "story"),
    [
        ((Reason.BUDGET, Reason.POLICY), BudgetExceeded, "1 sites have no budget left"),
        ((Reason.POLICY, Reason.POLICY), PolicyViolation, "2 sites' policy refuses"),
        ((Reason.FAILED, Reason.PROTOCOL), RosterError, "1 site joined, cohort.minimum is 3"),
    ],
)
def test_with_too_few_the_sites_reasons_decide_the_error(
    reasons: tuple[Reason, ...], error: type[Exception], story: str
) -> None:
    answers = {"10": welcome("ash")} | {str(11 + i): refusal(reason) for i, reason in enumerate(reasons)}
    with pytest.raises(error, match=story) as caught:
        join(answers)
    # One has joined, and stays reserved for this run: whoever reads the error is told how it comes free.
    assert "with the same state, or let them close it" in str(caught.value.hint)


def test_nobody_there_is_a_matter_of_waiting() -> None:
    with pytest.raises(RosterError, match=r"0 sites joined.*wait for more sites"):
        join({})


class Later(InProcess):
    """A site whose reply does not come."""

    def __init__(self, answers: Mapping[str, Answer], silent: str) -> None:
        super().__init__({name: answer for name, answer in answers.items() if name != silent})
        self._silent = silent
        self._held: deque[Outgoing] = deque()

    def addresses(self) -> tuple[str, ...]:
        return (*super().addresses(), self._silent)

    def send(self, messages: Iterable[Outgoing]) -> None:
        super().send([message for message in messages if message.to != self._silent])


def test_a_silent_site_is_left_out() -> None:
    _, members = open_lines(VOICE, Later({**THREE, "13": welcome("dogwood")}, "13"))
    assert [member.site for member in members] == ["ash", "birch", "cedar"]


@pytest.mark.parametrize(
    "answer",
    [
        welcome("dogwood", plan_of(seed=8)),
        welcome("dogwood", size=41),
        welcome("mallory"),
        lambda data: b"no frame",
        lambda data: replace(Frame.from_bytes(welcome("dogwood")(data)), run=bytes(16)).to_bytes(),
        lambda data: replace(Frame.from_bytes(welcome("dogwood")(data)), kind=Kind.ADVERT).to_bytes(),
        lambda data: Frame.from_bytes(data).reply(Kind.WELCOME, b"\0").to_bytes(),
        lambda data: Frame.from_bytes(data).reply(Kind.ABORT, b"").to_bytes(),
        welcome("dogwood", noise_multiplier="1.25"),
        welcome("dogwood", root=bytes(32)),
        welcome("dogwood", greeting=bytes(32)),
        welcome("dogwood", key=CONSORTIUM),
    ],
    ids=[
        "another plan",
        "another size",
        "not on the roster",
        "no frame",
        "another run",
        "another kind",
        "no welcome",
        "no reason",
        "other noise",
        "another roster",
        "another greeting",
        "another key",
    ],
)
def test_what_is_no_consent_to_this_plan_joins_nobody(answer: Answer) -> None:
    _, members = join({**THREE, "13": answer})
    assert [member.site for member in members] == ["ash", "birch", "cedar"]


def test_a_site_that_consents_stays_out_unless_the_roster_knows_it() -> None:
    """Of four who consent one has another size, one no entry: two are left, and that is too few."""
    answers = {"10": welcome("ash"), "11": welcome("birch"), "12": welcome("cedar", size=1)}
    with pytest.raises(RosterError, match="2 sites joined"):
        join({**answers, "13": welcome("mallory")})


def with_away(answers: Mapping[str, Answer], *away: str) -> tuple[Lines, list[tuple[str, Kind]]]:
    """Lines to sites of which some are away, and what is sent from then on."""
    heard: list[tuple[str, Kind]] = []

    def listening(address: str, answer: Answer) -> Answer:
        def hear(data: bytes) -> bytes:
            heard.append((address, Frame.from_bytes(data).kind))
            return answer(data)

        return hear

    lines, _ = join({address: listening(address, answer) for address, answer in answers.items()})
    for site in away:
        lines.attendance.absence.lost(site, 1)
    heard.clear()
    return lines, heard


def test_a_greeting_shows_the_plan_again_and_waits_for_nobody() -> None:
    lines, heard = with_away(THREE, "birch")
    lines.greet((0, 0), 60.0)
    assert heard == [("12", Kind.HELLO)]
    assert lines.attendance.absence.away == ("birch",), "its answer is not read yet"
    lines.greet((0, 0), 60.0)
    assert len(heard) == 1, "it is greeted again after a minute"
    assert lines.next(0) is not None
    assert lines.attendance.absence.away == ()


@pytest.mark.parametrize(
    "answer",
    [
        refusal(Reason.POLICY),
        welcome("birch", size=1),
        welcome("cedar"),
        welcome("birch", key=KEYS["cedar"]),
        welcome("birch", plan=plan_of(rounds=9)),
        lambda _: b"any answer will not do",
    ],
    ids=["refusal", "other size", "other site", "other key", "other plan", "rubbish"],
)
def test_who_does_not_consent_again_stays_away(answer: Answer) -> None:
    answers = iter([welcome("birch"), answer])

    def in_turn(data: bytes) -> bytes:
        return next(answers)(data)

    lines, _ = with_away({**THREE, "12": in_turn}, "birch")
    lines.greet((0, 0), 60.0)
    lines.await_back(lambda: not lines.attendance.absence.away, 5.0)
    assert lines.attendance.absence.away == ("birch",)


def test_a_wait_for_those_who_are_away_ends_with_the_last_or_with_the_deadline() -> None:
    lines, _ = with_away(THREE, "birch", "ash")
    lines.greet((0, 0), 60.0)
    lines.await_back(lambda: not lines.attendance.absence.away, 5.0)
    assert lines.attendance.absence.away == ()
    assert lines.next(0) is None
    silent = Lines(Later({}, "10"), {"ash": "10"}, VOICE, HEADS)
    silent.attendance.absence.lost("ash", 1)
    silent.greet((0, 0), 60.0)
    silent.await_back(lambda: not silent.attendance.absence.away, 0.0)
    assert silent.attendance.absence.away == ("ash",)


def test_a_run_is_closed_without_waiting_for_who_is_away() -> None:
    def closed(site: str) -> Answer:
        def answer(data: bytes) -> bytes:
            frame = Frame.from_bytes(data)
            if frame.kind is Kind.HELLO:
                return welcome(site)(data)
            return frame.reply(Kind.CLOSED, heads_body([head(site, 2)])).to_bytes()

        return answer

    class Watched(InProcess):
        waited = 0

        def send(self, messages: Iterable[Outgoing]) -> None:
            messages = list(messages)
            kinds.extend((message.to, Frame.from_bytes(message.data).kind) for message in messages)
            asleep = Frame.from_bytes(messages[0].data).kind is Kind.CLOSE
            super().send(message for message in messages if not (asleep and message.to == "12"))

        def next(self, timeout: float) -> Arrival | Deadline:
            arrival = super().next(timeout)
            self.waited += isinstance(arrival, Deadline)
            return arrival

    kinds: list[tuple[str, Kind]] = []
    transport = Watched({"10": closed("cedar"), "11": closed("ash"), "12": closed("birch")})
    lines, members = open_lines(VOICE, transport)
    lines.attendance.absence.lost("birch", 1)
    heads = lines.close(RUN, bytes(32), [member.site for member in members], seconds=5)
    assert ("12", Kind.CLOSE) in kinds, "it is told"
    assert transport.waited == 0, "and not waited for"
    assert {site: shown.seq for site, shown in heads.items()} == {"ash": 1, "birch": 0, "cedar": 1}


def test_a_consent_longer_than_the_roster_has_room_for_is_not_parsed() -> None:
    room = FRAME_ROOM + len(KEYS) * PEER_ROOM
    count = room // len(head("dogwood").to_bytes())
    long = welcome("dogwood", heads=(head("dogwood"),) * (count + 1))
    _, members = join({**THREE, "13": long})
    assert [member.site for member in members] == ["ash", "birch", "cedar"]


def test_a_site_that_shows_no_head_of_its_ledger_does_not_take_part() -> None:
    for shown in (head("ash"), head("dogwood", key=CONSORTIUM)):
        _, members = join({**THREE, "13": welcome("dogwood", own=shown)})
        assert [member.site for member in members] == ["ash", "birch", "cedar"]


@pytest.mark.parametrize("witness", ["server", "peer"])
def test_a_ledger_that_was_set_back_does_not_take_part_if_anyone_saw_a_newer_head(witness: str) -> None:
    """DP-34: a restored snapshot, found by the server that saw a newer head, or by a peer that did."""
    newer = head("dogwood", 5)
    seen = (newer,) if witness == "server" else ()
    told = (newer,) if witness == "peer" else ()
    answers = {**THREE, "11": welcome("ash", heads=told)}
    for entries, stays in ((4, False), (5, True), (6, True)):
        transport = InProcess({**answers, "13": welcome("dogwood", own=head("dogwood", entries))})
        _, members = open_lines(VOICE, transport, seen)
        assert ("dogwood" in {member.site for member in members}) is stays


def test_the_heads_that_are_known_are_shown_with_the_plan() -> None:
    heard: list[bytes] = []

    def listening(data: bytes) -> bytes:
        heard.append(data)
        return welcome("cedar")(data)

    known = (head("birch", 3), head("dogwood", 2))
    answers = {**THREE, "10": listening, "12": welcome("birch", own=head("birch", 3))}
    open_lines(VOICE, InProcess(answers), known)
    assert Hello.from_bytes(Frame.from_bytes(heard[0]).body).heads == known


def test_a_run_is_closed_at_every_site_that_answers() -> None:
    params = bytes(range(32))

    def closing(site: str) -> Answer:
        def answer(data: bytes) -> bytes:
            frame = Frame.from_bytes(data)
            if frame.kind is Kind.HELLO:
                return welcome(site)(data)
            assert (frame.kind, frame.body) == (Kind.CLOSE, params)
            require_obeyed(frame, public_identity(COORDINATOR), PLAN.digest, VOICE.sites.root)
            return frame.reply(Kind.CLOSED, heads_body([head(site, 2)])).to_bytes()

        return answer

    def refusing(data: bytes) -> bytes:
        frame = Frame.from_bytes(data)
        if frame.kind is Kind.HELLO:
            return welcome("cedar")(data)
        return frame.reply(Kind.ABORT, abort_body(Reason.FAILED)).to_bytes()

    lines, members = join({"10": refusing, "11": closing("ash"), "12": closing("birch")})
    heads = lines.close(RUN, params, [member.site for member in members], seconds=5)
    assert {site: shown.seq for site, shown in heads.items()} == {"ash": 1, "birch": 1, "cedar": 0}
