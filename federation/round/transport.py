"""The port: send messages, await the next arrival or deadline.

The coordinator speaks to sites through this and knows nothing else about the world: Flower, an in-process
world and the adversary of the tests are three transports. A transport may lose, reorder and repeat messages, and
`Arrival.sender` only says where the bytes came from: whatever must be authentic is signed inside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from privacy.wire import Pieces

LARGEST: Final = (1 << 31) - (1 << 20)
"""Bytes in the largest message that is carried, 2 GiB less a little; of a plan, no more is read than it needs.

Flower 1.41 carries a message of ours as one field of one protobuf message, which holds less than 2 GiB: only its
own arrays travel in parts. `federation.round.sizes` says it of a plan.
"""
OPEN: Final = 16
"""Requests to one site whose replies are still asked for; of a silent site the oldest ones are given up."""


@dataclass(frozen=True)
class Outgoing:
    """One request for one site. `to` is a transport address, not a site id.

    `content` may be in pieces, of which the largest are the same for all sites: `data` puts them together.
    """

    to: str
    content: bytes | Pieces = field(repr=False)

    @property
    def data(self) -> bytes:
        """The bytes of the request."""
        return b"".join(self.content) if isinstance(self.content, tuple) else self.content

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return sum(map(len, self.content)) if isinstance(self.content, tuple) else len(self.content)


@dataclass(frozen=True)
class Arrival:
    """One reply. `sender` is the address that the answered request was sent to."""

    sender: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Deadline:
    """Nothing arrived in time, or nothing that was sent can still be answered."""


class Transport(Protocol):
    """A carrier of opaque bytes, and the coordinator's only clock."""

    def addresses(self) -> tuple[str, ...]:
        """The addresses that can be reached now."""
        ...

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Send each message to its site; returns before they answer.

        Raises `TransportError` when the carrier itself is broken. A site that cannot be reached is silence.
        """
        ...

    def next(self, timeout: float) -> Arrival | Deadline:
        """The next reply, or `Deadline` after `timeout` seconds without one (0: only what is here already).

        `Deadline` comes early when no request is left that could be answered: waiting longer changes nothing.
        """
        ...
