"""A SuperLink of a test's own, in this process, and a proxy before it. Both can be made to behave badly."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)

from clients.node.line import Place
from clients.node.proxy import Proxy
from federation.round.flower import from_record, to_record
from tests.certificates import Authority

NODE = 42
RUN = 7
Behave = Callable[["Handler"], None]


def message_of(content: RecordDict, kind: str = "query", to: int = NODE, ttl: float = 600.0) -> Message:
    """A message for a node, as a SuperLink hands it out."""
    metadata = Metadata(RUN, "", 1, to, "", "", time.time(), ttl, kind)
    message = make_message(metadata, content)
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


@dataclass
class SuperLink:
    """What it hands out (`messages`), what it got (`replies`), and how it misbehaves, call by call (`faults`)."""

    certificate: Path
    chain: Path
    key: Path
    messages: deque[Message] = field(default_factory=deque)
    replies: list[Message] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, deque[Behave]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)  # how often an object is still being stored
    announced: Message | None = None  # a reply whose objects come later
    port: int = 0
    secure: bool = True

    def __enter__(self) -> Self:
        link = self

        class Bound(Handler):
            superlink = link

        self._server = _Server(("127.0.0.1", 0), Bound)
        self.port = self._server.server_address[1]
        if self.secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.chain, self.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @classmethod
    def in_folder(cls, folder: Path, *hosts: str, secure: bool = True) -> Self:
        """One whose certificate is for these hosts, signed by an authority of its own."""
        certificate = Authority().write(folder, *(hosts or ("localhost", "127.0.0.1")))
        return cls(certificate, folder / "server.crt", folder / "server.key", secure=secure)

    def place(
        self, host: str = "localhost", proxy: Proxy | None = None, authority: Path | None = None
    ) -> Place:
        """Where a node finds it."""
        return Place(f"{host}:{self.port}", self.certificate, proxy, authority)

    def ask(self, data: bytes) -> None:
        """Hand a request of ours to the node."""
        self.messages.append(message_of(to_record(data)))

    def misbehave(self, call: str, *faults: Behave) -> None:
        """The next answers to a call."""
        self.faults.setdefault(call, deque()).extend(faults)

    def heard(self, count: int, seconds: float) -> list[bytes | None]:
        """The first replies, None for an error. AssertionError if they do not come in time."""
        ends = time.monotonic() + seconds
        while len(self.replies) < count and time.monotonic() < ends:
            time.sleep(0.01)
        assert len(self.replies) >= count, (self.calls[-20:], self.replies)
        return [None if reply.has_error() else from_record(reply.content) for reply in self.replies]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Nothing: nodes hang up on what is too long."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    superlink: SuperLink
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """One call."""
        name = self.path.rpartition("/")[2]
        self.body = self.rfile.read(int(self.headers["content-length"]))
        self.superlink.calls.append(name)
        waiting = self.superlink.faults.get(name)
        if waiting:
            waiting.popleft()(self)
            return
        answer = getattr(self, "_" + name.replace("-", "_"))()
        self.answer(200, answer.SerializeToString())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """An answer whole."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """End the connection here."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _activate_node(self) -> fleet_pb2.ActivateNodeResponse:
        return fleet_pb2.ActivateNodeResponse(node_id=NODE)

    def _deactivate_node(self) -> fleet_pb2.DeactivateNodeResponse:
        return fleet_pb2.DeactivateNodeResponse()

    def _send_node_heartbeat(self) -> heartbeat_pb2.SendNodeHeartbeatResponse:
        return heartbeat_pb2.SendNodeHeartbeatResponse(success=True)

    def _pull_messages(self) -> fleet_pb2.PullMessagesResponse:
        if not self.superlink.messages:
            return fleet_pb2.PullMessagesResponse()
        message = self.superlink.messages.popleft()
        with no_object_id_recompute():
            for name, part in get_all_nested_objects(message).items():
                self.superlink.objects.setdefault(name, part.deflate())
            tree = get_object_tree(message)
        bare = message_to_proto(remove_content_from_message(message))
        return fleet_pb2.PullMessagesResponse(messages_list=[bare], message_object_trees=[tree])

    def _pull_object(self) -> message_pb2.PullObjectResponse:
        asked = message_pb2.PullObjectRequest.FromString(self.body)
        content = self.superlink.objects.get(asked.object_id)
        if self.superlink.late.get(asked.object_id, 0) > 0:
            self.superlink.late[asked.object_id] -= 1
            return message_pb2.PullObjectResponse(object_found=True)
        return message_pb2.PullObjectResponse(
            object_found=content is not None,
            object_available=content is not None,
            object_content=content or b"",
        )

    def _confirm_message_received(self) -> message_pb2.ConfirmMessageReceivedResponse:
        return message_pb2.ConfirmMessageReceivedResponse()

    def _push_messages(self) -> fleet_pb2.PushMessagesResponse:
        asked = fleet_pb2.PushMessagesRequest.FromString(self.body)
        assert list(asked.clientapp_runtime_list) == [0.0]
        message = message_from_proto(asked.messages_list[0])
        if message.has_error():
            self.superlink.replies.append(message)
            return fleet_pb2.PushMessagesResponse(objects_to_push=[message.metadata.message_id])
        self.superlink.announced = message
        tree = asked.message_object_trees[0]
        record = tree.children[0].children[0].object_id
        return fleet_pb2.PushMessagesResponse(
            objects_to_push=["f" * 64, record, tree.children[0].object_id, tree.object_id, record],
            session_id="s",
        )

    def _push_object(self) -> message_pb2.PushObjectResponse:
        asked = message_pb2.PushObjectRequest.FromString(self.body)
        if asked.object_content.startswith(b"ConfigRecord"):
            record = ConfigRecord.inflate(asked.object_content)
            assert self.superlink.announced is not None
            metadata = self.superlink.announced.metadata
            self.superlink.replies.append(make_message(metadata, RecordDict({"federation": record})))
        return message_pb2.PushObjectResponse(stored=True)


def half(handler: Handler) -> None:
    """An answer that breaks off."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
    handler.hang_up()


@contextmanager
def proxy(
    folder: Path | None = None, *, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n", to: int | None = None
) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy on a port of its own, and what it was asked; by TLS with the certificate in `folder`.

    `answer`: what it says to CONNECT. `to`: the port that it connects to, whatever it is asked: it meddles.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []
    context = None
    if folder is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(connection,), daemon=True).start()

    def tunnel(raw: socket.socket) -> None:
        with suppress(OSError), closing(raw):
            secured(raw)

    def secured(raw: socket.socket) -> None:
        with raw if context is None else context.wrap_socket(raw, server_side=True) as connection:
            head = b""
            while b"\r\n\r\n" not in head and (part := connection.recv(4096)):
                head += part
            asked.append(head)
            connection.sendall(answer)
            if b" 200 " not in answer:
                return
            port = to or int(head.split(b" ")[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as other:
                threading.Thread(target=pump, args=(other, connection), daemon=True).start()
                pump(connection, other)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                sink.sendall(part)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        listener.close()
