"""One site in one attempt at one round, sans-IO: requests in, replies out.

The order is fixed: INVITE, ADVERTS, BROADCAST, SURVIVORS if a site was lost, CERTIFICATE. Before its first reply
the participant settles the terms itself from the plan it approved; before it helps to unmask it has the journal
record whose sum is being opened, so that a second opening of the same round with other survivors, whose
difference would bare a single update, is refused for good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from clients.trust import Trust
from federation.model.params import params_from_bytes
from federation.plan.plan import Plan
from federation.round.messages import Broadcast, Frame, Invitation, Kind, Member
from federation.round.terms import Terms
from privacy.errors import FaultyServer, PolicyViolation
from privacy.ledger.heads import Head
from privacy.mechanism.encoding import RingVector
from privacy.roster import Roster
from privacy.secagg.client import ClientMachine
from privacy.secagg.floor import Floor
from privacy.secagg.messages import Certificate
from privacy.wire import digest

Entropy = Callable[[int], bytes]
Release = Callable[[Terms, Tensor, tuple[Head, ...]], RingVector]
Masking = Callable[[Terms], None]
Opening = Callable[[Terms, tuple[str, ...]], None]


@dataclass(frozen=True)
class Duties:
    """What a participant needs of its site: identity, randomness, the update, leave to open a sum."""

    site: str
    trust: Trust
    roster: Roster
    cohort_minimum: int
    entropy: Entropy
    release: Release
    masking: Masking
    opening: Opening


class Participant:
    """Drives one ClientMachine; one attempt, then discarded."""

    def __init__(self, terms: Terms, duties: Duties) -> None:
        self.terms = terms
        rules = terms.plan.secure_aggregation
        self._duties = duties
        self._answered: dict[
            Kind, tuple[bytes, tuple[Kind, bytes]]
        ] = {}  # kind -> digest of a request, reply
        self._machine = ClientMachine(
            duties.site,
            duties.trust.identity,
            duties.roster,
            terms.parameters,
            terms.session,
            Floor(duties.cohort_minimum, rules.colluders, rules.dropouts),
            duties.entropy,
        )

    def advertise(self) -> bytes:
        """This site's one-time public keys, signed."""
        return self._machine.advertise()

    def receive(self, kind: Kind, body: bytes) -> tuple[Kind, bytes]:
        """The reply to one request of this round; raises a ProtocolError if it is not one.

        The same request again gets the same bytes, and nothing is trained, charged or masked a second time.
        """
        asked, seen = digest("federation/request/1", body), self._answered.get(kind)
        if seen is None or seen[0] != asked:
            try:
                seen = self._answered[kind] = asked, self._reply(kind, body)
            except BaseException:
                self._machine.abort()  # whatever it was, this attempt is over and its secrets go
                self._answered.clear()
                raise
        return seen[1]

    def _reply(self, kind: Kind, body: bytes) -> tuple[Kind, bytes]:
        if kind is Kind.ADVERTS:
            return Kind.SHARES, self._machine.share(body)
        if kind is Kind.BROADCAST and Kind.ADVERTS in self._answered:
            return Kind.MASKED, self._masked(Broadcast.from_bytes(body))
        if kind is Kind.SURVIVORS:
            return Kind.VOTE, self._machine.commit(body)
        if kind is Kind.CERTIFICATE:
            return Kind.REVEAL, self._revealed(body)
        raise FaultyServer(f"a {kind.name} frame inside a round")

    def _revealed(self, body: bytes) -> bytes:
        shares = self._machine.reveal(body)  # only a certificate that verifies gets this far
        members = self.terms.parameters.members
        survivors = sorted(Certificate.from_bytes(body).survivors)
        self._duties.opening(self.terms, tuple(members[slot] for slot in survivors))
        return shares

    def _masked(self, broadcast: Broadcast) -> bytes:
        params = params_from_bytes(broadcast.params, self.terms.dimension)
        vector = self._duties.release(self.terms, params, broadcast.heads)
        self._duties.masking(self.terms)  # the journal has this attempt before a masked byte leaves
        self._machine.accept(broadcast.shares)
        return self._machine.mask(vector, self.terms.context(broadcast.params))


def settle(plan: Plan, frame: Frame, member: Member, dimension: int, roster: Roster) -> Terms:
    """The terms of an invitation, or the reason not to take part in them."""
    invitation = Invitation.from_bytes(frame.body)
    terms = Terms(
        plan=plan,
        run=frame.run,
        round=frame.round,
        attempt=frame.attempt,
        members=invitation.members,
        dimension=dimension,
    )
    if not 1 <= frame.round <= plan.last_round:
        raise FaultyServer(f"round {frame.round} of a plan of {plan.federation.rounds} rounds")
    if len(invitation.members) < plan.cohort.minimum:
        raise PolicyViolation(
            f"a cohort of {len(invitation.members)} sites, the plan's minimum is {plan.cohort.minimum}"
        )
    if member not in invitation.members:
        raise FaultyServer("the invitation does not show this site as it introduced itself")
    for other in invitation.members:
        entry = roster.by_site.get(other.site)
        if entry is None or entry.size != other.size:
            raise FaultyServer("the invitation shows a site otherwise than the roster does")
    return terms
