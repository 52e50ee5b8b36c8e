from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.messages import (
    Broadcast,
    Frame,
    Invitation,
    Kind,
    Member,
    Reason,
    Welcome,
    abort_body,
    abort_reason,
)
from privacy.errors import MalformedMessage

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
    st.binary(min_size=32, max_size=32),
)
PARSERS = [Frame.from_bytes, Welcome.from_bytes, Invitation.from_bytes, Broadcast.from_bytes, abort_reason]


@given(frames)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert Frame.from_bytes(frame.to_bytes()) == frame


@given(invitations, st.builds(Welcome, members, names, names), st.builds(Broadcast, st.binary(), st.binary()))
def test_every_body_survives_the_wire(invitation: Invitation, welcome: Welcome, broadcast: Broadcast) -> None:
    assert Invitation.from_bytes(invitation.to_bytes()) == invitation
    assert Welcome.from_bytes(welcome.to_bytes()) == welcome
    assert Broadcast.from_bytes(broadcast.to_bytes()) == broadcast


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
    invitation = Invitation(tuple(Member(name, 1) for name in order), bytes(32))
    with pytest.raises(MalformedMessage):
        Invitation.from_bytes(invitation.to_bytes())


@pytest.mark.parametrize("reason", list(Reason))
def test_an_abort_carries_a_reason_and_not_a_byte_more(reason: Reason) -> None:
    assert abort_reason(abort_body(reason)) is reason
    assert len(abort_body(reason)) == 1
