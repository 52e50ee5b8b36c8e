"""Who is asked to a round: the plan's sample of the sites, but for those at fault and those that are away.

Privacy does not depend on it: whatever the cohort, each site works out its noise, threshold and floor from the
members that it is shown (federation/round/terms.py), and no plan claims anything from the sampling of sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from federation.errors import RosterError
from federation.plan.plan import Plan
from federation.round.cohort import required_survivors, sample
from federation.round.groups import can_sum, may_differ
from federation.round.messages import Member
from privacy.errors import UnsafeParameters
from server.attendance.absence import Absence
from server.attendance.faults import Faults
from server.attendance.patience import Patience


@dataclass
class Attendance:
    """What a server has learned of its sites in a run. A resumed run begins with the faults that receipts hold."""

    faults: Faults = field(default_factory=Faults)
    absence: Absence = field(default_factory=Absence)
    patience: Patience = field(default_factory=Patience)

    def cohort(self, plan: Plan, members: Sequence[Member], number: int) -> tuple[Member, ...]:
        """The cohort of round `number`, never below the plan's minimum.

        Those at fault are left out as far as that allows. Of those that are away, as many as can be, and only if
        enough others are there for a sum: else all of them are asked, and any may come back. RosterError if there
        is no cohort at all.
        """
        out: set[str] = set()
        for group in self.faults.groups(plan.secure_aggregation.colluders):
            if _without(plan, members, number, out | group) is not None:
                out |= group
        away = [site for site in self.absence.away if site not in out]
        for count in range(len(away), 0, -1):
            found = _without(plan, members, number, out | set(away[:count]))
            if found is not None and _can_sum(plan, found, number, away):
                return found
        return sample(plan, members, number, out)


def _without(
    plan: Plan, members: Sequence[Member], number: int, out: AbstractSet[str]
) -> tuple[Member, ...] | None:
    """The cohort without some sites; None if it were too small, or the sites would refuse it."""
    try:
        found = sample(plan, members, number, out)
        required_survivors(plan, len(found))
    except (RosterError, UnsafeParameters):
        return None
    spared = may_differ(plan)
    return None if spared is not None and len(members) - len(found) > spared else found


def _can_sum(plan: Plan, cohort: Sequence[Member], number: int, away: Sequence[str]) -> bool:
    names = [member.site for member in cohort]
    return can_sum(plan, number, names, set(names) - set(away))
