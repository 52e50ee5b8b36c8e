"""The lines to the sites: who is on the roster, why somebody is not, and how many bytes went each way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.claim import noise_text
from federation.errors import RosterError
from federation.messages import Frame, Hello, Kind, Member, Reason, Welcome, abort_body
from federation.plan import Plan
from federation.transport import Arrival, Deadline, Outgoing
from privacy.errors import BudgetExceeded, PolicyViolation
from privacy.secagg.identity import public_identity
from privacy.secagg.roster import Entry, Roster, SignedRoster
from server.lines import Lines, open_lines
from simulations.world import InProcess
from tests.worlds import plan_of

PLAN = plan_of()
RUN = bytes(range(16))
CONSORTIUM = Ed25519PrivateKey.generate()
ROSTER = SignedRoster.by(
    Roster(
        1,
        tuple(
            Entry(name, name, public_identity(Ed25519PrivateKey.generate()), 40)
            for name in ("ash", "birch", "cedar", "dogwood")
        ),
    ),
    [CONSORTIUM],
)
Answer = Callable[[bytes], bytes]


def welcome(site: str, plan: Plan = PLAN, size: int = 40) -> Answer:
    """A site that consents."""

    def answer(data: bytes) -> bytes:
        hello = Frame.from_bytes(data)
        assert (hello.kind, hello.run) == (Kind.HELLO, RUN)
        assert Hello.from_bytes(hello.body) == Hello(PLAN.canonical(), ROSTER.to_bytes())
        body = Welcome(Member(site, size), plan.digest, noise_text(plan)).to_bytes()
        return hello.reply(Kind.WELCOME, body).to_bytes()

    return answer


def refusal(reason: Reason) -> Answer:
    return lambda data: Frame.from_bytes(data).reply(Kind.ABORT, abort_body(reason)).to_bytes()


class Doubling(InProcess):
    """Every reply arrives twice."""

    def send(self, messages: Iterable[Outgoing]) -> None:
        super().send([message for one in messages for message in (one, one)])


THREE = {"10": welcome("cedar"), "11": welcome("ash"), "12": welcome("birch")}


def join(answers: Mapping[str, Answer]) -> tuple[Lines, tuple[Member, ...]]:
    return open_lines(PLAN, RUN, InProcess(answers), ROSTER)


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
        InProcess({"10": listening("10"), "11": listening("11")}), {"ash": "11", "birch": "10"}, b"hello"
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

    assert Lines(Haunted({}), {"ash": "11"}, b"hello").next(0) == ("", b"boo")


def test_a_consent_that_arrives_twice_is_one_site() -> None:
    _, members = open_lines(PLAN, RUN, Doubling(THREE), ROSTER)
    assert len(members) == 3


def test_a_refusal_that_arrives_twice_is_one_refusal() -> None:
    answers = {"10": welcome("ash"), "11": welcome("birch"), "12": refusal(Reason.BUDGET)}
    with pytest.raises(BudgetExceeded, match=r"^1 sites have no budget left"):
        open_lines(PLAN, RUN, Doubling(answers), ROSTER)


def test_two_sites_with_one_id_are_refused() -> None:
    with pytest.raises(RosterError, match="two sites call themselves ash"):
        join({**THREE, "13": welcome("ash")})


@pytest.mark.parametrize(
    ("reasons", "error", "story"),
    [
        ((Reason.BUDGET, Reason.POLICY), BudgetExceeded, "1 sites have no budget left"),
        ((Reason.POLICY, Reason.POLICY), PolicyViolation, "2 sites' policy refuses"),
        ((Reason.FAILED, Reason.PROTOCOL), RosterError, "1 sites joined, cohort.minimum is 3"),
    ],
)
def test_with_too_few_the_sites_reasons_decide_the_error(
    reasons: tuple[Reason, ...], error: type[Exception], story: str
) -> None:
    answers = {"10": welcome("ash")} | {str(11 + i): refusal(reason) for i, reason in enumerate(reasons)}
    with pytest.raises(error, match=story):
        join(answers)


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
    _, members = open_lines(PLAN, RUN, Later({**THREE, "13": welcome("dogwood")}, "13"), ROSTER)
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
        lambda data: (
            Frame.from_bytes(data)
            .reply(Kind.WELCOME, Welcome(Member("dogwood", 40), PLAN.digest, "1.25").to_bytes())
            .to_bytes()
        ),
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


def test_a_greeting_is_the_first_hello_and_awaits_an_answer_of_everyone_greeted() -> None:
    heard: list[tuple[str, bytes]] = []

    def listening(address: str) -> Answer:
        def answer(data: bytes) -> bytes:
            heard.append((address, data))
            return b"any answer will do"

        return answer

    sites = {"10": listening("10"), "11": listening("11"), "12": listening("12")}
    lines = Lines(InProcess(sites), {"ash": "11", "birch": "10", "cedar": "12"}, b"hello")
    lines.greet(["birch", "ash"], 5)
    assert heard == [("11", b"hello"), ("10", b"hello")]
    assert lines.next(0) is None, "the answers are read"


def test_a_greeting_that_nobody_answers_ends_with_its_deadline() -> None:
    lines = Lines(Later({}, "10"), {"ash": "10"}, b"hello")
    lines.greet(["ash"], 5)
    assert lines.next(0) is None
