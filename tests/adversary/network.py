"""An adversary that owns the network and the server's voice, and the keys and shares of the colluders.

It sees everything that is sent, delivers what it likes, when, to whom and how often, changes it, kills processes,
invites restarted sites to the same attempt again, and asks sites for votes and reveals with certificates made of
all the votes it has ever seen. Beside it runs an honest server, which it can starve and feed with anything.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

from privacy.errors import MalformedMessage, ProtocolError
from privacy.secagg.client import ClientMachine
from privacy.secagg.messages import (
    Advert,
    Adverts,
    Certificate,
    Delivery,
    Kind,
    Masked,
    Reveal,
    SealedShares,
    Survivors,
    Vote,
    kind_of,
)
from privacy.secagg.ring import packed_size
from privacy.secagg.server import TooFew
from privacy.secagg.statements import (
    accepted_digest,
    bind_adverts,
    bind_masks,
    bind_session,
    cast,
    taken_digest,
    upload_digest,
)
from tests.privacy.secagg.rounds import CONTEXT, SESSION, Round, entropy, identity, site

Sites = frozenset[int]

_REQUESTS = {Kind.ADVERTS, Kind.DELIVERY, Kind.SURVIVORS, Kind.CERTIFICATE}


def kind_or_none(data: bytes) -> Kind | None:
    """What a message says it is, if anything."""
    try:
        return kind_of(data)
    except MalformedMessage:
        return None


class Network:
    """The sites, their journals, and all that is under way.

    A site's process has a number, its life. No life knows the secrets of the one before. What outlives it is the
    journal's mark: the life that was about to mask. Without `has_marks`, a control, the journal forgets that.
    """

    def __init__(
        self, n: int, colluders: int, machine: type[ClientMachine] = ClientMachine, *, has_marks: bool = True
    ) -> None:
        self.round = Round(n, colluders=colluders, length=3)
        self.rules, self.server = self.round.parameters, self.round.server
        self.colluders, self.honest = range(colluders), range(colluders, n)
        for client in self.round.clients:
            client.__class__ = machine
        self.machine, self.has_marks = machine, has_marks
        self.lives = dict.fromkeys(range(n), 0)
        self.marks: dict[int, int] = {}
        self.out: set[int] = set()
        self.up: list[tuple[int, bytes]] = []
        self.down: list[tuple[int, bytes]] = []
        self.seen: list[tuple[int, bytes]] = []
        self.links: dict[int, bytes] = {}
        self.transcripts: dict[int, bytes] = {}
        self.uploads: dict[int, set[bytes]] = defaultdict(set)
        self.votes: dict[tuple[bytes, Sites], dict[int, Vote]] = defaultdict(dict)
        self.given: dict[tuple[str, int], set[int]] = defaultdict(set)

    # --- moves -------------------------------------------------------------------------------------------

    def advertise(self, slot: int) -> None:
        if slot in self.out:
            return
        try:
            self._leaves(slot, self.round.clients[slot].advertise())
        except ProtocolError:
            pass

    def to_server(self, slot: int, data: bytes) -> None:
        try:
            self._sends(self.server.receive(site(slot), data))
        except TooFew:
            assert self.server.result is None

    def deadline(self) -> None:
        try:
            self._sends(self.server.deadline())
        except TooFew:
            assert self.server.result is None

    def calm(self) -> None:
        """One exchange with nobody in the way: all that is under way arrives, then what the sites answer."""
        while self.down:
            self.to_site(*self.down.pop(0))
        while self.up:
            self.to_server(*self.up.pop(0))

    def to_site(self, slot: int, data: bytes, *, dies: bool = False) -> None:
        """The site takes a request. If it `dies`, it does so with the reply made and not sent."""
        if slot in self.out or kind_or_none(data) not in _REQUESTS:
            return  # no such round here, or not even a step
        try:
            reply = self._answer(slot, data)
        except ProtocolError:
            reply = b""
        if dies:
            self.restart(slot)
        elif reply:
            self._leaves(slot, reply, data)

    def restart(self, slot: int) -> None:
        """The process dies, all secrets with it. The next one sits the attempt out unless it is invited again."""
        self.round.clients[slot].abort()
        self.out.add(slot)

    def invite_again(self, slot: int) -> None:
        """A restarted site takes the attempt for a new one, which only a hostile server makes it: with new keys."""
        if slot in self.out:
            self.out.remove(slot)
            self.lives[slot] += 1
            client = self.round.clients[slot] = self.round.client(slot)
            client.__class__ = self.machine
            client._entropy = entropy(f"{site(slot)}, life {self.lives[slot]}")
            self.advertise(slot)

    def play_again(self) -> None:
        """Kill all sites and play the same attempt with their next lives, up to the masked vectors."""
        start, everyone = len(self.up), range(self.rules.count)
        for slot in everyone:
            self.restart(slot)
            self.invite_again(slot)
        adverts = {slot: Advert.from_bytes(data) for slot, data in self.up[start:]}
        for slot in everyone:
            self.to_site(slot, Adverts(adverts).to_bytes())
        sealed = {
            slot: SealedShares.from_bytes(data).by_slot for slot, data in self.up[start + len(adverts) :]
        }
        for slot in everyone:
            shares = {sender: by_slot[slot] for sender, by_slot in sealed.items() if slot in by_slot}
            self.to_site(slot, Delivery(frozenset(sealed), shares).to_bytes())

    def ask_for_votes(self, survivors: Sites, asked: Sites) -> None:
        for slot in sorted(asked & set(self.honest)):
            self.to_site(slot, Survivors(survivors).to_bytes())

    def promising(self) -> list[Sites]:
        """The sets for which there are votes enough, with the colluders', in somebody's transcript."""
        needed = self.rules.quorum - len(self.colluders)
        return sorted({each for (_, each), votes in self.votes.items() if len(votes) >= needed}, key=sorted)

    def open(self, survivors: Sites, sites: Sites) -> None:
        """Show these sites a certificate of all votes there are for this set, in each one's transcript."""
        for slot in sorted(sites & set(self.honest) & self.transcripts.keys()):
            transcript = self.transcripts[slot]
            votes = dict(self.votes[transcript, survivors])
            for bad in self.colluders:
                votes[bad] = cast(identity(site(bad)), transcript, survivors, b"u" * 32)
            inside = {voter: vote for voter, vote in votes.items() if voter in survivors}
            self.to_site(slot, Certificate(survivors, inside).to_bytes())

    # --- what comes of them --------------------------------------------------------------------------------

    def _answer(self, slot: int, data: bytes) -> bytes:
        client, kind = self.round.clients[slot], kind_of(data)
        if kind is Kind.ADVERTS:
            return client.share(data)
        if kind is Kind.DELIVERY:
            client.accept(data)
            self._mark(slot)
            return client.mask(self.round.vectors[slot], CONTEXT)
        if kind is Kind.SURVIVORS:
            return client.commit(data)
        return client.reveal(data)

    def _mark(self, slot: int) -> None:
        """The journal has this attempt before anything masked exists, and lets no later life mask in it."""
        life = self.lives[slot]
        if self.marks.setdefault(slot, life) != life and self.has_marks:
            self.round.clients[slot].abort()
            raise ProtocolError("this attempt is over")

    def _leaves(self, slot: int, reply: bytes, request: bytes = b"") -> None:
        """Sent: from here on the adversary has it."""
        self.up.append((slot, reply))
        self.seen.append((slot, reply))
        kind = kind_of(reply)
        if kind is Kind.SEALED_SHARES:
            session = bind_session(SESSION, self.round.roster.root, self.rules)
            self.links[slot] = bind_adverts(session, Adverts.from_bytes(request))
        elif kind is Kind.MASKED:
            masked = Masked.from_bytes(reply, packed_size(self.rules.length, self.rules.ring_bits))
            delivery = Delivery.from_bytes(request)
            sharers = delivery.sharers
            self.transcripts[slot] = bind_masks(self.links[slot], CONTEXT, sharers)
            self.uploads[slot].add(masked.packed)
            taken = {dealer: taken_digest(sealed.dealt) for dealer, sealed in delivery.by_slot.items()}
            accepted = accepted_digest(self.links[slot], taken)
            vote = Vote(upload_digest(masked.packed, masked.wraps, accepted), masked.signature)
            self.votes[self.transcripts[slot], sharers][slot] = vote
        elif kind is Kind.VOTE:
            survivors = Survivors.from_bytes(request).slots
            self.votes[self.transcripts[slot], survivors][slot] = Vote.from_bytes(reply)
        elif kind is Kind.REVEAL:
            reveal = Reveal.from_bytes(reply)
            for name, shares in (("seed", reveal.seed_shares), ("secret", reveal.key_shares)):
                for owner in shares:
                    self.given[name, owner].add(slot)

    def _sends(self, outgoing: list) -> None:  # type: ignore[type-arg]
        for message in outgoing:
            item = self.rules.slots[message.to], message.data
            self.down.append(item)
            self.seen.append(item)

    # --- what must hold ------------------------------------------------------------------------------------

    def knows(self, name: str, owner: int) -> bool:
        """Whether the shares that honest sites gave away, with the colluders' own, rebuild this secret."""
        honest = self.given[name, owner] & set(self.honest)
        return len(honest) + len(self.colluders) >= self.rules.threshold

    def check(self) -> None:
        for owner in self.honest:
            assert not (self.knows("seed", owner) and self.knows("secret", owner)), "both secrets of one site"
            assert len(self.uploads[owner]) <= 1, "a site masked twice"
        # What colluders put in is theirs to subtract: sums are told apart by the honest sites in them.
        openings = {each & set(self.honest) for each in self.subsets() if self._is_open(each)}
        assert len(openings) <= 1, "two sums of one round"
        if self.server.result is not None:
            survivors = [self.rules.slots[name] for name in self.server.survivors]
            assert len(survivors) >= self.rules.required
            assert self.round.result() == self.round.sum_over(survivors), "a wrong sum"

    def subsets(self) -> list[Sites]:
        """All sets that are large enough to be opened."""
        sizes = range(self.rules.required, self.rules.count + 1)
        return [frozenset(each) for size in sizes for each in combinations(range(self.rules.count), size)]

    def _is_open(self, survivors: Sites) -> bool:
        inside = [owner for owner in self.honest if owner in survivors]
        outside = [owner for owner in self.honest if owner not in survivors and owner in self.transcripts]
        return all(self.uploads[owner] and self.knows("seed", owner) for owner in inside) and all(
            self.knows("secret", owner) for owner in outside
        )
