"""privacy.secagg.client: what a site refuses, and what it forgets. Numbers: the abuse it answers to."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from functools import partial
from types import FunctionType, ModuleType

import numpy as np
import pytest

from privacy.errors import FaultyServer, MalformedMessage, PrivacyError, ProtocolError, SuspectedClient
from privacy.secagg.client import ClientMachine
from privacy.secagg.keys import mask_pair
from privacy.secagg.messages import Adverts, Masked, Reveal, SealedShares, Survivors
from privacy.secagg.ring import lane_type, unpack
from privacy.secagg.server import Phase
from tests.privacy.secagg.rounds import CONTEXT, Round, entropy, site
from tests.privacy.secagg.statistics import ALARM, chi_square_p_value

LOW_ORDER = [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18]


def _is_over(client: ClientMachine) -> None:
    """After an abort nothing works and no secret is left."""
    vector = np.zeros(7, np.uint64)
    calls: list[Callable[[], bytes]] = [
        client.advertise,
        lambda: client.share(b""),
        lambda: client.mask(b"", vector),
        lambda: client.reveal(b""),
    ]
    for call in calls:
        with pytest.raises(ProtocolError):
            call()
    assert not _secrets(client)


def _secrets(client: ClientMachine) -> list[object]:
    """Everything a machine still holds beyond what everyone may know."""
    public = {"_parameters", "_slot", "_context", "_entropy", "_answered"}
    left = [value for name, value in vars(client).items() if name not in public]
    return [value for value in left if not is_dataclass(value) or vars(value)]


def _refuses(call: Callable[[], bytes], error: type[PrivacyError], match: str, client: ClientMachine) -> None:
    with pytest.raises(error, match=match):
        call()
    _is_over(client)


# --- adverts ---------------------------------------------------------------------------------------------


def _adverts(round_: Round) -> Adverts:
    return Adverts.from_bytes(round_.until(Phase.SHARE).inbox[0])


@pytest.mark.parametrize("field", ["mask_key", "channel_key", "commitment"])
def test_an_own_advert_that_was_altered_is_refused(field: str) -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[0] = replace(adverts[0], **{field: mask_pair(b"x" * 32, CONTEXT).public})
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "own advert", client)


def test_an_own_advert_that_is_missing_is_refused() -> None:
    round_ = Round()
    others = {slot: advert for slot, advert in _adverts(round_).by_slot.items() if slot != 0}
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(others).to_bytes()), FaultyServer, "own advert", client)


def test_a_roster_smaller_than_required_is_refused() -> None:
    round_ = Round(5, colluders=1)
    adverts = {slot: advert for slot, advert in _adverts(round_).by_slot.items() if slot < 3}
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "roster of 3 sites, 4", client)


def test_an_advert_of_no_member_is_refused() -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[5] = replace(adverts[4], mask_key=mask_pair(b"x" * 32, CONTEXT).public)
    del adverts[4]
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "no member", client)


@pytest.mark.parametrize(("field", "source"), [("mask_key", "mask_key"), ("mask_key", "channel_key")])
def test_the_same_key_twice_is_refused(field: str, source: str) -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[1] = replace(adverts[1], **{field: getattr(adverts[2], source)})
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "same key twice", client)


@pytest.mark.parametrize("coordinate", LOW_ORDER)
@pytest.mark.parametrize("field", ["mask_key", "channel_key"])
def test_a_peer_key_of_small_order_is_refused(field: str, coordinate: int) -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[1] = replace(adverts[1], **{field: coordinate.to_bytes(32, "little")})
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), MalformedMessage, "small order", client)


# --- shares ----------------------------------------------------------------------------------------------


def _delivered(round_: Round) -> dict[int, bytes]:
    return dict(SealedShares.from_bytes(round_.until(Phase.MASK).inbox[0]).by_slot)


def _mask(round_: Round, shares: dict[int, bytes]) -> Callable[[], bytes]:
    return lambda: round_.clients[0].mask(SealedShares(shares).to_bytes(), round_.vectors[0])


def test_a_share_moved_to_another_recipient_is_refused() -> None:
    round_ = Round()
    shares = _delivered(round_)
    shares[2] = SealedShares.from_bytes(round_.inbox[1]).by_slot[2]
    _refuses(_mask(round_, shares), SuspectedClient, "site-2 or the server", round_.clients[0])


def test_a_share_under_another_senders_name_is_refused() -> None:
    round_ = Round()
    shares = _delivered(round_)
    shares[1], shares[2] = shares[2], shares[1]
    _refuses(_mask(round_, shares), SuspectedClient, "does not open", round_.clients[0])


def test_a_share_of_another_round_is_refused() -> None:
    round_, other = Round(), Round(contexts=dict.fromkeys(range(5), b"another round".ljust(32)))
    shares = _delivered(round_)
    shares[3] = _delivered(other)[3]
    _refuses(_mask(round_, shares), SuspectedClient, "site-3", round_.clients[0])


@pytest.mark.parametrize("bit", [0, 100, 82 * 8 - 1])
def test_a_share_with_one_bit_flipped_is_refused(bit: int) -> None:
    round_ = Round()
    shares = _delivered(round_)
    altered = bytearray(shares[4])
    altered[bit // 8] ^= 1 << bit % 8
    shares[4] = bytes(altered)
    _refuses(_mask(round_, shares), SuspectedClient, "site-4", round_.clients[0])


def test_fewer_sharers_than_required_are_refused() -> None:
    round_ = Round(5, colluders=1)
    shares = {slot: sealed for slot, sealed in _delivered(round_).items() if slot < 3}
    _refuses(_mask(round_, shares), FaultyServer, "sharers of 3 sites, 4", round_.clients[0])


def test_a_share_from_outside_the_roster_or_from_itself_is_refused() -> None:
    for stranger in (0, 5, 60_000):
        round_ = Round()
        shares = _delivered(round_)
        shares[stranger] = shares.pop(4)
        _refuses(_mask(round_, shares), FaultyServer, "outside the roster", round_.clients[0])


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(6, np.uint64),
        np.zeros((7, 1), np.uint64),
        np.zeros(7, np.int64),
        np.full(7, 2**21, np.uint64),
    ],
)
def test_a_vector_outside_the_ring_is_refused_and_ends_the_round(vector: np.ndarray) -> None:
    round_ = Round(ring_bits=21, length=7).until(Phase.MASK)
    with pytest.raises(ValueError):
        round_.clients[0].mask(round_.inbox[0], vector)
    _is_over(round_.clients[0])


def test_a_second_vector_is_never_masked() -> None:
    """The difference of two vectors under one mask would be plain."""
    round_ = Round().until(Phase.MASK)
    client = round_.clients[0]
    first = client.mask(round_.inbox[0], round_.vectors[0])
    assert client.mask(round_.inbox[0], round_.vectors[1]) == first
    shares = dict(SealedShares.from_bytes(round_.inbox[0]).by_slot)
    del shares[1]
    _refuses(
        lambda: client.mask(SealedShares(shares).to_bytes(), round_.vectors[1]),
        FaultyServer,
        "second",
        client,
    )


def test_masking_leaves_the_callers_vector_alone() -> None:
    round_ = Round(ring_bits=40).until(Phase.MASK)
    before = round_.vectors[0].copy()
    round_.clients[0].mask(round_.inbox[0], round_.vectors[0])
    assert np.array_equal(round_.vectors[0], before)


# --- survivors -------------------------------------------------------------------------------------------


def _reveal(round_: Round, *slots: int) -> Callable[[], bytes]:
    return lambda: round_.clients[0].reveal(Survivors(frozenset(slots)).to_bytes())


def test_survivors_who_never_shared_are_refused() -> None:
    round_ = Round().until(Phase.SHARE)
    round_.step({0, 1, 2, 3})
    round_.step()
    _refuses(_reveal(round_, 0, 1, 2, 4), FaultyServer, "never shared", round_.clients[0])


def test_a_sum_without_the_own_vector_is_not_unmasked() -> None:
    round_ = Round().until(Phase.REVEAL)
    _refuses(_reveal(round_, 1, 2, 3, 4), FaultyServer, "without its own", round_.clients[0])


def test_fewer_survivors_than_required_are_refused() -> None:
    round_ = Round(5, colluders=1).until(Phase.REVEAL)
    _refuses(_reveal(round_, 0, 1, 2), FaultyServer, "survivors of 3 sites, 4", round_.clients[0])


def test_survivors_below_what_the_plan_demands_are_refused_though_above_the_threshold() -> None:
    round_ = Round(5, colluders=0, dropouts=1).until(Phase.REVEAL)
    assert round_.parameters.threshold == 3
    _refuses(_reveal(round_, 0, 1, 2), FaultyServer, "4 are required", round_.clients[0])


def test_a_second_set_of_survivors_is_refused_and_the_same_one_answered_alike() -> None:
    round_ = Round().until(Phase.REVEAL)
    first = _reveal(round_, 0, 1, 2, 3)()
    assert _reveal(round_, 0, 1, 2, 3)() == first
    _refuses(_reveal(round_, 0, 1, 2, 4), FaultyServer, "other content", round_.clients[0])


def test_a_reveal_gives_one_kind_of_share_for_every_sharer() -> None:
    round_ = Round().until(Phase.REVEAL)
    reveal = Reveal.from_bytes(_reveal(round_, 0, 1, 3, 4)())
    assert reveal.seed_shares.keys() == {0, 1, 3, 4}
    assert reveal.key_shares.keys() == {2}


# --- order, memory, randomness ---------------------------------------------------------------------------


def test_steps_out_of_order_end_the_round() -> None:
    phases = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.REVEAL]
    for reached, phase in enumerate(phases):
        for early in range(reached + 1, 4):
            round_ = Round().until(phase)
            client, vector = round_.clients[0], round_.vectors[0]
            calls: list[Callable[[], bytes]] = [
                client.advertise,
                partial(client.share, b"\x01\x02\x00\x00"),
                partial(client.mask, b"\x01\x03\x00\x00", vector),
                partial(client.reveal, b"\x01\x05\x00\x00"),
            ]
            _refuses(calls[early], FaultyServer, "out of order", client)


def test_the_same_request_gets_the_same_bytes_at_every_step() -> None:
    round_ = Round()
    client = round_.clients[0]
    while round_.server.phase is not Phase.DONE:
        assert round_.answer(0) == round_.answer(0)
        round_.step()
    assert client.advertise() == client.advertise()


def test_secrets_are_gone_after_the_reveal() -> None:
    round_ = Round().until(Phase.REVEAL)
    assert _secrets(round_.clients[0])
    round_.step()
    assert not _secrets(round_.clients[0])
    assert repr(round_.clients[0]) == "ClientMachine(slot=0, finished)"


def _reaches(start: object, wanted: bytes) -> bool:
    """Whether these bytes are held anywhere below an object."""
    seen, stack = set(), [start]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType):
            continue
        seen.add(id(item))
        if isinstance(item, bytes) and wanted in item:
            return True
        stack.extend(gc.get_referents(item))
    return False


def test_each_secret_is_gone_as_soon_as_its_step_is_over() -> None:
    source = entropy(site(0))
    secret, seed = source(32), source(32)
    held = []
    round_ = Round()
    while round_.server.phase is not Phase.DONE:
        round_.step()
        held.append((_reaches(round_.clients[0], secret), _reaches(round_.clients[0], seed)))
    assert held == [(True, True), (False, True), (False, False), (False, False)]


def test_an_abort_by_the_caller_ends_the_round() -> None:
    round_ = Round().until(Phase.MASK)
    round_.clients[0].abort()
    _is_over(round_.clients[0])


def test_a_site_outside_the_cohort_gets_no_machine() -> None:
    with pytest.raises(ProtocolError, match="not a member"):
        ClientMachine("stranger", Round().parameters, CONTEXT, entropy("stranger"))


def test_a_context_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ClientMachine(site(0), Round().parameters, b"short", entropy("short"))


def test_a_masked_vector_is_uniform_even_to_the_server() -> None:
    """Of a constant vector, at false alarms of one in a million; the vector itself is the failing control."""
    round_ = Round(3, ring_bits=24, length=100_000)
    round_.vectors = [np.full(100_000, 3, np.uint64)] * 3
    round_.until(Phase.MASK)
    reply = round_.answer(0)
    size = round_.parameters.length * 3
    lanes = unpack(Masked.from_bytes(reply, size).packed, 100_000, 24)
    assert chi_square_p_value(round_.vectors[0].astype(lane_type(24))) < ALARM
    assert chi_square_p_value(lanes) > ALARM
    assert chi_square_p_value(lanes >> lanes.dtype.type(16)) > ALARM


def test_sites_that_were_told_different_things_do_not_open_each_others_shares() -> None:
    """A context holds the params and the plan: the server cannot give one site params of its own making."""
    round_ = Round(5, contexts={0: b"other params".ljust(32)})
    round_.until(Phase.SHARE)
    round_.step()
    for slot in range(5):
        with pytest.raises(SuspectedClient):
            round_.answer(slot)


def test_sites_that_were_shown_different_rosters_do_not_open_each_others_shares() -> None:
    round_ = Round(5)
    adverts = dict(_adverts(round_).by_slot)
    adverts[4] = replace(adverts[4], commitment=b"z" * 32)
    round_.inbox[0] = Adverts(adverts).to_bytes()
    round_.step()
    for slot in range(5):
        with pytest.raises(SuspectedClient):
            round_.answer(slot)
