"""What a run costs is one number: in a budget, a check, the report, its page, a ledger and the audit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from federation.report.numbers import upward
from federation.report.stated import read_stated
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from tests.federation.command import Command
from tests.worlds import text_of, write_sites

PAID = text_of({"evaluation.epsilon": 2.0}, noise="distributed", rounds=4, sample_rate=0.5, minimum=5)


class Told:
    """One run, and what every command says of it."""

    def __init__(self, command: Command, folder: Path, text: str, *words: str) -> None:
        folder.mkdir(exist_ok=True)
        self.run, plan = folder / "run", folder / "plan.toml"
        plan.write_text(text, "utf-8")
        sites = write_sites(folder / "sites", 5)
        self.command = command
        self.terminal = command("simulate", plan, "--sites", sites, "--out", self.run, *words).out
        self.report: dict[str, Any] = json.loads((self.run / "report.json").read_text("utf-8"))
        self.budget, self.check = (
            command("budget", plan, "--json").json,
            command("check", plan, "--json").json,
        )
        self.words = {name: command(name, plan).out for name in ("budget", "check")}
        self.audit = command("audit", self.run, "--json").json
        self.page = (self.run / "report.html").read_text("utf-8")

    def ledger(self, site: str) -> dict[str, Any]:
        return self.command("ledger", "show", self.run / "journals" / f"{site}.sqlite", "--json").json

    def stated(self, field: str) -> set[str]:
        return {each.digits for each in read_stated(self.page) if each.field == field}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_six_places_say_the_same_to_the_digit(command: Command, tmp_path: Path) -> None:
    told = Told(command, tmp_path, PAID)
    both = told.budget["together"]["epsilon"]
    z, second = told.budget["noise_multiplier"], told.budget["evaluation"]["noise_multiplier"]
    assert both == epsilon([GaussianEvent(z, 0.5, 4), GaussianEvent(second, 1.0, 1)], 1e-5)
    assert told.check["together"] == told.report["privacy"]["together"]
    assert told.check["together"]["epsilon"] == both
    assert told.stated("privacy.together.epsilon") == {repr(both)}
    for place, site in enumerate(told.report["sites"]):
        assert site["together"] == {"epsilon": both}
        assert told.stated(f"sites[{place}].together.epsilon") == {repr(both)}
        ledger = told.ledger(site["id"])
        assert ledger["units"]["record"]["epsilon"] == ledger["runs"][0]["together"]["epsilon"] == both
    audited = [told.audit["together"], *(site["together"] for site in told.audit["sites"])]
    for claim in audited:
        assert claim["claimed"] == both
        assert claim["at_least"] <= both <= claim["recomputed"] * (1 + 1e-3)
    assert told.audit["verdict"] == "pass"


def test_every_unit_and_a_patient_at_several_sites_pay_for_both(command: Command, tmp_path: Path) -> None:
    told = Told(command, tmp_path, PAID)
    for rows in (told.budget["units"], told.report["privacy"]["units"]):
        for row in rows:
            if row["epsilon"] is None:
                assert row["together"]["epsilon"] is None  # a plan for records bounds nothing for a site
            else:
                parts = (row["epsilon"], row["evaluation"]["epsilon"])
                assert max(parts) < row["together"]["epsilon"] < sum(parts)
    assert told.budget["units"] == told.report["privacy"]["units"]
    patients = told.budget["together"]["patient_at_sites"]
    assert patients["1"] == told.budget["together"]["epsilon"] < patients["2"] < patients["3"]
    assert all(patients[sites] > told.budget["patient_at_sites"][sites] for sites in patients)


def test_the_number_of_the_whole_run_is_read_first(command: Command, tmp_path: Path) -> None:
    told = Told(command, tmp_path, PAID)
    both = told.budget["together"]["epsilon"]
    assert told.terminal.startswith(f"epsilon {both:.3f} at delta")
    for words in told.words.values():
        first = next(line for line in words.splitlines() if line.startswith("epsilon"))
        assert re.match(
            rf"epsilon\s+{both:.3f} \(training 2\.9\d\d and evaluation (1\.999|2\.000), composed\)", first
        )
    headline = re.search(r'class="number">ε <data[^>]*>([^<]*)<', told.page)
    assert headline and headline[1] == upward(both)
    ledger = command("ledger", "show", told.run / "journals" / "ash.sqlite").out
    assert f"{both:.3f}"[:4] in ledger and "with its evaluation" in ledger


def test_the_excess_of_noise_is_the_same_everywhere(command: Command, tmp_path: Path) -> None:
    told = Told(command, tmp_path, PAID)
    for facts in (told.budget, told.check, told.report["privacy"]):
        assert facts["noise_excess"] == pytest.approx((5 / 4) ** 0.5)
        assert facts["noise_excess_of"] == told.budget["noise_excess_of"]
        levels = facts["noise_excess_of"]["levels"]
        assert [(row["lost"], round(row["noise_excess"], 3)) for row in levels] == [(0, 1.118), (1, 1.155)]
    for words in (*told.words.values(), told.terminal, told.page):
        assert "1.12" in words and "1.00" in words


def test_excess_noise_that_is_to_stay_in_is_told_the_same_everywhere(
    command: Command, tmp_path: Path
) -> None:
    kept = PAID.replace("dropouts = 1", "dropouts = 1\nexcess_levels = 0")
    assert kept != PAID
    told = Told(command, tmp_path, kept)
    for facts in (told.budget, told.check, told.report["privacy"]):
        assert facts["noise_excess"] == pytest.approx((5 / 3) ** 0.5)
        assert facts["noise_excess_of"]["levels"] == []
    for words in (*told.words.values(), told.terminal, told.page):
        assert "1.29" in words and "1.12" in words and "1.00" in words


def test_without_an_evaluation_there_is_one_number_and_no_other(command: Command, tmp_path: Path) -> None:
    told = Told(command, tmp_path, text_of(noise="distributed", rounds=4, sample_rate=0.5, minimum=5))
    alone = told.budget["epsilon"]
    for facts in (told.budget, told.check, told.report["privacy"], *told.report["sites"]):
        assert "together" not in facts and "evaluation" not in facts
    assert told.report["privacy"]["epsilon"] == told.ledger("ash")["units"]["record"]["epsilon"] == alone
    assert told.stated("privacy.epsilon") == {repr(alone)}
    assert told.audit["together"] is None and told.audit["verdict"] == "pass"
    assert "composed" not in told.page and "composed" not in told.terminal


def test_a_site_pays_for_the_rounds_and_the_evaluation_that_it_was_in(
    command: Command, tmp_path: Path
) -> None:
    """With cohorts of three of five, no two sites need to have paid the same; ledger and report agree on each."""
    told = Told(
        command, tmp_path, PAID.replace('size = "all"', "size = 3").replace("minimum = 5", "minimum = 3")
    )
    assert told.audit["verdict"] == "pass"
    z, second = told.budget["noise_multiplier"], told.budget["evaluation"]["noise_multiplier"]
    tested = 0
    for site in told.report["sites"]:
        runs = {run["run"].partition("/")[2]: run for run in told.ledger(site["id"])["runs"]}
        begun, evaluated = runs[""]["rounds_begun"], runs["evaluation"]["rounds_begun"]
        events = [GaussianEvent(z, 0.5, begun), GaussianEvent(second, 1.0, evaluated)]
        assert site["together"]["epsilon"] == runs[""]["together"]["epsilon"] == epsilon(events, 1e-5)
        tested += evaluated
    assert tested == 3


def test_what_rounds_cost_and_what_is_charged_are_two_numbers_under_two_names(
    command: Command, tmp_path: Path
) -> None:
    """A limit that had room for this plan only returns nothing for the rounds that a site was not in."""
    text = text_of(noise="distributed", rounds=4, sample_rate=0.5, minimum=5)
    told = Told(
        command, tmp_path, text.replace('size = "all"', "size = 3").replace("minimum = 5", "minimum = 3")
    )
    whole, z = told.budget["epsilon"], told.budget["noise_multiplier"]
    assert any(site["rounds"] < 4 for site in told.report["sites"])
    for place, site in enumerate(told.report["sites"]):
        of_its_rounds = epsilon([GaussianEvent(z, 0.5, site["rounds"])], 1e-5)
        ledger = told.ledger(site["id"])
        run = ledger["runs"][0]
        assert site["epsilon"] == run["of_its_rounds"]["epsilon"] == of_its_rounds
        assert site["charged"]["epsilon"] == run["epsilon"] == ledger["units"]["record"]["epsilon"] == whole
        assert told.stated(f"sites[{place}].charged.epsilon") == {repr(whole)}
        assert told.stated(f"sites[{place}].epsilon") == {repr(of_its_rounds)}
    for words in (told.terminal, told.page):
        assert "epsilon of its rounds" in words and "epsilon charged" in words
        assert "epsilon spent" not in words
    show = command("ledger", "show", told.run / "journals" / "ash.sqlite").out
    assert "of its rounds" in show and "charged" in show and "spent" not in show
    assert told.audit["verdict"] == "pass"
    changed = told.report | {"sites": [site | {"charged": {"epsilon": 0.5}} for site in told.report["sites"]]}
    (told.run / "report.json").write_text(json.dumps(changed), "utf-8")
    found = command("audit", told.run, "--json")
    assert (found.code, {"report-mismatch"} <= {each["id"] for each in found.json["findings"]}) == (5, True)


@pytest.mark.parametrize("noise", ["site", "central"])
def test_wherever_the_noise_is_the_places_agree(noise: str, command: Command, tmp_path: Path) -> None:
    told = Told(command, tmp_path, PAID.replace('noise = "distributed"', f'noise = "{noise}"'))
    both = told.budget["together"]["epsilon"]
    assert told.check["together"]["epsilon"] == told.report["sites"][0]["together"]["epsilon"] == both
    assert told.ledger("elm")["units"]["record"]["epsilon"] == both
    assert told.audit["verdict"] == "pass"
    assert told.report["privacy"]["noise_excess"] == told.budget["noise_excess"] == 1.0
