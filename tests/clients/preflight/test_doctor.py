"""`federation doctor`: each fault of an installation or a site is one line with its cure; nothing is changed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from clients.journal.lock import alone
from clients.policy import load_site
from clients.preflight import doctor, program
from clients.preflight.doctor import examine
from clients.preflight.finding import Finding
from clients.preflight.program import installation, package
from tests.clients.test_check import everything
from tests.clients.test_join import SITE, write_site
from tests.federation.command import Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with nothing wrong."""
    path = write_site(tmp_path, SITE)
    for file in (path, tmp_path / "berlin.csv"):
        file.chmod(0o600)
    return path


def bad(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings if finding.level == "error"}


def test_this_installation_is_well(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("doctor", "--json")
    assert (done.code, done.json["verdict"]) == (0, "well"), done.out
    names = [finding["name"] for finding in done.json["findings"]]
    assert names[0] == "packages"
    assert {"Python", "torch", "flwr", "opacus", "ML-KEM", "disk", "clock", "proxy"} <= set(names)


def test_a_site_is_looked_at_and_left_as_it_is(command: Command, site: Path) -> None:
    before = everything(site.parent)
    done = command("doctor", site)
    assert done.code == 0, done.out
    assert "file modes" in done.out
    assert everything(site.parent) == before


@pytest.mark.parametrize(
    ("place", "mode", "words"),
    [
        ("keys/berlin.key", 0o640, "others on this machine can open"),
        ("keys/other.key", 0o604, "others on this machine can open"),
        ("keys", 0o777, "others on this machine can change it"),
        ("site.toml", 0o666, "others on this machine can change it"),
    ],
)
def test_what_others_can_open_or_change_is_wrong_and_told_with_its_cure(
    command: Command, site: Path, place: str, mode: int, words: str
) -> None:
    shutil.copy(site.parent / "keys" / "berlin.key", site.parent / "keys" / "other.key")
    (site.parent / place).chmod(mode)
    done = command("doctor", site)
    assert done.code == 2
    (line,) = [line for line in done.out.splitlines() if "file modes" in line and "error" in line]
    assert words in line
    assert f"chmod {'600' if place.endswith('.key') else 'go-w'} {site.parent / place}" in line
    (site.parent / place).chmod(0o700)


def test_data_that_everybody_can_read_are_a_warning(command: Command, site: Path) -> None:
    (site.parent / "berlin.csv").chmod(0o644)
    done = command("doctor", site)
    assert done.code == 0
    assert f"chmod 600 {site.parent / 'berlin.csv'}" in done.out


def test_a_site_that_runs_is_told_and_is_no_error(site: Path) -> None:
    with alone(load_site(site).journal):
        found = {finding.name: finding for finding in examine(site)}
    assert found["ledger"].level == "warning"
    assert f"process {os.getpid()}" in found["ledger"].detail


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("no toml [", "site file"),
        (SITE.replace("size = 30\n", ""), "site file"),
        (SITE + "[sever]\n", "site file"),
    ],
    ids=["no TOML", "no size", "unknown table"],
)
def test_a_site_file_that_is_wrong_is_a_finding(command: Command, site: Path, text: str, name: str) -> None:
    site.write_text(text)
    done = command("doctor", site, "--json")
    assert (done.code, done.json["verdict"]) == (2, "wrong")
    (found,) = [finding for finding in done.json["findings"] if finding["level"] == "error"]
    assert found["name"] == name
    assert found["cure"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("rich>=1000", "is not among the versions that were tested, >=1000"),
        ("nobody-has-this", "is not installed"),
    ],
)
def test_a_package_that_is_missing_or_of_another_version_is_named(wanted: str, words: str) -> None:
    found = package(Requirement(wanted))
    assert found.level == "error"
    assert words in found.detail
    assert found.cure == f"pip install '{wanted}'"


@pytest.mark.parametrize(
    ("version", "level"), [("3.10.4", "error"), ("3.11.0", "ok"), ("3.13.9", "ok"), ("3.15.0", "warning")]
)
def test_a_python_outside_of_what_was_tested_is_told(
    monkeypatch: pytest.MonkeyPatch, version: str, level: str
) -> None:
    monkeypatch.setattr(program.platform, "python_version", lambda: version)
    assert next(installation()).level == level


@pytest.mark.parametrize(("free", "level"), [(10**6, "error"), (5 * 10**8, "warning"), (10**12, "ok")])
def test_a_disk_without_room_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))  # type: ignore[attr-defined]
    assert doctor.disk(tmp_path).level == level


def test_a_clock_before_the_installation_is_wrong() -> None:
    assert doctor.clock(0.0).level == "error"
    assert doctor.clock().level == "ok"


def test_a_proxy_of_the_environment_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.example:3128")
    found = doctor.proxies()
    assert (found.level, "proxy.example:3128" in found.detail) == ("ok", True)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:secret@proxy.example")
    other = doctor.proxies()
    assert other.level == "error"
    assert "secret" not in found.detail + other.detail + other.cure


def test_a_package_that_is_shadowed_is_the_only_finding(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "server", raising=False)
    done = command("doctor", "--json")
    assert done.code == 2
    (found,) = done.json["findings"]
    assert (found["name"], found["level"]) == ("packages", "error")
    assert "hides our package server" in found["detail"]
    assert "rename that file" in found["cure"]
