"""A transcript proves one sum, of one round of one run; whatever else a server writes into it proves nothing.

The server here has every key but the sites', and writes what it likes under the digest that its receipt names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.identity.roster_file import load_roster
from federation.plan.plan import Plan, load
from federation.sums.transcript.record import Transcript, path_of
from federation.sums.transcript.replay import from_packed, to_packed
from federation.sums.transcript.verify import Expected, NotVerified, Verified, verified
from privacy.errors import MalformedMessage
from privacy.mechanism.encoding import RingVector
from privacy.roster import Roster, SignedRoster
from privacy.secagg.messages import Certificate, Vote
from privacy.signing import sign
from tests.federation.sums.kept import LOSSY_ROUND, Parts, parts_of, with_opened

Change = Callable[[Parts], Parts]


def expected(run: Path, number: int) -> Expected:
    """What an honest receipt says of the round."""
    parts = parts_of(run, number)
    names = tuple(member.site for member in parts.heading.members)
    survivors = tuple(names[slot] for slot in sorted(parts.opened.survivors))
    signed = load_roster(run / "roster.toml")
    place = parts.heading.run.hex(), number, names, survivors, parts.heading.params.hex()
    return Expected(*place, signed.read(), tuple(signed.signatures))


def plan_of(run: Path) -> Plan:
    return load(run / "plan.toml")


def checked(run: Path, data: bytes, number: int) -> Verified:
    return verified(Transcript(BytesIO(data)), plan_of(run), expected(run, number))


def lanes(parts: Parts, plan: Plan) -> tuple[RingVector, int]:
    terms = parts.heading.terms(plan)
    bits = terms.parameters.ring_bits
    return from_packed(parts.total, terms.length, bits), bits


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_honest_transcript_proves_its_sum(kept: Path, number: int) -> None:
    one = checked(kept, path_of(kept, number).read_bytes(), number)
    assert np.array_equal(one.total, lanes(parts_of(kept, number), plan_of(kept))[0])
    assert len(one.survivors) == (3 if number == LOSSY_ROUND else 4)


@pytest.mark.parametrize("number", [1, LOSSY_ROUND])
def test_every_flipped_bit_is_found_by_what_was_signed_without_any_digest(kept: Path, number: int) -> None:
    """One bit of every few bytes, all parts of the file among them."""
    data = path_of(kept, number).read_bytes()
    for at in range(0, len(data), 29):
        altered = bytearray(data)
        altered[at] ^= 1 << at % 8
        with pytest.raises((NotVerified, MalformedMessage)):
            checked(kept, bytes(altered), number)


def one_more(parts: Parts, plan: Plan) -> bytes:
    """The sum with a vector of the server's own on top."""
    total, bits = lanes(parts, plan)
    return to_packed((total + np.uint64(1)) & np.uint64((1 << bits) - 1), bits)


def adds_to_an_upload(parts: Parts, plan: Plan) -> Parts:
    """Its own vector, inside a site's upload, and in the sum."""
    first = parts.uploads[0]
    terms = parts.heading.terms(plan)
    bits = terms.parameters.ring_bits
    vector = from_packed(first.packed, terms.length, bits)
    packed = to_packed((vector + np.uint64(1)) & np.uint64((1 << bits) - 1), bits)
    uploads = (replace(first, packed=packed), *parts.uploads[1:])
    return replace(parts, uploads=uploads, total=one_more(parts, plan))


def without_a_site(parts: Parts, _: Plan) -> Parts:
    """A site's upload is left out, and the sites that voted are not asked again."""
    opened = parts.opened
    gone = max(opened.survivors)
    certificate = Certificate(opened.survivors - {gone}, opened.certificate.votes)
    kept = with_opened(
        parts,
        certificate=certificate,
        votes={slot: vote for slot, vote in opened.votes.items() if slot != gone},
        taken={slot: taken for slot, taken in opened.taken.items() if slot != gone},
        seeds={slot: seed for slot, seed in opened.seeds.items() if slot != gone},
    )
    return replace(kept, uploads=tuple(upload for upload in parts.uploads if upload.slot != gone))


def drops_an_upload(parts: Parts, _: Plan) -> Parts:
    return replace(parts, uploads=parts.uploads[1:])


def repeats_an_upload(parts: Parts, _: Plan) -> Parts:
    return replace(parts, uploads=(parts.uploads[0], *parts.uploads[:-1]))


def votes_for_a_site(parts: Parts, _: Plan) -> Parts:
    """Signs an upload of its own in a site's name, with a key of its own."""
    opened = parts.opened
    slot = min(opened.survivors)
    vote = Vote(bytes(32), sign(Ed25519PrivateKey.generate(), "secagg/4/vote", bytes(32)))
    return with_opened(parts, votes={**opened.votes, slot: vote})


def too_few_votes(parts: Parts, _: Plan) -> Parts:
    votes = dict(list(parts.opened.certificate.votes.items())[1:])
    return with_opened(parts, certificate=Certificate(parts.opened.survivors, votes))


def another_seed(parts: Parts, _: Plan) -> Parts:
    seeds = parts.opened.seeds
    return with_opened(parts, seeds={**seeds, min(seeds): bytes(32)})


def keeps_a_seed_of_a_lost_site(parts: Parts, _: Plan) -> Parts:
    (lost,) = parts.opened.secrets
    return with_opened(parts, seeds={**parts.opened.seeds, lost: bytes(32)})


def keeps_a_mask_secret_too_many(parts: Parts, _: Plan) -> Parts:
    return with_opened(parts, secrets={**parts.opened.secrets, min(parts.opened.seeds): bytes(32)})


def another_sum(parts: Parts, plan: Plan) -> Parts:
    return replace(parts, total=one_more(parts, plan))


def under_its_own_roster(parts: Parts, _: Plan) -> Parts:
    """Sites of its own making under the names of the real ones, certified by a consortium of its own."""
    signed = SignedRoster.from_bytes(parts.heading.roster)
    entries = tuple(
        replace(entry, key=Ed25519PrivateKey.generate().public_key().public_bytes_raw())
        for entry in Roster.from_bytes(signed.roster).entries
    )
    roster = replace(Roster.from_bytes(signed.roster), entries=entries)
    forged = SignedRoster.by(roster, [Ed25519PrivateKey.generate()])
    return replace(parts, heading=replace(parts.heading, roster=forged.to_bytes()))


FORGERIES = [
    adds_to_an_upload, without_a_site, drops_an_upload, repeats_an_upload, votes_for_a_site, too_few_votes,
    another_seed, keeps_a_seed_of_a_lost_site, keeps_a_mask_secret_too_many, another_sum, under_its_own_roster,
]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_no_forgery_proves_a_sum(kept: Path, forge: Callable[[Parts, Plan], Parts]) -> None:
    """Nor where the receipt says the same."""
    forged = forge(parts_of(kept, LOSSY_ROUND), plan_of(kept))
    data, known = forged.to_bytes(), expected(kept, LOSSY_ROUND)
    assert data != path_of(kept, LOSSY_ROUND).read_bytes()
    survivors = tuple(known.cohort[slot] for slot in sorted(forged.opened.survivors))
    with pytest.raises(NotVerified):
        verified(Transcript(BytesIO(data)), plan_of(kept), replace(known, survivors=survivors))


@pytest.mark.parametrize(
    "field", ["run", "round", "attempt", "dimension", "plan", "noise", "members", "params"]
)
def test_no_field_of_the_heading_can_say_something_else(kept: Path, field: str) -> None:
    parts = parts_of(kept, LOSSY_ROUND)
    old = getattr(parts.heading, field)
    other = {
        bytes: lambda: bytes(len(old)),
        int: lambda: old + 1,
        str: lambda: old + "0",
        tuple: lambda: old[1:],
    }
    forged = replace(parts, heading=replace(parts.heading, **{field: other[type(old)]()}))
    with pytest.raises(NotVerified):
        checked(kept, forged.to_bytes(), LOSSY_ROUND)


@pytest.mark.parametrize(("number", "other"), [(1, 2), (2, 3), (3, 4), (4, 1)])
def test_the_transcript_of_another_round_proves_nothing_of_this_one(
    kept: Path, number: int, other: int
) -> None:
    with pytest.raises(NotVerified, match="another round or run"):
        checked(kept, path_of(kept, other).read_bytes(), number)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": "00" * 16}, "another round or run"),
        ({"survivors": ("ash", "birch")}, "other sites"),
        ({"cohort": ("ash", "birch", "cedar")}, "another cohort"),
        ({"params": "00" * 32}, "other params"),
    ],
)
def test_a_receipt_that_says_something_else_is_not_proven(
    kept: Path, changes: dict[str, object], message: str
) -> None:
    asked = replace(expected(kept, 1), **changes)  # type: ignore[arg-type]
    with Transcript.open(path_of(kept, 1)) as transcript, pytest.raises(NotVerified, match=message):
        verified(transcript, plan_of(kept), asked)


def test_a_new_key_of_the_consortium_leaves_older_rounds_proven_while_sites_keep_theirs(kept: Path) -> None:
    asked = replace(expected(kept, 1), signers=())
    with Transcript.open(path_of(kept, 1)) as transcript:
        assert verified(transcript, plan_of(kept), asked)


def test_a_new_key_of_a_site_leaves_older_rounds_proven_while_the_consortium_keeps_its_own(
    kept: Path,
) -> None:
    known = expected(kept, 1)
    assert known.roster is not None
    entries = tuple(
        replace(entry, key=Ed25519PrivateKey.generate().public_key().public_bytes_raw())
        for entry in known.roster.entries
    )
    rotated = replace(known, roster=replace(known.roster, entries=entries))
    with Transcript.open(path_of(kept, 1)) as transcript:
        assert verified(transcript, plan_of(kept), rotated)
    with Transcript.open(path_of(kept, 1)) as transcript, pytest.raises(NotVerified, match="not signed"):
        verified(transcript, plan_of(kept), replace(rotated, signers=()))
