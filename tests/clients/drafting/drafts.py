"""A plan, made-up records and a consortium, from which sites are drafted in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clients.drafting.answers import Given
from clients.drafting.sources import Reading
from federation.identity.keys import create
from federation.plan.made_up.mock import mock_table
from federation.plan.plan import Plan
from tests import plans
from tests.certificates import certificate

FAST: plans.Changes = {"rounds": 2, "sample_rate": 1.0}


def given_in(folder: Path, plan: Plan | None = None, **changes: object) -> Given:
    """What a hospital says that leaves out nothing, with all files that it names."""
    plan = plan or plans.plan_of(FAST)
    folder.mkdir(exist_ok=True)
    (folder / "plan.toml").write_text(plan.to_toml(), "utf-8")
    (folder / "heart.csv").write_text(mock_table(plan, "cleveland", 60).csv, "utf-8")
    (folder / "ca.crt").write_bytes(certificate())
    if not (folder / "consortium.pub").exists():
        create(folder, "consortium", "The consortium", 1)
    given = Given(
        id="cleveland",
        plan=folder / "plan.toml",
        consortium=(folder / "consortium.pub",),
        data=Reading(str(folder / "heart.csv")),
        size=60,
        address="fed.example.org:8443",
        certificate=folder / "ca.crt",
        folder=folder / "site",
    )
    return replace(given, **changes)  # type: ignore[arg-type]
