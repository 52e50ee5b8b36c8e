"""Who may call at a site's socket: by the kernel's word, and by default nobody who could read the site's files."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.check import preflight
from clients.door.asking import ask_site
from clients.door.callers import Callers
from clients.door.service import SiteService
from clients.join import attend, callers_of
from clients.policy import load_site
from federation.errors import DataError, InputError, SiteFileError, TransportError
from federation.identity.keys import create
from tests import ROOT
from tests.certificates import certificate
from tests.clients.sites import make_plan
from tests.clients.test_join import SITE, write_site
from tests.patience import patience

WAIT = patience(5)
NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user, so it needs root")
CALL = """
import os, socket, struct, sys
uid, gid, groups, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.setgroups([int(group) for group in groups.split(",") if group])
os.setgid(gid)
os.setuid(uid)
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
    try:
        connection.sendall(struct.pack(">I", 2) + b"ab")
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while part := connection.recv(100):
            heard += part
        sys.stdout.write(repr(heard))
    except ConnectionError:
        sys.stdout.write("b''")
"""


def call(path: Path, uid: int, gid: int, *groups: int) -> str:
    """What a process of this user and these groups hears at the socket; the last line of its error if it fails."""
    words = [str(uid), str(gid), ",".join(map(str, groups)), str(path)]
    done = subprocess.run(
        [sys.executable, "-c", CALL, *words],
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )
    return done.stdout or done.stderr.strip().splitlines()[-1]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that other users can enter, as /run is."""
    with tempfile.TemporaryDirectory(prefix="fed-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def backwards(data: bytes) -> bytes:
    return data[::-1]


def test_the_sites_own_user_is_turned_away_and_told_at_the_site_why(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Flower that runs as the site's user runs code of others where keys and records lie."""
    path = home / "socket" / "site"
    with SiteService(backwards, path, Callers()):
        for _ in range(3):
            with pytest.raises(TransportError, match="turned this user away"):
                ask_site(path, b"ab", WAIT)
    (record,) = [each for each in caplog.records if getattr(each, "event", "") == "caller_refused"]
    assert "own user" in str(getattr(record, "facts", record.getMessage()))


def test_the_sites_own_user_may_call_where_that_was_said(home: Path) -> None:
    path = home / "socket" / "site"
    with SiteService(backwards, path, Callers(same_user=True)):
        assert ask_site(path, b"ab", WAIT) == b"ba"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@needs_root
def test_the_named_user_alone_may_call(home: Path) -> None:
    path, ours = home / "socket" / "site", Callers.named("nobody", None)
    with SiteService(backwards, path, ours):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o660, NOBODY.pw_gid)
        assert (stat.S_IMODE(path.parent.stat().st_mode), path.parent.stat().st_gid) == (0o710, NOBODY.pw_gid)
        assert call(path, NOBODY.pw_uid, NOBODY.pw_gid).endswith("ba'")
        assert call(path, DAEMON.pw_uid, NOBODY.pw_gid) == "b''"  # of the group, and not that user
        assert "PermissionError" in call(path, DAEMON.pw_uid, DAEMON.pw_gid)
        assert call(path, 0, 0) == "b''"


@needs_root
def test_a_group_may_call_with_all_its_members_and_nobody_else(home: Path) -> None:
    path, ours = home / "socket" / "site", Callers.named(None, grp.getgrgid(DAEMON.pw_gid).gr_name)
    with SiteService(backwards, path, ours):
        assert call(path, DAEMON.pw_uid, DAEMON.pw_gid).endswith("ba'")
        assert call(path, NOBODY.pw_uid, DAEMON.pw_gid).endswith("ba'")
        assert "PermissionError" in call(path, NOBODY.pw_uid, NOBODY.pw_gid)
        path.chmod(0o666)
        path.parent.chmod(0o711)  # whatever somebody does to the modes, the kernel is asked
        assert call(path, NOBODY.pw_uid, NOBODY.pw_gid) == "b''"


@pytest.mark.parametrize(
    ("callers", "uid", "gid", "why"),
    [
        (Callers(1001, 2001), 1001, 5, ""),
        (Callers(1001, 2001), 1002, 2001, "not who may call"),
        (Callers(1001, 2001), 0, 0, "root"),
        (Callers(None, 2001), 1002, 2001, ""),
        (Callers(None, 2001), 1002, 2002, "not in the group"),
        (Callers(), 1002, 2002, "not who may call"),
        (Callers(same_user=True), 1002, 2002, "not who may call"),
        (Callers(None, 2001), 77, 2001, "own user"),
        (Callers(77, 2001), 77, 2001, "own user"),
        (Callers(77, 2001, same_user=True), 77, 2001, ""),
        (Callers(same_user=True), 77, 5, ""),
    ],
)
def test_who_is_turned_away(
    callers: Callers, uid: int, gid: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 77)
    told = callers.refusal(uid, gid)
    assert why in told and bool(told) == bool(why)


def test_the_folder_of_a_shared_socket_has_to_let_the_group_in_and_nobody_write(home: Path) -> None:
    path = home / "socket" / "site"
    path.parent.mkdir(mode=0o700)
    other = Callers(None, 54321)
    with (
        pytest.raises(TransportError, match=r"chgrp 54321 .* && chmod 710"),
        SiteService(backwards, path, other),
    ):
        pass
    if os.geteuid() == 0:
        os.chown(path.parent, -1, 54321)
        path.parent.chmod(0o770)
        with pytest.raises(TransportError, match="open to other users"), SiteService(backwards, path, other):
            pass
        path.parent.chmod(0o750)
        with SiteService(backwards, path, other):
            pass
    assert not path.exists()


def test_a_group_that_cannot_be_given_is_named_with_the_cure(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    path = home / "socket" / "site"
    with (
        pytest.raises(TransportError, match="usermod -aG 54321"),
        SiteService(backwards, path, Callers(None, 54321)),
    ):
        pass


# A site file says who it is.

SERVER = '[server]\naddress = "fed.example.org:8443"\ncertificate = "ca.crt"\n'


def site_with(folder: Path, keys: str = "") -> Path:
    path = write_site(folder, f"{SITE}{SERVER}{keys}\n")
    (folder / "ca.crt").write_bytes(certificate())
    return path


def test_a_site_that_names_nobody_does_not_start_and_says_what_to_do(tmp_path: Path) -> None:
    for path in (write_site(tmp_path), site_with(tmp_path)):
        with pytest.raises(SiteFileError, match=r"server\.flower_user: is missing.*--same-user"):
            attend(path, tmp_path / "site")
        assert not (tmp_path / "journal.sqlite").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('flower_user = "nobody-of-that-name"', "no such user"),
        ('socket_group = "nobody-of-that-name"', "no such group"),
        ('flower_user = "root"', "root, who can read everything"),
        ('flower_user = "a b"', "is no name of a user or group"),
        (f'flower_user = "{pwd.getpwuid(os.geteuid()).pw_name}"', "root, who|the site's own user"),
    ],
)
def test_a_user_that_cannot_be_meant_is_refused(tmp_path: Path, keys: str, message: str) -> None:
    path = site_with(tmp_path, keys)
    for refusing in (lambda: attend(path, tmp_path / "site"), lambda: preflight(make_plan(), path)):
        with pytest.raises(InputError, match=message):
            refusing()


def test_a_file_that_the_named_user_can_read_is_refused(home: Path) -> None:
    path = site_with(home, 'flower_user = "nobody"')
    rules = load_site(path)
    (home / "berlin.csv").chmod(0o644)
    with pytest.raises(DataError, match=r"berlin\.csv: can be read by the user that runs Flower.*chmod 600"):
        callers_of(rules, path, same_user=False)
    (home / "berlin.csv").chmod(0o600)
    assert callers_of(rules, path, same_user=False).uid == NOBODY.pw_uid
    (home / "berlin.csv").chmod(0o644)
    home.chmod(0o700)  # nobody gets to it
    assert callers_of(rules, path, same_user=False).are_others


@needs_root
def test_code_that_flower_runs_as_another_user_reaches_the_socket_and_neither_key_nor_data(
    home: Path,
) -> None:
    """The theft of a whole consortium: a ClientApp read beside the socket, as the site's own user."""
    create(home / "site" / "keys", "berlin", "Charite", 30)
    path = site_with(home / "site", 'flower_user = "nobody"')
    (home / "site" / "berlin.csv").chmod(0o600)
    program = "from federation.cli.start import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "join", str(path), "--yes", "--socket", str(home / "run" / "site")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stderr is not None
            while "waiting" not in process.stderr.readline():
                pass
            heard = call(home / "run" / "site", NOBODY.pw_uid, NOBODY.pw_gid)
            steal = "import os, sys; os.setgid(65534); os.setuid(int(sys.argv[1])); open(sys.argv[2]).read()"
            loot = [home / "site" / name for name in ("berlin.csv", "keys/berlin.key", "journal.sqlite")]
            thefts = [
                subprocess.run(
                    [sys.executable, "-c", steal, str(NOBODY.pw_uid), str(file)],
                    capture_output=True,
                    check=False,
                ).returncode
                for file in loot
            ]
        finally:
            process.terminate()
            process.wait(timeout=patience(20))
    assert heard.startswith("b'") and heard != "b''"  # an ABORT: two bytes are no frame
    assert thefts == [1, 1, 1]
