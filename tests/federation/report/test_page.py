"""The report: what is written for programs, and a page that is whole, quiet, escaped and honest."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from federation.report import wording
from federation.report.files import write_page, write_report
from federation.report.numbers import octets, upward
from federation.report.page import render, spread
from federation.report.report import Made, PrivacyClaim, Report
from tests.federation.report.pages import Page, a_report, check_quiet, typed

HOSTILE = "<script>alert('x')</script>&\"$\\frac{$_{"
PROMISED = [
    "schema",
    "plan_digest",
    "engine",
    "simulated",
    "seed",
    "privacy",
    "sites",
    "rounds",
    "evaluation",
]
PROMISED += ["timing"]
PROMISED_OF_PRIVACY = {
    "unit",
    "noise",
    "epsilon",
    "delta",
    "noise_multiplier",
    "accountant",
    "cross_check",
    "private",
}


def page(report: Mapping[str, Any]) -> Page:
    return Page(render(Report.from_json(report)))


@pytest.mark.parametrize("private", [True, False])
def test_the_page_loads_nothing_and_runs_nothing(private: bool) -> None:
    check_quiet(render(Report.from_json(a_report(private=private))))


def test_the_page_says_where_it_comes_from() -> None:
    made = Made(run="ab" * 16, finished="2026-03-01T17:05:09Z", version="0.1.0", signers=("cd" * 32,))
    text = Page(render(typed(made=made.to_json(), simulated=False), "pass, 12 entries verified")).text
    for told in ("1 March 2026, 17:05 UTC", "ab" * 16, "cd" * 32, "private-federation 0.1.0"):
        assert told in text
    assert "pass, 12 entries verified" in text
    assert "federation ledger show SITE" in text, "what is left of a budget is for its site to say"
    unaudited = check_quiet(render(typed(made=made.to_json()))).text
    assert "not audited when this page was written" in unaudited
    assert "nobody but this simulation" in unaudited


def test_a_report_is_dated_as_it_is_made() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    made = Made.now(bytes(16), [b"\x02" * 32, b"\x01" * 32])
    assert before <= datetime.fromisoformat(made.finished) <= datetime.now(UTC)
    assert made.signers == ("01" * 32, "02" * 32)
    assert made.version == version("private-federation")


def test_names_from_users_are_text_and_never_markup() -> None:
    found = page(a_report(name=HOSTILE, metric=HOSTILE))
    assert "script" not in found.tags
    assert (
        found.text.count("<script>alert('x')</script>") >= 6
    )  # title, heading, two tables, two column heads, legend


def test_a_private_run_leads_with_its_epsilon_rounded_up_and_its_unit() -> None:
    text = page(a_report()).text
    assert "ε 3.00" in text
    assert "δ 1e-5, for one record" in text
    assert "NOT PRIVATE" not in text
    assert "simulated" in text
    assert "4 to 5" in text


def test_a_run_without_noise_says_not_private_and_claims_no_epsilon() -> None:
    text = page(a_report(private=False)).text
    assert "NOT PRIVATE" in text
    assert "There is no guarantee" in text
    assert "ε" not in text
    assert "epsilon of the rounds so far" not in text


def test_the_run_stands_beside_both_baselines_and_missing_figures_are_na() -> None:
    text = page(a_report()).text
    assert "this run 0.900" in text
    assert "the same settings without privacy; with its own it may do better 0.910 n/a" in text
    assert "always the majority class 0.540 n/a" in text


def test_each_figure_stands_beside_its_counts_and_each_mean_beside_its_number_of_sites() -> None:
    report = a_report()
    told = report["evaluation"]
    told["pooled"] = {**told["pooled"], "n": 142, "positives": 70}
    told["sites"] = {"harbor": {**told["sites"]["harbor"], "n": 142, "positives": 0}}
    told |= {"mean_of_sites": {"accuracy": 0.85, "auc": 1.0}, "mean_of_sites_n": {"accuracy": 2, "auc": 1}}
    found = page(report)
    assert "Over 142 records, 70 of them positive." in found.text
    assert "harbor 142 0 0.800" in found.text
    assert "mean of the sites 0.850 n/a 1.000" in found.text
    assert "over so many sites 2 n/a 1" in found.text
    assert "this run 0.900" in found.text
    assert found.text.count("142") == 2, "counts are no metrics, with a column or a curve of their own"


TRIED = {"runs": 1, "without_privacy": 0, "epsilon": 2.991, "exact": True}


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (TRIED, "used in 1 simulation, this one. It cost epsilon 3.00 at delta 1e-5. A plan or model chosen"),
        (
            {**TRIED, "runs": 3, "epsilon": 5.651, "exact": False},
            "used in 3 simulations, this one included. Together they cost epsilon 5.66 at delta 1e-5: the least "
            "limit that, set before the first, would have admitted them all. A plan or model chosen",
        ),
        (
            {**TRIED, "runs": 3, "without_privacy": 2},
            "Without privacy: 2 of them, which no epsilon covers. The others cost epsilon 3.00 at delta 1e-5.",
        ),
        (
            {**TRIED, "runs": 2, "epsilon": None, "exact": False},
            "Together they cost one unit more than any number",
        ),
        (
            {"runs": None, "without_privacy": None, "epsilon": None, "exact": False, "reason": "no <home>"},
            "Nobody counted how often these data were simulated: no <home>. A plan or model chosen",
        ),
    ],
)
def test_the_page_says_how_often_the_data_were_tried(tried: dict[str, Any], words: str) -> None:
    report = a_report()
    report["privacy"]["tried"] = tried
    text = page(report).text
    assert words in text
    assert "tells something of these data that no epsilon here covers." in text
    assert "How often were these data tried?" not in page(a_report()).text


def test_both_curves_are_drawn_and_neither_without_a_history() -> None:
    assert page(a_report()).tags.count("svg") == 2
    report = a_report()
    del report["history"], report["name"], report["evaluation"]["baselines"]
    assert page(report).tags.count("svg") == 0


def test_a_real_run_says_what_it_cannot_know_and_has_no_columns_for_it() -> None:
    figures = {"records": 80.0, "accuracy": 0.75, "loss": 0.5, "standard_error": 0.0213}
    real = a_report() | {"simulated": False, "engine": "flower"}
    real["evaluation"] = {"pooled": {}, "sites": {}, "baselines": {}}
    real["history"] = [{**line, "metrics": {}} for line in real["history"]]
    real["sites"] = [{key: line[key] for key in line if key != "records"} for line in real["sites"]]
    found = page(real)
    assert found.tags.count("svg") == 1, "epsilon by round is known"
    assert "not measured at a real run" in found.text
    assert "simulat" not in found.text
    assert "n/a" not in found.text
    real["evaluation"]["published"] = figures
    assert "accuracy 0.750, give or take 0.021" in page(real).text
    real["evaluation"]["published"] = dict.fromkeys(figures)
    assert "hidden by its noise" in page(real).text


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(typed()) == render(typed())


def test_report_json_has_the_promised_keys_in_the_promised_order(tmp_path: Path) -> None:
    write_report(tmp_path, typed())
    write_page(tmp_path, typed())
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [key for key in written if key in PROMISED] == PROMISED
    assert set(written["privacy"]) == PROMISED_OF_PRIVACY
    assert written["privacy"]["epsilon"] == 2.991
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    write_report(tmp_path, Report.from_json(a_report(private=False)))
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    written = json.loads(text)
    assert written["privacy"]["epsilon"] is None
    assert written["privacy"]["private"] is False
    assert written["timing"]["client_rounds_per_second"] is None


def test_the_page_says_whom_each_kind_of_noise_trusts() -> None:
    said = {
        noise: " ".join(wording.assumptions(Report.from_json(a_report(noise=noise))))
        for noise in ("distributed", "site", "central")
    }
    assert "trusted to add the noise" in said["central"]
    assert "not the server" in said["site"]
    assert "No more sites than the plan allows may work together with the server" in said["distributed"]
    known = typed(secure_aggregation={"colluders": 1, "dropouts": 1})
    assert "At most one site may work together with the server" in " ".join(wording.assumptions(known))


def test_the_vectorized_engine_does_not_claim_masks() -> None:
    assert "without masking" in " ".join(wording.departures(typed(engine="vectorized")))
    assert "without masking" not in " ".join(wording.departures(typed()))


def test_the_worst_case_bet_is_that_of_epsilon() -> None:
    # Even odds become at most e^eps to 1: for ln 3, three to one.
    privacy = PrivacyClaim.from_json({**a_report()["privacy"], "epsilon": math.log(3)})
    assert "at most 75.0% sure" in wording.meaning(privacy)


@pytest.mark.parametrize(
    ("epsilon", "shown"), [(2.991, "3.00"), (2.99, "2.99"), (0.001, "0.01"), (0.0, "0.00")]
)
def test_an_epsilon_is_never_rounded_down(epsilon: float, shown: str) -> None:
    assert upward(epsilon) == shown


def test_bytes_read_in_the_unit_that_fits() -> None:
    assert [octets(n) for n in (0, 999, 1000, 1_250_000, 5 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "5000.0 GB",
    ]


def test_a_run_without_rounds_has_no_spread() -> None:
    assert spread([]) == "n/a"


def test_on_paper_no_number_is_broken_in_two() -> None:
    """0.643 over two lines was read as 0.64. Only names, texts and code may break anywhere."""
    style = render(Report.from_json(a_report()))
    breakable = re.findall(r"([^{}]+)\{[^{}]*overflow-wrap: anywhere", style)
    assert len(breakable) >= 4
    for rule in breakable:
        names = {name.strip() for name in rule.rpartition(";")[2].split(",")}
        assert names <= {"h1", "th:first-child", "td:first-child", ".fact", "code"}
