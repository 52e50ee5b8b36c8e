"""A whole round in one process, one step at a time, for the tests to interfere with."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import ProtocolError
from privacy.roster import Entry, Roster
from privacy.secagg.client import ClientMachine
from privacy.secagg.keys import Secrets
from privacy.secagg.opened import Upload
from privacy.secagg.parameters import Floor, Parameters
from privacy.secagg.ring import Lanes, RingVector, accumulate, lane_type, reduce
from privacy.secagg.server import Outgoing, Phase, ServerMachine
from privacy.secagg.statements import bind_session
from privacy.signing import public_identity

SESSION = bytes(range(32))
CONTEXT = bytes(range(32, 64))


def entropy(seed: str) -> Callable[[int], bytes]:
    """A deterministic stream of bytes, so that a failing test fails again."""
    calls = iter(range(1_000_000))
    return lambda size: hashlib.shake_256(f"{seed}/{next(calls)}".encode()).digest(size)


def ring_vector(seed: str, length: int, bits: int) -> RingVector:
    """Pseudorandom ring elements."""
    words = np.frombuffer(hashlib.shake_256(seed.encode()).digest(8 * length), np.uint64)
    return words >> np.uint64(64 - bits)


def unpack(data: bytes, length: int, bits: int) -> Lanes:
    """The vector of wire bytes; MalformedMessage unless they are exactly what `pack` makes."""
    lanes = np.zeros(length, lane_type(bits))
    accumulate(lanes, data, bits)
    reduce(lanes, bits)
    return lanes


def site(slot: int) -> str:
    return f"site-{slot}" if slot < 10 else f"site-x{slot:05d}"  # ids sort as slots do


def identity(name: str) -> Ed25519PrivateKey:
    """The signing key of this name, for tests only."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def make_roster(names: Iterable[str], *, serial: int = 1, organization: str = "the owner of {}") -> Roster:
    """Each of these sites with a key of its own."""
    entries = (
        Entry(name, organization.format(name), public_identity(identity(name)), 100) for name in sorted(names)
    )
    return Roster(serial, tuple(entries))


def mask(client: ClientMachine, delivery: bytes, vector: RingVector, context: bytes) -> bytes:
    """Accept and mask in a row, as a site does that has its vector at hand."""
    client.accept(delivery)
    return client.mask(vector, context)


def fork(client: ClientMachine) -> ClientMachine:
    """Another machine in the same state, to be asked something else. A real site cannot: no state is stored."""
    twin = copy.copy(client)
    twin._answered = dict(client._answered)
    return twin


class Round:
    """One cohort; `inbox` holds what the server last sent to each site."""

    def __init__(
        self,
        n: int = 5,
        *,
        colluders: int = 1,
        dropouts: int = 99,
        ring_bits: int = 21,
        length: int = 7,
        session: bytes = SESSION,
        sessions: Mapping[int, bytes] | None = None,
        contexts: Mapping[int, bytes] | None = None,
        rosters: Mapping[int, Roster] | None = None,
        levels: tuple[int, ...] = (),
    ) -> None:
        self.parameters = Parameters.choose(
            map(site, range(n)),
            colluders=colluders,
            dropouts=dropouts,
            ring_bits=ring_bits,
            length=length,
            levels=levels,
        )
        self.roster = make_roster(self.parameters.members)
        self.floor = Floor(3, colluders, dropouts)
        self.sessions = dict.fromkeys(range(n), session) | dict(sessions or {})
        self.contexts = dict.fromkeys(range(n), CONTEXT) | dict(contexts or {})
        self.rosters = dict.fromkeys(range(n), self.roster) | dict(rosters or {})
        self.clients = [self.client(slot) for slot in range(n)]
        self.vectors = [ring_vector(site(slot), length, ring_bits) for slot in range(n)]
        self.server_session = session
        self.uploads: list[Upload] = []
        self.server = ServerMachine(self.roster, self.parameters, session, self.uploads.append)
        self.server.bind(CONTEXT)
        self.inbox: dict[int, bytes] = {}
        self.everyone = frozenset(range(n))

    @property
    def link(self) -> bytes:
        """C, the first link of the transcript."""
        return bind_session(self.server_session, self.roster.root, self.parameters)

    def secrets(self, slot: int) -> Secrets:
        """What a site that was not interfered with has drawn."""
        return Secrets.of(entropy(site(slot))(32), self.link)

    def client(self, slot: int) -> ClientMachine:
        """A fresh machine for the site of this number."""
        name = site(slot)
        return ClientMachine(
            name,
            identity(name),
            self.rosters[slot],
            self.parameters,
            self.sessions[slot],
            self.floor,
            entropy(name),
            self.excess(slot),
        )

    def excess(self, slot: int) -> list[bytes]:
        """The seeds of a site's excess noise."""
        draw = entropy(f"excess of {site(slot)}")
        return [draw(32) for _ in self.parameters.levels]

    def deliver(self, outgoing: Iterable[Outgoing]) -> None:
        """Put the server's messages into the inboxes; a step that sends nothing leaves them alone."""
        arrived = {self.parameters.slots[message.to]: message.data for message in outgoing}
        self.inbox = arrived or self.inbox

    def receive(self, slot: int, data: bytes) -> None:
        self.deliver(self.server.receive(site(slot), data))

    def answer(self, slot: int) -> bytes:
        """What an honest site answers in the present phase."""
        client, phase = self.clients[slot], self.server.phase
        if phase is Phase.ADVERTISE:
            return client.advertise()
        if phase is Phase.SHARE:
            return client.share(self.inbox[slot])
        if phase is Phase.MASK:
            return mask(client, self.inbox[slot], self.vectors[slot], self.contexts[slot])
        if phase is Phase.COMMIT:
            return client.commit(self.inbox[slot])
        return client.reveal(self.inbox[slot])

    def step(self, slots: Iterable[int] | None = None) -> None:
        """Let these sites (all if None) answer, those the server spoke to; then the deadline if need be.

        A site that leaves the protocol simply does not answer.
        """
        phase = self.server.phase
        answering = self.everyone if slots is None else self.everyone & set(slots)
        if phase is not Phase.ADVERTISE:
            answering &= self.inbox.keys()
        for slot, reply in self._replies(answering).items():
            self.receive(slot, reply)
        if self.server.phase is phase:
            self.deliver(self.server.deadline())

    def _replies(self, slots: Iterable[int]) -> dict[int, bytes]:
        replies = {}
        for slot in sorted(slots):
            with suppress(ProtocolError):
                replies[slot] = self.answer(slot)
        return replies

    def until(self, phase: Phase) -> Round:
        """Everyone who is still in the round answers until the server is in this phase."""
        while self.server.phase is not phase:
            self.step()
        return self

    def sum_over(self, slots: Iterable[int]) -> list[int]:
        """The right result, by Python's integers."""
        chosen = [self.vectors[slot] for slot in slots]
        modulus = 1 << self.parameters.ring_bits
        return [sum(map(int, column)) % modulus for column in zip(*chosen, strict=True)]

    def result(self) -> list[int]:
        assert self.server.result is not None
        assert self.server.result.dtype == lane_type(self.parameters.ring_bits)
        return [int(value) for value in self.server.result]
