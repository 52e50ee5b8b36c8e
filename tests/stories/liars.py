"""Sites that deal shares which do not open, or that say so of good ones: a transport between site and server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from federation.round.messages import Frame, Invitation, Kind, Paired, Reason, abort_body
from privacy.secagg.messages import Sealed, SealedShares

Receive = Callable[[bytes], bytes]


def onward_of(request: Frame) -> bytes:
    """The frame of the next round that travels with a request."""
    if request.kind not in (Kind.BROADCAST, Kind.CERTIFICATE):
        return b""
    return Paired.from_bytes(request.body).following


class BadDealer:
    """A site whose shares for some others do not open, in the rounds named, or in all of them."""

    def __init__(
        self, receive: Receive, to: Collection[str], rounds: Collection[int] = (), levels: int = 0
    ) -> None:
        self._levels = levels  # of the plan's excess noise
        self._receive, self._to, self._rounds = receive, frozenset(to), frozenset(rounds)
        self._members: dict[tuple[int, int], list[str]] = {}

    def __call__(self, data: bytes) -> bytes:
        """Answer as the site does, but for the shares."""
        self._note(Frame.from_bytes(data))
        return self._spoilt(Frame.from_bytes(self._receive(data))).to_bytes()

    def _note(self, frame: Frame) -> None:
        if frame.kind is Kind.INVITE:
            members = [member.site for member in Invitation.from_bytes(frame.body).members]
            self._members[frame.round, frame.attempt] = members
        elif onward := onward_of(frame):
            self._note(Frame.from_bytes(onward))

    def _spoilt(self, frame: Frame) -> Frame:
        if frame.kind is Kind.SHARES and (not self._rounds or frame.round in self._rounds):
            names = self._members[frame.round, frame.attempt]
            shares = SealedShares.from_bytes(frame.body, self._levels).by_slot
            return replace(frame, body=SealedShares(self._altered(shares, names)).to_bytes())
        if frame.kind in (Kind.MASKED, Kind.REVEAL):
            paired = Paired.from_bytes(frame.body)
            if paired.following:
                onward = self._spoilt(Frame.from_bytes(paired.following)).to_bytes()
                return replace(frame, body=replace(paired, following=onward).to_bytes())
        return frame

    def _altered(self, shares: Mapping[int, Sealed], names: list[str]) -> dict[int, Sealed]:
        """What is sealed does not open; what the dealer signed stays, so the server has nothing against it."""
        return {
            slot: replace(one, sealed=bytes([one.sealed[0] ^ 1]) + one.sealed[1:])
            if names[slot] in self._to
            else one
            for slot, one in shares.items()
        }


class LyingAccuser:
    """A site that says of a good share that it does not open, in the rounds named, or in all of them."""

    def __init__(self, receive: Receive, accused: str, rounds: Collection[int] = ()) -> None:
        self._receive, self._accused, self._rounds = receive, accused, frozenset(rounds)
        self._slots: dict[tuple[int, int], int] = {}

    def __call__(self, data: bytes) -> bytes:
        """Answer as the site does, until the shares are there."""
        frame = Frame.from_bytes(data)
        self._note(frame)
        slot = self._slots.get((frame.round, frame.attempt))
        is_time = frame.kind is Kind.BROADCAST and (not self._rounds or frame.round in self._rounds)
        if not is_time or slot is None:
            return self._receive(data)
        return frame.reply(Kind.ABORT, abort_body(Reason.SHARE, slot)).to_bytes()

    def _note(self, frame: Frame) -> None:
        if frame.kind is Kind.INVITE:
            names = [member.site for member in Invitation.from_bytes(frame.body).members]
            if self._accused in names:
                self._slots[frame.round, frame.attempt] = names.index(self._accused)
        elif onward := onward_of(frame):
            self._note(Frame.from_bytes(onward))
