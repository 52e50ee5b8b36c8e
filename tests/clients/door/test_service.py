"""The site's socket: frames go in and out, and nothing that a client does harms the service."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.door import service
from clients.door.asking import ask_site
from clients.door.callers import Callers
from federation.errors import TransportError
from federation.round.transport import LARGEST
from tests import ROOT
from tests.patience import patience

WAIT = patience(5)  # for what is there at once
SiteService = partial(service.SiteService, callers=Callers(same_user=True))


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path: a socket's may have about 100 bytes, and pytest's own folders are longer."""
    with tempfile.TemporaryDirectory(prefix="fed-") as folder:
        yield Path(folder) / "site.sock"


def backwards(data: bytes) -> bytes:
    """What the sites of these tests answer."""
    return data[::-1]


def frame(length: int, data: bytes) -> bytes:
    """Octets that claim this length and are followed by these."""
    return struct.pack(">I", length) + data


def raw(path: Path, data: bytes) -> bytes:
    """Whatever the service says to these very octets, until it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while part := connection.recv(1 << 16):
                received += part
        except ConnectionResetError:
            pass
    return received


def test_a_request_is_answered_with_what_the_site_says(place: Path) -> None:
    with SiteService(backwards, place):
        assert ask_site(place, b"abc", WAIT) == b"cba"
        assert ask_site(place, b"x" * 3_000_000 + b"y", WAIT) == b"y" + b"x" * 3_000_000


def test_any_octets_are_answered_or_refused_and_the_service_goes_on() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="fed-") as folder,
        SiteService(backwards, Path(folder) / "s"),
    ):
        path = Path(folder) / "s"

        @settings(max_examples=100, deadline=None)
        @given(st.binary(max_size=40) | st.builds(frame, st.integers(0, 45), st.binary(max_size=40)))
        def hold(data: bytes) -> None:
            length = int.from_bytes(data[:4], "big")
            is_whole = len(data) >= 4 and len(data) - 4 >= length
            # Octets beyond the frame can reset the connection before the reply is read: then nothing is seen.
            answers = {data[:4] + data[4 : 4 + length][::-1], b""} if is_whole else {b""}
            assert raw(path, data) in answers
            assert ask_site(path, b"still there", WAIT) == b"ereht llits"

        hold()


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read(place: Path) -> None:
    seen: list[bytes] = []
    with SiteService(lambda data: seen.append(data) or b"ok", place):  # type: ignore[func-returns-value]
        assert raw(place, struct.pack(">I", LARGEST + 1) + b"x") == b""
    assert seen == []


def test_a_client_that_says_nothing_is_left_behind(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "EXCHANGE_SECONDS", 1.0)
    with SiteService(backwards, place), socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(place))
        silent.sendall(b"\x00")
        assert ask_site(place, b"ab", WAIT) == b"ba"


def test_silent_clients_keep_nobody_waiting(place: Path) -> None:
    """However many: the one that came first makes room."""
    with SiteService(backwards, place):
        silent = [socket.socket(socket.AF_UNIX) for _ in range(100)]
        try:
            for client in silent:
                client.connect(str(place))
                with suppress(BrokenPipeError):  # it was hung up on
                    client.sendall(b"\x00")
            began = time.monotonic()
            assert ask_site(place, b"ab", WAIT) == b"ba"
            assert time.monotonic() - began < service.EXCHANGE_SECONDS / 2
        finally:
            for client in silent:
                client.close()


def test_a_client_that_does_not_take_its_reply_keeps_nobody_waiting(place: Path) -> None:
    with SiteService(lambda data: data * 4_000_000, place), socket.socket(socket.AF_UNIX) as lazy:
        lazy.connect(str(place))
        lazy.sendall(frame(1, b"a"))
        assert len(ask_site(place, b"b", WAIT)) == 4_000_000


def test_a_length_that_the_site_has_no_room_for_is_refused_before_anything_is_read(place: Path) -> None:
    seen: list[bytes] = []
    with SiteService(lambda data: seen.append(data) or data, place, largest=lambda: 1000):  # type: ignore[func-returns-value]
        assert raw(place, frame(1001, bytes(1001))) == b""
        assert ask_site(place, bytes(1000), WAIT) == bytes(1000)
    assert seen == [bytes(1000)]


def test_a_client_that_leaves_before_the_reply_does_no_harm(place: Path) -> None:
    gate = threading.Event()

    def slow(data: bytes) -> bytes:
        gate.wait(10 * WAIT)
        return data * 1000

    with SiteService(slow, place):
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(place))
            hasty.sendall(struct.pack(">I", 2000) + bytes(2000))
        gate.set()
        assert ask_site(place, b"a", WAIT) == b"a" * 1000


def test_a_failing_site_sends_no_text_and_answers_the_next_request(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(data: bytes) -> bytes:
        if data == b"fail":
            raise ValueError("patient 12345 has a value of 7.25")
        return data

    with SiteService(failing, place):
        assert raw(place, struct.pack(">I", 4) + b"fail") == bytes(4)
        with pytest.raises(TransportError, match="could not answer"):
            ask_site(place, b"fail", WAIT)
        assert ask_site(place, b"good", WAIT) == b"good"
    assert "12345" not in caplog.text
    assert "ValueError" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, SystemExit, BaseException])
def test_whatever_the_sites_code_raises_the_next_request_is_answered(
    place: Path, kind: type[BaseException]
) -> None:
    def receive(data: bytes) -> bytes:
        if data == b"one":
            raise kind("patient 12345")
        return data

    with SiteService(receive, place):
        with pytest.raises(TransportError):
            ask_site(place, b"one", WAIT)
        assert ask_site(place, b"two", WAIT) == b"two"


def test_requests_are_answered_one_after_the_other(place: Path) -> None:
    inside = threading.Semaphore(1)

    def alone(data: bytes) -> bytes:
        assert inside.acquire(blocking=False)
        time.sleep(0.002)
        inside.release()
        return data

    with SiteService(alone, place), ThreadPoolExecutor(8) as pool:
        requests = [str(number).encode() for number in range(40)]
        assert list(pool.map(lambda data: ask_site(place, data, WAIT), requests)) == requests


def test_only_the_owner_can_reach_the_socket(place: Path) -> None:
    path = place.parent / "deep" / "site.sock"
    with SiteService(backwards, path):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_directory_open_to_others_is_refused(place: Path, mode: int) -> None:
    place.parent.chmod(mode)
    with pytest.raises(TransportError, match="open to other users"), SiteService(backwards, place):
        pass


def test_the_socket_of_a_killed_process_is_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    assert place.is_socket()
    with SiteService(backwards, place):
        assert ask_site(place, b"ab", WAIT) == b"ba"


def test_a_second_service_on_one_socket_is_refused_and_the_first_goes_on(place: Path) -> None:
    with SiteService(backwards, place):
        with pytest.raises(TransportError, match="another process answers"), SiteService(backwards, place):
            pass
        assert ask_site(place, b"ab", WAIT) == b"ba"
    with SiteService(backwards, place):
        assert ask_site(place, b"ab", WAIT) == b"ba"


def test_the_live_socket_of_a_stranger_is_refused(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(place))
        stranger.listen()
        with pytest.raises(TransportError, match="another process answers"), SiteService(backwards, place):
            pass
    assert place.is_socket()


def test_a_file_that_is_no_socket_is_left_alone(place: Path) -> None:
    place.write_text("journal")
    with pytest.raises(TransportError, match="is not a socket"), SiteService(backwards, place):
        pass
    assert place.read_text() == "journal"


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="too long"), SiteService(backwards, tmp_path / ("x" * 100)):
        pass


def test_a_call_to_nobody_ends_at_once_and_one_to_a_slow_site_in_time(place: Path) -> None:
    with pytest.raises(TransportError, match="does not answer"):
        ask_site(place, b"x", WAIT)
    gate = threading.Event()
    with SiteService(lambda data: data if gate.wait(10 * WAIT) else b"", place):
        started = time.monotonic()
        with pytest.raises(TransportError, match="does not answer"):
            ask_site(place, b"x", 0.2)
        assert time.monotonic() - started < WAIT
        gate.set()


@pytest.mark.parametrize("size", [0, LARGEST + 1])
def test_a_request_that_cannot_be_carried_is_refused_by_the_caller(place: Path, size: int) -> None:
    with pytest.raises(TransportError, match="cannot be carried"):
        ask_site(place, bytes(size), WAIT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_serves_until_it_is_told_to_end(place: Path, number: signal.Signals) -> None:
    program = (
        "import sys; from pathlib import Path; from clients.door.callers import Callers\n"
        "from clients.door.service import serve_until_signal\n"
        "say = lambda word: (sys.stdout.write(word + '\\n'), sys.stdout.flush())\n"
        "ours = Callers(same_user=True)\n"
        "serve_until_signal(lambda data: data, Path(sys.argv[1]), ours, lambda: say('ready'))\n"
        "say('ended')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(place)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert ask_site(place, b"x", WAIT) == b"x"
        process.send_signal(number)
        assert process.stdout.read() == "ended\n"
    assert process.returncode == 0
    assert not place.exists()
