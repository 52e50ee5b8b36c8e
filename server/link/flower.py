"""The coordinator's end of its SuperLink, over the interfaces that nobody else may use.

It submits a run, takes the run's task itself and speaks to the sites as the app
of that task. What it submits is a manifest without a line of code: nothing anywhere is started for it, and nothing
could be, since only who has the secret gets a task.

Calls are made once. Whoever calls decides whether to try again (`server.link.steady`): Flower's own way is to wait
for ever, and to interrupt this process where it is refused.
"""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import httpx
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, SUPERLINK_NODE_ID, SubStatus
from flwr.common.serde import run_from_proto
from flwr.common.serde_utils import metadata_from_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    StartRunRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import NodeStatus, TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from federation.errors import TransportError
from server.link.gate import GATE_HEADER
from server.link.order import node_key

_ACQUIRE: Final = "/flwr.proto.Runtime/AcquireTask"
_MANIFEST: Final = b"""[project]
name = "coordinator"
version = "1.0.0"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "private-federation"
[tool.flwr.app.components]
serverapp = "nothing:here"
clientapp = "nothing:here"
"""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_ROOM: Final = 1 << 12  # bytes of an object that carries no bytes of ours
_SILENCE: Final = Error(code=0, reason="")
Points: TypeAlias = Mapping[str, bytes]
"""The key of each site's node, as the roster names it: a compressed point."""


class RunOver(TransportError):
    """The SuperLink knows this run no more: it took the coordinator for dead, or was followed by another."""


@dataclass(frozen=True)
class Link:
    """Where a SuperLink of ours listens for us, and what shows it that it is us."""

    address: str
    token: str = field(repr=False)
    secret: str = field(repr=False)

    def numbers(self, points: Points) -> dict[str, str]:
        """By site, the number under which this SuperLink knows its node."""
        return {site: str(node.node_id) for site, node in self._nodes(points).items()}

    def connected(self, points: Points) -> frozenset[str]:
        """The sites whose nodes are connected now."""
        return frozenset(
            site for site, node in self._nodes(points).items() if node.status == NodeStatus.ONLINE
        )

    def _nodes(self, points: Points) -> dict[str, Any]:
        names = {node_key(point): site for site, point in points.items()}
        with self._control() as control:
            found = control.ListNodes(ListNodesRequest()).nodes_info
        return {names[node.public_key]: node for node in found if node.public_key in names}

    @contextmanager
    def run(self) -> Iterator[HttpGrid]:
        """A run of our own, as its app sees it, until the context ends; sites have nothing to run for it."""
        with self._control() as control:
            run = control.StartRun(StartRunRequest(fab=Fab(content=_bundle()))).run_id
        token = self._take(run)
        grid = _Grid(self, token)
        try:
            given = grid.client.PullTaskInput(PullTaskInputRequest())
            TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
            TaskIdentity.node_id = SUPERLINK_NODE_ID
            grid.set_run(run_from_proto(given.run))
            with _alive(grid.client):
                yield grid
            grid.finish()
        finally:
            grid.close()

    def _take(self, run: int) -> str:
        """The token of the run's task: nobody else is asked to run it."""
        proof = SuperExecAuthHttpInterceptor(
            master_secret=bytes.fromhex(self.secret), protected_methods=frozenset({_ACQUIRE})
        )
        version = RuntimeVersionHttpInterceptor(component_name="SuperExec")
        with RuntimeHttpClient.from_server_address(
            self.address, True, None, interceptors=[version, proof, self._gate()]
        ) as client:
            wanted = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
            for _ in range(100):  # tasks of runs that ended before they were taken come first
                answer = client.AcquireTask(wanted)
                if answer.token and answer.task.run_id == run:
                    return str(answer.token)
                time.sleep(0 if answer.token else 0.1)
        raise RunOver("the SuperLink has no task for the run that it was given", hint="start it again")

    def _control(self) -> ControlHttpClient:
        return ControlHttpClient.from_server_address(self.address, True, None, interceptors=[self._gate()])

    def _gate(self) -> _Shown:
        return _Shown(self.token)


class _Shown:
    """Puts the token of the local gate on each request."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Add the token, and go on."""
        context.request.headers[GATE_HEADER] = self._token
        return call_next(context)


class _Grid(HttpGrid):
    """Flower's Grid through our gate, which makes each call once.

    Flower's own way to pull waits for hours until all of a reply is there, while nobody else's is handed over, and
    fails as a whole where one reply is none. So a reply is looked at here object by object, and is silence if it is
    none of ours; which request it answers is what the SuperLink checked, and not what the reply says inside.
    """

    def __init__(self, link: Link, token: str) -> None:
        super().__init__(link.address, insecure=True, token=token)
        version = RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
        shown: list[Any] = [version, RuntimeTokenHttpInterceptor(token=token), _Shown(link.token)]
        self.client = RuntimeHttpClient.from_server_address(link.address, True, None, interceptors=shown)
        self._client = self.client
        self._coming: dict[str, _Coming] = {}

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are there as a whole, to these requests."""
        asked = set(message_ids)
        self._coming = {name: coming for name, coming in self._coming.items() if name in asked}
        if wanted := sorted(asked - self._coming.keys()):
            found = self.client.PullMessages(PullAppMessagesRequest(message_ids=wanted))
            for message, tree in zip(found.messages_list, found.message_object_trees, strict=True):
                if message.metadata.reply_to_message_id in asked:
                    coming = _Coming(message, tree)
                    self._coming[coming.answers] = coming
        return [reply for coming in list(self._coming.values()) if (reply := self._reply(coming)) is not None]

    def _reply(self, coming: _Coming) -> Message | None:
        """The reply if all of it is there, or silence where it can be none; else None."""
        content = None
        if coming.is_ours:
            for name in coming.missing:
                wanted = PullObjectRequest(node=self.node, run_id=coming.run, object_id=name)
                found = self.client.PullObject(wanted)
                if not found.object_found:
                    break
                if not found.object_available:
                    return None
                coming.held[name] = bytes(found.object_content)
            content = coming.content()
        del self._coming[coming.answers]
        told = ConfirmMessageReceivedRequest(
            node=self.node, run_id=coming.run, message_object_id=coming.names[0]
        )
        with suppress(httpx.HTTPError):  # it only tidies up there
            self.client.ConfirmMessageReceived(told)
        return make_message(coming.metadata, content, None if content is not None else _SILENCE)

    def finish(self) -> None:
        """Have the run end as done."""
        self.client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details=""))


class _Coming:
    """A reply that was announced, and what of it is here: a message, in it records, in them one record."""

    def __init__(self, message: ProtoMessage, tree: ObjectTree) -> None:
        self.metadata = metadata_from_proto(message.metadata)
        self.answers, self.run = self.metadata.reply_to_message_id, self.metadata.run_id
        self.names = [tree.object_id]
        while len(tree.children) == 1 and len(self.names) < 4:
            tree = tree.children[0]
            self.names.append(tree.object_id)
        self.held: dict[str, bytes] = {}
        self._is_error = message.HasField("error")
        self.is_ours = not tree.children and len(self.names) == (1 if self._is_error else 3)

    @property
    def missing(self) -> list[str]:
        """What is not here yet; the message first, which a site sends last."""
        return [name for name in self.names if name not in self.held]

    def content(self) -> RecordDict | None:
        """What it carries, if all of it is here and it is of our form."""
        if self._is_error or self.missing or any(len(self.held[name]) > _ROOM for name in self.names[:2]):
            return None
        _, outer, inner = self.names
        with suppress(Exception):  # whatever a site sent
            return RecordDict.inflate(self.held[outer], {inner: ConfigRecord.inflate(self.held[inner])})
        return None


@contextmanager
def _alive(client: RuntimeHttpClient) -> Iterator[None]:
    """Tells the SuperLink that the app of a run is alive; what fails is tried again, and shows in other calls."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.is_set():
            pause = HEARTBEAT_DEFAULT_INTERVAL / 3
            try:
                client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except Exception:  # the SuperLink is away: it is needed again in a moment
                pause = 1.0
            ended.wait(pause)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def is_over(error: BaseException | None) -> bool:
    """Whether a call failed since the SuperLink knows no such run any more."""
    status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
    return status in (401, 403) or isinstance(error, RunOver)


def is_away(error: BaseException | None) -> bool:
    """Whether a call failed for a reason that may pass: no connection, a SuperLink that starts, a lost object."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError | ObjectPushError)


def is_stuck(error: BaseException | None) -> bool:
    """Whether a call got no answer from a SuperLink that took it."""
    return isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout)


def _bundle() -> bytes:
    """What a run is submitted with: a manifest, and nothing that it names."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("pyproject.toml", _EPOCH), _MANIFEST)
    return packed.getvalue()
