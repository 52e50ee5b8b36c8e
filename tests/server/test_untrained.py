"""A real run of a plan that trains nothing: sites with files of their own rules, a signed roster, masked sums."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.join import open_site
from federation.audit.examine import audit
from federation.identity.keys import create, load_private, load_public
from federation.identity.roster_file import add_to_roster, sign_roster
from federation.plan.plan import parse
from federation.report.files import read_report
from server.serve import serve
from simulations.world import InProcess
from tests.federation.plan.tallies.test_tasks import STATISTICS
from tests.worlds import name_coordinator

_TEXT = (
    STATISTICS.replace("epsilon = 1.0", "epsilon = 20.0")
    .replace('unit = "record"', 'unit = "patient"')
    .replace("bins = 4", 'bins = 4\npatient = "who"')
)


def _site(folder: Path, name: str, pinned: str) -> None:
    # Each of the 30 patients has two records, in different bins of age.
    rows = [f"{name}{row // 2},{10 + 20 * (row % 2)},2010-06-01,F" for row in range(60)]
    (folder / f"{name}.csv").write_text("who,age,seen,sex\n" + "\n".join(rows) + "\n")
    (folder / f"{name}.toml").write_text(
        f"""
        [site]
        id = "{name}"
        keys = "keys"
        journal = "{name}.sqlite"
        [data]
        source = "{name}.csv"
        pool = "{name}"
        size = 30
        [policy]
        epsilon_max = 60
        delta_max = 1e-5
        cohort_minimum = 3
        noise = ["distributed"]
        plans = [{{ digest = "{parse(_TEXT).digest}", runs = 1 }}]
        [policy.patient]
        epsilon_max = 20.5
        delta_max = 1e-5
        records = 2
        sites = 1
        [consortium]
        keys = ["{pinned}"]
        quorum = 1
        """
    )


def test_sites_charge_one_release_and_patients_count_once(tmp_path: Path) -> None:
    consortium, _ = create(tmp_path / "consortium", "consortium", "The consortium", 1)
    pinned, names = load_public(tmp_path / "consortium" / "consortium.pub").key, ("a", "b", "c")
    for name in names:
        create(tmp_path / "keys", name, f"Hospital {name}", 30)
        add_to_roster(tmp_path / "roster.toml", load_public(tmp_path / "keys" / f"{name}.pub"))
        _site(tmp_path, name, pinned)
    name_coordinator(tmp_path / "roster.toml")
    sign_roster(tmp_path / "roster.toml", load_private(consortium))
    (tmp_path / "plan.toml").write_text(_TEXT)
    sites = {name: open_site(tmp_path / f"{name}.toml") for name in names}
    try:
        carrier = InProcess({name: site.receive for name, site in sites.items()})
        serve(tmp_path / "plan.toml", tmp_path / "roster.toml", tmp_path / "run", carrier)
    finally:
        for site in sites.values():
            site.journal.close()
    report = read_report(tmp_path / "run")
    assert report.tables is not None
    assert report.tables.columns is not None
    near = 8 * report.tables.deviation
    assert report.tables.columns["age"].counts == pytest.approx([45, 45, 0, 0, 0], abs=near)
    assert report.tables.columns["sex"].counts == pytest.approx([90, 0, 0, 0], abs=near)
    found = audit(tmp_path / "run", [tmp_path / f"{name}.sqlite" for name in names])
    assert found.findings == ()
