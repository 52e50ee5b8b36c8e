"""Bytes nobody made: every decoder and every machine answers them with an error of ours, or takes no notice.

About 120,000 inputs in a run: random bytes after a valid head, and mutations of genuine messages of all kinds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from privacy.errors import MalformedMessage, ProtocolError
from privacy.roster import Roster, SignedRoster
from privacy.secagg.messages import (
    Advert,
    Adverts,
    Certificate,
    Delivery,
    Masked,
    Portion,
    Reveal,
    SealedShares,
    Survivors,
    Vote,
)
from privacy.secagg.ring import packed_size
from privacy.secagg.server import Phase, TooFew
from tests.privacy.secagg.rounds import CONTEXT, Round, fork, identity, make_roster, mask, site
from tests.scale import scaled

INPUTS = scaled(10_000)
PHASES = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.COMMIT, Phase.REVEAL]


class _Dice:
    """Deterministic numbers from a hash, so that a failing input can be made again."""

    def __init__(self, name: str) -> None:
        self._octets = iter(hashlib.shake_256(name.encode()).digest(8_000_000))

    def below(self, limit: int) -> int:
        return int.from_bytes(bytes(next(self._octets) for _ in range(3)), "big") % limit

    def octets(self, size: int) -> bytes:
        return bytes(next(self._octets) for _ in range(size))


def _genuine() -> dict[str, bytes]:
    """One message of each kind, of a round that loses a site."""
    round_ = Round(5, colluders=0)
    sent: dict[str, bytes] = {}
    for phase in PHASES:
        sent[f"{phase.name} request"] = round_.inbox.get(0, b"")
        sent[f"{phase.name} answer"] = round_.answer(0)
        round_.step(round_.everyone - {4} if phase is Phase.MASK else None)
    roster = make_roster(round_.parameters.members)
    sent["roster"] = roster.to_bytes()
    sent["signed roster"] = SignedRoster.by(roster, [identity("consortium")]).to_bytes()
    sent["portion"] = Portion(b"x" * 32, b"y" * 32, (5, 6)).to_bytes()
    del sent["ADVERTISE request"]
    return sent


GENUINE = _genuine()


def _inputs(name: str, count: int) -> Iterator[bytes]:
    """Mutations of every genuine message in turn: bytes changed, cut, doubled, or all but the head random."""
    dice, samples = _Dice(name), list(GENUINE.values())
    for number in range(count):
        data = bytearray(samples[number % len(samples)])
        match dice.below(5):
            case 0:
                yield bytes(data[:2]) + dice.octets(dice.below(120))
            case 1:
                yield bytes(data[: dice.below(len(data))])
            case 2:
                yield bytes(data) + dice.octets(1 + dice.below(4))
            case 3:
                at = dice.below(len(data))
                yield bytes(data[:at] + data[at : at + 8] + data[at:])
            case _:
                for _ in range(1 + dice.below(3)):
                    data[dice.below(len(data))] = dice.below(256)
                yield bytes(data)


DECODERS: dict[str, Callable[[bytes], object]] = {
    "ADVERTISE answer": Advert.from_bytes,
    "SHARE request": Adverts.from_bytes,
    "SHARE answer": SealedShares.from_bytes,
    "MASK request": Delivery.from_bytes,
    "MASK answer": lambda data: Masked.from_bytes(data, packed_size(7, 21)),
    "COMMIT request": Survivors.from_bytes,
    "COMMIT answer": Vote.from_bytes,
    "REVEAL request": Certificate.from_bytes,
    "REVEAL answer": Reveal.from_bytes,
    "roster": Roster.from_bytes,
    "signed roster": SignedRoster.from_bytes,
    "portion": Portion.from_bytes,
}


@pytest.mark.soak
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_gives_a_message_in_its_one_form_or_says_malformed(name: str) -> None:
    """46."""
    decode, decoded = DECODERS[name], 0
    assert decode(GENUINE[name]).to_bytes() == GENUINE[name]  # type: ignore[attr-defined]
    for data in _inputs(name, INPUTS):
        try:
            message = decode(data)
        except MalformedMessage:
            continue
        decoded += 1
        assert message.to_bytes() == data  # type: ignore[attr-defined]
    assert decoded < INPUTS / 2


@pytest.mark.soak
@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_site_answers_strange_bytes_with_an_error_of_ours_and_leaves(phase: Phase) -> None:
    """46: and no secret leaves: of all the inputs none but the genuine request gets a reply."""
    round_ = Round(5, colluders=0)
    if phase is Phase.COMMIT:
        round_.until(Phase.MASK).step(round_.everyone - {4})
    genuine = round_.until(phase).inbox[0]
    for data in _inputs(f"site {phase}", scaled(500)):
        client = fork(round_.clients[0])
        steps: dict[Phase, Callable[[bytes], bytes]] = {
            Phase.SHARE: client.share,
            Phase.MASK: lambda request, of=client: mask(of, request, round_.vectors[0], CONTEXT),  # type: ignore[misc]
            Phase.COMMIT: client.commit,
            Phase.REVEAL: client.reveal,
        }
        if data != genuine:
            try:
                reply = steps[phase](data)
            except ProtocolError:
                assert "finished" in repr(client)
                continue
            assert phase is Phase.COMMIT, "only a set of survivors can be changed into another allowed one"
            assert len(reply) == 98


@pytest.mark.soak
@pytest.mark.parametrize("phase", PHASES)
def test_a_server_blames_the_sender_of_strange_bytes_and_gets_the_right_sum(phase: Phase) -> None:
    """46: one site babbles in one phase; the others' sum is right."""
    for start in range(scaled(3)):
        round_ = Round(6, colluders=0)
        if phase is Phase.COMMIT:
            round_.until(Phase.MASK).step(round_.everyone - {5})
        round_.until(phase)
        for data in _inputs(f"server {phase} {start}", 60):
            round_.receive(2, data)
            round_.server.receive("nobody", data)
        try:
            while round_.server.phase is not Phase.DONE:
                round_.step(round_.everyone - {2})
        except TooFew:
            pytest.fail("one site's noise must not end the round")
        survivors = [round_.parameters.slots[name] for name in round_.server.survivors]
        assert round_.result() == round_.sum_over(survivors)
        assert set(round_.server.blame) <= {site(2)}


def test_numbers_that_are_no_ring_elements_never_get_to_the_mask() -> None:
    """32: not a number, infinite, denormal, negative: floats and signed integers are refused by type."""
    for value in (np.nan, np.inf, 5e-324, -0.0, 1.0):
        round_ = Round(5).until(Phase.MASK)
        with pytest.raises(ValueError, match="uint64"):
            mask(round_.clients[0], round_.inbox[0], np.full(7, value), CONTEXT)  # type: ignore[arg-type]
