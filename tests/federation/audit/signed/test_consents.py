"""What the sites signed before they took part, and what an audit makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.examine import audit
from federation.audit.signed.consents import FILE
from federation.identity.keys import load_private
from federation.identity.roster_file import load_roster
from federation.round.messages import Welcome
from federation.round.signed import is_consent, welcome_signed
from privacy.suite import SUITE
from tests.federation.audit.audited import EVALUATED, SITES, ids, served

Row = dict[str, Any]


@pytest.fixture(scope="module")
def earnest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earnest")
    served(folder, EVALUATED)
    return folder


@pytest.fixture
def home(earnest: Path, tmp_path: Path) -> Path:
    return shutil.copytree(earnest, tmp_path / "copy")


def rows_of(home: Path) -> list[Row]:
    return [json.loads(line) for line in (home / "run" / FILE).read_text().splitlines()]


def found_in(home: Path) -> set[str]:
    return ids(audit(home / "run", [home / name / "own.sqlite" for name in SITES]))


def test_every_site_s_signed_consent_is_kept_and_an_audit_finds_it_good(home: Path) -> None:
    rows = rows_of(home)
    roster = load_roster(home / "run" / "roster.toml").read()
    assert [(row["site"], row["suite"]) for row in rows] == [(name, SUITE) for name in SITES]
    for row in rows:
        welcome = Welcome.from_bytes(bytes.fromhex(row["welcome"]))
        assert is_consent(welcome, bytes.fromhex(row["run"]), roster.by_site[row["site"]].key)
        assert welcome.root == roster.root
        assert welcome.heads == ()
    assert found_in(home) == set()


def changed(change: Callable[[Row, Path], Row]) -> Callable[[Path], None]:
    """Another first line: that of ash."""

    def edit(home: Path) -> None:
        first, *rest = rows_of(home)
        lines = [change(first, home), *rest]
        (home / "run" / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


def signed_anew(**changes: Any) -> Callable[[Row, Path], Row]:
    """What ash itself could sign, with its true key."""

    def change(row: Row, home: Path) -> Row:
        welcome = replace(Welcome.from_bytes(bytes.fromhex(row["welcome"])), **changes)
        key = load_private(home / "ash" / "keys" / "ash.key")
        return row | {"welcome": welcome_signed(welcome, bytes.fromhex(row["run"]), key).to_bytes().hex()}

    return change


def flipped(row: Row, _: Path) -> Row:
    data = bytearray.fromhex(row["welcome"])
    data[100] ^= 1
    return row | {"welcome": data.hex()}


def by_another(row: Row, _: Path) -> Row:
    welcome = Welcome.from_bytes(bytes.fromhex(row["welcome"]))
    signed = welcome_signed(welcome, bytes.fromhex(row["run"]), Ed25519PrivateKey.generate())
    return row | {"welcome": signed.to_bytes().hex()}


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        (changed(flipped), {"consent-forged", "consent-invalid", "consent-roster"}),
        (changed(by_another), {"consent-forged"}),
        (changed(lambda row, _: row | {"run": "00" * 16}), {"consent-forged"}),
        (changed(lambda row, _: row | {"run": "no run"}), {"consent-forged"}),
        (changed(lambda row, _: row | {"site": "birch"}), {"consent-invalid"}),
        (changed(lambda row, _: row | {"suite": 2}), {"consent-forged"}),
        (changed(lambda row, _: row | {"more": 1}), {"consent-invalid"}),
        (changed(signed_anew(plan_digest="sha256:" + "0" * 64)), {"consent-of-another-run"}),
        (changed(signed_anew(root=bytes(32))), {"consent-roster"}),
        (lambda home: (home / "run" / FILE).write_bytes(b"\xff\n"), {"consent-invalid"}),
    ],
    ids=[
        *("a flipped bit", "another key", "another run", "no run", "another site", "another suite"),
        *("another field", "another plan", "another roster", "no text"),
    ],
)
def test_a_consent_that_was_edited_is_a_finding(
    edit: Callable[[Path], None], finding: set[str], home: Path
) -> None:
    edit(home)
    assert found_in(home) & finding, found_in(home)
    assert audit(home / "run").verdict == "fail"


def test_a_consent_that_is_gone_is_a_finding(home: Path) -> None:
    rows = rows_of(home)
    (home / "run" / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    assert "consent-missing" in found_in(home)
    (home / "run" / FILE).unlink()
    assert "consent-missing" in found_in(home)
