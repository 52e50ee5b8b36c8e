"""One round of a cohort over a bad network, with one liar and one sleeper in it, and what became of it.

The network loses, doubles and keeps back a tenth of everything, and shuffles the rest. Requests are repeated a few
times, as any transport would; then the deadline falls. What is said here of a round that was not opened is found
from the outside: from what arrived, and from whom the sites refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from privacy.errors import FaultyClient, ProtocolError, SuspectedClient
from privacy.secagg.messages import Kind, Reveal, kind_of
from privacy.secagg.server import Outgoing, Phase, TooFew
from privacy.secagg.shamir import PRIME
from privacy.suite import SUITE
from tests.adversary.endurance.liar import Liar, Lie
from tests.privacy.secagg.rounds import Round, entropy, mask, site

LOST = DOUBLED = DELAYED = 0.1
TRIES = 5
PHASES = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.COMMIT, Phase.REVEAL]
Message = tuple[int, bytes]


def dice(name: str) -> Iterator[float]:
    """Numbers in [0, 1) from a hash, so that a failing round can be played again."""
    for number in range(1_000_000):
        octets = hashlib.sha256(f"{name}/{number}".encode()).digest()
        yield int.from_bytes(octets[:6], "big") / 2**48


class BadNetwork:
    """One direction. Each message is lost, doubled, or kept back until the next try, or the next step."""

    def __init__(self, name: str) -> None:
        self.dice = dice(name)
        self.late: list[Message] = []
        self.counts: Counter[str] = Counter()

    def carry(self, messages: list[Message]) -> list[Message]:
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


@dataclass
class Played:
    """A round, played by `play`. `arrived` are, for the step at hand, the sites whose answer came."""

    name: str
    round: Round
    lie: Lie
    liar: int
    sleeper: int
    void: TooFew | None = None
    accusers: set[int] = field(default_factory=set)
    arrived: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, name: str, lie: Lie, n: int) -> Played:
        session = hashlib.sha256(name.encode()).digest()
        round_ = Round(n, colluders=n // 10, dropouts=n // 5, length=20, session=session)
        for slot, client in enumerate(round_.clients):
            client._entropy = entropy(f"{name}/{site(slot)}")
        number = int.from_bytes(session[:4], "big")
        liar, sleeper = number % n, (number + 1 + number // n % (n - 1)) % n
        round_.clients[liar].__class__ = Liar
        round_.clients[liar].lie = lie  # type: ignore[attr-defined]  # it is a Liar now
        return cls(name, round_, lie, liar, sleeper)

    def play(self) -> None:
        self.dice, self.asleep = dice(f"{self.name} itself"), False
        self.wakes = PHASES[int(next(self.dice) * len(PHASES))], next(self.dice) < 0.5
        self.babbles = PHASES[int(next(self.dice) * len(PHASES))]
        self.down, self.up = BadNetwork(f"{self.name} down"), BadNetwork(f"{self.name} up")
        self.dreams: list[Message] = []
        try:
            while self.round.server.phase is not Phase.DONE:
                self._step()
        except TooFew as error:
            self.void = error

    def _step(self) -> None:
        server = self.round.server
        phase, self.arrived = server.phase, set()
        requests = dict(self.round.inbox) or dict.fromkeys(self.round.everyone, b"")
        for slot, reply in self.dreams:
            self._receive(slot, reply)
        self.dreams = []
        for _ in range(TRIES):
            if server.phase is not phase:
                return
            replies = [
                (slot, reply)
                for slot, request in self.down.carry(list(requests.items()))
                for reply in self._answers(slot, request)
            ]
            for slot, reply in self.up.carry(replies):
                self._receive(slot, reply)
        if server.phase is phase:
            self._deliver(server.deadline())

    def _receive(self, slot: int, reply: bytes) -> None:
        self.arrived.add(slot)
        self._deliver(self.round.server.receive(site(slot), reply))

    def _deliver(self, outgoing: list[Outgoing]) -> None:
        self.round.deliver(outgoing)

    def _answers(self, slot: int, request: bytes) -> list[bytes]:
        phase = self.round.server.phase
        try:
            reply = self._answer(slot, request)
        except SuspectedClient as error:
            assert error.site == site(self.liar), "an honest site is suspected of what it sealed"
            self.accusers.add(slot)
            self._deliver(self.round.server.leave(site(slot)))
            return []
        except ProtocolError:
            return []
        if slot == self.sleeper and (self.asleep or phase is self.wakes[0]):
            self.asleep, is_late = True, self.wakes[1]
            self.dreams += [(slot, reply)] * is_late
            return []
        return self._lies(phase, reply) if slot == self.liar else [reply]

    def _lies(self, phase: Phase, reply: bytes) -> list[bytes]:
        lie, kind = self.lie, kind_of(reply)
        if lie is Lie.HALVES_THEN_GONE and phase is Phase.MASK:
            return []
        if lie is Lie.BYTES and phase is self.babbles:
            return [bytes([SUITE, kind]) + entropy(self.name)(50)]
        if lie is Lie.TWO_ADVERTS and kind is Kind.ADVERT:
            return [reply, self.round.clients[self.liar].another_advert()]  # type: ignore[attr-defined]
        if (lie, kind) in ((Lie.TWO_SHARES, Kind.SEALED_SHARES), (Lie.TWO_VOTES, Kind.VOTE)):
            return [reply, reply[:-1] + bytes([reply[-1] ^ 1])]
        if lie is Lie.TWO_REVEALS and kind is Kind.REVEAL:
            right = Reveal.from_bytes(reply)
            seeds = {owner: (share + 1) % PRIME for owner, share in right.seed_shares.items()}
            return [reply, Reveal(seeds, right.key_shares, {}, right.signature).to_bytes()]
        return [reply]

    def _answer(self, slot: int, request: bytes) -> bytes:
        """Whatever step the request is of: it may be one that was repeated, and is over."""
        client = self.round.clients[slot]
        if not request:
            return client.advertise()
        kind = kind_of(request)
        if kind is Kind.DELIVERY:
            return mask(client, request, self.round.vectors[slot], self.round.contexts[slot])
        steps: Mapping[Kind, Callable[[bytes], bytes]] = {
            Kind.ADVERTS: client.share,
            Kind.SURVIVORS: client.commit,
            Kind.CERTIFICATE: client.reveal,
        }
        return steps[kind](request)

    # --- what became of it ---------------------------------------------------------------------------------

    @property
    def blame(self) -> Mapping[str, FaultyClient | SuspectedClient]:
        return self.round.server.blame

    @property
    def proven(self) -> set[str]:
        return {name for name, error in self.blame.items() if isinstance(error, FaultyClient)}

    @property
    def counts(self) -> Counter[str]:
        return self.down.counts + self.up.counts

    @property
    def outcome(self) -> str:
        """Opened, or why not: the first that explains it."""
        if self.void is None:
            return "opened"
        if self.proven:
            return "void: the liar is proven"
        absent = self.round.parameters.count - self.void.got
        if self.accusers and absent - len(self.accusers) <= self.round.parameters.tolerated:
            return "void: the liar is refused by those it dealt to"
        return "void: too few answers came" if len(self.arrived) < self.void.needed else "void: unexplained"
