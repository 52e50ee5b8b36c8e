"""A hundred sites over a network that loses, doubles and reorders a tenth of everything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from privacy.secagg.messages import Kind, kind_of
from privacy.secagg.server import Phase
from tests.privacy.secagg.rounds import Round, mask
from tests.scale import scaled

LOST = DOUBLED = DELAYED = 0.1
TRIES = 5


def _dice(name: str) -> Iterator[float]:
    for number in range(100_000):
        octets = hashlib.sha256(f"{name}/{number}".encode()).digest()
        yield int.from_bytes(octets[:6], "big") / 2**48


class _Network:
    """Carries messages to the server. Each is lost, doubled, or kept back until the next step, or later."""

    def __init__(self, name: str) -> None:
        self.dice = _dice(name)
        self.late: list[tuple[int, bytes]] = []
        self.counts = {"lost": 0, "doubled": 0, "late": 0}

    def carry(self, messages: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        out, self.late = list(self.late), []
        for message in messages:
            if next(self.dice) < LOST:
                self.counts["lost"] += 1
            elif next(self.dice) < DELAYED:
                self.counts["late"] += 1
                self.late.append(message)
            else:
                out.append(message)
                if next(self.dice) < DOUBLED:
                    self.counts["doubled"] += 1
                    out.append(message)
        return sorted(out, key=lambda _: next(self.dice))


NAMES = ["one", "two", *map(str, range(3, scaled(2) + 1))]


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_sites_over_a_bad_network_sum_exactly(name: str) -> None:
    """50, 35: requests are repeated a few times, as any transport would; then the deadline falls."""
    round_ = Round(100, colluders=10, dropouts=20, length=20)
    down, up, vanishing = _Network(f"{name} down"), _Network(f"{name} up"), {7, 50, 93}
    while round_.server.phase is not Phase.DONE:
        phase, requests = round_.server.phase, dict(round_.inbox) or dict.fromkeys(round_.everyone, b"")
        for _ in range(TRIES):
            if round_.server.phase is not phase:
                break
            replies = []
            for slot, request in down.carry(list(requests.items())):
                if phase is Phase.MASK and slot in vanishing:
                    continue
                replies.append((slot, _answer(round_, slot, request)))
            for slot, reply in up.carry(replies):
                round_.receive(slot, reply)
        if round_.server.phase is phase:
            round_.deliver(round_.server.deadline())
    survivors = [round_.parameters.slots[site] for site in round_.server.survivors]
    assert round_.result() == round_.sum_over(survivors)
    assert len(survivors) >= round_.parameters.required
    assert not set(survivors) & vanishing
    assert not round_.server.blame
    assert all(count > 50 for network in (down, up) for count in network.counts.values())


def _answer(round_: Round, slot: int, request: bytes) -> bytes:
    """Whatever step the request is of: it may be one that was repeated, and is over."""
    client = round_.clients[slot]
    if not request:
        return client.advertise()
    steps = {Kind.ADVERTS: client.share, Kind.SURVIVORS: client.commit, Kind.CERTIFICATE: client.reveal}
    kind = kind_of(request)
    if kind is Kind.DELIVERY:
        return mask(client, request, round_.vectors[slot], round_.contexts[slot])
    return steps[kind](request)
