"""What a site remembers between two requests of a round, and its bytes for a sealed snapshot.

Each state holds what the coming steps need and nothing that only past ones did. `to_bytes` writes secrets in the
clear: only privacy.secagg.snapshot may see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.errors import MalformedMessage
from privacy.secagg.keys import PUBLIC_BYTES, SECRET_BYTES
from privacy.secagg.messages import Advert, SharePair, read_slots, write_slots
from privacy.secagg.shamir import SHARE_BYTES
from privacy.wire import Reader, Writer

_PAIR_BYTES = 2 * SHARE_BYTES
_DIGEST_BYTES = 32
_ADVERT_LIMIT = 1 << 10


@dataclass(frozen=True, repr=False)
class Fresh:
    """Nothing was sent yet."""

    def to_bytes(self) -> bytes:
        return b""

    @classmethod
    def read(cls, _: Reader) -> Fresh:
        return cls()


@dataclass(frozen=True, repr=False)
class Advertised:
    """Waits for everyone's adverts. All secrets of the attempt follow from `root`."""

    root: bytes
    advert: Advert

    def to_bytes(self) -> bytes:
        return Writer().fixed(self.root).blob(self.advert.to_bytes()).finish()

    @classmethod
    def read(cls, reader: Reader) -> Advertised:
        return cls(reader.fixed(SECRET_BYTES), Advert.from_bytes(reader.blob(_ADVERT_LIMIT)))


@dataclass(frozen=True, repr=False)
class Peer:
    """What is kept of a peer until the vector is masked: its mask key, the X25519 secret, the inbound key."""

    mask_key: bytes
    shared: bytes
    inbound: bytes

    def write(self, writer: Writer) -> Writer:
        return writer.fixed(self.mask_key).fixed(self.shared).fixed(self.inbound)

    @classmethod
    def read(cls, reader: Reader) -> Peer:
        return cls(reader.fixed(PUBLIC_BYTES), reader.fixed(SECRET_BYTES), reader.fixed(SECRET_BYTES))


@dataclass(frozen=True, repr=False)
class Shared:
    """Waits for the peers' shares. `advertisers` are all whose adverts were shown, `peers` the neighbors."""

    adverts: bytes
    advertisers: frozenset[int]
    seed: bytes
    mask_key: bytes
    own_shares: SharePair
    peers: Mapping[int, Peer]

    def to_bytes(self) -> bytes:
        writer = Writer().fixed(self.adverts).fixed(self.seed).fixed(self.mask_key)
        writer.fixed(self.own_shares.to_bytes())
        write_slots(writer, dict.fromkeys(self.advertisers), lambda _: writer)
        return write_slots(writer, self.peers, lambda peer: peer.write(writer)).finish()

    @classmethod
    def read(cls, reader: Reader) -> Shared:
        adverts, seed = reader.fixed(_DIGEST_BYTES), reader.fixed(SECRET_BYTES)
        mask_key, own = reader.fixed(PUBLIC_BYTES), SharePair.from_bytes(reader.fixed(_PAIR_BYTES))
        advertisers = frozenset(read_slots(reader, lambda: None))
        return cls(adverts, advertisers, seed, mask_key, own, read_slots(reader, lambda: Peer.read(reader)))


@dataclass(frozen=True, repr=False)
class Masked:
    """Waits for a certificate. `held` are this site's shares of its neighbors' secrets and of its own.

    `upload` is the digest of its masked vector, `committed` the smaller set it voted for, empty if for none.
    """

    transcript: bytes
    upload: bytes
    sharers: frozenset[int]
    committed: frozenset[int]
    held: Mapping[int, SharePair]

    def to_bytes(self) -> bytes:
        writer = Writer().fixed(self.transcript).fixed(self.upload)
        write_slots(writer, dict.fromkeys(self.sharers), lambda _: writer)
        write_slots(writer, dict.fromkeys(self.committed), lambda _: writer)
        return write_slots(writer, self.held, lambda pair: writer.fixed(pair.to_bytes())).finish()

    @classmethod
    def read(cls, reader: Reader) -> Masked:
        transcript, upload = reader.fixed(_DIGEST_BYTES), reader.fixed(_DIGEST_BYTES)
        sharers = frozenset(read_slots(reader, lambda: None))
        committed = frozenset(read_slots(reader, lambda: None))
        held = read_slots(reader, lambda: SharePair.from_bytes(reader.fixed(_PAIR_BYTES)))
        return cls(transcript, upload, sharers, committed, held)


@dataclass(frozen=True, repr=False)
class Finished:
    """Revealed or aborted: no secret is left."""

    def to_bytes(self) -> bytes:
        return b""

    @classmethod
    def read(cls, _: Reader) -> Finished:
        return cls()


State = Fresh | Advertised | Shared | Masked | Finished

_KINDS: tuple[type[State], ...] = (Fresh, Advertised, Shared, Masked, Finished)


def write_state(writer: Writer, state: State) -> Writer:
    """Which state, then its bytes."""
    return writer.u8(_KINDS.index(type(state))).fixed(state.to_bytes())


def read_state(reader: Reader) -> State:
    """The inverse of `write_state`, or MalformedMessage."""
    kind = reader.u8()
    if kind >= len(_KINDS):
        raise MalformedMessage("a snapshot of an unknown state")
    return _KINDS[kind].read(reader)
