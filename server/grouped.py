"""One attempt at a round of groups: a coordinator for each group, step by step together.

No group is ahead of another: what a group has to send waits until every group has ended the step at hand. So no
site is asked to train, and none is charged, before every group has its keys; and no sum is opened before every
group has its vectors. If a group is too small to go on, the attempt is void for all.

Rounds of groups are not prepared on the way: the groups of the next round are others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.round.transport import Outgoing
from privacy.roster import Roster
from privacy.wire import Octets
from server.coordinator import Coordinator
from server.memory.heads import Heads


class Grouped:
    """One-shot owner of an attempt, as `Coordinator`; `terms` are those of the whole cohort."""

    following: None = None
    is_prepared = False
    partners: frozenset[str] = frozenset()
    uploads: None = None
    opened: None = None
    result: None = None

    def __init__(self, terms: Terms, roster: Roster, key: Ed25519PrivateKey, heads: Heads) -> None:
        self.terms = terms
        self._parts = tuple(self._part(group, roster, key, heads) for group in terms.groups)
        self._of = {member.site: part for part in self._parts for member in part.terms.members}
        self._waiting: set[Coordinator] = set()  # for answers, in the step at hand
        self._outgoing: list[Outgoing] = []  # of the groups that do not wait any more

    def _part(self, group: Terms, roster: Roster, key: Ed25519PrivateKey, heads: Heads) -> Coordinator:
        return Coordinator(group, roster, key, heads)

    @property
    def is_done(self) -> bool:
        """Whether there is a sum of each group."""
        return all(part.is_done for part in self._parts)

    def sums(self) -> tuple[Sum, ...]:
        """The sum of each group."""
        return tuple(one for part in self._parts for one in part.sums())

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites in the sums, in order."""
        return tuple(sorted(site for part in self._parts for site in part.survivors))

    @property
    def left(self) -> dict[str, str]:
        """The sites that aborted, broke the protocol or kept silent, and why."""
        return {site: why for part in self._parts for site, why in part.left.items()}

    @property
    def gone(self) -> frozenset[str]:
        """The sites that are away, as in `Coordinator`."""
        return frozenset[str]().union(*(part.gone for part in self._parts))

    @property
    def reasons(self) -> dict[str, str]:
        """Why sites left, from a fixed list."""
        return {site: why for part in self._parts for site, why in sorted(part.reasons.items())}

    @property
    def accused(self) -> dict[str, str]:
        """Whose shares do not open, by the site that says so."""
        return {site: other for part in self._parts for site, other in part.accused.items()}

    @property
    def proven(self) -> frozenset[str]:
        """The sites that are at fault beyond doubt."""
        return frozenset[str]().union(*(part.proven for part in self._parts))

    @property
    def charged(self) -> frozenset[str]:
        """The sites that may have charged this round."""
        return frozenset[str]().union(*(part.charged for part in self._parts))

    @property
    def is_training(self) -> bool:
        """Whether the step at hand is the one in which sites train."""
        return any(part.is_training for part in self._waiting)

    @property
    def has_enough(self) -> bool:
        """Whether as many sites of each group have answered in the step at hand as its sum needs."""
        return all(part.has_enough for part in self._waiting)

    @property
    def lost(self) -> dict[str, str]:
        """Why sites left, as in `Coordinator`."""
        return {site: why for part in self._parts for site, why in part.lost.items()}

    @property
    def may_repeat(self) -> bool:
        """Whether another attempt at this round can succeed."""
        return all(part.may_repeat for part in self._parts)

    def forget(self) -> None:
        """Nothing is kept of what sites sent."""

    def start(self, params: Octets, following: object) -> list[Outgoing]:  # noqa: ARG002 - nothing follows
        """Begin with these params: with invitations, which show every site the whole cohort."""
        return self._step(lambda part: part.start(params, None), self._parts)

    def receive(self, site: str, data: bytes) -> list[Outgoing]:
        """Take one reply; what has to be sent now, if it completed the step of every group."""
        part = self._of.get(site)
        return [] if part is None else self._step(lambda one: one.receive(site, data), (part,))

    def deadline(self) -> list[Outgoing]:
        """Go on without the sites that have not answered, or void the round with TooFewSurvivors."""
        return self._step(Coordinator.deadline, [part for part in self._parts if part in self._waiting])

    def _step(
        self,
        step: Callable[[Coordinator], list[Outgoing]],
        parts: tuple[Coordinator, ...] | list[Coordinator],
    ) -> list[Outgoing]:
        for part in parts:
            messages = step(part)
            if messages or part.is_done:
                self._outgoing += messages
                self._waiting.discard(part)
        if self._waiting:
            return []
        self._waiting = set(self._unfinished())
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def _unfinished(self) -> Iterator[Coordinator]:
        return (part for part in self._parts if not part.is_done)


Attempt: TypeAlias = Coordinator | Grouped
