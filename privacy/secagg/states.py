"""What a site remembers between two steps of a round. It lives in memory only and is never written anywhere.

Each state holds what the coming steps need and nothing that only past ones did. For example, `Accepted` no longer
holds the keys that opened the neighbors' seals. See docs/protocol.md, section 6, column "forgets".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.secagg.kem import KemPair
from privacy.secagg.messages import Advert

Shares = tuple[int, ...]  # one holder's shares of one owner's secrets, in the order of `keys.secret_names`


@dataclass(frozen=True, repr=False)
class Fresh:
    """Has sent nothing yet. `excess` are the seeds of its excess noise, which the caller has drawn."""

    excess: tuple[bytes, ...]


@dataclass(frozen=True, repr=False)
class Advertised:
    """Waits for everyone's adverts. All other secrets of the attempt follow from `root`."""

    root: bytes
    excess: tuple[bytes, ...]
    advert: Advert


@dataclass(frozen=True, repr=False)
class Shared:
    """Waits for what the neighbors sealed. `advertisers` are all sites whose adverts it was shown.

    `given` are the mask halves that it dealt and `agreed` the X25519 secrets, by neighbor; the seals of the
    neighbors open with both `agreed` and `kem`.
    """

    adverts: bytes
    seed: bytes
    given: Mapping[int, bytes]
    advertisers: frozenset[int]
    agreed: Mapping[int, bytes]
    kem: KemPair
    own_shares: Shares


@dataclass(frozen=True, repr=False)
class Pair:
    """What a pair's mask follows from, the half of either end; and the half that this site's wrap is keyed by."""

    given: bytes
    taken: bytes
    wrap: bytes


@dataclass(frozen=True, repr=False)
class Accepted:
    """Waits for a vector to mask. `held` are this site's shares of its neighbors' secrets and of its own.

    `accepted` is what it signs from now on of all that was dealt to it.
    """

    adverts: bytes
    seed: bytes
    pairs: Mapping[int, Pair]
    sharers: frozenset[int]
    accepted: bytes
    held: Mapping[int, Shares]


@dataclass(frozen=True, repr=False)
class Masked:
    """Waits for a certificate.

    `upload` is the digest of its masked vector, `committed` the smaller set it voted for, empty if for none.
    """

    transcript: bytes
    upload: bytes
    sharers: frozenset[int]
    committed: frozenset[int]
    accepted: bytes
    held: Mapping[int, Shares]


@dataclass(frozen=True, repr=False)
class Finished:
    """Has revealed or aborted: no secret is left."""


State = Fresh | Advertised | Shared | Accepted | Masked | Finished
