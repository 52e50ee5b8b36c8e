"""What a hostile server has of one attempt: every byte that it relayed, and the uploads that it kept back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from privacy.secagg.client import ClientMachine, Entropy
from privacy.secagg.kem import KemPair, encapsulate
from privacy.secagg.keys import Channel, Secrets, derive
from privacy.secagg.messages import (
    Advert,
    Adverts,
    Delivery,
    Kind,
    Masked,
    Reveal,
    Sealed,
    SealedShares,
    kind_of,
)
from privacy.secagg.parameters import Parameters
from privacy.secagg.ring import Lanes, packed_size
from privacy.secagg.server import Outgoing, Phase
from privacy.secagg.statements import bind_adverts, bind_masks
from tests.privacy.secagg.rounds import CONTEXT, SESSION, Round, entropy, site, unpack


@dataclass
class View:
    """One attempt as the server knows it, from the messages alone. `link` is C of the transcript."""

    parameters: Parameters
    link: bytes
    context: bytes
    adverts: Mapping[int, Advert] = field(default_factory=dict)
    seals: dict[tuple[int, int], Sealed] = field(default_factory=dict)
    sharers: frozenset[int] = frozenset()
    uploads: dict[int, Lanes] = field(default_factory=dict)
    wraps: dict[tuple[int, int], bytes] = field(default_factory=dict)
    reveals: dict[int, Reveal] = field(default_factory=dict)

    @property
    def bound(self) -> bytes:
        """A of the transcript."""
        return bind_adverts(self.link, Adverts(self.adverts))

    @property
    def transcript(self) -> bytes:
        """T of the transcript."""
        return bind_masks(self.bound, self.context, self.sharers)

    def peers(self, slot: int) -> frozenset[int]:
        """With whom a site shares and masks."""
        neighbors = self.parameters.graph(self.link).neighbors(slot)
        return frozenset(neighbors) & self.adverts.keys()

    def hear(self, slot: int, data: bytes) -> None:
        """A site's message, whether or not anybody else ever gets it."""
        kind, length, bits = kind_of(data), self.parameters.length, self.parameters.ring_bits
        if kind is Kind.SEALED_SHARES:
            for to, sealed in SealedShares.from_bytes(data, self.levels).by_slot.items():
                self.seals[slot, to] = sealed
        elif kind is Kind.MASKED:
            masked = Masked.from_bytes(data, packed_size(length, bits))
            self.uploads[slot] = unpack(masked.packed, length, bits)
            self.wraps |= {(slot, to): wrap for to, wrap in masked.wraps.items()}
        elif kind is Kind.REVEAL:
            self.reveals[slot] = Reveal.from_bytes(data)

    def tell(self, data: bytes) -> None:
        """A message to a site."""
        if kind_of(data) is Kind.ADVERTS:
            self.adverts = Adverts.from_bytes(data, self.levels).by_slot
        elif kind_of(data) is Kind.DELIVERY:
            self.sharers = Delivery.from_bytes(data, self.levels).sharers

    @property
    def levels(self) -> int:
        """Of excess noise."""
        return len(self.parameters.levels)


class Tapped(Round):
    """A round whose server reads along. Sites of one `tag` draw what those of another never do."""

    def __init__(
        self,
        n: int = 5,
        *,
        tag: str = "",
        colluders: int = 1,
        dropouts: int = 99,
        ring_bits: int = 21,
        length: int = 3,
        session: bytes = SESSION,
        levels: tuple[int, ...] = (),
    ) -> None:
        self.tag = tag
        super().__init__(
            n,
            colluders=colluders,
            dropouts=dropouts,
            ring_bits=ring_bits,
            length=length,
            session=session,
            levels=levels,
        )
        self.view = View(self.parameters, self.link, CONTEXT)

    def client(self, slot: int) -> ClientMachine:
        client = super().client(slot)
        client._entropy = self.draws(slot)
        return client

    def draws(self, slot: int) -> Entropy:
        """The randomness of a site, from its beginning."""
        return entropy(self.tag + site(slot))

    def root(self, slot: int) -> bytes:
        """What all secrets of a site follow from: known to its colluder and to nobody else."""
        return self.draws(slot)(32)

    def secrets(self, slot: int) -> Secrets:
        return Secrets.of(self.root(slot), self.link)

    def receive(self, slot: int, data: bytes) -> None:
        self.view.hear(slot, data)
        super().receive(slot, data)

    def deliver(self, outgoing: Iterable[Outgoing]) -> None:
        messages = list(outgoing)
        for message in messages:
            self.view.tell(message.data)
        super().deliver(messages)

    def betray(self, victims: Iterable[int], *, withheld: bool = False) -> Tapped:
        """Declare the victims lost after they shared: keep their uploads back, or never let them mask."""
        lost = frozenset(victims)
        self.until(Phase.MASK)
        for slot in lost if not withheld else ():
            self.view.hear(slot, self.answer(slot))
        self.step(self.everyone - lost)
        return self

    def until(self, phase: Phase) -> Tapped:
        super().until(phase)
        return self

    def open(self, victims: Iterable[int] = (), *, withheld: bool = False) -> Tapped:
        """The whole attack as the sites see it: an honest round in which the victims were lost."""
        self.betray(victims, withheld=withheld).until(Phase.DONE)
        return self


def leave_the_kem_out(patch: pytest.MonkeyPatch) -> None:
    """Control: a channel's key is of what X25519 agreed, and of nothing else."""
    real = Channel.between

    def between(
        cls: type[Channel], agreed: bytes, _: bytes, ciphertext: bytes, adverts: bytes, *ends: int
    ) -> Channel:
        return real(agreed, bytes(32), ciphertext, adverts, *ends)

    patch.setattr(Channel, "between", classmethod(between))


def take_s_for_w(patch: pytest.MonkeyPatch) -> None:
    """Control: the secret that is shared also makes the keys that seals are for. ML-KEM stays."""
    real = Secrets.of

    def of(cls: type[Secrets], root: bytes, session: bytes) -> Secrets:
        secrets = real(root, session)
        return cls(secrets.mask, secrets.seed, secrets.mask)

    patch.setattr(Secrets, "of", classmethod(of))


def share_the_channel(patch: pytest.MonkeyPatch) -> None:
    """Control: as in suite 2, the secret that is shared also makes the keys that seal shares, both ways."""
    take_s_for_w(patch)
    leave_the_kem_out(patch)


def derive_the_channel(patch: pytest.MonkeyPatch) -> None:
    """Control: the channel secret follows from the mask secret, one step away; as in suite 2 there is no KEM."""
    real = Secrets.of

    def of(cls: type[Secrets], root: bytes, session: bytes) -> Secrets:
        secrets = real(root, session)
        return cls(secrets.mask, secrets.seed, derive(secrets.mask, session, "channel secret"))

    patch.setattr(Secrets, "of", classmethod(of))
    leave_the_kem_out(patch)


# What `derive` was asked: the secret, the salt, the use, the parts.
Call = tuple[bytes, bytes, str, tuple[bytes, ...]]


def record(patch: pytest.MonkeyPatch) -> dict[Call, bytes]:
    """What `derive` is asked, and answers, from now on, wherever it was imported to."""
    calls: dict[Call, bytes] = {}
    real = derive

    def recorded(secret: bytes, salt: bytes, use: str, *parts: bytes) -> bytes:
        made = real(secret, salt, use, *parts)
        calls[secret, salt, use, parts] = made
        return made

    _replace(patch, "derive", real, recorded)
    return calls


def record_secrets(patch: pytest.MonkeyPatch) -> dict[bytes, tuple[str, bytes]]:
    """What is encapsulated, and decapsulated, from now on: each secret, by which of the two and its ciphertext."""
    seen: dict[bytes, tuple[str, bytes]] = {}
    send, receive = encapsulate, KemPair.decapsulate

    def sent(public: bytes) -> tuple[bytes, bytes]:
        secret, ciphertext = send(public)
        seen[secret] = "encapsulated", ciphertext
        return secret, ciphertext

    def received(self: KemPair, ciphertext: bytes) -> bytes:
        secret = receive(self, ciphertext)
        seen.setdefault(secret, ("decapsulated", ciphertext))
        return secret

    _replace(patch, "encapsulate", send, sent)
    patch.setattr(KemPair, "decapsulate", received)
    return seen


def _replace(patch: pytest.MonkeyPatch, name: str, real: object, by: object) -> None:
    """Wherever it was imported to."""
    ours = {"privacy", "federation", "clients", "server", "simulations", "tests"}
    for module in [module for at, module in sys.modules.items() if at.split(".")[0] in ours]:
        if vars(module).get(name) is real:
            patch.setattr(module, name, by)
