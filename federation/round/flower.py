"""Our bytes inside Flower records, and back.

Flower carries, the site decides: a frame of ours is one opaque `bytes` in one `ConfigRecord`, and Flower's
own fields (weights, metrics, state) stay empty, since Flower sends them in clear.

Flower's own `send_and_receive` looks for replies every three seconds and returns them all at once;
`GridTransport` looks sooner and hands over each reply when it is there, so that the server sums a round as a
stream. An error reply can come from the SuperLink itself (then its source is node 1), so a reply is known
by the request that it answers, never by its source.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Set
from typing import Final

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from federation.errors import TransportError
from federation.round.transport import LARGEST, OPEN, Arrival, Deadline, Outgoing
from privacy.errors import MalformedMessage

LIFETIME: Final = 3600.0
"""Seconds after which Flower itself drops a request that no site has fetched."""

_RECORD: Final = "federation"
_KEY: Final = "data"
_BACKOFF: Final = 1.5


def to_record(data: bytes) -> RecordDict:
    """`data` as the content of a Flower message."""
    return RecordDict({_RECORD: ConfigRecord({_KEY: data})})


def from_record(content: RecordDict) -> bytes:
    """The bytes in a Flower message; `MalformedMessage` unless its content is exactly one of our records."""
    if list(content) != [_RECORD]:
        raise MalformedMessage("a Flower message without exactly our record")
    record = content[_RECORD]
    if not isinstance(record, ConfigRecord) or list(record) != [_KEY]:
        raise MalformedMessage("a Flower record without exactly our field")
    data = record[_KEY]
    if not isinstance(data, bytes) or not 0 < len(data) <= LARGEST:
        raise MalformedMessage("a Flower record whose field is not bytes of an allowed length")
    return data


class GridTransport:
    """Flower's Grid as a `Transport`; an address is a node id in decimal.

    `shortest` and `longest` are the seconds between two looks for replies: quick after a message, slower the
    longer nothing comes.
    """

    def __init__(self, grid: Grid, *, shortest: float = 0.05, longest: float = 1.0) -> None:
        self._grid = grid
        self._shortest, self._longest = shortest, longest
        self._asked: dict[str, str] = {}
        self._arrived: deque[Arrival] = deque()

    def addresses(self) -> tuple[str, ...]:
        """The nodes connected to the SuperLink now. TransportError if Flower does not answer."""
        try:
            return tuple(str(node) for node in sorted(self._grid.get_node_ids()))
        except Exception as error:
            raise _broken("list the sites", error) from error

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Hand the messages to the SuperLink, where the sites fetch them. TransportError if it refuses them."""
        outgoing = list(messages)
        requests = [_request(message) for message in outgoing]
        try:
            identifiers = list(self._grid.push_messages(requests))
        except Exception as error:
            raise _broken("send", error) from error
        if len(identifiers) != len(outgoing):
            hint = "see the log of flower-superlink; they may be too large"
            raise TransportError("Flower refused the messages", hint=hint)
        # A message that the SuperLink does not take (the node has left) has no identifier: silence.
        self._asked |= {name: message.to for name, message in zip(identifiers, outgoing, strict=True) if name}
        self._give_up({message.to for message in outgoing})

    def next(self, timeout: float) -> Arrival | Deadline:
        """The next reply; `Deadline` after `timeout` seconds, or when no open request is left."""
        deadline = time.monotonic() + timeout
        pause = self._shortest
        while True:
            if not self._arrived and self._asked:
                self._pull()
            if self._arrived:
                return self._arrived.popleft()
            left = deadline - time.monotonic()
            if left <= 0 or not self._asked:
                return Deadline()
            time.sleep(min(pause, left))
            pause = min(pause * _BACKOFF, self._longest)

    def _give_up(self, sites: Set[str]) -> None:
        """Ask no more for the oldest replies of sites that have too many requests open."""
        open_: dict[str, list[str]] = {site: [] for site in sites}
        for name, site in self._asked.items():
            if site in open_:
                open_[site].append(name)
        for names in open_.values():
            for name in names[:-OPEN]:
                del self._asked[name]

    def _pull(self) -> None:
        try:
            replies = list(self._grid.pull_messages(list(self._asked)))
        except Exception as error:
            raise _broken("fetch replies", error) from error
        for reply in replies:
            # A reply counts once, and only for a request of ours that is still open.
            sender = self._asked.pop(reply.metadata.reply_to_message_id, None)
            if sender is not None and (data := _answer(reply)) is not None:
                self._arrived.append(Arrival(sender, data))


def _request(message: Outgoing) -> Message:
    return Message(to_record(message.data), int(message.to), MessageType.QUERY, ttl=LIFETIME)


def _answer(reply: Message) -> bytes | None:
    """The bytes of a reply; None, the same as silence, if Flower answered in the site's place."""
    if reply.has_error():
        return None
    try:
        return from_record(reply.content)
    except MalformedMessage:
        return None


def _broken(what: str, error: Exception) -> TransportError:
    reason = f"Flower could not {what} ({type(error).__name__})"
    return TransportError(reason, hint="see the log of flower-superlink")
