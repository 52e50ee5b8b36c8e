"""The run that a site has consented to, while its process lives: who leads it, and its open rounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from clients.greeting.position import OPEN, Position
from clients.participant import Participant
from clients.training.work import Trainer
from federation.plan.plan import Plan
from federation.round.messages import Frame
from federation.round.plays import account_name
from federation.round.signed import require_obeyed
from privacy.roster import Roster


@dataclass
class Joined:
    """The run this site has consented to, and the rounds of it that are open: the present one and the next."""

    run: bytes
    plan: Plan
    roster: Roster
    trainer: Trainer | None  # none if the run is over: what is left is to be told so
    dimension: int
    position: Position = field(default_factory=Position)
    rounds: dict[int, Participant] = field(default_factory=dict)  # those asked of last come last
    company: frozenset[str] | None = None  # the cohort of the first round that this site was invited to
    whole: Trainer | None = None  # with all records, where the plan has folds and this is a part of it

    @property
    def account(self) -> str:
        """The name under which the ledger has this run."""
        return account_name(self.plan, self.run)

    def require_said(self, frame: Frame) -> None:
        """FaultyServer unless the coordinator said this, here."""
        require_obeyed(frame, self.roster.coordinator, self.plan.digest, self.roster.root)

    def asked(self, number: int) -> Participant | None:
        """The site's part in a round, if it is open."""
        participant = self.rounds.pop(number, None)
        if participant is not None:
            self.rounds[number] = participant
        return participant

    def open(self, number: int, participant: Participant) -> None:
        """Take part in a round. Others stay open, but for those that are over, and more than a few."""
        self.rounds.pop(number, None)
        over = [other for other in self.rounds if other < self.position.begun - 1]
        for other in [*over, *list(self.rounds)[: 1 - OPEN]]:
            self.rounds.pop(other, None)
        self.rounds[number] = participant

    def regroup(self, roster: Roster) -> None:
        """Go on under a newer roster: the keys of open rounds were for the one before."""
        for participant in self.rounds.values():
            participant.abort()
        self.rounds.clear()
        self.roster = roster
