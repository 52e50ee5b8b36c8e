"""One site in one attempt at one round: the terms it settled, its secrets, and the replies it has given.

Before its first reply a site settles the terms itself, from the plan it approved and the cohort it is shown. The
order of a round's requests is fixed: INVITE, ADVERTS, BROADCAST, SURVIVORS if a site was lost, CERTIFICATE. What a
site does at each, and in which order, is `Site._take_part`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from clients.policy import Policy, require_company
from clients.trust import Trust
from federation.plan.plan import Plan
from federation.round.groups import may_differ, smallest_sum
from federation.round.messages import Frame, Invitation, Kind, Member
from federation.round.parts import secrets_of
from federation.round.plays import is_played, last_round
from federation.round.terms import Terms
from federation.spool import Spool
from privacy.errors import FaultyServer, PolicyViolation, ProtocolError, SuspectedClient
from privacy.roster import Roster
from privacy.secagg.client import ClientMachine, Entropy
from privacy.secagg.parameters import Floor
from privacy.secagg.ring import RingVector
from privacy.wire import Content

_LARGE = 1 << 24  # bytes of a vector, from which on a site keeps the answer on its disk


class ShareDoesNotOpen(ProtocolError):
    """What the site in `slot` dealt to this one does not open. Nothing of the round is charged yet."""

    def __init__(self, message: str, slot: int) -> None:
        super().__init__(message, hint="it was altered, or that site is at fault: the server leaves it out")
        self.slot = slot


@dataclass
class Participant:
    """One attempt, then discarded. `replies`: by kind of request, its digest and what was answered.

    `excess`: the secret of what may be taken out of its noise, until the journal keeps it with the release.
    `tried`: the how-manieth try of its round it is.
    """

    terms: Terms
    machine: ClientMachine
    excess: bytes = field(default=b"", repr=False)
    replies: dict[Kind, tuple[bytes, tuple[Kind, Content]]] = field(default_factory=dict, repr=False)
    began: float = field(default_factory=time.monotonic)
    tried: int = 1
    spool: Spool | None = field(default=None, init=False, repr=False)

    def accept(self, delivery: bytes) -> None:
        """Open what the others dealt to this site. ShareDoesNotOpen names the slot whose share does not."""
        try:
            self.machine.accept(delivery)
        except SuspectedClient as error:
            slot = self.terms.parameters.slots[error.site]
            raise ShareDoesNotOpen(f"{error.message} (slot {slot})", slot) from None

    def mask(self, vector: RingVector, context: bytes, folder: Path | None) -> Content:
        """The masked vector, to be answered with. A large one lies in a file without a name, in this folder."""
        if vector.nbytes < _LARGE:
            return self.machine.mask(vector, context)
        self.spool = Spool(folder)
        self.machine.mask_into(vector, context, self.spool)
        return self.spool.content

    def abort(self) -> None:
        """Leave the round: the secrets go, and nothing is answered any more."""
        self.machine.abort()
        self.replies.clear()
        if self.spool is not None:
            self.spool.close()


def settle(plan: Plan, frame: Frame, member: Member, dimension: int, roster: Roster, policy: Policy) -> Terms:
    """The terms of an invitation, those of the site's group if there are groups; or the reason not to take part."""
    invitation = Invitation.from_bytes(frame.body)
    terms = Terms(plan, frame.run, frame.round, frame.attempt, invitation.members, dimension)
    if not (is_played(plan, frame.run) and 1 <= frame.round <= last_round(plan, frame.run)):
        raise FaultyServer(f"round {frame.round} of {plan.rounds} that are played")
    _require_sampled(plan, len(terms.members))
    require_company(plan, policy, smallest_sum(plan, len(terms.members)))
    if member not in terms.members:
        raise FaultyServer("the invitation does not show this site as it introduced itself")
    for other in terms.members:
        entry = roster.by_site.get(other.site)
        if entry is None or entry.size != other.size:
            raise FaultyServer("the invitation shows a site otherwise than the roster does")
    if len({roster.by_site[other.site].organization for other in terms.members}) < len(terms.members):
        raise PolicyViolation("two members of the cohort belong to one organization")
    return terms.of(member.site)


def machine_of(
    terms: Terms, site: str, trust: Trust, roster: Roster, policy: Policy, entropy: Entropy, excess: bytes
) -> ClientMachine:
    """The site's side of the secure aggregation, held to the floor of its policy and of the plan it approved."""
    rules, minimum = terms.plan.secure_aggregation, smallest_sum(terms.plan, terms.plan.cohort.minimum)
    floor = Floor(max(policy.cohort_minimum, minimum), rules.colluders, rules.dropouts)
    parts = secrets_of(terms, site, excess)
    parameters, session = terms.parameters, terms.session
    return ClientMachine(site, trust.identity, roster, parameters, session, floor, entropy, parts)


def require_same_company(plan: Plan, first: frozenset[str], present: frozenset[str]) -> None:
    """PolicyViolation if a cohort differs more from the one of its run's first round than `may_differ` allows."""
    spared, other = may_differ(plan), len(first ^ present)
    if spared is not None and other > spared:
        raise PolicyViolation(
            f"the cohort differs by {other} from that of this run's first round, and there is no noise",
            hint=f"wait for the same sites, or start a new run; {spared} may be missing",
        )


def _require_sampled(plan: Plan, count: int) -> None:
    """PolicyViolation unless the plan allows a cohort of so many sites."""
    if count < plan.cohort.minimum:
        raise PolicyViolation(f"a cohort of {count} sites, the plan's minimum is {plan.cohort.minimum}")
    asked = plan.cohort.size if plan.cohort.sample_rate is None else None
    if isinstance(asked, int) and count != asked:
        raise PolicyViolation(f"a cohort of {count} sites, the plan's size is {asked}")
