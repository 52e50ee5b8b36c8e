"""A round's public parameters: cohort, colluders, dropouts, ring width, and the thresholds that follow.

An honest site gives away, for each peer, a share of its mask secret or of its self seed, never both; a
colluding one gives both. Rebuilding both secrets of a site takes 2t shares out of n + c, so with

    t = floor((n + c) / 2) + 1

at most one of them is ever rebuilt, whatever the server tells whom (the threshold of Bonawitz et al. 2017,
section 6, written for any c). A sum over at least t sites holds t - c >= 2 honest inputs, as long as
n - c >= 2. See docs/protocol.md, section 3.

A cohort of two hides each input from the server, and none from the other site: the sum less one's own is the
other's. Who asks for one must have noise of its own in each input (`Plan.is_of_two`). No cohort of three or more
opens a sum of two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from privacy.errors import FaultyServer, PolicyViolation, UnsafeParameters
from privacy.roster import MAX_SITES, Roster
from privacy.secagg.graph import Graph, Shape, choose_shape
from privacy.secagg.ring import packed_size
from privacy.suite import label
from privacy.wire import Writer, digest

_MIN_SITES = 2
_MIN_SUM = 3  # of a cohort that is larger than two
_MAX_RING_BITS = 62


@dataclass(frozen=True)
class Parameters:
    """One round's public parameters. Cannot exist with unsafe values.

    `members` are sorted site ids, and a site's place among them is its slot. `colluders` is c, the number of
    sites that may work with the server. `dropouts` is how many the plan is willing to lose. Vectors have
    `length` elements modulo 2^`ring_bits`. `levels`, ascending, say for which numbers of missing sites the sites
    have prepared less noise than for the last, which is `tolerated`; without excess noise there are none.
    """

    members: tuple[str, ...]
    colluders: int
    dropouts: int
    ring_bits: int
    length: int
    levels: tuple[int, ...] = ()

    @classmethod
    def choose(
        cls,
        members: Iterable[str],
        *,
        colluders: int,
        dropouts: int,
        ring_bits: int,
        length: int,
        levels: tuple[int, ...] = (),
    ) -> Parameters:
        """Parameters for these members in any order. UnsafeParameters says what cannot be made safe."""
        return cls(tuple(sorted(members)), colluders, dropouts, ring_bits, length, levels)

    def __post_init__(self) -> None:
        n = self.count
        if list(self.members) != sorted(set(self.members)):
            raise UnsafeParameters("the members of a cohort are not distinct or not sorted")
        if not _MIN_SITES <= n <= MAX_SITES:
            raise UnsafeParameters(
                f"a cohort of {n} sites; secure aggregation takes {_MIN_SITES} to {MAX_SITES}",
                hint="a sum of one is that site's input",
            )
        if self.colluders < 0 or self.dropouts < 0:
            raise UnsafeParameters("colluders and dropouts are counts, not negative")
        if n - self.colluders < 2:
            raise UnsafeParameters(
                f"with {self.colluders} colluders in a cohort of {n}, fewer than two honest sites are left",
                hint="enlarge the cohort or lower secure_aggregation.colluders",
            )
        if not 1 <= self.ring_bits <= _MAX_RING_BITS:
            raise UnsafeParameters(f"a ring of {self.ring_bits} bits; 1 to {_MAX_RING_BITS} are supported")
        if self.length < 1:
            raise UnsafeParameters("a vector needs at least one element")
        if packed_size(self.length, self.ring_bits) >= 1 << 32:  # its length enters a digest as 32 bits
            raise UnsafeParameters(
                f"a vector of {self.length} elements of {self.ring_bits} bits; packed it has 2^32 bytes or more"
            )
        if self.levels:
            self._check_levels()

    def _check_levels(self) -> None:
        if list(self.levels) != sorted({0, *self.levels})[1:] or self.levels[-1] != self.tolerated:
            raise UnsafeParameters(
                f"levels of excess noise ascend from 1 to {self.tolerated}, as many as may be missing"
            )
        if self.is_ring:
            raise UnsafeParameters(
                "excess noise is taken out in the complete graph only",
                hint=f"this cohort of {self.count} shares along a ring: leave excess noise in",
            )

    @property
    def count(self) -> int:
        """n, the size of the cohort."""
        return len(self.members)

    @property
    def quorum(self) -> int:
        """q, the number of votes that settle one set of survivors: more than half of the n + c there can be."""
        return (self.count + self.colluders) // 2 + 1

    @cached_property
    def shape(self) -> Shape:
        """Number of neighbors and threshold: everyone in small cohorts, a ring in large ones."""
        return choose_shape(self.count, self.colluders, self.tolerated)

    @property
    def threshold(self) -> int:
        """t, the number of shares that rebuild a secret."""
        return self.shape.threshold

    @property
    def is_ring(self) -> bool:
        """Whether each site has some neighbors only."""
        return self.shape.degree < self.count - 1

    @property
    def fewest_neighbors(self) -> int:
        """On a ring, how many neighbors of each survivor must have survived; 0 where all are neighbors."""
        return self.threshold if self.is_ring else 0

    def graph(self, session: bytes) -> Graph:
        """Who masks with whom, from a link of the transcript that holds roster, cohort and session."""
        return Graph(self.count, self.shape.degree, digest(label("graph"), session))

    @property
    def tolerated(self) -> int:
        """How many may vanish: none of two, never more than the quorum allows, nor so many that two are left."""
        return max(0, min(self.dropouts, self.count - max(self.quorum, _MIN_SUM)))

    @property
    def required(self) -> int:
        """How many sites must stay: a sum covers at least this many inputs, or none is opened."""
        return self.count - self.tolerated

    def opened_level(self, survivors: int) -> int | None:
        """Which seed of the survivors' excess noise a sum over so many opens: the first that it does not need.

        Everybody of the cohort who is not in the sum is missing, also who never shared. None where all noise
        counts.
        """
        missing = self.count - survivors
        level = next((at for at, most in enumerate((0, *self.levels)) if missing <= most), len(self.levels))
        return level + 1 if level < len(self.levels) else None

    @cached_property
    def slots(self) -> dict[str, int]:
        """From site id to slot."""
        return {site: slot for slot, site in enumerate(self.members)}

    def to_bytes(self) -> bytes:
        """Canonical bytes, for the transcript: sites with other parameters get other keys."""
        writer = Writer().u32(self.colluders).u32(self.dropouts).u8(self.ring_bits).u64(self.length)
        writer.u8(len(self.levels))
        for level in self.levels:
            writer.u32(level)
        writer.u32(self.count)
        for member in self.members:
            writer.text(member)
        return writer.finish()


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
