"""What a site remembers between two steps of a round. It lives in memory only and is never written anywhere.

Each state holds what the coming steps need and nothing that only past ones did. For example, `Accepted` no longer
holds the channels that opened the neighbors' shares. See docs/protocol.md, section 6, column "forgets".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.secagg.keys import Channel
from privacy.secagg.messages import Advert, SharePair


@dataclass(frozen=True, repr=False)
class Fresh:
    """Has sent nothing yet."""


@dataclass(frozen=True, repr=False)
class Advertised:
    """Waits for everyone's adverts. All secrets of the attempt follow from `root`."""

    root: bytes
    advert: Advert


@dataclass(frozen=True, repr=False)
class Own:
    """A site's own part in its masks: its public mask key and its self seed."""

    mask_key: bytes
    seed: bytes


@dataclass(frozen=True, repr=False)
class Pair:
    """What a pair mask follows from: the peer's public mask key and the X25519 secret of both."""

    mask_key: bytes
    shared: bytes


@dataclass(frozen=True, repr=False)
class Shared:
    """Waits for the neighbors' shares. `advertisers` are all sites whose adverts it was shown.

    `pairs` and `inbound`, the channels of the shares to come, are by slot of the neighbor.
    """

    adverts: bytes
    own: Own
    pairs: Mapping[int, Pair]
    advertisers: frozenset[int]
    inbound: Mapping[int, Channel]
    own_shares: SharePair


@dataclass(frozen=True, repr=False)
class Accepted:
    """Waits for a vector to mask. `held` are this site's shares of its neighbors' secrets and of its own."""

    adverts: bytes
    own: Own
    pairs: Mapping[int, Pair]
    sharers: frozenset[int]
    held: Mapping[int, SharePair]


@dataclass(frozen=True, repr=False)
class Masked:
    """Waits for a certificate.

    `upload` is the digest of its masked vector, `committed` the smaller set it voted for, empty if for none.
    """

    transcript: bytes
    upload: bytes
    sharers: frozenset[int]
    committed: frozenset[int]
    held: Mapping[int, SharePair]


@dataclass(frozen=True, repr=False)
class Finished:
    """Has revealed or aborted: no secret is left."""


State = Fresh | Advertised | Shared | Accepted | Masked | Finished
