"""Runs that kept transcripts, and transcripts that a server without any site's key has written anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

from federation.plan.plan import Plan, load
from federation.sums.transcript.evidence import from_bytes, to_bytes
from federation.sums.transcript.record import Content, Heading, Transcript, path_of, write
from privacy.secagg.messages import wraps_bytes
from privacy.secagg.opened import Opened, Upload
from privacy.secagg.ring import packed_size
from simulations.world import InProcess
from tests.federation.audit.audited import finished, lossy, receipts
from tests.worlds import text_of

LOST = text_of(noise="distributed", rounds=3, dropouts=1).replace(
    "[evaluation]", "[evaluation]\nepsilon = 20.0"
)
LOSSY_ROUND = 2


def with_a_loss(folder: Path, text: str = LOST) -> Path:
    """A run of four sites over messages; birch is lost in round 2, after it has masked."""
    with patch.object(InProcess, "send", lossy()):
        return finished(folder, "protocol", text, sites=4)


@dataclass(frozen=True)
class Parts:
    """A transcript taken apart."""

    heading: Heading
    start: bytes
    opened: Opened
    uploads: tuple[Upload, ...]
    total: bytes

    @classmethod
    def of(cls, path: Path, plan: Plan) -> Parts:
        with Transcript.open(path) as transcript:
            terms = transcript.heading.terms(plan)
            context = terms.context_of(transcript.heading.params)
            levels = len(terms.parameters.levels)
            opened = from_bytes(transcript.evidence, levels, terms.session, context)
            size = packed_size(terms.length, terms.parameters.ring_bits)
            uploads = tuple(transcript.uploads(opened, size))
            return cls(transcript.heading, transcript.start, opened, uploads, transcript.total(size))

    def to_bytes(self) -> bytes:
        file = BytesIO()
        uploads = (wraps_bytes(upload.wraps) + upload.packed for upload in self.uploads)
        write(file, Content(self.heading, self.start, to_bytes(self.opened), uploads, self.total))
        return file.getvalue()


def parts_of(run: Path, number: int) -> Parts:
    """The transcript of a round, taken apart."""
    return Parts.of(path_of(run, number), load(run / "plan.toml"))


def put(run: Path, number: int, data: bytes) -> None:
    """Other bytes in the place of a transcript, and their digest in its receipt, as the server can write them."""
    path = path_of(run, number)
    path.write_bytes(data)
    named(run, number, data)


def named(run: Path, number: int, data: bytes) -> None:
    """The digest of these bytes in the receipt of a round, or of the evaluation."""
    rounds = load(run / "plan.toml").federation.rounds
    with receipts(run) as lines:
        for line in lines:
            if line.get("round") == number or ("evaluation" in line and number > rounds):
                line["transcript"] = hashlib.sha256(data).hexdigest()


def forged(run: Path, number: int, change: Callable[[Parts], Parts]) -> None:
    """A transcript with something changed, under its new digest."""
    put(run, number, change(parts_of(run, number)).to_bytes())


def with_opened(parts: Parts, **changes: object) -> Parts:
    """The same with other things signed or opened."""
    return replace(parts, opened=replace(parts.opened, **changes))  # type: ignore[arg-type]


def digests(run: Path) -> dict[int, str]:
    """What receipts name, by round; the evaluation comes after the last."""
    found = {}
    for text in (run / "receipts.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        if "transcript" in line:
            found[line.get("round", load(run / "plan.toml").federation.rounds + 1)] = line["transcript"]
    return found
