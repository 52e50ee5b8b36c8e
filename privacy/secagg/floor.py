"""What a site demands of a cohort before it takes part, and the keys of those it takes part with."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.errors import FaultyServer, PolicyViolation
from privacy.roster import Roster
from privacy.secagg.parameters import Parameters


@dataclass(frozen=True)
class Floor:
    """What a site demands of a cohort; the server can change none of it.

    `members` is the least size of a cohort. `colluders` and `dropouts` come from the plan that the site approved:
    the site derives the threshold from them, and from nothing that the server says.
    """

    members: int
    colluders: int
    dropouts: int

    def check(self, parameters: Parameters, roster: Roster) -> None:
        """PolicyViolation if the cohort is too small or ruled otherwise; FaultyServer if it is not certified.

        No two members may belong to one organization: so c bounds organizations that work with the server,
        and as many organizations as sites stand behind every sum.
        """
        if (parameters.colluders, parameters.dropouts) != (self.colluders, self.dropouts):
            raise PolicyViolation("the cohort's colluders or dropouts are not those of the plan")
        if parameters.count < self.members:
            raise PolicyViolation(
                f"a cohort of {parameters.count} sites, this site demands {self.members}",
                hint="wait for more sites to join",
            )
        if not parameters.slots.keys() <= roster.by_site.keys():
            raise FaultyServer("a member of the cohort is not on the roster")
        organizations = {roster.by_site[site].organization for site in parameters.members}
        if len(organizations) < parameters.count:
            raise PolicyViolation("two members of the cohort belong to one organization")


def member_keys(parameters: Parameters, roster: Roster) -> tuple[bytes, ...]:
    """The identity keys of the cohort, by slot."""
    return tuple(roster.by_site[site].key for site in parameters.members)
