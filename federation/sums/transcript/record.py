"""The transcript of a round as a file: what shows anybody that the sum is that of what the sites signed.

    text(LABEL) ‖ u8 suite ‖ blob(heading) ‖ blob(start) ‖ blob(evidence) ‖ uploads ‖ sum

`start` are the params that the run began with, in its first round with a sum; later it is empty. The uploads are
those in the sum, by slot: the wraps of a site, then its masked vector, packed. The opened sum is packed like them.
What is where follows from what stands before it, every length is bounded, and nothing follows the sum: so one round
has one file. Its digest is in the round's receipt. A reader takes it in parts, and holds one vector at a time.
Specified in docs/protocol.md, section 11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from federation.model.shape import params_digest
from federation.plan.plan import Plan
from federation.round.messages import MAX_ROSTER, RUN_ID_BYTES, Invitation, Member
from federation.round.terms import Terms
from federation.sums.transcript.evidence import from_bytes
from privacy.errors import MalformedMessage
from privacy.roster import SignedRoster
from privacy.secagg.messages import WRAP_BYTES, wraps_from
from privacy.secagg.opened import Opened, Upload
from privacy.suite import SUITE, require_suite
from privacy.wire import Reader, Writer

LABEL = "federation/transcript/1"
FOLDER, SUFFIX = "rounds", ".transcript"
_OPENING = Writer().text(LABEL).finish()
_MAX_TEXT = 128
_MAX_COHORT = 1 << 25
_MAX_HEADING = MAX_ROSTER + _MAX_COHORT + (1 << 16)
_MAX_START = 1 << 31  # as params travel
_MAX_EVIDENCE = 1 << 30
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Heading:
    """What a round was agreed on before its sum: its session and its context follow from it and from the plan.

    `params` is the digest of those that the round began with, `noise` the noise multiplier as the parties wrote it.
    """

    run: bytes
    round: int
    attempt: int
    dimension: int
    plan: str
    noise: str
    members: tuple[Member, ...]
    params: bytes
    roster: bytes = field(repr=False)  # signed

    @classmethod
    def of(cls, terms: Terms, params: bytes, roster: SignedRoster) -> Heading:
        """The heading of an attempt that began with the params of this digest."""
        plan = terms.plan
        agreed = plan.digest, plan.kind.noise_text, terms.members
        return cls(*terms.place, terms.dimension, *agreed, params, roster.to_bytes())

    def terms(self, plan: Plan) -> Terms:
        """What the parties of this round worked out, worked out again."""
        return Terms(plan, self.run, self.round, self.attempt, self.members, self.dimension)

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        writer = Writer().fixed(self.run).u32(self.round).u32(self.attempt).u64(self.dimension)
        writer.text(self.plan).text(self.noise).blob(Invitation(self.members).to_bytes()).fixed(self.params)
        return writer.blob(self.roster).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Heading:
        """MalformedMessage for anything but what `to_bytes` wrote. No signature is checked."""
        reader = Reader(data)
        run, place = reader.fixed(RUN_ID_BYTES), (reader.u32(), reader.u32(), reader.u64())
        plan, noise = reader.text(_MAX_TEXT), reader.text(_MAX_TEXT)
        members = Invitation.from_bytes(reader.blob(_MAX_COHORT)).members
        heading = cls(run, *place, plan, noise, members, reader.fixed(32), reader.blob(MAX_ROSTER))
        reader.finish()
        return heading


@dataclass(frozen=True)
class Content:
    """A round to be written. `uploads` are the wraps and packed vectors in the sum, by slot, in any parts."""

    heading: Heading
    start: bytes = field(repr=False)
    evidence: bytes = field(repr=False)
    uploads: Iterable[bytes] = field(repr=False)
    total: bytes = field(repr=False)


def write(file: BinaryIO, content: Content) -> str:
    """Write a transcript; its digest, in hex."""
    hashed = hashlib.sha256()
    head = Writer().fixed(_OPENING).u8(SUITE).blob(content.heading.to_bytes())
    head.blob(content.start).blob(content.evidence)
    for part in (head.finish(), *content.uploads, content.total):
        hashed.update(part)
        file.write(part)
    return hashed.hexdigest()


def path_of(run: Path, number: int) -> Path:
    """Where the transcript of a round is, in the folder of its run."""
    return run / FOLDER / f"{number:04d}{SUFFIX}"


def transcripts_of(run: Path) -> list[Path]:
    """Every file of the run's folder that says it is a transcript, by name."""
    return sorted((run / FOLDER).glob(f"*{SUFFIX}"))


def digest_of(path: Path) -> str:
    """The digest of a transcript's file, in hex. OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Transcript:
    """A transcript that is open to be read: its parts, then vectors and sum, once and in this order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = file.seek(0, 2)
        file.seek(0)
        if self._take(len(_OPENING)) != _OPENING:
            raise MalformedMessage("this is no transcript of a round, or of another version")
        require_suite(self._take(1)[0], "a transcript")
        self.heading = Heading.from_bytes(self._blob(_MAX_HEADING))
        self.start = self._blob(_MAX_START)
        self.evidence = self._blob(_MAX_EVIDENCE)
        if self.start and len(self.start) - 4 * self.heading.dimension not in (0, 4):  # a norm may be behind
            raise MalformedMessage("a transcript holds params of another model than it names")
        if self.start and params_digest(self.start) != self.heading.params:
            raise MalformedMessage("a transcript holds other params than it names")

    @classmethod
    def open(cls, path: Path) -> Transcript:
        """MalformedMessage if the file is no transcript, OSError if it cannot be read."""
        file = path.open("rb")
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def opened(self, terms: Terms) -> Opened:
        """What was signed and opened, in the session and context of these terms; else MalformedMessage."""
        levels, context = len(terms.parameters.levels), terms.context_of(self.heading.params)
        return from_bytes(self.evidence, levels, terms.session, context)

    def uploads(self, opened: Opened, size: int) -> Iterator[Upload]:
        """The uploads of the survivors, one at a time; packed vectors have `size` bytes."""
        for slot in sorted(opened.survivors):
            if slot not in opened.votes:
                raise MalformedMessage("a transcript lacks the vote of a survivor")
            count = self._take(2)
            wraps = wraps_from(count + self._take(int.from_bytes(count, "big") * (2 + WRAP_BYTES)))
            yield Upload(slot, opened.votes[slot], wraps, self._take(size))

    def total(self, size: int) -> bytes:
        """The packed sum, of `size` bytes, once the uploads were read. MalformedMessage if more follows."""
        if self._left != size:
            raise MalformedMessage("a transcript does not end with its sum")
        return self._take(size)

    def own_total(self, size: int) -> bytes:
        """The packed sum, with nothing before it read: for who wrote this file."""
        self._file.seek(-min(size, self._left), 2)
        self._left = size
        return self._take(size)

    def _blob(self, limit: int) -> bytes:
        size = int.from_bytes(self._take(4), "big")
        if size > limit:
            raise MalformedMessage(f"a field of a transcript is longer than {limit} bytes")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        """Exactly so many bytes. Nothing is asked for that the file does not hold."""
        if size > self._left:
            raise MalformedMessage("a transcript ends too early")
        data = self._file.read(size)
        self._left -= size
        if len(data) != size:
            raise MalformedMessage("a transcript shrinks while it is read")
        return data
