"""privacy.secagg.snapshot: a killed process resumes where it was, or leaves; it never masks or opens twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from privacy.errors import FaultyServer, ProtocolError
from privacy.secagg.client import ClientMachine
from privacy.secagg.messages import Delivery
from privacy.secagg.server import Phase, TooFew
from tests.privacy.secagg.rounds import CONTEXT, SESSION, Round, entropy, site

KEY = b"a key that stays at the site".ljust(32)
PHASES = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.COMMIT, Phase.REVEAL]


def _restart(round_: Round, slot: int, *, has_begun: bool) -> None:
    """Kill a site's process after it stored its snapshot; start another with it."""
    sealed = round_.clients[slot].snapshot(KEY)
    round_.clients[slot] = round_.client(slot)
    round_.clients[slot].resume(sealed, KEY, has_begun=has_begun)


@pytest.mark.parametrize("is_answered", [False, True])
@pytest.mark.parametrize("vanishing", [frozenset[int](), frozenset({4})])
def test_all_sites_may_be_killed_between_any_two_states(is_answered: bool, vanishing: frozenset[int]) -> None:
    """34: before or after each answer; after it, the same request gets the same bytes from the new process."""
    round_ = Round(5, colluders=0)
    while round_.server.phase is not Phase.DONE:
        stay = round_.everyone - vanishing if round_.server.phase is Phase.MASK else round_.everyone
        masking = round_.server.phase not in PHASES[:3] or (is_answered and round_.server.phase is Phase.MASK)
        for slot in sorted(stay & (round_.inbox.keys() or round_.everyone)):
            first = round_.answer(slot) if is_answered else b""
            _restart(round_, slot, has_begun=masking)
            assert not first or round_.answer(slot) == first
        round_.step(stay)
    assert round_.result() == round_.sum_over(round_.everyone - vanishing)
    assert not round_.server.blame


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE, Phase.MASK])
def test_a_snapshot_from_before_the_mark_is_refused_for_good(phase: Phase) -> None:
    """34: masking may have begun, and this snapshot does not know of it."""
    round_ = Round(5).until(phase)
    with pytest.raises(ProtocolError, match="older than"):
        _restart(round_, 0, has_begun=True)
    with pytest.raises(ProtocolError):
        round_.answer(0)


def test_a_resumed_site_masks_no_second_vector_and_no_other_params() -> None:
    for change in ("vector", "params", "delivery"):
        round_ = Round(5).until(Phase.MASK)
        first = round_.answer(0)
        _restart(round_, 0, has_begun=True)
        machine, request = round_.clients[0], round_.inbox[0]
        if change == "vector":
            assert machine.mask(request, round_.vectors[1], CONTEXT) == first
            continue
        if change == "delivery":
            parts = Delivery.from_bytes(request)
            request = Delivery(
                parts.sharers - {4}, {s: x for s, x in parts.by_slot.items() if s != 4}
            ).to_bytes()
        context = b"other".ljust(32) if change == "params" else CONTEXT
        with pytest.raises(FaultyServer, match="second"):
            machine.mask(request, round_.vectors[0], context)


def test_a_resumed_site_remembers_for_which_set_it_voted() -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    round_.answer(0)
    _restart(round_, 0, has_begun=True)
    with pytest.raises(FaultyServer, match="other content"):
        round_.clients[0].commit(b"\x03\x06\0\x04\0\0\0\1\0\2\0\4")


def test_an_abort_outlives_a_restart() -> None:
    round_ = Round(5).until(Phase.MASK)
    round_.clients[0].abort()
    _restart(round_, 0, has_begun=True)
    with pytest.raises(ProtocolError):
        round_.answer(0)


def _resuming(round_: Round, sealed: bytes, key: bytes = KEY) -> Callable[[ClientMachine], None]:
    return lambda machine: machine.resume(sealed, key, has_begun=False)


def test_a_snapshot_opens_at_its_own_site_in_its_own_round_under_its_own_key_unaltered() -> None:
    round_, other = Round(5).until(Phase.MASK), Round(5, session=b"another attempt".ljust(32))
    sealed = round_.clients[0].snapshot(KEY)
    altered = [
        sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in (0, 31, 32, 200, len(sealed) - 1)
    ]
    attempts = [
        (round_.client(1), _resuming(round_, sealed)),
        (other.client(0), _resuming(round_, sealed)),
        (round_.client(0), _resuming(round_, sealed, b"another key".ljust(32))),
        (round_.client(0), _resuming(round_, b"")),
        (round_.client(0), _resuming(round_, sealed[:-1])),
        *((round_.client(0), _resuming(round_, each)) for each in altered),
    ]
    for machine, resume in attempts:
        with pytest.raises(ProtocolError, match="does not open"):
            resume(machine)
        with pytest.raises(ProtocolError):
            machine.advertise()
    fresh = round_.client(0)
    fresh.resume(sealed, KEY, has_begun=False)
    assert fresh.snapshot(KEY) != sealed


def test_only_a_fresh_machine_resumes() -> None:
    round_ = Round(5).until(Phase.MASK)
    with pytest.raises(ProtocolError, match="fresh"):
        round_.clients[0].resume(round_.clients[0].snapshot(KEY), KEY, has_begun=False)


def test_no_secret_is_readable_in_a_snapshot_and_no_two_snapshots_share_bytes() -> None:
    for phase, secret in [(Phase.SHARE, entropy(site(0))(32)), (Phase.MASK, Round(5).secrets(0).seed)]:
        round_ = Round(5).until(phase)
        one, two = round_.clients[0].snapshot(KEY), round_.clients[0].snapshot(KEY)
        assert secret not in one
    assert one[:32] != two[:32]
    assert one[32:96] != two[32:96]


def test_a_key_of_another_length_seals_nothing() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Round(5).clients[0].snapshot(SESSION[:16])


def test_a_site_that_was_killed_and_lost_its_snapshot_is_one_that_vanished() -> None:
    round_ = Round(5, colluders=1).until(Phase.REVEAL)
    round_.clients[0] = round_.client(0)
    round_.step()
    assert round_.result() == round_.sum_over(range(5))
    round_ = Round(5, colluders=1).until(Phase.REVEAL)
    round_.clients[0], round_.clients[1] = round_.client(0), round_.client(1)
    with pytest.raises(TooFew):
        round_.step()
