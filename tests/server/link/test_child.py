"""A real SuperLink as a child: what a stranger gets, what it keeps to itself, how it ends and comes back."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from federation.errors import InputError, TransportError
from federation.round.flower import GridTransport
from federation.round.transport import Deadline, Outgoing, Transport
from server.link import listening
from server.link.certificates import own
from server.link.child import Place, SuperLink, listen
from server.link.flower import Link
from server.link.listening import Doors
from server.link.order import Order, node_key
from server.link.steady import Named, SteadyTransport
from server.link.superlink import LONGEST_LOG, flower_app, settle
from tests import ROOT
from tests.patience import patience
from tests.server.link.nodes import node, signed

pytestmark = pytest.mark.waits


@dataclass(frozen=True)
class Running:
    """A SuperLink that runs, with one node on its roster."""

    superlink: SuperLink
    place: Place
    pinned: Path
    port: int
    key: EllipticCurvePrivateKey
    points: dict[str, bytes]

    @property
    def link(self) -> Link:
        return Link(self.superlink.address, self.superlink.token, self.superlink.secret)

    def ask(
        self, path: str, headers: Mapping[str, str], body: bytes = b"", method: str = "POST"
    ) -> tuple[int, bytes]:
        """What the network gets."""
        context = ssl.create_default_context(cafile=self.pinned)
        line = http.client.HTTPSConnection("localhost", self.port, timeout=patience(20), context=context)
        with contextlib.closing(line):
            line.request(method, path, body, dict(headers))
            answer = line.getresponse()
            return answer.status, answer.read()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("state")
    made = own(folder / "tls", "localhost")
    key, point = node()
    place = Place(folder / "link")
    with listen("127.0.0.1", 0) as public, SuperLink(place, public, made, (point,)) as superlink:
        found = Running(superlink, place, made.pinned or Path(), public.getsockname()[1], key, {"ash": point})
        back_in(found)
        yield found


def back_in(running: Running) -> None:
    """Wait until it answers its coordinator."""
    ends = time.monotonic() + patience(30)
    while True:
        try:
            running.link.connected({})
            return
        except Exception:
            assert time.monotonic() < ends, running.place.log.read_text()
            time.sleep(0.2)


def test_a_stranger_gets_nothing_and_a_node_of_the_roster_is_answered(running: Running) -> None:
    stranger = signed(node()[0])
    for path in ("/v1/fleet/pull-messages", "/v1/fleet/activate-node", "/v1/fleet/push-object"):
        assert running.ask(path, {}) == (401, b"")
        assert running.ask(path, stranger) == (401, b"")
    for path in (
        "/",
        "/docs",
        "/health",
        "/openapi.json",
        "/v1/control/list-nodes",
        "/v1/runtime/acquire-task",
    ):
        for method in ("GET", "POST"):
            assert running.ask(path, signed(running.key), method=method)[0] == 404
    public = running.link
    assert public.connected(running.points) == frozenset()
    # It is signed by a node of the roster, so the app itself answers; an empty message names no key.
    status, body = running.ask("/v1/fleet/activate-node", signed(running.key))
    assert status != 404
    assert b"server" not in body.lower()


def test_a_node_that_comes_back_at_once_is_let_in(running: Running) -> None:
    """Flower takes a node that was killed for connected, for another minute."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from flwr.proto.fleet_pb2 import ActivateNodeRequest

    public = running.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = ActivateNodeRequest(public_key=public, heartbeat_interval=30).SerializeToString()
    assert [running.ask("/v1/fleet/activate-node", signed(running.key), body)[0] for _ in range(3)] == [
        200
    ] * 3
    assert running.link.connected(running.points) == {"ash"}


def test_its_secrets_are_in_no_argument_and_no_environment_and_its_files_are_its_owners(
    running: Running,
) -> None:
    seen = b"".join(
        Path(f"/proc/{running.superlink.process}/{name}").read_bytes() for name in ("cmdline", "environ")
    )
    assert running.superlink.token.encode() not in seen
    assert running.superlink.secret.encode() not in seen
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in running.place.folder.iterdir() if path.is_file()
    }
    assert modes
    assert set(modes.values()) == {0o600}
    assert running.place.folder.stat().st_mode & 0o777 == 0o700


def test_nodes_are_registered_before_anybody_can_ask_and_keep_their_number(tmp_path: Path) -> None:
    """Else a site would be told that its key is not known; and after a restart its messages are still its own."""
    one, other = node()[1], node()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        order = Order(0, 0, "", "", (), token="", secret="00")  # noqa: S106
        state = flower_app(order).state.linkstate_factory.state()
    settle(state, [one])
    first = state.get_node_id_by_public_key(node_key(one))
    settle(state, [one, other])
    assert state.get_node_id_by_public_key(node_key(one)) == first is not None
    assert state.get_node_id_by_public_key(node_key(other)) not in (None, first)


def test_another_process_of_this_machine_has_no_token(running: Running) -> None:
    host, _, port = running.superlink.address.partition(":")
    line = http.client.HTTPConnection(host, int(port), timeout=patience(20))
    with contextlib.closing(line):
        line.request("POST", "/v1/control/start-run", b"", {"content-type": "application/protobuf"})
        assert line.getresponse().status == 403
    wrong = Link(running.superlink.address, "00" * 32, running.superlink.secret)
    with pytest.raises(Exception, match="403"):
        wrong.connected({})


def test_a_log_that_is_full_ends_nothing(tmp_path: Path) -> None:
    """A node can have it write a line with each call."""
    code = (
        "import logging, server.link.superlink as link; link._set_limits()\n"
        "for _ in range(40): logging.error('x' * (1 << 20))\n"
        "import os; os._exit(7)"
    )
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-c", code], stderr=log, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    assert done.returncode == 7
    assert (tmp_path / "log").stat().st_size == LONGEST_LOG


def test_a_task_needs_the_secret(running: Running) -> None:
    wrong = Link(running.superlink.address, running.superlink.token, "00" * 32)
    with pytest.raises(Exception, match="401"), wrong.run():
        pass


def test_old_tls_is_refused(running: Running) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(running.pinned)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("localhost", running.port), patience(20)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_another_one_takes_its_place_and_a_line_over_it_goes_on(running: Running) -> None:
    @contextmanager
    def line() -> Iterator[Transport]:
        with running.link.run() as grid:
            yield Named(GridTransport(grid), running.link.numbers(running.points))

    with SteadyTransport(line, longest=patience(60)) as transport:
        transport.addresses()
        before = running.superlink.process
        os.kill(before, signal.SIGKILL)
        transport.send([Outgoing("ash", b"hello")])
        assert transport.next(0) == Deadline()
        assert running.superlink.process != before
    assert running.ask("/v1/fleet/pull-messages", {})[0] == 401  # at the same port


def test_one_that_does_not_answer_is_followed_by_another(
    running: Running,
) -> None:
    before = running.superlink.process
    os.kill(before, signal.SIGSTOP)
    running.superlink.renew()
    back_in(running)
    assert running.superlink.process != before


def test_it_ends_with_its_coordinator_however_that_ends(running: Running, tmp_path: Path) -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from server.link.certificates import own
from server.link.child import Place, SuperLink, listen
folder = Path({str(tmp_path)!r})
made, place = own(folder / "tls", "localhost"), Place(folder / "link")
with listen("127.0.0.1", 0) as public, SuperLink(place, public, made, ()) as superlink:
    print(superlink.process, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as coordinator:
        assert coordinator.stdout is not None
        child = int(coordinator.stdout.readline())
        coordinator.kill()
    ends = time.monotonic() + patience(20)
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_one_that_cannot_live_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = own(tmp_path / "tls", "localhost")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with listen("127.0.0.1", 0) as public, SuperLink(Place(tmp_path / "link"), public, made, ()) as superlink:
        ends = time.monotonic() + patience(20)
        while superlink.failure is None:
            assert time.monotonic() < ends
            time.sleep(0.05)
        with pytest.raises(TransportError, match="ended 6 times") as caught:
            superlink.require()
    assert "superlink.log" in caught.value.hint


def test_a_port_that_is_taken_is_an_error_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.link.child._BIND_SECONDS", 0.0)
    with listen("127.0.0.1", 0) as taken, pytest.raises(InputError, match="--address") as caught:
        listen("127.0.0.1", taken.getsockname()[1])
    assert caught.value.exit_code == 2


def test_strangers_share_few_places_and_sites_have_their_own() -> None:
    doors = Doors()
    assert [doors.enter("10.0.0.1") for _ in range(listening.OF_ONE_STRANGER + 1)][-2:] == [True, False]
    others = [doors.enter(f"10.0.{number}.2") for number in range(listening.STRANGERS)]
    assert sum(others) == listening.STRANGERS - listening.OF_ONE_STRANGER
    doors.welcome("192.0.2.1")
    assert all(doors.enter("192.0.2.1") for _ in range(listening.OF_ONE_STRANGER + 1))
    doors.leave("10.0.0.1")
    assert doors.enter("10.0.0.1")
    assert not doors.enter("10.0.0.1")


def test_no_address_leaves_nothing_for_the_next_one_though_a_site_has_spoken_from_it() -> None:
    doors, sites = Doors(), [f"192.0.2.{number}" for number in range(5)]
    for address in sites:
        doors.welcome(address)
        while doors.enter(address):
            pass
    doors.welcome("198.51.100.1")
    assert all(doors.enter("198.51.100.1") for _ in range(3))  # as many as a site has


def test_whose_a_connection_of_this_machine_is(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as line,
    ):
        ends = line.getsockname()[1], listener.getsockname()[1]
        assert listening.owner_of(*ends) == os.geteuid()
        assert listening.owner_of(*reversed(ends)) in (0, os.geteuid())  # the other end, not accepted yet
        assert listening.owner_of(*ends, tmp_path / "none") is None
        assert listening.owner_of(1, 1) is None


def test_another_user_of_this_machine_cannot_hold_the_coordinators_port(running: Running) -> None:
    """Nor can anybody who asks nothing: each connection is a descriptor, and sites need some."""
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    host, _, port = running.superlink.address.partition(":")
    code = (
        "import encodings.idna, os, socket; os.setuid(65534); "
        f"line = socket.create_connection(('{host}', {port}), 20); "
        "line.settimeout(20); line.sendall(b'G'); print(line.recv(1))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=patience(40))
    assert done.stdout == "b''\n" or "ConnectionResetError" in done.stderr
    running.link.connected({})


def test_a_connection_that_asks_nothing_is_closed(running: Running) -> None:
    """With TLS and without, and however slowly the headers of a request drip in."""
    context = ssl.create_default_context(cafile=running.pinned)
    silent = socket.create_connection(("localhost", running.port), patience(40))
    plain = socket.create_connection(("localhost", running.port), patience(40))
    with silent, context.wrap_socket(plain, server_hostname="localhost") as dripping:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < patience(30):
                dripping.sendall(b"P")
                time.sleep(0.5)
        assert time.monotonic() - started < patience(15)
        assert silent.recv(1) == b""
