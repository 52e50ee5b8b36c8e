"""One attempt at one round, sans-IO: invite, collect, sum, close.

The coordinator wraps the secure aggregation's ServerMachine in the frames of a run. It sees public keys, sealed
shares, masked vectors and, at the end, one sum. Time is an input: `deadline` closes the step at hand.
"""

from __future__ import annotations

from collections.abc import Callable

from federation.errors import TooFewSurvivors
from federation.messages import Broadcast, Frame, Invitation, Kind, abort_reason
from federation.terms import Terms
from federation.transport import Outgoing
from privacy.encoding import RingVector
from privacy.errors import MalformedMessage
from privacy.secagg.server import Outgoing as MachineOutgoing
from privacy.secagg.server import Phase, ServerMachine, TooFew

_REQUESTS = {Phase.SHARE: Kind.ADVERTS, Phase.MASK: Kind.BROADCAST, Phase.REVEAL: Kind.SURVIVORS}
_REPLIES = {
    Phase.ADVERTISE: Kind.ADVERT,
    Phase.SHARE: Kind.SHARES,
    Phase.MASK: Kind.MASKED,
    Phase.REVEAL: Kind.REVEAL,
}


class Coordinator:
    """One-shot owner of a round. Addresses are site ids here; the run loop maps them to the transport's."""

    def __init__(self, terms: Terms, params: bytes) -> None:
        self._terms = terms
        self._params = params
        self._machine = ServerMachine(terms.parameters, terms.context)
        self.left: dict[str, str] = {}  # sites that aborted or broke the protocol, and why

    @property
    def result(self) -> RingVector | None:
        """The sum over `survivors`, once there is one."""
        return self._machine.result

    @property
    def survivors(self) -> tuple[str, ...]:
        """Whose updates are in the sum."""
        return self._machine.survivors

    def open(self) -> list[Outgoing]:
        """The invitations."""
        body = Invitation(self._terms.members, self._terms.params_digest).to_bytes()
        return [self._frame(member.site, Kind.INVITE, body) for member in self._terms.members]

    def receive(self, site: str, data: bytes) -> list[Outgoing]:
        """Take one reply; what has to be sent now, if it completed a step. TooFewSurvivors voids the round."""
        try:
            frame = Frame.from_bytes(data)
            if (frame.run, frame.round, frame.attempt) != self._terms.place:
                return []  # a straggler of an earlier attempt
            if frame.kind is Kind.ABORT:
                self.left[site] = abort_reason(frame.body).name.lower()
                return self._advance(lambda: self._machine.leave(site))
        except MalformedMessage as error:
            self.left[site] = error.message
            return []
        if frame.kind is not _REPLIES.get(self._machine.phase):
            return []  # late or early: the step it belongs to is closed
        return self._advance(lambda: self._machine.receive(site, frame.body))

    def deadline(self) -> list[Outgoing]:
        """Go on without the sites that have not answered, or void the round with TooFewSurvivors."""
        return self._advance(self._machine.deadline)

    def _advance(self, step: Callable[[], list[MachineOutgoing]]) -> list[Outgoing]:
        try:
            messages = step()
        except TooFew as error:
            raise TooFewSurvivors(error.got, error.needed, stage=error.stage.value, left=self.left) from None
        self.left.update(self._machine.faulty)
        kind = _REQUESTS.get(self._machine.phase)
        return [self._frame(message.to, kind, message.data) for message in messages if kind is not None]

    def _frame(self, site: str, kind: Kind, body: bytes) -> Outgoing:
        if kind is Kind.BROADCAST:
            body = Broadcast(self._params, body).to_bytes()
        return Outgoing(site, Frame(kind, *self._terms.place, body).to_bytes())
