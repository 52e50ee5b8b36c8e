from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.round import messages
from federation.round.messages import (
    MAX_HEADS,
    MAX_LEDGERS,
    Broadcast,
    Frame,
    Hello,
    Invitation,
    Kind,
    Member,
    Paired,
    Reason,
    Welcome,
    abort_body,
    abort_reason,
    accused_slot,
    closing_digest,
    few,
    heads_body,
    heads_from,
)
from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head

names = st.text(st.characters(codec="utf-8"), max_size=20)
sizes = st.integers(0, 2**64 - 1)
members = st.builds(Member, names, sizes)
frames = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=50),
)
invitations = st.builds(
    Invitation,
    st.dictionaries(names, sizes, max_size=5).map(lambda d: tuple(Member(n, d[n]) for n in sorted(d))),
)
bytes_32, bytes_64 = (st.binary(min_size=size, max_size=size) for size in (32, 64))
head = st.builds(Head, names.filter(bool), bytes_32, st.integers(0, 2**53 - 1), bytes_32, bytes_64)
heads = st.lists(head, max_size=3).map(few)
one = st.lists(head, max_size=1).map(tuple)
PARSERS = [
    Frame.from_bytes,
    Hello.from_bytes,
    Welcome.from_bytes,
    Invitation.from_bytes,
    Broadcast.from_bytes,
    Paired.from_bytes,
    abort_reason,
    accused_slot,
    closing_digest,
    heads_from,
]
BODIES = st.one_of(
    st.builds(Hello, st.binary(), st.binary(), sizes, sizes, heads),
    st.builds(Welcome, members, names, names, bytes_32, bytes_32, head, sizes, bytes_64, heads),
    invitations,
    st.builds(Broadcast, st.binary(), st.binary(), heads),
    st.builds(Paired, st.binary(), st.binary(), one),
)


@given(frames)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert Frame.from_bytes(frame.to_bytes()) == frame


@given(BODIES)
def test_every_body_survives_the_wire(body: Hello | Welcome | Invitation | Broadcast | Paired) -> None:
    assert type(body).from_bytes(body.to_bytes()) == body
    with pytest.raises(MalformedMessage):
        type(body).from_bytes(body.to_bytes() + b"\0")


@given(frames, frames, st.binary())
def test_a_frame_of_the_next_round_travels_whole(frame: Frame, following: Frame, own: bytes) -> None:
    carried = frame.reply(frame.kind, Paired(own, following.to_bytes()).to_bytes())
    paired = Paired.from_bytes(Frame.from_bytes(carried.to_bytes()).body)
    assert (paired.own, Frame.from_bytes(paired.following)) == (own, following)


def test_kinds_and_reasons_keep_their_numbers() -> None:
    """They are on the wire: another number is another protocol."""
    assert [kind.name for kind in sorted(Kind)] == [
        "HELLO", "WELCOME", "INVITE", "ADVERT", "ADVERTS", "SHARES", "BROADCAST", "MASKED", "SURVIVORS", "VOTE",
        "CERTIFICATE", "REVEAL", "ABORT", "CLOSE", "CLOSED",
    ]  # fmt: skip
    assert [reason.name for reason in sorted(Reason)] == [
        "POLICY", "BUDGET", "PROTOCOL", "DIVERGED", "FAILED", "UNKNOWN_RUN", "SHARE", "LEFT", "CODE",
    ]  # fmt: skip
    assert sorted(Kind) == list(range(1, 16))
    assert sorted(Reason) == list(range(1, 10))


def test_a_hello_beyond_its_limits_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_PLAN", 10)
    monkeypatch.setattr(messages, "MAX_ROSTER", 20)
    assert Hello.from_bytes(Hello(bytes(10), bytes(20), 1, 2).to_bytes()) == Hello(bytes(10), bytes(20), 1, 2)
    for plan, roster in ((11, 20), (10, 21)):
        written = Hello(bytes(plan), bytes(roster), 1, 2)
        with pytest.raises(ValueError, match="holds at most"):
            written.to_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(messages, "MAX_PLAN", 100)
            patch.setattr(messages, "MAX_ROSTER", 100)
            data = written.to_bytes()
        with pytest.raises(MalformedMessage):
            Hello.from_bytes(data)


def of(number: int, ledger: int = 0, seq: int = 1) -> Head:
    """A head, of site and ledger by number."""
    return Head(f"site {number:05d}", ledger.to_bytes(32, "big"), seq, bytes(32), bytes(64))


def test_what_a_message_may_hold_of_heads_is_bounded_for_who_fills_it_and_for_who_reads_it() -> None:
    flood = [of(number, ledger) for number in range(2) for ledger in range(20_000)]
    chosen = few(flood)
    assert [head.site for head in chosen] == ["site 00000"] * MAX_LEDGERS + ["site 00001"] * MAX_LEDGERS
    assert few([of(1, seq=1), of(1, seq=3), of(1, seq=2)]) == (of(1, seq=3),)
    assert len(few(of(number) for number in range(MAX_HEADS + 5))) == MAX_HEADS
    full = Hello(b"", b"", 1, 2, few(of(number) for number in range(MAX_HEADS)))
    assert Hello.from_bytes(full.to_bytes()) == full
    for message in (
        Hello(b"", b"", 1, 2, tuple(flood)),
        Welcome(Member("a", 1), "", "", bytes(32), bytes(32), of(1), heads=tuple(flood)),
        Broadcast(b"", b"", tuple(flood[:65])),
        Paired(b"", b"", tuple(flood[:2])),
    ):
        with pytest.raises(ValueError, match="a message holds at most"):
            message.to_bytes()


@pytest.mark.parametrize("shown", [(of(2), of(1)), (of(1), of(1, seq=2))], ids=["unordered", "twice"])
def test_of_a_ledger_a_message_holds_one_head(shown: tuple[Head, ...]) -> None:
    written = Broadcast(b"", b"", shown).to_bytes()
    with pytest.raises(MalformedMessage) if shown[0].site == shown[1].site else nullcontext():
        assert Broadcast.from_bytes(written).heads == tuple(sorted(shown, key=lambda head: head.site))


@pytest.mark.parametrize("length", [0, 255, 256, 257])
def test_no_text_is_written_that_nobody_reads(length: int) -> None:
    member = Invitation((Member("a" * length, 1),))
    if length > 256:
        with pytest.raises(ValueError, match="at most 256 bytes"):
            member.to_bytes()
    else:
        assert Invitation.from_bytes(member.to_bytes()) == member


@pytest.mark.parametrize("parse", PARSERS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except MalformedMessage:
        pass


@given(frames, st.integers(0, 200), st.integers(1, 255))
def test_a_changed_frame_is_another_frame_or_malformed(frame: Frame, place: int, flip: int) -> None:
    data = bytearray(frame.to_bytes())
    data[place % len(data)] ^= flip
    try:
        assert Frame.from_bytes(bytes(data)) != frame
    except MalformedMessage:
        pass


@given(frames)
def test_bytes_after_a_frame_are_refused(frame: Frame) -> None:
    with pytest.raises(MalformedMessage):
        Frame.from_bytes(frame.to_bytes() + b"\0")


@pytest.mark.parametrize("order", [("b", "a"), ("a", "a")])
def test_an_invitation_names_each_site_once_and_in_order(order: tuple[str, str]) -> None:
    invitation = Invitation(tuple(Member(name, 1) for name in order))
    with pytest.raises(MalformedMessage):
        Invitation.from_bytes(invitation.to_bytes())


@pytest.mark.parametrize("reason", list(Reason))
def test_an_abort_carries_a_reason_and_not_a_byte_more(reason: Reason) -> None:
    slot = 259 if reason is Reason.SHARE else None
    body = abort_body(reason, slot)
    assert abort_reason(body) is reason
    assert accused_slot(body) == slot
    assert len(body) == (1 if slot is None else 3)
    for other in (b"", body + b"\0", body[:-1], bytes([99]), bytes([Reason.SHARE])):
        with pytest.raises(MalformedMessage):
            abort_reason(other)
    with pytest.raises(ValueError, match="slot"):
        abort_body(reason, None if slot is not None else 0)


@given(one)
def test_heads_survive_the_wire_and_nothing_may_follow_them(shown: tuple[Head, ...]) -> None:
    assert heads_from(heads_body(shown)) == shown
    with pytest.raises(MalformedMessage):
        heads_from(heads_body(shown) + b"\0")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_run_is_closed_with_a_digest(length: int) -> None:
    assert closing_digest(bytes(range(32))) == bytes(range(32))
    with pytest.raises(MalformedMessage):
        closing_digest(bytes([1]) * length)
    with pytest.raises(MalformedMessage):
        closing_digest(bytes(32))
