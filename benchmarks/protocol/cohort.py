"""A cohort of secure aggregation's machines in one process, with a stopwatch at each of them."""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.timing import once
from privacy.roster import Entry, Roster
from privacy.secagg.client import ClientMachine
from privacy.secagg.parameters import Floor, Parameters
from privacy.secagg.ring import RingVector, Vector
from privacy.secagg.server import Outgoing, Phase, ServerMachine
from privacy.signing import forget_verified, public_identity

CONTEXT = bytes(32)


class Cohort:
    """One round of `count` sites, none of which drops out; all bring the same vector.

    Milliseconds: `client` by phase, the least of all sites that were asked; `accepting`, of a delivery, the same;
    `server`, all that it did. `sent` and `received`: bytes of one site by phase, the most of all.
    """

    def __init__(self, count: int, bits: int, vector: RingVector | Vector) -> None:
        names = [f"site-{slot:05d}" for slot in range(count)]
        keys = {name: Ed25519PrivateKey.generate() for name in names}
        roster = Roster(1, tuple(Entry(name, name, public_identity(keys[name]), 1) for name in names))
        colluders = max(1, count // 10) if count < 1000 else count // 20
        self.parameters = Parameters.choose(
            names, colluders=colluders, dropouts=count // 10, ring_bits=bits, length=vector.shape[0]
        )
        floor = Floor(3, colluders, count // 10)
        self.vector = vector
        self.clients = {
            name: ClientMachine(name, keys[name], roster, self.parameters, CONTEXT, floor, os.urandom)
            for name in names
        }
        self.machine = ServerMachine(roster, self.parameters, CONTEXT)
        self.machine.bind(CONTEXT)
        self.client: dict[Phase, float] = {}
        self.accepting = float("inf")
        self.sent: dict[Phase, int] = {}
        self.received: dict[Phase, int] = {}
        self.server = 0.0
        self.inbox: list[Outgoing] = [Outgoing(name, b"") for name in names]

    def run(self) -> Cohort:
        """All phases."""
        while self.machine.phase is not Phase.DONE:
            self.step()
        return self

    def step(self, answering: int | None = None) -> None:
        """Each site, or the first few, answers what it was sent."""
        phase, asked = self.machine.phase, self.inbox[:answering]
        for message in asked:
            self._time_server(message.to, self._time_client(phase, message))

    def _time_client(self, phase: Phase, message: Outgoing) -> bytes:
        replies: list[bytes] = []
        answer = self._answer(phase, message)
        if phase is Phase.MASK:
            forget_verified()  # what the server has checked, in this process, a site checks itself
            self.accepting = min(self.accepting, once(lambda: self.clients[message.to].accept(message.data)))
        spent = once(lambda: replies.append(answer()))
        self.received[phase] = max(len(message.data), self.received.get(phase, 0))
        self.sent[phase] = max(len(replies[0]), self.sent.get(phase, 0))
        self.client[phase] = min(spent, self.client.get(phase, spent))
        return replies[0]

    def _time_server(self, sender: str, reply: bytes) -> None:
        def receive() -> None:
            self.inbox = self.machine.receive(sender, reply) or self.inbox

        self.server += once(receive)

    def _answer(self, phase: Phase, message: Outgoing) -> Callable[[], bytes]:
        client, data = self.clients[message.to], message.data
        answers: dict[Phase, Callable[[], bytes]] = {
            Phase.ADVERTISE: client.advertise,
            Phase.SHARE: lambda: client.share(data),
            Phase.MASK: lambda: client.mask(self.vector[:], CONTEXT),
            Phase.REVEAL: lambda: client.reveal(data),
        }
        return answers[phase]
