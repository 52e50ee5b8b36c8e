"""The ClientApp: it forwards bytes, and says one fixed sentence otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, Metadata, RecordDict
from flwr.app.message import make_message

from clients.app import app
from clients.door import service
from clients.door.callers import Callers
from federation import origins
from federation.round.flower import from_record, to_record
from tests import ROOT

SiteService = partial(service.SiteService, callers=Callers(same_user=True))
UNANSWERED = "this site's service did not answer"


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path for a socket."""
    with tempfile.TemporaryDirectory(prefix="fed-") as folder:
        yield Path(folder) / "site.sock"


def message(content: RecordDict, kind: str = MessageType.QUERY) -> Message:
    """A request as Flower would deliver it."""
    return make_message(
        metadata=Metadata(
            run_id=7,
            message_id="request",
            src_node_id=1,
            dst_node_id=2,
            reply_to_message_id="",
            group_id="",
            created_at=0.0,
            ttl=5.0,
            message_type=kind,
        ),
        content=content,
    )


def context(**node: str) -> Context:
    """A node as its SuperNode describes it."""
    return Context(7, 2, dict(node), RecordDict(), {})


def test_bytes_go_to_the_socket_and_its_answer_comes_back(place: Path) -> None:
    with SiteService(lambda data: data[::-1], place):
        reply = app(message(to_record(b"abc")), context(socket=str(place)))
    assert from_record(reply.content) == b"cba"
    assert reply.metadata.reply_to_message_id == "request"


def test_nothing_stays_in_the_process(place: Path) -> None:
    node = context(socket=str(place))
    with SiteService(lambda data: data, place):
        app(message(to_record(b"abc")), node)
    assert not node.state


def test_every_failure_is_the_same_sentence(place: Path) -> None:
    def failing(data: bytes) -> bytes:
        raise ValueError("patient 12345")

    good = to_record(b"abc")
    with SiteService(failing, place):
        replies = [
            app(message(good), context(socket=str(place))),
            app(message(good), context(socket=str(place.with_name("nobody")))),
            app(message(good), context()),
            app(message(RecordDict()), context(socket=str(place))),
            app(message(RecordDict({"x": ConfigRecord({"y": 1})})), context(socket=str(place))),
        ]
    for reply in replies:
        assert not reply.has_content()
        assert (reply.error.code, reply.error.reason) == (0, UNANSWERED)


def test_a_hidden_package_is_named_in_the_site_s_own_log_and_nothing_is_forwarded(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(
        origins, "find_spec", lambda name: ModuleSpec(name, None, origin="/home/me/privacy.py")
    )
    with SiteService(lambda data: asked.append(data) or data, place):
        reply = app(message(to_record(b"abc")), context(socket=str(place)))
    assert (reply.error.code, reply.error.reason) == (0, UNANSWERED)
    assert asked == []
    assert "/home/me/privacy.py hides our package privacy; rename that file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [MessageType.TRAIN, MessageType.EVALUATE, "query.other"])
def test_no_other_kind_of_message_is_answered(place: Path, kind: str) -> None:
    with pytest.raises(ValueError, match="registered"):
        app(message(to_record(b"abc"), kind), context(socket=str(place)))


def test_the_process_that_flower_starts_loads_neither_torch_nor_our_mathematics() -> None:
    program = (
        "import sys, clients.app\n"
        "heavy = {'torch', 'opacus', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'dp_accounting'}\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "packages = {'privacy', 'federation', 'clients', 'server', 'simulations'}\n"
        "ours = {name for name in sys.modules if name.split('.')[0] in packages}\n"
        "print(sorted(heavy & loaded), sorted(ours))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    ours = [
        "clients", "clients.app", "clients.door", "clients.door.asking", "clients.door.wire", "federation",
        "federation.errors", "federation.log", "federation.origins", "federation.round",
        "federation.round.flower", "federation.round.transport", "federation.words", "privacy", "privacy.errors",
        "privacy.wire",
    ]  # fmt: skip
    assert done.stdout.strip() == f"[] {ours}"
