"""One attempt at one round, sans-IO: invite, collect, sum, close.

The coordinator wraps the secure aggregation's ServerMachine in the frames of a run. It sees public keys, sealed
shares, masked vectors and, at the end, one sum. Time is an input: `deadline` closes the step at hand.

A round can carry the beginning of the next one: the keys of `following` travel beside the params and the
certificate of this round, and their answers beside the masked vectors and the reveals. The next round then begins
with its params. A site that is lost on the way is lost to the next round, too, unless that begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.errors import TooFewSurvivors
from federation.model.params import params_digest
from federation.round.messages import (
    FRAME_ROOM,
    PEER_ROOM,
    Broadcast,
    Frame,
    Invitation,
    Kind,
    Paired,
    Reason,
    abort_reason,
    accused_slot,
)
from federation.round.parts import Sum, by_site, without_excess
from federation.round.signed import ordered
from federation.round.terms import Terms
from federation.round.transport import Outgoing
from privacy.errors import FaultyClient, MalformedMessage
from privacy.mechanism.encoding import RingVector
from privacy.roster import Roster
from privacy.secagg.opened import Opened
from privacy.secagg.ring import packed_size
from privacy.secagg.server import Outgoing as MachineOutgoing
from privacy.secagg.server import Phase, ServerMachine, TooFew
from privacy.wire import Octets
from server.memory.heads import Heads
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
_REASONS = {*(reason.name.lower() for reason in Reason), SILENT}


class Coordinator:
    """One-shot owner of an attempt. Addresses are site ids here; `server.sessions` maps them to the transport's."""

    def __init__(
        self,
        terms: Terms,
        roster: Roster,
        key: Ed25519PrivateKey,
        heads: Heads | None = None,
        uploads: Uploads | None = None,
    ) -> None:
        self.terms = terms
        self.uploads = uploads
        self._key, self._root = key, roster.root
        self._heads = heads or Heads(roster)
        self.left: dict[str, str] = {}  # sites that aborted, broke the protocol or kept silent, and why
        self.accused: dict[str, str] = {}  # whose shares do not open, by the site that says so
        self.gone: set[str] = set()  # fell silent, left for a reason of their own, or broke the protocol
        self.following: Coordinator | None = None
        self._machine = self._made(roster)
        self._params: Octets | None = None
        self._params_digest = b""
        self._asked: set[str] = set()  # sites that were sent the params
        self._deliveries: list[MachineOutgoing] = []  # wait for the params
        self._answered: set[str] = set()  # in the step at hand, and not found faulty
        self._departed: set[str] = set()  # are not waited for
        self._onward: dict[str, bytes] = {}  # frames that wait to travel with the round before

    def _made(self, roster: Roster) -> ServerMachine:
        sink = self.uploads.keep if self.uploads is not None else None
        return ServerMachine(roster, self.terms.parameters, self.terms.session, sink)

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
        return (without_excess(self.terms, self.result, self.survivors, self.excess),)

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
    def reasons(self) -> dict[str, str]:
        """The same from a fixed list, which tells nothing else: a `Reason` in lower case, or SILENT."""
        return {site: self._word(site, told) for site, told in sorted(self.lost.items())}

    @property
    def proven(self) -> frozenset[str]:
        """The sites that are at fault beyond doubt: what they signed shows it."""
        return frozenset(site for site, error in self._machine.blame.items() if type(error) is FaultyClient)

    @property
    def charged(self) -> frozenset[str]:
        """The sites that may have charged this round: they had the params, and did not refuse what was dealt."""
        return frozenset(self._asked - self.accused.keys())

    @property
    def is_prepared(self) -> bool:
        """Keys are exchanged with enough sites of the cohort: `start` needs no invitation."""
        return bool(self._deliveries)

    @property
    def partners(self) -> frozenset[str]:
        """The sites that a prepared round begins with."""
        return frozenset(message.to for message in self._deliveries)

    @property
    def is_training(self) -> bool:
        """Whether the step at hand is the one in which sites train."""
        return self._machine.phase is Phase.MASK

    @property
    def _due(self) -> Kind | None:
        """What sites answer in the step at hand. A prepared round has asked for no vector before it has params."""
        is_waiting = self.is_training and self._params is None
        return None if is_waiting else _REPLIES.get(self._machine.phase)

    @property
    def has_enough(self) -> bool:
        """Whether as many sites have answered in the step at hand as a sum needs."""
        return len(self._answered) >= self.terms.parameters.required

    @property
    def may_repeat(self) -> bool:
        """Whether another attempt at this round can succeed: on a ring a site masks in one attempt only."""
        return not (self.terms.parameters.is_ring and self._asked)

    def forget(self) -> None:
        """Drop what sites sent: the attempt is over, or what it was for is written."""
        if self.uploads is not None:
            self.uploads.close()

    def start(self, params: Octets, following: Coordinator | None) -> list[Outgoing]:
        """Begin with these params: with invitations, or at once if the round is prepared."""
        self._params, self._params_digest = params, params_digest(params)
        self._machine.bind(self.terms.context(params))
        self.following = following
        if following is not None:
            following._queue(following._invitations())
        self.gone.clear()
        if not self.is_prepared:
            return self._invitations()
        self._departed.update(set(self.terms.parameters.members) - self.partners)
        deliveries, self._deliveries = self._deliveries, []
        return self._frames(Kind.BROADCAST, deliveries)

    def receive(self, site: str, data: bytes) -> list[Outgoing]:
        """Take one reply; what has to be sent now, if it completed a step. TooFewSurvivors voids the round.

        A reply that no honest site sends, for its length alone, is neither copied nor parsed. Of a sender that is
        not in the cohort nothing is looked at.
        """
        return self._received(site, data) if site in self.terms.parameters.slots else []

    def _received(self, site: str, data: bytes) -> list[Outgoing]:
        try:
            header = Frame.header(data)
            if (header.run, header.round, header.attempt) != self.terms.place:
                return []  # a straggler of an earlier attempt
            self._require_fits(header.kind, len(data))
            frame = Frame.from_bytes(data)
            if frame.kind is Kind.ABORT:
                return self._aborted(site, bytes(frame.body))
            if frame.kind is not self._due:
                return []  # late or early: the step it belongs to is closed
            self._answered.add(site)
            own = self._unpaired(site, frame) if frame.kind in (Kind.MASKED, Kind.REVEAL) else frame.body
        except MalformedMessage as error:
            self._leaves(site, error.message)
            return []
        except FaultyClient as error:
            self._leaves(site, error.message)
            self._departed.add(site)
            return self._advance(lambda: self._machine.leave(site))
        return self._advance(lambda: self._machine.receive(site, own))

    def deadline(self) -> list[Outgoing]:
        """Go on without the sites that have not answered, or void the round with TooFewSurvivors."""
        missing = (
            set(self.terms.parameters.members) - self._answered - self._departed - self._machine.blame.keys()
        )
        self.left = dict.fromkeys(sorted(missing), SILENT) | self.left
        self.gone |= missing
        return self._advance(self._machine.deadline)

    def _aborted(self, site: str, body: bytes) -> list[Outgoing]:
        """A site leaves. Whose share it accuses counts where it was dealt one, and has not answered otherwise."""
        if site in self._answered or site in self.accused:
            return []  # it has answered in this step, and is not believed the opposite
        slot, reason = accused_slot(body), abort_reason(body)
        why = reason.name.lower()
        if slot is not None:
            members = self.terms.parameters.members
            is_dealt = self.is_training and site in self._asked and site not in self.left
            if is_dealt and slot < len(members) and members[slot] != site:
                self.accused[site] = members[slot]
                why = f"its share from {members[slot]}, slot {slot}, does not open"
            else:
                why = "it says that a share does not open which nobody dealt"
        self._leaves(site, why)
        self._departed.add(site)
        if reason not in (Reason.PROTOCOL, Reason.SHARE):  # with those a site speaks of others
            self.gone.add(site)
        return self._advance(lambda: self._machine.leave(site))

    def _leaves(self, site: str, why: str) -> None:
        self.left[site] = why
        self._answered.discard(site)

    def _word(self, site: str, told: str) -> str:
        if site in self.accused:
            return Reason.SHARE.name.lower()
        # Anything else is what the server itself says of a site that broke the protocol.
        return told if told in _REASONS else Reason.PROTOCOL.name.lower()

    def _require_fits(self, kind: Kind, length: int) -> None:
        """MalformedMessage for a reply longer than the plan has room for."""
        rules = self.terms.parameters
        most = FRAME_ROOM + PEER_ROOM * rules.count
        if kind is Kind.MASKED:
            most += packed_size(rules.length, rules.ring_bits)
        if length > most:
            raise MalformedMessage(f"it sent a {kind.name} of {length} bytes, where {most} are the most")

    def _unpaired(self, site: str, frame: Frame) -> Octets:
        """This round's part of a reply; the other part is the next round's."""
        paired = Paired.from_bytes(frame.body)
        self._heads.take(site, paired.heads)
        if paired.following:
            self._go_on(lambda following: following.receive(site, bytes(paired.following)))
        return paired.own

    def _go_on(self, step: Callable[[Coordinator], list[Outgoing]]) -> None:
        """A step of the next round; it is given up if it becomes void."""
        if self.following is None:
            return
        try:
            self.following._queue(step(self.following))
        except TooFewSurvivors:
            self.following = None

    def _hasten(self, phase: Phase) -> None:
        """Nothing more can come for this step of the next round: it goes on with the sites that answered."""
        if self.following is not None and self.following._machine.phase is phase:
            self._go_on(Coordinator.deadline)

    def _queue(self, messages: list[Outgoing]) -> None:
        self._onward.update((message.to, message.data) for message in messages)

    def _advance(self, step: Callable[[], list[MachineOutgoing]]) -> list[Outgoing]:
        before = self._machine.phase
        try:
            messages = step()
        except TooFew as error:
            stage, number = error.stage.value, self.terms.round
            raise TooFewSurvivors(
                error.got, error.needed, stage=stage, left=self.lost, round_number=number
            ) from None
        finally:
            self._answered -= self._machine.blame.keys()
            self.gone |= self._machine.blame.keys()  # not listened to any more: as if it had vanished
        self.left.update(self._machine.faulty)
        if self._machine.phase is not before:
            self._answered.clear()
        kind = _REQUESTS.get(self._machine.phase)
        if kind is None:
            if self._machine.phase is Phase.DONE:
                self._hasten(Phase.SHARE)
            return []
        if kind is Kind.BROADCAST and self._params is None:
            self._deliveries += messages
            return []
        if kind in (Kind.SURVIVORS, Kind.CERTIFICATE):
            self._hasten(Phase.ADVERTISE)
        return self._frames(kind, messages)

    def _frames(self, kind: Kind, messages: list[MachineOutgoing]) -> list[Outgoing]:
        if kind is Kind.BROADCAST:
            self._asked.update(message.to for message in messages)
        return [self._frame(kind, message.to, message.data) for message in messages]

    def _frame(self, kind: Kind, site: str, body: bytes) -> Outgoing:
        place, signed = self.terms.place, (self._key, self.terms.plan.digest, self._root)
        if kind not in (Kind.BROADCAST, Kind.CERTIFICATE):
            return Outgoing(site, ordered(Frame(kind, *place, body), *signed).to_bytes())
        onward = self.following._onward.pop(site, b"") if self.following is not None else b""
        if kind is Kind.CERTIFICATE:
            frame = Frame(kind, *place, Paired(body, onward).to_bytes())
            return Outgoing(site, ordered(frame, *signed).to_bytes())
        cohort = [member.site for member in self.terms.members]
        broadcast = Broadcast(self._params or b"", body, self._heads.shown_to(site, cohort))
        frame = ordered(Frame(kind, *place), *signed, broadcast.statement(self._params_digest))
        return Outgoing(site, frame.around(Paired(b"", onward).around(broadcast.to_pieces())))

    def _invitations(self) -> list[Outgoing]:
        body = Invitation(self.terms.invited).to_bytes()
        return [self._frame(Kind.INVITE, member.site, body) for member in self.terms.members]
