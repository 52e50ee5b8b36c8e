"""What sites say to the frames of a sketch: what sites say that find nothing wrong, and two refusals of theirs.

A site refuses a cohort that differs too much from its first one, where there is no noise, and a second opening of
one round for other survivors (clients/participant.py, clients/journal/journal.py). Faults can lead to both.
"""

from __future__ import annotations

from functools import lru_cache

from federation.plan.plan import Plan
from federation.round.groups import may_differ
from federation.round.messages import Frame, Kind, Reason, abort_body

ANSWERS = {
    Kind.HELLO: Kind.WELCOME,
    Kind.INVITE: Kind.ADVERT,
    Kind.ADVERTS: Kind.SHARES,
    Kind.BROADCAST: Kind.MASKED,
    Kind.SURVIVORS: Kind.VOTE,
    Kind.CERTIFICATE: Kind.REVEAL,
    Kind.CLOSE: Kind.CLOSED,
}
_KEPT = 256  # frames: all sites are sent the same ones
_SHOWN = 1 << 14  # of many more groups and attempts than there are at a time

frame_of = lru_cache(maxsize=_KEPT)(Frame.from_bytes)


def kind_of(data: bytes) -> Kind:
    """What a frame is."""
    return frame_of(data).kind


class Guests:
    """The sites of a run, and what they remember of it."""

    def __init__(self, plan: Plan) -> None:
        self._spared = may_differ(plan)
        self._shown: dict[bytes, frozenset[str]] = {}  # by frame: the cohort, or the survivors, that it shows
        self._first: dict[str, frozenset[str]] = {}  # the cohort that a site was invited to first
        self._opened: dict[
            str, tuple[int, frozenset[str]]
        ] = {}  # the last round that a site opened, and for whom

    def show(self, data: bytes, sites: frozenset[str]) -> None:
        """Frames like this one show these sites."""
        self._shown[data] = sites
        if len(self._shown) > _SHOWN:
            del self._shown[next(iter(self._shown))]

    def answer(self, site: str, data: bytes) -> bytes:
        """What a site says to a frame."""
        kind = kind_of(data)
        if kind is Kind.INVITE and self._spared is not None:
            present = self._shown[data]
            if len(self._first.setdefault(site, present) ^ present) > self._spared:
                return _refused(data, Reason.POLICY)
        elif kind is Kind.CERTIFICATE:
            number, survivors = frame_of(data).round, self._shown[data]
            known, before = self._opened.get(site, (0, survivors))
            if known == number and before != survivors:
                return _refused(data, Reason.PROTOCOL)
            self._opened[site] = number, survivors
        return _agreed(data)


@lru_cache(maxsize=_KEPT)
def _agreed(data: bytes) -> bytes:
    frame = frame_of(data)
    return Frame(ANSWERS[frame.kind], frame.run, frame.round, frame.attempt).to_bytes()


@lru_cache(maxsize=_KEPT)
def _refused(data: bytes, reason: Reason) -> bytes:
    frame = frame_of(data)
    return Frame(Kind.ABORT, frame.run, frame.round, frame.attempt, abort_body(reason)).to_bytes()
