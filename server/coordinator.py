"""One attempt at one round, sans-IO: invite, collect, sum, close.

The coordinator wraps the secure aggregation's ServerMachine in the frames of a run. It sees public keys, sealed
shares, masked vectors and, at the end, one sum. Time is an input: `deadline` closes the step at hand.

A round can carry the beginning of the next one: the keys of `following` travel beside the params and the
certificate of this round, and their answers beside the masked vectors and the reveals. If no site is lost, the next
round then begins with its params. If one is, `following` is dropped and the next round starts with invitations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from federation.errors import TooFewSurvivors
from federation.round.messages import Broadcast, Frame, Invitation, Kind, Paired, abort_reason
from federation.round.parts import by_site, without_excess
from federation.round.terms import Terms
from federation.round.transport import Outgoing
from federation.sums.state import Sum
from privacy.errors import FaultyClient, MalformedMessage
from privacy.mechanism.encoding import RingVector
from privacy.roster import Roster
from privacy.secagg.opened import Opened
from privacy.secagg.server import Outgoing as MachineOutgoing
from privacy.secagg.server import Phase, ServerMachine, TooFew
from server.heads import Heads
from server.transcripts import Uploads

_REQUESTS = {
    Phase.SHARE: Kind.ADVERTS,
    Phase.MASK: Kind.BROADCAST,
    Phase.COMMIT: Kind.SURVIVORS,
    Phase.REVEAL: Kind.CERTIFICATE,
}
_REPLIES = {
    Phase.ADVERTISE: Kind.ADVERT,
    Phase.SHARE: Kind.SHARES,
    Phase.MASK: Kind.MASKED,
    Phase.COMMIT: Kind.VOTE,
    Phase.REVEAL: Kind.REVEAL,
}
SILENT = "silent"  # why a site left that did not answer before the deadline


class Coordinator:
    """One-shot owner of an attempt. Addresses are site ids here; `server.sessions` maps them to the transport's."""

    def __init__(
        self, terms: Terms, roster: Roster, heads: Heads | None = None, uploads: Uploads | None = None
    ) -> None:
        self.terms = terms
        self.uploads = uploads
        self._heads = heads or Heads(roster)
        self.left: dict[str, str] = {}  # sites that aborted, broke the protocol or kept silent, and why
        self.following: Coordinator | None = None
        sink = uploads.keep if uploads is not None else None
        self._machine = ServerMachine(roster, terms.parameters, terms.session, sink)
        self._params: bytes | None = None
        self._is_masking = False
        self._deliveries: list[MachineOutgoing] = []  # wait for the params
        self._heard: set[tuple[Phase, str]] = set()
        self._onward: dict[str, bytes] = {}  # frames that wait to travel with the round before

    @property
    def result(self) -> RingVector | None:
        """The sum over `survivors`, once there is one."""
        return self._machine.result

    @property
    def is_done(self) -> bool:
        """Whether there is a sum."""
        return self.result is not None

    def sums(self) -> tuple[Sum, ...]:
        """The sum, without the noise that it does not need, as the one of its round; none before it is there."""
        if self.result is None:
            return ()
        return (Sum.of(self.terms, without_excess(self.terms, self.result, self.survivors, self.excess)),)

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites in the sum."""
        return self._machine.survivors

    @property
    def excess(self) -> Mapping[str, bytes]:
        """The secret of each survivor's noise that the sum does not need, where it was rebuilt."""
        return by_site(self.terms, self._machine.opened_excess)

    @property
    def opened(self) -> Opened | None:
        """What shows anybody that `result` is the sum of what the survivors signed, once there is one."""
        return self._machine.opened

    @property
    def lost(self) -> dict[str, str]:
        """Why sites left: the reason they gave, SILENT, or what the server says of one that broke the protocol."""
        return self.left | self._machine.faulty

    @property
    def is_prepared(self) -> bool:
        """Keys are exchanged with every site of the cohort: `start` needs no invitation."""
        return len(self._deliveries) == len(self.terms.members)

    @property
    def may_repeat(self) -> bool:
        """Whether another attempt at this round can succeed: on a ring a site masks in one attempt only."""
        is_ring = self.terms.parameters.fewest_neighbors > 0
        return not (is_ring and self._is_masking)

    def forget(self) -> None:
        """Drop what sites sent: the attempt is over, or what it was for is written."""
        if self.uploads is not None:
            self.uploads.close()

    def start(self, params: bytes, following: Coordinator | None) -> list[Outgoing]:
        """Begin with these params: with invitations, or at once if the round is prepared."""
        self._params = params
        self._machine.bind(self.terms.context(params))
        self.following = following
        if following is not None:
            following._queue(following._invitations())
        if not self.is_prepared:
            return self._invitations()
        deliveries, self._deliveries = self._deliveries, []
        return self._frames(Kind.BROADCAST, deliveries)

    def receive(self, site: str, data: bytes) -> list[Outgoing]:
        """Take one reply; what has to be sent now, if it completed a step. TooFewSurvivors voids the round."""
        try:
            frame = Frame.from_bytes(data)
            if (frame.run, frame.round, frame.attempt) != self.terms.place:
                return []  # a straggler of an earlier attempt
            if frame.kind is Kind.ABORT:
                self.left[site] = abort_reason(frame.body).name.lower()
                return self._advance(lambda: self._machine.leave(site))
            if frame.kind is not _REPLIES.get(self._machine.phase):
                return []  # late or early: the step it belongs to is closed
            self._heard.add((self._machine.phase, site))
            own = self._unpaired(site, frame) if frame.kind in (Kind.MASKED, Kind.REVEAL) else frame.body
        except MalformedMessage as error:
            self.left[site] = error.message
            return []
        except FaultyClient as error:
            self.left[site] = error.message
            return self._advance(lambda: self._machine.leave(site))
        return self._advance(lambda: self._machine.receive(site, own))

    def deadline(self) -> list[Outgoing]:
        """Go on without the sites that have not answered, or void the round with TooFewSurvivors."""
        for member in self.terms.members:
            if (self._machine.phase, member.site) not in self._heard and member.site not in self.lost:
                self.left[member.site] = SILENT
        return self._advance(self._machine.deadline)

    def _unpaired(self, site: str, frame: Frame) -> bytes:
        """This round's part of a reply; the other part is the next round's."""
        paired = Paired.from_bytes(frame.body)
        self._heads.take(site, paired.heads)
        if self.following is not None and paired.following:
            try:
                self.following._queue(self.following.receive(site, paired.following))
            except TooFewSurvivors:
                self.following = None
        return paired.own

    def _queue(self, messages: list[Outgoing]) -> None:
        self._onward.update((message.to, message.data) for message in messages)

    def _advance(self, step: Callable[[], list[MachineOutgoing]]) -> list[Outgoing]:
        try:
            messages = step()
        except TooFew as error:
            stage, number = error.stage.value, self.terms.round
            raise TooFewSurvivors(
                error.got, error.needed, stage=stage, left=self.lost, round_number=number
            ) from None
        self.left.update(self._machine.faulty)
        kind = _REQUESTS.get(self._machine.phase)
        if kind is None:
            return []
        if kind is Kind.BROADCAST and self._params is None:
            self._deliveries += messages
            return []
        return self._frames(kind, messages)

    def _frames(self, kind: Kind, messages: list[MachineOutgoing]) -> list[Outgoing]:
        self._is_masking |= kind is Kind.BROADCAST
        return [self._frame(kind, message.to, message.data) for message in messages]

    def _frame(self, kind: Kind, site: str, body: bytes) -> Outgoing:
        if kind is Kind.BROADCAST:
            cohort = [member.site for member in self.terms.members]
            body = Broadcast(self._params or b"", body, self._heads.shown_to(site, cohort)).to_bytes()
        if kind in (Kind.BROADCAST, Kind.CERTIFICATE):
            onward = self.following._onward.pop(site, b"") if self.following is not None else b""
            body = Paired(body, onward).to_bytes()
        return Outgoing(site, Frame(kind, *self.terms.place, body).to_bytes())

    def _invitations(self) -> list[Outgoing]:
        body = Invitation(self.terms.invited).to_bytes()
        return [self._frame(Kind.INVITE, member.site, body) for member in self.terms.members]
