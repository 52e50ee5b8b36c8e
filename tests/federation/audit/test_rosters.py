"""Earlier rosters of a run: what the consortium signed counts, and what whoever keeps the run made up does not."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree, rmtree

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.evidence import read_rosters
from federation.audit.examine import audit
from federation.audit.findings import Findings
from federation.identity.roster_file import load_roster, write_roster
from privacy.roster import Entry, Roster, SignedRoster
from privacy.signing import public_identity
from tests.federation.audit.audited import TEXT, ids, receipts, served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served(tmp_path_factory.mktemp("served"), TEXT)


@pytest.fixture
def real(home: Path, tmp_path: Path) -> Path:
    return copytree(home, tmp_path / "run")


def earlier(run: Path, strangers: int) -> Roster:
    """Put beside the roster one of the serial before, with so many sites more, under a key of one's own."""
    newest, names = load_roster(run / "roster.toml").read(), [f"zz{n:02}" for n in range(strangers)]
    more = [Entry(name, name, public_identity(Ed25519PrivateKey.generate()), 100) for name in names]
    made = Roster(newest.serial - 1, (*newest.entries, *more), coordinator=newest.coordinator)
    (run / "rosters").mkdir()
    write_roster(run / "rosters" / "made.toml", SignedRoster.by(made, [Ed25519PrivateKey.generate()]))
    return made


def test_sites_that_somebody_else_signed_for_are_nobody(real: Path) -> None:
    made, found = earlier(real, 1), Findings()
    rosters = read_rosters(real, found)
    assert rosters is not None
    assert rosters.everybody == rosters.newest
    assert made.root not in rosters.by_root
    assert [each.id for each in found.sorted()] == ["roster-of-others"]


def test_a_roster_of_the_same_sites_counts_though_the_consortium_had_another_key(real: Path) -> None:
    made, found = earlier(real, 0), Findings()
    rosters = read_rosters(real, found)
    assert rosters is not None
    assert made.root in rosters.by_root
    assert found.sorted() == ()


def test_a_crowd_that_never_was_excuses_no_transcript(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With so many sites transcripts would take more than the plan has room for."""
    monkeypatch.setattr("federation.sums.transcript.sizes.MAX_GIGABYTES", 1e-4)
    assert not ids(audit(real), "critical")
    earlier(real, 30)
    rmtree(real / "rounds")
    with receipts(real) as lines:
        for line in lines:
            line.pop("transcript", None)
    assert "transcript-missing" in ids(audit(real), "critical")
