"""Flower's Fleet API as a node speaks it, wrapped: the one file of a site that imports Flower's private modules.

A node is activated by its key, sends heartbeats, and fetches messages. A message is a tree of objects, each known
by the SHA-256 of its bytes; a reply goes the other way. Flower's own client is not used: it reads answers of any
length, follows redirects, trusts what the environment names, and ends the process when the other end says so. What
is never called here: registering, runs and bundles. A node needs none of it.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, TIMESTAMP_HEADER
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
    is_valid_sha256_hash,
    no_object_id_recompute,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Proto

from clients.node.line import Answer, Line, TooLong
from federation.round.flower import from_record, to_record
from federation.round.transport import LARGEST

UNKNOWN_NODE: Final = int(ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED)
RUN_OVER: Final = int(ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED)
OTHER_VERSION: Final = int(ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE)
UNANSWERED: Final = Error(code=0, reason="this site's service did not answer")
"""What every failure is, seen from outside: Flower sends the text of an error on."""

_SMALL: Final = 1 << 16  # bytes of an answer that carries no object
_ROOM: Final = 1 << 12  # bytes of an object beside what it carries
_SECONDS: Final = 20.0  # for an answer that is small
_SLOWEST: Final = 50_000  # bytes per second of a line on which an object still arrives in time
_TRIES: Final = 20  # for an object that the other end knows and does not have yet
_Result = TypeVar("_Result")


class Refused(Exception):
    """The coordinator answers a call with an error: its HTTP status, Flower's code if it has one, its clock."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.status, self.moment = answer.status, answer.moment
        found = FlowerError.from_json(answer.body[:_SMALL].decode("utf-8", "replace"))
        self.code = 0 if found is None else found.code


class Strange(Exception):
    """An answer that no honest SuperLink gives. The text is ours and quotes nothing of it."""


class NotOurs(Exception):
    """A message that is none of this project's. It is answered by one fixed error. The text is ours."""


@dataclass(frozen=True)
class Asked:
    """A message as it was announced: what a reply refers to, and the ids of its objects, outermost first."""

    message: Message = field(repr=False)
    objects: tuple[str, ...]
    fault: str = ""  # why it is none of ours, where that shows at once


@dataclass(frozen=True)
class Reply:
    """A reply as Flower has it: the message, the tree of its objects, and their bytes."""

    message: Message = field(repr=False)
    tree: message_pb2.ObjectTree = field(repr=False)
    objects: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def to(cls, asked: Asked, data: bytes | None) -> Self:
        """The reply to a message; None is the one fixed error."""
        content = UNANSWERED if data is None else to_record(data)
        reply = Message(content, reply_to=asked.message)
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            objects = {name: part.deflate() for name, part in get_all_nested_objects(reply).items()}
            return cls(reply, get_object_tree(reply), objects)

    def wanted(self, names: Iterable[str]) -> list[str]:
        """Those of our objects that are asked for, each once, and no others."""
        asked = set(names)
        return [name for name in self.objects if name in asked]


class Fleet:
    """The calls of one node. They raise what `Line.post` does, Refused, or Strange."""

    def __init__(self, line: Line, key: EllipticCurvePrivateKey) -> None:
        self._line, self._key = line, key
        self._public = public_key_to_bytes(key.public_key())
        version = RuntimeVersionMetadata.from_local_component("SuperNode").as_metadata()
        self._headers = {
            **dict(version),
            "content-type": PROTOBUF_MEDIA_TYPE,
            "accept": PROTOBUF_MEDIA_TYPE,
            FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self._public).decode("ascii"),
        }

    def activate(self) -> int:
        """Say that this node is here; the number by which the SuperLink knows it."""
        asked = fleet_pb2.ActivateNodeRequest(
            public_key=self._public, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
        )
        return int(self._call("activate-node", asked, fleet_pb2.ActivateNodeResponse).node_id)

    def deactivate(self, node: int, seconds: float) -> None:
        """Say that this node goes."""
        asked = fleet_pb2.DeactivateNodeRequest(node_id=node)
        self._call("deactivate-node", asked, fleet_pb2.DeactivateNodeResponse, seconds=seconds)

    def beat(self, node: int) -> bool:
        """Say that this node is still here; whether the SuperLink knows it."""
        asked = heartbeat_pb2.SendNodeHeartbeatRequest(
            node=Node(node_id=node), heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
        )
        return bool(self._call("send-node-heartbeat", asked, heartbeat_pb2.SendNodeHeartbeatResponse).success)

    def pull(self, node: int) -> Asked | None:
        """The next message for this node, or none."""
        asked = fleet_pb2.PullMessagesRequest(node=Node(node_id=node))
        found = self._call("pull-messages", asked, fleet_pb2.PullMessagesResponse)
        if not found.messages_list:
            return None
        if len(found.messages_list) != 1 or len(found.message_object_trees) != 1:
            raise Strange("it sends other than one message at a time")
        try:
            message = message_from_proto(found.messages_list[0])
        except Exception as error:
            raise Strange("it sends a message that cannot be read") from error
        return _asked(message, found.message_object_trees[0], node)

    def fetch(self, node: int, asked: Asked, largest: int) -> bytes:
        """The bytes that a message carries, if it is one of ours; of no object more is read than has a place.

        NotOurs otherwise.
        """
        if asked.fault:
            raise NotOurs(asked.fault)
        _, outer, inner = asked.objects
        too_long = f"it is longer than the {largest} bytes that can be asked of this site now"
        try:
            record = self._object(node, asked, inner, min(largest, LARGEST) + _ROOM)
            content = None if _is_around(outer, record) else self._object(node, asked, outer, _ROOM)
        except TooLong:
            raise NotOurs(too_long) from None
        try:
            data = from_record(_content(content, inner, record))
        except Exception:
            raise NotOurs("it carries none of our records") from None
        if len(data) > largest:
            raise NotOurs(too_long)
        return data

    def confirm(self, node: int, asked: Asked) -> None:
        """Say that a message has been fetched: the SuperLink forgets its objects.

        The outer ones are waited for: their sender may still be storing them, and fails if they are forgotten.
        """
        for name in reversed(asked.objects[:2]):
            self._object(node, asked, name, _ROOM)
        told = message_pb2.ConfirmMessageReceivedRequest(
            node=Node(node_id=node), run_id=asked.message.metadata.run_id, message_object_id=asked.objects[0]
        )
        self._call("confirm-message-received", told, message_pb2.ConfirmMessageReceivedResponse)

    def send(self, node: int, reply: Reply) -> None:
        """Send a reply. Sending it twice does no harm: the SuperLink knows it by its id.

        How long the answer took is told as zero: what a site does with its data decides it.
        """
        told = fleet_pb2.PushMessagesRequest(
            node=Node(node_id=node),
            messages_list=[message_to_proto(remove_content_from_message(reply.message))],
            message_object_trees=[reply.tree],
            clientapp_runtime_list=[0.0],
        )
        found = self._call("push-messages", told, fleet_pb2.PushMessagesResponse)
        for name in reply.wanted(found.objects_to_push):
            content = reply.objects[name]
            given = message_pb2.PushObjectRequest(
                node=Node(node_id=node),
                run_id=reply.message.metadata.run_id,
                object_id=name,
                object_content=content,
                session_id=found.session_id,
            )
            seconds = _time(len(content))
            stored = self._call("push-object", given, message_pb2.PushObjectResponse, seconds=seconds)
            if not stored.stored:
                raise Strange("it does not take a reply that it asked for")

    def _object(self, node: int, asked: Asked, name: str, largest: int) -> bytes:
        """The object of a name: it is that of its content, so the other end cannot give another."""
        told = message_pb2.PullObjectRequest(
            node=Node(node_id=node), run_id=asked.message.metadata.run_id, object_id=name
        )
        for number in range(_TRIES):
            time.sleep(0.01 * number**2 if number else 0.0)  # 25 s in all
            found = self._call(
                "pull-object", told, message_pb2.PullObjectResponse, largest=largest, seconds=_time(largest)
            )
            if found.object_available or not found.object_found:
                break
        if not found.object_available:
            raise NotOurs("an object of it is missing")
        content = bytes(found.object_content)
        if get_object_id(content) != name:
            raise NotOurs("an object of it is not what its name says")
        return content

    def _call(
        self,
        name: str,
        told: Proto,
        kind: Callable[[], _Result],
        *,
        largest: int = _SMALL,
        seconds: float | None = None,
    ) -> _Result:
        body = told.SerializeToString(deterministic=True)
        within = _SECONDS if seconds is None else seconds
        answer = self._line.post(
            f"/v1/fleet/{name}", self._signed(), body, largest=largest + _ROOM, seconds=within
        )
        if answer.status != 200:
            raise Refused(answer)
        result = kind()
        try:
            cast(Proto, result).ParseFromString(answer.body)
        except DecodeError:
            raise Strange("its answer cannot be read") from None
        return result

    def _signed(self) -> Mapping[str, str]:
        """Headers of a call: the node's key, and its signature on the time."""
        moment = now().isoformat()
        signature = b64encode(sign_message(self._key, moment.encode("ascii"))).decode("ascii")
        return {**self._headers, TIMESTAMP_HEADER: moment, FLEET_HTTP_SIGNATURE_HEADER: signature}


def _time(length: int) -> float:
    return _SECONDS + length / _SLOWEST


def _is_around(name: str, record: bytes) -> bool:
    """Whether the object of a name is our record around these bytes: then it need not be fetched."""
    try:
        return _content(None, "", record).object_id == name
    except Exception:
        return False  # it is fetched then, and looked at


def _content(outer: bytes | None, name: str, inner: bytes) -> RecordDict:
    """What a message carries: the object around the inner one of a name; without it, ours."""
    record = ConfigRecord.inflate(inner)
    if outer is None:
        return RecordDict({next(iter(to_record(b"x"))): record})
    return RecordDict.inflate(outer, {name: record})


def _asked(message: Message, tree: message_pb2.ObjectTree, node: int) -> Asked:
    """A message as announced, and whether it can be ours: a chain of three objects, and Flower's word `query`."""
    names = [tree.object_id]
    while len(tree.children) == 1 and len(names) < 4:
        tree = tree.children[0]
        names.append(tree.object_id)
    fault = ""
    if message.metadata.dst_node_id != node:
        fault = "it is for another node"
    elif message.metadata.message_type != MessageType.QUERY:
        fault = "it is of a kind that is not answered here"
    elif len(names) != 3 or tree.children or not all(map(is_valid_sha256_hash, names)):
        fault = "it has other objects than one record"
    return Asked(message, tuple(names), fault)
