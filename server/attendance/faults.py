"""Who may be at fault for shares that did not open, and who is therefore asked no more in this run.

A share that does not open was spoilt by the site that dealt it, or the site that says so lies (what is relayed
between them is authenticated, and this server did not touch it). So of every such pair one is at fault, and nobody
can tell which. docs/decisions/0019-who-is-left-out.md has the argument behind these rules:

1. A site that is accused by more than `colluders` others dealt badly: they cannot all lie. One that accuses more
   than `colluders` others lies. It is left out alone.
2. Of what is left, pairs are left out that have no site in common: each has one faulty site of its own. So never
   more honest sites are left out than faulty ones.
3. At most `colluders` of all these are left out in a run, since there are no more faulty sites than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Faults:
    """What was said in this run so far. `proven`: sites whose own signatures convict them."""

    accusations: dict[tuple[str, str], None] = field(default_factory=dict)  # (accuser, accused), in order
    proven: dict[str, None] = field(default_factory=dict)

    def accuse(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Note that shares did not open: (who says so, who dealt them)."""
        self.accusations.update(dict.fromkeys(pairs))

    def prove(self, sites: Iterable[str]) -> None:
        """Note sites that signed what no honest site signs."""
        self.proven.update(dict.fromkeys(sites))

    def groups(self, colluders: int) -> tuple[frozenset[str], ...]:
        """Whom to leave out, in this order: a single site where it is clear which, else both of a pair."""
        open_ = [pair for pair in self.accusations if not self.proven.keys() & set(pair)]
        alone = [site for site, count in _counts(open_) if count > colluders][:colluders]
        found, out = [frozenset((site,)) for site in alone], set(alone)
        for pair in open_:
            if len(found) < colluders and not out & set(pair):
                found.append(frozenset(pair))
                out |= set(pair)
        return (*(frozenset((site,)) for site in self.proven), *found)

    def told(self) -> str:
        """All of it in one line, for people; empty if there is nothing to tell."""
        proven = [f"{site} is proven to be at fault" for site in self.proven]
        dealt = [
            f"{accuser} says that its share from {accused} does not open"
            for accuser, accused in sorted(self.accusations)
        ]
        return "; ".join([*proven, *dealt])


def _counts(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """How many others each site is accused by, and how many it accuses, the most first."""
    pairs = list(pairs)
    accused, accusers = Counter(pair[1] for pair in pairs), Counter(pair[0] for pair in pairs)
    names = sorted(accused.keys() | accusers.keys())
    return sorted(
        ((name, max(accused[name], accusers[name])) for name in names), key=lambda each: (-each[1], each[0])
    )
