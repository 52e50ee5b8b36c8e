"""`federation rehearse`, also as part of a check: exit codes, what is shown, and a file that an audit takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.audit.measured.record import Measurement
from federation.identity.keys import load_public
from tests import plans
from tests.clients.measuring.chance import fixed, small
from tests.clients.measuring.mutants import half_counted
from tests.clients.test_join import SITE, write_site
from tests.federation.command import Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    with fixed(11), small():
        yield Command(monkeypatch, capsys)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(plans.text_of({"task.target": "sick", "task.classes": ["no", "yes"]}, rounds=8))
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path, SITE.replace('noise = ["distributed"]', 'noise = ["distributed", "site"]'))


def test_a_right_installation_is_exit_0_and_its_figures_are_signed(
    command: Command, plan: Path, site: Path, tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    done = command("rehearse", plan, "--site", site, "--out", tmp_path / "measured.json")
    assert done.code == 0, done.err
    assert done.out.startswith("PASS: 12 releases in 12 rounds of canaries; no data, no budget")
    for words in ("noise multiplier", "would see", "A pass is not evidence of epsilon", "in 1 % at most"):
        assert words in done.out
    one = Measurement.from_text((tmp_path / "measured.json").read_text("utf-8"))
    public = load_public(tmp_path / "keys" / "berlin.pub").entry
    assert one.is_signed and (one.site, one.key) == ("berlin", public.key)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "measured.json"])
    again = command("rehearse", plan, "--site", site, "--out", tmp_path / "measured.json")
    assert again.code == 2 and "exists already" in again.err


def test_a_wrong_one_is_exit_5_and_json_says_what(command: Command, plan: Path) -> None:
    with half_counted():
        done = command("rehearse", plan, "--json")
    assert done.code == 5 and "is not what the plan says: releases" in done.err
    assert done.json["verdict"] == "falsified" and "releases" in done.json["falsified"]
    assert done.json["site"] is None and done.json["figures"]["releases"] == 12


def test_what_cannot_be_measured_is_refused_in_one_sentence(
    command: Command, plan: Path, site: Path, tmp_path: Path
) -> None:
    unsigned = command("rehearse", plan, "--out", tmp_path / "m.json")
    assert unsigned.code == 2 and "add --site" in unsigned.err
    plan.write_text(plans.text_of(noise="none"))
    bare = command("rehearse", plan)
    assert (
        bare.code == 2
        and bare.err.count("\n") == 1
        and "promises nothing that could be falsified" in bare.err
    )
    plan.write_text(plans.text_of(noise="central"))
    refused = command("rehearse", plan, "--site", site)
    assert refused.code != 0 and not (tmp_path / "m.json").exists()


def test_a_check_of_a_site_measures_on_request(command: Command, plan: Path, tmp_path: Path) -> None:
    assert command("check", plan, "--rehearse").code == 2
    from tests.clients.sites import SMALL

    changes = {key: value for key, value in SMALL.items() if key != "evaluation"}
    plan.write_text(plans.text_of(changes, noise="distributed", holdout=0.0))
    done = command("check", plan, "--site", write_site(tmp_path), "--rehearse", "--json")
    assert done.code == 0, done.err
    assert done.json["measured"]["verdict"] == "pass"
    assert not (tmp_path / "journal.sqlite").exists()
