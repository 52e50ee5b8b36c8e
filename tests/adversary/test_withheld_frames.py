"""The same attack over the frames of a run, on real sites: a round, its successor, the evaluation.

The server relays everything, drops the victim's reply to BROADCAST on its own side, and reads it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.model.params import params_bytes
from federation.plan.plan import Plan
from federation.round.messages import Broadcast, Frame, Kind, Paired
from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from privacy.secagg.client import ClientMachine
from privacy.secagg.statements import bind_session
from tests.adversary.closure import Closure, attack
from tests.adversary.tapped import View, share_the_channel
from tests.clients.sites import FIVE, ROSTER, Round, joined, make_data, make_params, make_plan, make_terms

VICTIM = "cleveland"
ROUND, EVALUATION = 1, 5  # an evaluation comes after the last round of four
BOTH = pytest.mark.parametrize("number", [ROUND, EVALUATION], ids=["round", "evaluation"])

Vectors = dict[tuple[bytes, str], RingVector]


class Hostile:
    """The sites as an honest coordinator meets them through a server that keeps one reply back."""

    def __init__(self, terms: Terms, sites: Mapping[str, Site], following: Terms | None = None) -> None:
        self.terms, self.kept = terms, b""
        self.round = Round(terms, {**sites, VICTIM: self}, following=following)  # type: ignore[dict-item]
        self._victim = sites[VICTIM]

    def receive(self, data: bytes) -> bytes:
        """What the coordinator gets in the victim's name: its replies, but for the masked vector."""
        reply = self._victim.receive(data)
        if Frame.from_bytes(reply).kind is not Kind.MASKED:
            return reply
        self.kept = reply
        return b""  # no frame: the coordinator goes on without it at the deadline

    def play(self, alter: Callable[[str, Frame], Frame] = lambda _, frame: frame) -> View:
        self.round.play(alter=alter)
        assert VICTIM not in self.round.coordinator.survivors
        assert len(self.round.coordinator.survivors) == len(FIVE) - 1
        return self._view(self.round.replies | {(VICTIM, Kind.BROADCAST): self.kept})

    def _view(self, replies: Mapping[tuple[str, Kind], bytes]) -> View:
        terms, slots = self.terms, self.terms.parameters.slots
        link = bind_session(terms.session, ROSTER.root, terms.parameters)
        view = View(terms.parameters, link, terms.context(params_bytes(make_params(terms.dimension))))
        for data in self.round.requests.values():
            _tell(view, Frame.from_bytes(data))
        for (name, _), data in replies.items():
            frame = Frame.from_bytes(data)
            paired = frame.kind in (Kind.MASKED, Kind.REVEAL)
            view.hear(slots[name], Paired.from_bytes(frame.body).own if paired else frame.body)
        return view


def _without_next(_: str, frame: Frame) -> Frame:
    """A certificate alone: nobody is asked yet for what it seals for the next round."""
    if frame.kind is not Kind.CERTIFICATE:
        return frame
    return replace(frame, body=Paired(Paired.from_bytes(frame.body).own).to_bytes())


def _tell(view: View, frame: Frame) -> None:
    """What of a request is the aggregation's own."""
    if frame.kind is Kind.ADVERTS:
        view.tell(frame.body)
    elif frame.kind is Kind.BROADCAST:
        view.tell(Broadcast.from_bytes(Paired.from_bytes(frame.body).own).shares)


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> Vectors:
    """What each site masked, by the link of its attempt."""
    seen: Vectors = {}
    real = ClientMachine.mask

    def mask(self: ClientMachine, vector: RingVector, context: bytes) -> bytes:
        seen[self._session, self._parameters.members[self._slot]] = vector.copy()
        return real(self, vector, context)

    monkeypatch.setattr(ClientMachine, "mask", mask)
    return seen


def _plan() -> Plan:
    """A plan that noises every sum and publishes an evaluation."""
    plan = make_plan(dropouts=1)
    return plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"epsilon": 1.0})})


def _sites(folder: Path) -> dict[str, Site]:
    """Sites that hold some records out, and have consented."""
    sites = joined(folder, _plan(), FIVE)
    for site in sites.values():
        running = site._joined
        assert running is not None
        running.trainer = replace(running.trainer, held_out=make_data(10, len(site.member.site)))
    return sites


def _terms(number: int = ROUND, attempt: int = 1) -> Terms:
    return replace(make_terms(_plan(), FIVE), round=number, attempt=attempt)


def _sum(hostile: Hostile, view: View, vectors: Vectors) -> list[int]:
    survivors = [vectors[view.link, name] for name in hostile.round.coordinator.survivors]
    total = np.sum(survivors, axis=0) % np.uint64(1 << view.parameters.ring_bits)
    return [int(each) for each in total]


def _result(hostile: Hostile) -> list[int]:
    assert hostile.round.coordinator.result is not None
    return [int(each) for each in hostile.round.coordinator.result]


@BOTH
def test_over_frames_the_upload_stays_hidden(number: int, tmp_path: Path, vectors: Vectors) -> None:
    hostile = Hostile(_terms(number), _sites(tmp_path))
    view = hostile.play()
    known, slot = attack(view), view.parameters.slots[VICTIM]
    assert view.parameters.length == (3 if number == EVALUATION else 6)
    assert not known.opened
    assert known.knows("mask secret") == {slot}
    assert slot not in known.knows("self seed")
    assert not known.has_read(slot, vectors[view.link, VICTIM].tolist())
    assert _result(hostile) == _sum(hostile, view, vectors)


@BOTH
def test_control_over_frames_it_is_read_under_the_old_derivation(
    number: int, tmp_path: Path, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_the_channel(monkeypatch)
    hostile = Hostile(_terms(number), _sites(tmp_path))
    view = hostile.play()
    known, slot = attack(view), view.parameters.slots[VICTIM]
    assert len(known.opened) == 2 * (len(FIVE) - 1)
    assert known.has_read(slot, vectors[view.link, VICTIM].tolist())


@pytest.mark.parametrize("is_old", [False, True], ids=["now", "control"])
def test_a_round_s_reveals_open_nothing_of_the_next_one_s_keys(
    is_old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next round's keys and seals travel with this round, in whose reveals the victim's mask secret is."""
    if is_old:
        share_the_channel(monkeypatch)
    sites = _sites(tmp_path)
    hostile = Hostile(_terms(), sites, following=_terms(2))
    revealed = attack(hostile.play(_without_next))
    beside = Paired.from_bytes(Frame.from_bytes(hostile.round.replies["berlin", Kind.BROADCAST]).body)
    prepared = Frame.from_bytes(beside.following)
    after = Hostile(_terms(2), sites)
    view = after.play()
    assert Frame.from_bytes(after.round.replies["berlin", Kind.INVITE]).body == prepared.body
    known = Closure(view).saturate(*revealed.facts.values())
    assert bool(revealed.opened) == is_old
    assert not known.opened


def test_after_an_opening_without_the_victim_no_attempt_opens_with_it(tmp_path: Path) -> None:
    """The journals' part: two sums that differ by one site would bare it without any key."""
    sites = _sites(tmp_path)
    Hostile(_terms(), sites).play()
    again = Round(_terms(attempt=2), sites)
    with pytest.raises(TooFewSurvivors):
        again.play()
    assert again.coordinator.result is None
