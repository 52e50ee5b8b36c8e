"""Who holds the transcript of a round, with as many colluders as planned, learns the sum of the others and no more.

The attacker has the bytes of the file, and nothing that the server had beside it: no seal, no delivery, no share,
no upload of a site that is not in the sum. Of its colluders it has everything: their roots, what was sealed for
them and by them, what they revealed. All that follows is worked out (`tests.adversary.closure`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from federation.audit.examine import audit
from federation.round.messages import Frame, Kind, Paired
from federation.round.transport import Arrival, Outgoing
from federation.sums.transcript.evidence import from_bytes, to_bytes
from federation.sums.transcript.record import path_of, transcripts_of
from privacy.secagg.messages import CIPHERTEXT_BYTES, Masked, Sealed, SealedShares, wraps_bytes, wraps_from
from privacy.secagg.ring import packed_size
from server.coordinator import Coordinator
from simulations.world import InProcess
from tests.adversary.closure import Closure, attack
from tests.adversary.cohorts import Case
from tests.adversary.tapped import Tapped, View, share_the_channel
from tests.federation.audit.audited import finished
from tests.federation.sums.kept import LOST
from tests.privacy.secagg.rounds import CONTEXT, SESSION, unpack
from tests.scale import SCALE


def _cases(n: int) -> list[Case]:
    return [
        Case(n, colluders, bad, lost)
        for colluders in range(n - 1)
        for bad in range(colluders + 1)
        for lost in range(Tapped(n, colluders=colluders).parameters.tolerated + 1)
    ]


CASES = [case for n in (4, 5) for case in _cases(n)] + _cases(7)[::6]


def file_of(round_: Tapped) -> bytes:
    """The parts of a transcript that are about the sites: what was opened, then the uploads in the sum."""
    opened = round_.server.opened
    assert opened is not None
    uploads = sorted(
        (one for one in round_.uploads if one.slot in opened.survivors), key=lambda one: one.slot
    )
    return to_bytes(opened) + b"".join(wraps_bytes(one.wraps) + one.packed for one in uploads)


def view_of(round_: Tapped, data: bytes, case: Case) -> View:
    """What the bytes say, and what the colluders saw of their own channels."""
    rules, opened = round_.parameters, round_.server.opened
    assert opened is not None
    levels = len(rules.levels)
    size = len(to_bytes(opened))
    read = from_bytes(data[:size], levels, SESSION, CONTEXT)
    view = View(rules, round_.link, CONTEXT, adverts=read.adverts, sharers=read.sharers)
    at = size
    for slot in sorted(read.survivors):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big") * 50
        view.wraps |= {(slot, peer): wrap for peer, wrap in wraps_from(data[at:end]).items()}
        at = end + packed_size(rules.length, rules.ring_bits)
        view.uploads[slot] = unpack(data[end:at], rules.length, rules.ring_bits)
    assert at == len(data)
    sealed = len(next(iter(round_.view.seals.values())).sealed)
    nothing = {
        ends: Sealed(bytes(CIPHERTEXT_BYTES), bytes(sealed), dealt) for ends, dealt in read.dealt.items()
    }
    own = {ends: seal for ends, seal in round_.view.seals.items() if case.corrupt & set(ends)}
    view.seals = nothing | own
    view.reveals = {slot: reveal for slot, reveal in round_.view.reveals.items() if slot in case.corrupt}
    return view


def holder(round_: Tapped, case: Case) -> Closure:
    """All that follows for the holder of the file and its colluders."""
    data = file_of(round_)
    opened = round_.server.opened
    assert opened is not None
    known = attack(view_of(round_, data, case), [round_.root(slot) for slot in sorted(case.corrupt)])
    return known.saturate(*opened.seeds.values(), *opened.secrets.values()).again()


@pytest.fixture(scope="module", params=CASES, ids=str)
def held(request: pytest.FixtureRequest) -> tuple[Case, Tapped, Closure]:
    """A case, its round, and all that a holder of its file knows."""
    case: Case = request.param
    round_ = Tapped(case.n, colluders=case.colluders).open(case.gone)
    return case, round_, holder(round_, case)


def test_a_holder_knows_the_sum_of_the_others_and_of_no_part_of_them(
    held: tuple[Case, Tapped, Closure],
) -> None:
    case, round_, known = held
    modulus = np.uint64((1 << round_.parameters.ring_bits) - 1)
    residues = [known.residue(slot).astype(np.uint64) for slot in sorted(case.others)]
    assert ([int(one) for one in sum(residues) & modulus]) == round_.sum_over(case.others)
    assert not any(known.is_bare(slot) for slot in case.others)
    assert not any(known.has_read(slot, round_.vectors[slot]) for slot in case.others)
    bare = {tuple(sorted(pair)) for pair in known.ways("pair mask")}
    exposed = case.corrupt | case.gone
    assert all(exposed & set(pair) for pair in bare)  # every two of the others hide each other


def test_a_holder_has_no_secret_that_the_round_did_not_open(held: tuple[Case, Tapped, Closure]) -> None:
    case, round_, known = held
    assert known.knows("self seed") == (round_.everyone - case.gone) | case.corrupt
    assert known.knows("mask secret") == case.gone | case.corrupt
    for kind in ("root", "channel secret", "channel key", "kem d", "kem z", "polynomial"):
        assert known.knows(kind) == case.corrupt
    for slot in round_.everyone - case.corrupt:
        secrets = round_.secrets(slot)
        assert (secrets.mask in known) == (slot in case.gone)
        assert (secrets.seed in known) == (slot not in case.gone)
        assert secrets.channel not in known
        shares = {kind: len(known.shares[kind, slot]) for kind in ("mask secret", "self seed")}
        assert max(shares.values()) <= case.bad < round_.parameters.threshold


def test_no_32_bytes_of_a_file_are_a_secret_that_its_reader_would_not_look_for() -> None:
    """As in the test above, and with each place of the file as a value of unknown use."""
    case = Case(4, 1, 0, 1)
    round_ = Tapped(case.n, colluders=case.colluders, length=1).open(case.gone)
    data = file_of(round_)
    opened = round_.server.opened
    assert opened is not None
    every = 1 if SCALE > 1 else 3
    guesses = {data[at : at + 32] for at in range(0, len(data) - 32, every)}
    guesses |= {*opened.seeds.values(), *opened.secrets.values()}
    known = attack(view_of(round_, data, case), thorough=False).saturate(*guesses).again()
    assert known.knows("self seed") == case.others
    assert known.knows("mask secret") == case.gone
    assert known.knows("root") == known.knows("channel secret") == set()
    assert not any(known.is_bare(slot) for slot in case.others)


def test_control_with_seals_and_late_uploads_in_it_a_file_would_bare_a_lost_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a shared secret opens seals, once that is known: what was never kept is never read."""
    share_the_channel(monkeypatch)
    case = Case(5, 0, 0, 1)
    round_ = Tapped(case.n, colluders=0).open(case.gone)
    opened, view = round_.server.opened, view_of(round_, file_of(round_), case)
    assert opened is not None
    (lost,) = case.gone
    assert lost not in view.uploads
    more = replace(view, seals=round_.view.seals, uploads=round_.view.uploads, wraps=round_.view.wraps)
    known = attack(more).saturate(*opened.seeds.values(), *opened.secrets.values()).again()
    assert known.has_read(lost, round_.vectors[lost])


class Wiretap:
    """What a server handles in a run and must not keep: seals, deliveries, reveals, uploads that are in no sum."""

    def __init__(self) -> None:
        self.seals: set[bytes] = set()
        self.reveals: set[bytes] = set()
        self.uploads: dict[tuple[int, str], bytes] = {}
        self.late = b""

    def hear(self, coordinator: Coordinator, site: str, data: bytes) -> None:
        frame = Frame.from_bytes(data)
        if frame.kind is Kind.SHARES:
            levels = len(coordinator.terms.parameters.levels)
            for each in SealedShares.from_bytes(frame.body, levels).by_slot.values():
                self.seals |= {each.ciphertext, each.sealed}
        elif frame.kind is Kind.MASKED:
            terms = coordinator.terms
            size = packed_size(terms.length, terms.parameters.ring_bits)
            self.uploads[frame.round, site] = Masked.from_bytes(
                Paired.from_bytes(frame.body).own, size
            ).packed
        elif frame.kind is Kind.REVEAL:
            body = Paired.from_bytes(frame.body).own
            self.reveals |= {body[at : at + 33] for at in range(len(body) - 33)}


def late(tap: Wiretap) -> Callable[[InProcess, Iterable[Outgoing]], None]:
    """A way to send that holds back what birch masked in round 2 until the survivors are named without it."""
    send, held = InProcess.send, list[Arrival]()

    def sending(transport: InProcess, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            frame = Frame.from_bytes(message.data)
            send(transport, [message])
            if (frame.kind, frame.round, message.to) == (Kind.BROADCAST, 2, "birch"):
                held.append(transport._arrivals.pop())
            if frame.kind is Kind.SURVIVORS and held:
                tap.late = held.pop().data
                transport._arrivals.appendleft(Arrival("birch", tap.late))

    return sending


def test_no_file_of_a_run_holds_a_seal_a_share_or_an_upload_that_is_in_no_sum(tmp_path: Path) -> None:
    tap, real = Wiretap(), Coordinator.receive

    def receive(self: Coordinator, site: str, data: bytes) -> object:
        tap.hear(self, site, data)
        return real(self, site, data)

    with patch.object(Coordinator, "receive", receive), patch.object(InProcess, "send", late(tap)):
        run = finished(tmp_path, "protocol", LOST, sites=4)
    files = {path.name: path.read_bytes() for path in transcripts_of(run)}
    assert len(files) == 4
    assert min(len(tap.seals), len(tap.reveals)) > 50
    for name, data in files.items():
        assert not any(secret in data for secret in tap.seals), name
        assert not {data[at : at + 33] for at in range(len(data) - 33)} & tap.reveals, name
    assert tap.late
    held_back = tap.uploads.pop((2, "birch"))
    assert all(held_back not in path.read_bytes() for path in run.rglob("*") if path.is_file())
    for (number, site), packed in tap.uploads.items():
        assert packed in files[path_of(run, number).name], (number, site)
    assert audit(run).sums.verified == 4
