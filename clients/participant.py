"""One site in one attempt at one round, sans-IO: requests in, replies out.

The order is fixed: INVITE, ADVERTS, BROADCAST, SURVIVORS. Before its first reply the participant settles the
terms itself from the plan it approved; before the update it checks that the params are those of the invitation;
before it helps to unmask it has the journal record whose sum is being opened, so that a second opening of the
same round with other survivors, whose difference would bare a single update, is refused for good.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from federation.messages import Broadcast, Frame, Invitation, Kind, Member
from federation.plan import Plan
from federation.terms import Terms, params_digest, params_from_bytes
from privacy.encoding import RingVector
from privacy.errors import FaultyServer, PolicyViolation
from privacy.secagg.client import ClientMachine

Entropy = Callable[[int], bytes]
Release = Callable[[Terms, Tensor], RingVector]
Opening = Callable[[Terms, bytes], None]


class Participant:
    """Drives one ClientMachine; one attempt, then discarded."""

    def __init__(
        self, terms: Terms, site: str, *, entropy: Entropy, release: Release, opening: Opening
    ) -> None:
        self.terms = terms
        self._machine = ClientMachine(site, terms.parameters, terms.context, entropy)
        self._release = release
        self._opening = opening

    def advertise(self) -> bytes:
        """This site's one-time public keys."""
        return self._machine.advertise()

    def receive(self, request: Frame) -> Frame:
        """The reply to one request of this round; raises a ProtocolError if it is not one."""
        if request.kind is Kind.ADVERTS:
            return request.reply(Kind.SHARES, self._machine.share(request.body))
        if request.kind is Kind.BROADCAST:
            return request.reply(Kind.MASKED, self._masked(Broadcast.from_bytes(request.body)))
        if request.kind is Kind.SURVIVORS:
            self._opening(self.terms, request.body)
            return request.reply(Kind.REVEAL, self._machine.reveal(request.body))
        raise FaultyServer(f"a {request.kind.name} frame inside a round")

    def _masked(self, broadcast: Broadcast) -> bytes:
        if params_digest(broadcast.params) != self.terms.params_digest:
            raise FaultyServer("the params are not those of the invitation")
        params = params_from_bytes(broadcast.params, self.terms.dimension)
        return self._machine.mask(broadcast.shares, self._release(self.terms, params))


def settle(plan: Plan, frame: Frame, member: Member, dimension: int) -> Terms:
    """The terms of an invitation, or the reason not to take part in them."""
    invitation = Invitation.from_bytes(frame.body)
    terms = Terms(
        plan=plan,
        run=frame.run,
        round=frame.round,
        attempt=frame.attempt,
        members=invitation.members,
        params_digest=invitation.params_digest,
        dimension=dimension,
    )
    if not 1 <= frame.round <= plan.federation.rounds:
        raise FaultyServer(f"round {frame.round} of a plan of {plan.federation.rounds} rounds")
    if len(invitation.members) < plan.cohort.minimum:
        raise PolicyViolation(
            f"a cohort of {len(invitation.members)} sites, the plan's minimum is {plan.cohort.minimum}"
        )
    if member not in invitation.members:
        raise FaultyServer("the invitation does not show this site as it introduced itself")
    return terms
