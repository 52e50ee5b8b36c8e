"""The parts of a site's noise that may be taken out of a sum again: their secrets, and what is left without them.

A release has one secret, e_1, 32 random bytes that live as long as it does. The others follow, e_(l+1) from e_l,
and the part of level l is drawn from e_l. So whoever is given e_(l+1) knows the parts above level l, and nothing of
those up to it. Sites share each of them (`privacy.secagg`), and hand in, for the one set that they open, their
shares of the first that its sum does not need. docs/protocol.md, "Excess noise", says why nothing is opened that a
sum does need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream
from privacy.secagg.keys import SECRET_BYTES, derive
from privacy.secagg.ring import reduce
from privacy.suite import label
from privacy.wire import Writer, digest


@dataclass(frozen=True)
class Sum:
    """One opened sum of a round: its terms, the unmasked ring sum, and whose it is.

    `total` is without the excess noise of the `reduced` among its `survivors`. That of `left` stayed in, though the
    sum does not need it: its secret could not be rebuilt.
    """

    terms: Terms
    total: RingVector = field(repr=False)
    survivors: tuple[str, ...]
    reduced: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def secrets_of(terms: Terms, site: str, first: bytes) -> tuple[bytes, ...]:
    """e_1 to e_L of a site; none where the round has no levels. ValueError for an `first` of another length."""
    count = terms.levels.secrets if terms.takes_out else 0
    if len(first) != (SECRET_BYTES if count else 0):
        raise ValueError("a secret of excess noise has 32 bytes, and only rounds with levels have one")
    return _chain(terms, site, first, count)


def streams_of(terms: Terms, site: str, secrets: Sequence[bytes]) -> list[Stream]:
    """What the parts of these secrets are drawn from."""
    place = _place(terms, site)
    return [Stream(derive(secret, place, "excess noise")) for secret in secrets]


def by_site(terms: Terms, opened: Mapping[int, tuple[int, bytes]]) -> dict[str, bytes]:
    """What a round opened of its sites' excess noise, level and secret by slot, as `without_excess` takes it."""
    return {terms.parameters.members[slot]: secret for slot, (_, secret) in opened.items()}


def without_excess(
    terms: Terms, total: RingVector, survivors: Sequence[str], opened: Mapping[str, bytes]
) -> Sum:
    """The sum over `survivors` without the noise that it does not need, as far as that was opened.

    `opened` holds, by site, the first secret above the sum's level. What of a site could not be rebuilt stays in.
    """
    names, lost = tuple(survivors), len(terms.members) - len(survivors)
    above = terms.levels.secrets - terms.levels.level(lost) if terms.takes_out else 0
    if not above:
        return Sum(terms, total, names)
    reduced, rest = tuple(site for site in names if site in opened), total.copy()
    for site in reduced:
        streams = streams_of(terms, site, _chain(terms, site, opened[site], above))
        start = 0
        for part in terms.kind.excess_blocks(terms.parties, lost, streams):
            rest[start : start + len(part)] -= part.astype(rest.dtype)  # wraps at a multiple of 2^ring_bits
            start += len(part)
    reduce(rest, terms.codec.ring_bits)
    left = tuple(site for site in names if site not in opened)
    return Sum(terms, rest, names, reduced, left)


def _chain(terms: Terms, site: str, first: bytes, count: int) -> tuple[bytes, ...]:
    """`first` and those that follow from it, `count` in all."""
    place, secrets = _place(terms, site), [first][:count]
    while len(secrets) < count:
        secrets.append(derive(secrets[-1], place, "excess"))
    return tuple(secrets)


def _place(terms: Terms, site: str) -> bytes:
    """A site in a round, whatever the attempt."""
    slot = terms.parameters.slots[site]
    return digest(label("round"), Writer().fixed(terms.run).u32(terms.round).u16(slot).finish())
