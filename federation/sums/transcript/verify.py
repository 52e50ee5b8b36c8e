"""Verifies the transcript of a round: that its sum is that of what the sites signed, and of nothing else.

Nothing in the file is believed. Session and context are worked out from the plan and from what the auditor expects
of the round; every site's key comes from a roster that the consortium signed; and `privacy.secagg.opened.recount`
takes the sum from what those keys signed. What the server says the sum was is then compared with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from federation.plan.plan import Plan
from federation.round.terms import Terms
from federation.sums.transcript.record import Heading, Transcript
from federation.sums.transcript.replay import from_packed
from privacy.errors import FaultyServer, MalformedMessage, PrivacyError
from privacy.mechanism.encoding import RingVector
from privacy.roster import Roster, SignedRoster
from privacy.secagg.opened import Opened, recount
from privacy.secagg.ring import packed_size

_DAMAGE = (PrivacyError, ArithmeticError, LookupError, ValueError)


class NotVerified(Exception):
    """Why a transcript does not show its sum, in half a sentence that names no data."""


@dataclass(frozen=True)
class Expected:
    """What a round's receipt says of it; None where it says nothing, as of a sum that was refused.

    `roster` is the run's newest, and `signers` are the keys that signed it: what the auditor goes by.
    """

    run: str
    round: int
    cohort: tuple[str, ...] | None
    survivors: tuple[str, ...] | None
    params: str | None  # the digest of those that the round began with, in hex
    roster: Roster | None
    signers: Collection[bytes]


@dataclass(frozen=True)
class Verified:
    """A round whose sum is proven. `start`: the params that the run began with, in its first; else b"".

    `excess`: what of its noise was opened, by slot, because the sum does not need it; it is still in the sum.
    """

    terms: Terms
    survivors: tuple[str, ...]
    total: RingVector = field(repr=False)
    excess: Mapping[int, tuple[int, bytes]] = field(repr=False)
    start: bytes = field(default=b"", repr=False)


def verified(transcript: Transcript, plan: Plan, expected: Expected) -> Verified:
    """The sum of a transcript's round. NotVerified if it does not follow from what the sites signed for it."""
    heading = transcript.heading
    _check_heading(heading, plan, expected)
    try:
        roster = _roster(heading, expected)
        terms = heading.terms(plan)
        opened = _opened(transcript, terms, expected)
        size = packed_size(terms.length, terms.parameters.ring_bits)
        total = recount(roster, terms.parameters, opened, transcript.uploads(opened, size))
        told = from_packed(transcript.total(size), terms.length, terms.parameters.ring_bits)
    except _DAMAGE as error:
        raise NotVerified(getattr(error, "message", "it holds what no round leaves")) from None
    if not np.array_equal(told, total):
        raise NotVerified("the sum that it names is not that of what the sites signed")
    survivors = tuple(terms.parameters.members[slot] for slot in sorted(opened.survivors))
    return Verified(terms, survivors, total, opened.excess, transcript.start)


def _check_heading(heading: Heading, plan: Plan, expected: Expected) -> None:
    """The round is the one that was asked for, of this run, plan, cohort and params."""
    if (heading.run.hex(), heading.round) != (expected.run, expected.round):
        raise NotVerified("it is the transcript of another round or run")
    if heading.plan != plan.digest:
        raise NotVerified("it is the transcript of another plan")
    if heading.noise != plan.kind.noise_text:
        raise NotVerified("its sites drew noise by another noise multiplier than this version works out")
    if expected.params not in (None, heading.params.hex()):
        raise NotVerified("it began with other params than the receipt says")
    if expected.cohort not in (None, tuple(member.site for member in heading.members)):
        raise NotVerified("it is of another cohort than the receipt says")


def _roster(heading: Heading, expected: Expected) -> Roster:
    """The roster of this round, if its keys of the cohort are certified by somebody whom the auditor goes by.

    Since then a site may have a new key, or the consortium may. So either one of the signers signed both rosters,
    or the cohort's keys are in both.
    """
    signed = SignedRoster.from_bytes(heading.roster)
    roster = signed.read()
    for member in heading.members:
        entry = roster.by_site.get(member.site)
        if entry is None or entry.size != member.size:
            raise NotVerified("its cohort is not that of its roster")
    signers = {key for key in signed.signatures if signed.is_signed_by(key)}
    if len(signers) < len(signed.signatures):
        raise NotVerified("its roster bears a signature that was not made for it")
    known = expected.roster.by_site if expected.roster is not None else {}
    same = all(
        member.site in known and known[member.site].key == roster.by_site[member.site].key
        for member in heading.members
    )
    if not (same or signers & set(expected.signers)):
        raise NotVerified("its roster is not signed by those who signed roster.toml, and names other keys")
    return roster


def _opened(transcript: Transcript, terms: Terms, expected: Expected) -> Opened:
    """What was signed and opened, if it is of the survivors that the receipt names."""
    opened = transcript.opened(terms)
    names = terms.parameters.members
    if not all(slot < len(names) for slot in opened.sharers | opened.survivors):
        raise MalformedMessage("a transcript names a slot beyond the cohort")
    if expected.survivors not in (None, tuple(names[slot] for slot in sorted(opened.survivors))):
        raise NotVerified("it opens the sum of other sites than the receipt says")
    if opened.votes.keys() != opened.survivors:
        raise FaultyServer("the votes are not those of the sites in the sum")
    return opened
