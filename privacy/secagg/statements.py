"""What all sites of a round agree on, and what each signs of it: adverts, what it dealt, votes, reveals.

*The transcript* is a running hash of session, adverts, params and sharers. All keys of a round are derived with a
link of it, so two sites that were shown a different plan, roster, cohort, set of public keys, params or set of
sharers hold different keys: shares do not open, masks do not cancel. A server that sends one site other params
gets noise or an abort, at no cost in messages (the attack: Pasquini, Francati, Ateniese, "Eluding Secure
Aggregation", CCS 2022). Params enter last, so that a round's keys can be exchanged before its params exist.

*Adverts.* The signature covers session and slot, so the advert of another round, run, plan or site does not verify.
Whoever swaps a key needs the identity that the consortium certified.

*What was dealt.* A dealer signs a digest of every part of what it seals for a peer, and the peer signs from then
on a digest of all that it took. So a share that does not fit proves its holder guilty, and shares that fit and
rebuild nothing prove their dealer guilty; nobody can be shown another signature of a dealer later on.

*Votes.* A sum is opened only if a quorum of the cohort signed for one set of survivors. A site votes twice at most:
with its upload, for all who shared, which is enough if no site is lost; and once more, for one smaller set, if some
are. It helps to open only the set of a certificate, which holds a quorum of votes; and once it has voted for a
smaller set, only that one.

Why one set is opened. A quorum is q > (n + c) / 2 votes. Two certificates for different smaller sets need 2q
votes of n + c, as an honest site casts one of this kind: impossible. A certificate for a smaller set S holds
q - c votes of honest sites, which from then on help with S alone; so at most n - q of them help with everyone,
with c colluders at most n - q + c < q = t, too few to rebuild a seed of a site outside S. See docs/protocol.md,
sections 4 and 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import FaultyServer
from privacy.secagg.keys import channel_pair, kem_pair, slot_bytes, slots_bytes
from privacy.secagg.messages import Advert, Adverts, Certificate, Dealt, Portion, Reveal, Vote, wraps_bytes
from privacy.secagg.parameters import Parameters
from privacy.signing import is_signed, sign
from privacy.suite import label
from privacy.wire import Content, Digest, Writer, digest

_ADVERT, _DEALT, _VOTE, _REVEAL = label("advert"), label("dealt"), label("vote"), label("reveal")
_VECTOR = label("vector")
_CONTEXT_BYTES = 32


def bind_session(session: bytes, roster_root: bytes, parameters: Parameters) -> bytes:
    """The first link: the caller's 32-byte session (run, round, attempt, plan), roster and parameters."""
    if len(session) != _CONTEXT_BYTES:
        raise ValueError(f"a session has {_CONTEXT_BYTES} bytes")
    return digest(label("session"), session, roster_root, parameters.to_bytes())


def bind_adverts(session: bytes, adverts: Adverts) -> bytes:
    """The next link: everyone's public keys, commitments and signatures. 32 bytes."""
    return digest(label("adverts"), session, adverts.to_bytes())


def bind_masks(adverts: bytes, context: bytes, sharers: Iterable[int]) -> bytes:
    """The last link: the caller's 32-byte context (params, codec) and the slots of those who shared."""
    if len(context) != _CONTEXT_BYTES:
        raise ValueError(f"a context has {_CONTEXT_BYTES} bytes")
    return digest(label("masks"), adverts, context, slots_bytes(sharers))


def commit(secret: bytes, session: bytes, slot: int, what: str) -> bytes:
    """A commitment to a shared secret: hiding, as it is 256 random bits, and binding, as SHA-256 is."""
    return digest(label("commitment"), session, slot_bytes(slot), what.encode(), secret)


def make_advert(
    identity: Ed25519PrivateKey, session: bytes, slot: int, channel: bytes, shared: Mapping[str, bytes]
) -> Advert:
    """The advert of a channel secret and of the secrets that are shared, by name; `session` is C."""
    keys = channel_pair(channel, session).public, kem_pair(channel, session).public
    commitments = tuple(commit(secret, session, slot, what) for what, secret in shared.items())
    unsigned = Advert(*keys, commitments, b"")
    return replace(unsigned, signature=sign(identity, _ADVERT, session, slot_bytes(slot), unsigned.statement))


def is_genuine(advert: Advert, key: bytes, session: bytes, slot: int) -> bool:
    """Whether the holder of this identity key advertised this, for this slot in this session."""
    return is_signed(key, advert.signature, _ADVERT, session, slot_bytes(slot), advert.statement)


def has_repeated_keys(adverts: Iterable[Advert]) -> bool:
    """Whether any two of all these public keys are the same."""
    keys = [key for advert in adverts for key in (advert.channel_key, advert.kem_key)]
    return len(set(keys)) < len(keys)


def part_digest(adverts: bytes, dealer: int, recipient: int, what: str, part: bytes) -> bytes:
    """The digest of one part of what a dealer seals for a recipient; `adverts` is A."""
    ends = slot_bytes(dealer), slot_bytes(recipient)
    return digest(label("part"), adverts, *ends, what.encode(), part)


def deal(identity: Ed25519PrivateKey, adverts: bytes, dealer: int, recipient: int, portion: Portion) -> Dealt:
    """A dealer's signature on what it seals for a recipient."""
    digests = _digests(adverts, dealer, recipient, portion)
    signature = sign(identity, _DEALT, *_dealt(adverts, dealer, recipient, digests))
    return Dealt(digests, signature)


def is_dealt(dealt: Dealt, key: bytes, adverts: bytes, dealer: int, recipient: int) -> bool:
    """Whether the holder of this identity key signed these digests, for this recipient."""
    return is_signed(key, dealt.signature, _DEALT, *_dealt(adverts, dealer, recipient, dealt.digests))


def is_portion(dealt: Dealt, portion: Portion, adverts: bytes, dealer: int, recipient: int) -> bool:
    """Whether these digests are those of this portion."""
    return dealt.digests == _digests(adverts, dealer, recipient, portion)


def _digests(adverts: bytes, dealer: int, recipient: int, portion: Portion) -> bytes:
    parts = portion.parts.items()
    return b"".join(part_digest(adverts, dealer, recipient, what, part) for what, part in parts)


def _dealt(adverts: bytes, dealer: int, recipient: int, digests: bytes) -> tuple[bytes, ...]:
    return adverts, slot_bytes(dealer), slot_bytes(recipient), digests


def taken_digest(dealt: Dealt) -> bytes:
    """What a recipient says of one signature of a dealer, 32 bytes."""
    return digest(label("taken"), dealt.to_bytes())


def accepted_digest(adverts: bytes, taken: Mapping[int, bytes]) -> bytes:
    """What a site signs from then on of all that it took, by dealer; 32 bytes."""
    writer = Writer()
    for dealer in sorted(taken):
        writer.u16(dealer).fixed(taken[dealer])
    return digest(label("accepted"), adverts, writer.finish())


def vector_digest(packed: Content) -> bytes:
    """Of a masked vector, 32 bytes."""
    return digest(_VECTOR, packed)


def vector_hash(length: int) -> Digest:
    """`vector_digest` of so many bytes, which come in blocks."""
    return Digest(_VECTOR, length)


def upload_digest(packed: Content, wraps: Mapping[int, bytes], accepted: bytes) -> bytes:
    """What a vote says of the voter's own masked vector, its wraps and what it had accepted, 32 bytes."""
    return upload_of(vector_digest(packed), wraps, accepted)


def upload_of(vector: bytes, wraps: Mapping[int, bytes], accepted: bytes) -> bytes:
    """The same, from the digest of the vector."""
    return digest(label("upload"), vector, wraps_bytes(wraps), accepted)


def sign_reveal(
    identity: Ed25519PrivateKey, transcript: bytes, survivors: Set[int], accepted: bytes, reveal: Reveal
) -> Reveal:
    """The reveal under its holder's signature."""
    parts = transcript, slots_bytes(survivors), accepted, reveal.body
    return replace(reveal, signature=sign(identity, _REVEAL, *parts))


def is_revealed(reveal: Reveal, key: bytes, transcript: bytes, survivors: Set[int], accepted: bytes) -> bool:
    """Whether the holder of this identity key revealed this for these survivors, of what it had accepted."""
    parts = transcript, slots_bytes(survivors), accepted, reveal.body
    return is_signed(key, reveal.signature, _REVEAL, *parts)


def cast(key: Ed25519PrivateKey, transcript: bytes, survivors: Set[int], upload: bytes) -> Vote:
    """A site's vote to open the sum over these survivors, its own upload among them."""
    return Vote(upload, sign(key, _VOTE, transcript, slots_bytes(survivors), upload))


def is_cast(vote: Vote, key: bytes, transcript: bytes, survivors: Set[int]) -> bool:
    """Whether the holder of this identity key cast this vote for these survivors."""
    return is_signed(key, vote.signature, _VOTE, transcript, slots_bytes(survivors), vote.upload)


def check_firsts(
    certificate: Certificate, transcript: bytes, keys: Sequence[bytes], sharers: Set[int], slots: Set[int]
) -> None:
    """FaultyServer unless the certificate shows that these sites masked under this transcript.

    On a ring a quorum may vote while a site, with all its neighbors said to be missing, has masked for other
    sharers. Its seed would bare its vector, so no share of it is given for a vote that is not there.
    """
    firsts = certificate.firsts
    if not slots <= firsts.keys() or not all(
        is_cast(firsts[slot], keys[slot], transcript, sharers) for slot in slots
    ):
        raise FaultyServer("a certificate without the vote that came with a neighbor's vector")


def check_certificate(
    certificate: Certificate, transcript: bytes, keys: Sequence[bytes], quorum: int
) -> None:
    """FaultyServer unless at least `quorum` survivors voted for exactly these survivors in this round.

    `keys` are the cohort's identity keys by slot. Anyone who has them and the transcript can check what the
    cohort agreed to.
    """
    voters, survivors = certificate.votes, certificate.survivors
    if len(voters) < quorum:
        raise FaultyServer(f"a certificate of {len(voters)} votes, {quorum} are needed")
    if not voters.keys() <= survivors:
        raise FaultyServer("a certificate with a vote of a site outside the sum")
    if not all(is_cast(vote, keys[slot], transcript, survivors) for slot, vote in voters.items()):
        raise FaultyServer("a certificate with a vote that its site did not cast for this sum")
