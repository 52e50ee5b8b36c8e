"""What a tired engineer sees: one row per unit, and in words whether a plan leaves room for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.cli.statements import print_statement
from federation.cli.tables import print_budget, print_facts, print_report
from federation.report.report import Report
from tests.federation.report.pages import a_report, typed

UNITS = [
    {"unit": "record", "records": 1, "sites": 1, "epsilon": 2.5},
    {"unit": "patient", "records": 2, "sites": 3, "epsilon": 12.75},
    {"unit": "client", "records": 1, "sites": 1, "epsilon": None},
]
ALONE = {"type": "rdp", "order": 7, "load": 1.2, "room_from": 3.2934}


def shown(capsys: pytest.CaptureFixture[str], rule: dict[str, Any]) -> str:
    rounds = [{"round": number, "epsilon": number / 20} for number in range(1, 51)]
    print_budget({"epsilon": 2.5, "units": UNITS, "rounds": rounds, "filter": rule})
    return capsys.readouterr().out


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_every_unit_has_a_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, ALONE)
    assert row(text, "record") == ["record", "1", "1", "2.500"]
    assert row(text, "patient") == ["patient", "2", "3", "12.750"]
    assert row(text, "client") == ["client", "all", "1", "no promise"]
    assert "{" not in text


def test_every_tenth_round_is_shown_with_the_first_and_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, ALONE)
    numbers = [
        line.split()[1] for line in text.splitlines() if line.startswith("│ ") and line.split()[1].isdigit()
    ]
    assert numbers == ["1", "5", "10", "15", "20", "25", "30", "35", "40", "45", "50"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (ALONE, ["and nothing after it", "RDP of order 7", "limit above 3.294 there is room"]),
        (
            {"type": "rdp", "order": 7, "load": None, "room_from": None},
            ["and nothing after it", "No limit this small"],
        ),
        (
            {"type": "rdp", "order": 7, "load": 0.4567, "room_from": 2.5},
            ["has 45.7% of it used", "RDP of order 7"],
        ),
        ({"type": "gdp", "load": 1.0 + 1e-13, "room_from": 2.5}, ["has 100.0% of it used", "GDP"]),
    ],
)
def test_the_filter_is_told_in_words(
    capsys: pytest.CaptureFixture[str], rule: dict[str, Any], words: list[str]
) -> None:
    text = " ".join(shown(capsys, rule).split())
    for word in words:
        assert word in text


def test_the_limits_of_a_site_are_a_table_below_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    limit = {
        "epsilon_before": 0.25,
        "epsilon_after": 2.75,
        "epsilon_max": 3.0,
        "delta": 1e-5,
        "room_for_foreseen": 0.2509,
    }
    facts = {"plan_digest": "sha256:ab", "site": {"id": "ash", "units": {"record": limit}, "records": 40}}
    print_facts(facts)
    text = capsys.readouterr().out
    assert row(text, "record") == ["record", "0.250", "2.750", "3.000", "1e-05"]
    assert "id: ash, records: 40" in text
    assert "still fits up to epsilon 0.250." in " ".join(text.split()), "rounded down: more would be refused"
    assert "units" not in text


def test_facts_of_a_plan_alone_need_no_site(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"private": True, "epsilon": 3.0})
    assert capsys.readouterr().out.split() == ["private", "True", "epsilon", "3.000"]


def test_a_report_shows_the_claim_the_sites_and_the_metrics(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "report.html").touch()
    print_report(typed(), tmp_path)
    text = capsys.readouterr().out
    assert "epsilon 2.991 at delta 1e-05 for one record; noise distributed, multiplier 2.178" in text
    assert row(text, "harbor") == ["harbor", "87", "3", "2.991", "1.2", "4882.8"]
    assert row(text, "accuracy") == ["accuracy", "0.900", "n/a", "0.540", "0.910"]
    assert "report.html" in text
    assert (
        "without privacy: the same settings with neither clipping nor noise; with its own it may do better"
        in text
    )


def test_what_could_not_be_made_is_na_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    content = a_report()
    metrics = content["evaluation"]["baselines"]["without_privacy"]
    content["evaluation"]["baselines"]["without_privacy"] = dict.fromkeys(metrics)
    content["evaluation"]["missing"] = {"baselines.without_privacy": "diverged"}
    content["sites"] = [{**site, "bytes_up": None, "bytes_down": None} for site in content["sites"]]
    print_report(Report.from_json(content), Path("run"))
    text = capsys.readouterr().out
    assert row(text, "harbor") == ["harbor", "87", "3", "2.991", "n/a", "n/a"]
    assert row(text, "accuracy") == ["accuracy", "0.900", "n/a", "0.540", "n/a (diverged)"]
    assert "report   n/a" in text, "there is no page"


def test_a_mean_of_sites_says_over_how_many_and_the_table_over_what(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluation = {
        "pooled": {"accuracy": 0.8, "auc": 0.847, "n": 59, "positives": 19},
        "mean_of_sites": {"accuracy": 0.7, "auc": 1.0},
        "mean_of_sites_n": {"accuracy": 4, "auc": 3},
        "sites": {
            name: {"accuracy": 0.7, "n": 15, "positives": 5} for name in ("ash", "birch", "cedar", "elm")
        },
    }
    print_report(typed(evaluation=evaluation), Path("run"))
    text = capsys.readouterr().out
    assert row(text, "auc") == ["auc", "0.847", "1.000 (3)"]
    assert "59 records, 19 of them positive; in brackets how many of 4 sites" in " ".join(text.split())
    assert "│ n " not in text


def test_a_real_run_shows_no_records_and_no_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(typed(simulated=False), Path("run"))
    text = capsys.readouterr().out
    assert row(text, "harbor") == ["harbor", "3", "2.991", "1.2", "4882.8"]
    assert "not measured at a real run" in text


BOTH = {"evaluation": {"epsilon": 1.999}, "together": {"epsilon": 3.7612}}
EXCESS = {
    "noise_excess": 1.291,
    "noise_excess_of": {
        "sites": 5,
        "choices": [{"dropouts": 1, "colluders": 0, "noise_excess": 1.291}],
        "levels": [{"lost": 0, "noise_excess": 1.118}, {"lost": 3, "noise_excess": 1.155}],
    },
}


def test_facts_lead_with_what_the_run_costs(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"name": "heart", "epsilon": 2.991, **BOTH, **EXCESS})
    text = capsys.readouterr().out
    assert text.splitlines()[0].split(maxsplit=1) == [
        "epsilon",
        "3.762 (training 2.991 and evaluation 1.999, composed)",
    ]
    assert text.count("epsilon") == 2, "the plan's own number does not stand beside it"
    assert row(text, "as it is") == ["as it is", "1", "0", "1.29"]
    assert row(text, "1 to 3") == ["1 to 3", "up to 1.16"]


def test_a_budget_leads_with_both_and_says_that_its_epsilon_is_no_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounds = [{"round": 1, "epsilon": 2.5}]
    together = {"epsilon": 3.7612, "patient_at_sites": {"1": 3.7612}}
    units = [{**line, **BOTH} for line in UNITS]
    facts = {"epsilon": 2.5, **BOTH, "together": together, "patient_at_sites": {"1": 2.5}, **EXCESS}
    print_budget({**facts, "units": units, "rounds": rounds, "filter": ALONE})
    text = capsys.readouterr().out
    assert text.split()[:2] == ["epsilon", "3.762"]
    assert "1: 3.762" in text and "1: 2.5" not in text
    assert row(text, "record") == ["record", "1", "1", "3.762", "2.500", "1.999"]
    assert "refuses this plan" in text and "limit above 3.294" in " ".join(text.split())


def test_no_epsilon_of_a_terminal_is_below_what_it_stands_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Every one is just above a number of three places, so rounding to the nearest would tell too little."""
    low = {"epsilon": 1.0001}
    line = {"unit": "record", "records": 1, "sites": 1, **low, "evaluation": low, "together": low}
    limit = {
        "epsilon_before": 1.0001,
        "epsilon_after": 1.0001,
        "epsilon_max": 3.0,
        "delta": 1e-5,
        "room_for_foreseen": 0.2509,
    }
    site = {
        "epsilon_after_this_plan": 1.0001,
        "epsilon_of_this_run_alone": 1.0001,
        "units": {"record": limit},
    }
    ways = {"accountants": {"pld": 1.0001, "rdp": 1.0001}, "patient_at_sites": {"2": 1.0001}}
    print_facts({**low, **ways, "site": site})
    print_facts({**low, "evaluation": low, "together": low, "site": site})
    rounds = [{"round": 1, **low}, {"round": 2, **low}]
    print_budget({**low, **ways, "units": [line], "rounds": rounds, "filter": ALONE})
    content = a_report()
    both = {**low, "evaluation": low, "together": low}
    content["privacy"] |= both
    content["sites"] = [{**row, **both, "charged": low} for row in content["sites"]]
    print_report(Report.from_json(content), Path("run"))
    run = {"run": "ab", "plan": "cd", "unit": "record", "rounds": 1, "rounds_begun": 1, "rounds_released": 1}
    run |= {
        "noise_multiplier": 2.0,
        "sample_rate": 1.0,
        "closed": True,
        "left": False,
        "delta": 1e-5,
        **low,
        "of_its_rounds": low,
    }
    known = {"epsilon": 1.0001, "epsilon_max": 3.0, "delta": 1e-5, "used": 0.4, "records": 1, "sites": 1}
    told = {"simulated": False, "site": "ash", "pool": "p", "entries": 1, "head": "ef", "refusals": 0}
    told |= {"units": {"record": known}, "runs": [run], "restored": [], "witnessed": {}}
    print_statement(told)
    text = capsys.readouterr().out
    assert text.count("1.001") >= 25
    assert "1.000" not in text and " 1," not in text, "rounded to the nearest"


def test_a_report_shows_the_whole_run_before_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    plain = a_report()
    plain["privacy"] |= {**BOTH, **EXCESS}
    plain["sites"] = [{**site, **BOTH} for site in plain["sites"]]
    print_report(Report.from_json(plain), Path("run"))
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("epsilon 3.762 at delta 1e-05 for one record")
    assert text.splitlines()[1] == "training 2.991 and evaluation 1.999, composed"
    assert row(text, "harbor") == ["harbor", "87", "3", "3.762", "1.2", "4882.8"]
    assert row(text, "as it is") == ["as it is", "1", "0", "1.29"]
