"""A simulation under Flower: its Grid, its messages and the real ClientApp, in one process.

Only Flower's network and processes are simulated: `LocalGrid` stands for the SuperLink and the
SuperNodes. Every message is serialized as Flower does it, handed to `clients.app.app` and goes on through a
real socket to a real `SiteService`. Ray, Flower's own simulation engine, is not needed and costs seconds to
start.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NoReturn

from federation.quiet import quiet_flower

quiet_flower()  # Flower reads some of its switches when it is imported

from flwr.app import Context, Message, RecordDict  # noqa: E402
from flwr.common.serde import message_from_proto, message_to_proto  # noqa: E402
from flwr.proto.message_pb2 import Message as WireMessage  # noqa: E402
from flwr.serverapp import Grid  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

from clients.app import app  # noqa: E402
from clients.door.callers import Callers  # noqa: E402
from clients.door.service import SiteService  # noqa: E402
from federation.round.flower import GridTransport  # noqa: E402
from federation.round.transport import Transport  # noqa: E402

_FIRST_NODE: Final = 1 << 63
"""As large as the real ones, which are random 64-bit numbers; 1 would be the SuperLink."""
_RUN: Final = 1


@contextmanager
def flower_world(receives: Mapping[str, Callable[[bytes], bytes]]) -> Iterator[Transport]:
    """A transport to sites which answer with `receives[site]`, each in a thread of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="federation-")))
        stack.enter_context(flower_process(folder))
        sockets = {_FIRST_NODE + index: folder / f"{index}.sock" for index in range(len(receives))}
        pool = ThreadPoolExecutor(max_workers=max(1, len(receives)), thread_name_prefix="flower-node")
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for receive, socket in zip(receives.values(), sockets.values(), strict=True):
            stack.enter_context(SiteService(receive, socket, Callers(same_user=True)))
        yield GridTransport(LocalGrid(sockets, pool), shortest=0.0005, longest=0.01)


class LocalGrid(Grid):
    """A SuperLink and its SuperNodes without network or processes: node id -> the socket of its site."""

    def __init__(self, sockets: Mapping[int, Path], pool: Executor) -> None:
        self._sockets = sockets
        self._pool = pool
        self._names = (f"request-{number}" for number in itertools.count())
        self._replies: dict[str, Future[bytes]] = {}

    def get_node_ids(self) -> Iterable[int]:
        """Every node: none ever leaves."""
        return list(self._sockets)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Start the ClientApp on each message; its name, or nothing for a node that does not exist."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies which are ready, each handed out once."""
        ready = [name for name in message_ids if name in self._replies and self._replies[name].done()]
        return [_unpack(self._replies.pop(name).result()) for name in ready]

    def _push(self, message: Message) -> str:
        node = message.metadata.dst_node_id
        if node not in self._sockets:
            return ""
        wire, name = message_to_proto(message), next(self._names)
        wire.metadata.message_id = name
        self._replies[name] = self._pool.submit(_node, node, self._sockets[node], wire.SerializeToString())
        return name

    def _unused(self, *_: object, **__: object) -> NoReturn:
        """What else a Grid has: `GridTransport` only pushes and pulls."""
        raise NotImplementedError

    run = property(_unused)
    set_run = create_message = send_and_receive = _unused


def _node(node: int, socket: Path, wire: bytes) -> bytes:
    """A SuperNode with one message: a fresh context and the real ClientApp, which knows only its socket."""
    context = Context(_RUN, node, {"socket": str(socket)}, RecordDict(), {})
    reply: bytes = message_to_proto(app(_unpack(wire), context)).SerializeToString()
    return reply


def _unpack(wire: bytes) -> Message:
    return message_from_proto(WireMessage.FromString(wire))


@contextmanager
def flower_process(home: Path) -> Iterator[None]:
    """Set what Flower sets in the process of a ServerApp: its identity, and a home for the files it writes."""
    identity = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    before = os.environ.get("FLWR_HOME")
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN, 1
    os.environ["FLWR_HOME"] = str(home)
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = identity
        os.environ.pop("FLWR_HOME")
        if before is not None:
            os.environ["FLWR_HOME"] = before
