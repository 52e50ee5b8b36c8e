"""Training and evaluation together: a report, or a page, that tells another number than the files is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.audit.findings import Findings
from federation.audit.outcome import Audit
from federation.audit.report import check_page
from federation.report.stated import read_stated
from tests.federation.audit.audited import (
    EVALUATED,
    SITES,
    edited_report,
    finished,
    ids,
    ids_at,
    receipts,
    served,
)
from tests.worlds import text_of

Edit = Callable[[str], str]


def both_of(run: Path) -> float:
    report = json.loads((run / "report.json").read_text("utf-8"))
    both: float = report["privacy"]["together"]["epsilon"]
    return both


def edited_page(run: Path, edit: Edit) -> Audit:
    page = run / "report.html"
    text = page.read_text("utf-8")
    page.write_text(edit(text), "utf-8")
    assert page.read_text("utf-8") != text
    return audit(run)


def test_an_honest_run_is_told_with_what_it_costs_together(evaluated: Path) -> None:
    answer = audit(evaluated).to_json()
    both = answer["together"]
    assert both["claimed"] == both_of(evaluated)
    assert answer["epsilon"]["recomputed"] < both["at_least"] <= both["claimed"] <= both["recomputed"] * 1.001
    assert [site["together"] for site in answer["sites"]] == [both] * 3


def test_a_run_without_an_evaluation_has_nothing_together(protocol: Path) -> None:
    answer = audit(protocol).to_json()
    assert answer["together"] is None and answer["findings"] == []
    assert all(site["together"] is None for site in answer["sites"])


@pytest.mark.parametrize("name", ["evaluation", "together"])
@pytest.mark.parametrize("factor", [0.5, 0.999, 1.25])
@pytest.mark.parametrize("place", ["privacy", "unit", "site"])
def test_no_part_of_a_cost_can_be_changed_unnoticed(paid: Path, name: str, factor: float, place: str) -> None:
    def part(report: dict[str, Any]) -> dict[str, Any]:
        places = {
            "privacy": report["privacy"],
            "unit": report["privacy"]["units"][1],
            "site": report["sites"][1],
        }
        found: dict[str, Any] = places[place][name]
        return found

    found = edited_report(paid, lambda report: part(report).update(epsilon=part(report)["epsilon"] * factor))
    assert found.verdict == "fail"
    assert {"report-mismatch", "page-mismatch"} & ids(found, "critical")


def test_the_training_alone_does_not_pass_for_the_run(paid: Path) -> None:
    """The report of the larger number, or of the first."""
    found = edited_report(
        paid, lambda report: report["privacy"].update(together={"epsilon": report["privacy"]["epsilon"]})
    )
    assert {"epsilon-understated", "report-mismatch", "page-mismatch"} <= ids(found, "critical")


def test_a_site_that_claims_less_than_its_ledger_charged_is_named(paid: Path) -> None:
    def claims_less(report: dict[str, Any]) -> None:
        for site in report["sites"]:
            site["together"]["epsilon"] *= 0.99

    found = edited_report(paid, claims_less)
    details = [finding.detail for finding in found.findings if finding.id == "epsilon-understated"]
    assert len(details) == 3 and all("together" in detail for detail in details)


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["privacy"].pop("together"),
        lambda report: report["privacy"].pop("evaluation"),
        lambda report: report["privacy"].update(together=3.0),
        lambda report: report["privacy"].update(together={"epsilon": True}),
        lambda report: report["privacy"].update(together={"epsilon": None}),
        lambda report: report["sites"][0].pop("together"),
        lambda report: report["sites"][0].update(together=[]),
        lambda report: report["privacy"]["units"][0].pop("together"),
        lambda report: report["privacy"]["units"][0].update(together=None),
        lambda report: report["privacy"].update(noise_excess=1.0),
        lambda report: report["privacy"].update(noise_excess="1.22"),
        lambda report: report["privacy"]["noise_excess_of"].update(sites=4),
        lambda report: report["privacy"]["noise_excess_of"]["choices"][1].update(noise_excess=1.0),
        lambda report: report["privacy"].pop("noise_excess_of"),
        lambda report: report["rounds"][0].update(excess_left=1),
    ],
)
def test_no_field_can_be_left_out_or_be_of_another_form(paid: Path, change: Callable[[Any], object]) -> None:
    assert "report-mismatch" in ids(edited_report(paid, change), "critical")


def test_each_epsilon_of_the_page_is_held_against_the_report(paid: Path) -> None:
    """Digits and text, of every element, one at a time."""
    page, report = ((paid / f"report.{kind}").read_text("utf-8") for kind in ("html", "json"))
    elements = re.findall(r'<data class="epsilon"[^>]*>[^<]*</data>', page)
    assert len(elements) == len(read_stated(page)) > 20
    for element in {read_stated(element)[0].field: element for element in elements}.values():
        field = read_stated(element)[0].field
        lies = [
            re.sub(r'value="[^"]*"', 'value="0.5"', element),
            re.sub(r">[^<]*</data>", ">0.50</data>", element),
            re.sub(r">[^<]*</data>", "></data>", element),
        ]
        for lie in lies:
            (paid / "report.html").write_text(page.replace(element, lie), "utf-8")
            found = Findings()
            check_page(paid, json.loads(report), found)
            assert {finding.id for finding in found.sorted()} == {"page-mismatch"}, lie
            assert all(field in finding.detail for finding in found.sorted())


@pytest.mark.parametrize(
    "edit",
    [
        lambda page: page.replace('title="privacy.together.epsilon"', 'title="privacy.epsilon"'),
        lambda page: page.replace('title="sites[1].epsilon"', 'title="sites[9].epsilon"'),
        lambda page: re.sub(r'<data class="epsilon" title="sites\[0\].*?</data>', "2.00", page),
        lambda page: page.replace("</data>", "<b>.9</b></data>", 1),
        lambda page: page[: page.index("</data>")],
        lambda page: page.replace("</main>", '<data title="privacy.risk" value="1">1.00</data></main>'),
    ],
)
def test_a_page_that_states_other_things_is_found(paid: Path, edit: Edit) -> None:
    assert "page-mismatch" in ids(edited_page(paid, edit), "critical")


def test_a_page_without_marks_is_told(paid: Path) -> None:
    found = edited_page(paid, lambda page: re.sub(r"</?data[^>]*>", "", page))
    assert ids(found, "warning") == {"page-unmarked"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"<![if", b"<data", b"<!DOCTYPE html><data title"])
def test_a_page_of_anything_is_a_finding_and_no_traceback(paid: Path, content: bytes) -> None:
    (paid / "report.html").write_bytes(content)
    assert {"page-mismatch", "page-unmarked"} & ids(audit(paid))


def test_a_run_without_a_page_is_none_the_worse(paid: Path) -> None:
    (paid / "report.html").unlink()
    assert audit(paid).verdict == "pass"


def test_a_page_that_keeps_quiet_about_no_privacy_is_found(tmp_path: Path) -> None:
    run = finished(tmp_path, "vectorized", text_of(rounds=1))
    assert ids(audit(run), "critical") == set()
    assert "page-mismatch" in ids(
        edited_page(run, lambda page: page.replace("NOT PRIVATE", "PRIVATE")), "critical"
    )


def test_a_real_run_tells_what_each_site_paid_together(tmp_path: Path) -> None:
    run = served(tmp_path, EVALUATED)
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert not report["simulated"]
    assert {site["together"]["epsilon"] for site in report["sites"]} == {both_of(run)}
    found = audit(run, [tmp_path / name / "own.sqlite" for name in SITES])
    assert ids(found, "critical") == set()
    assert all(site.together is not None and site.together.recomputed is not None for site in found.sites)


def test_a_site_that_was_not_invited_to_the_evaluation_did_not_pay_for_it(paid: Path) -> None:
    """A receipt that leaves a site out contradicts its ledger, and a report that leaves out its cost does too."""
    with receipts(paid) as lines:
        line = next(line for line in lines if "evaluation" in line)
        line["cohort"].remove("cedar")
        line["survivors"].remove("cedar")
        del line["heads"]["cedar"]
    found = audit(paid)
    assert found.verdict == "fail"
    assert "round-without-receipt" in ids_at(found, "cedar")


def as_an_earlier_version_wrote(run: Path) -> None:
    """The report of a run with an evaluation as it was before both were told together."""
    report = json.loads((run / "report.json").read_text("utf-8"))
    for part in (report["privacy"], *report["privacy"]["units"], *report["sites"]):
        for name in ("evaluation", "together", "noise_excess", "noise_excess_of", "tried", "risk"):
            part.pop(name, None)
    del report["made"]
    (run / "report.json").write_text(json.dumps(report), "utf-8")
    page = (run / "report.html").read_text("utf-8")
    (run / "report.html").write_text(re.sub(r"</?data[^>]*>", "", page), "utf-8")


def test_a_report_from_before_both_were_told_is_no_contradiction(tmp_path: Path) -> None:
    """A digest that only a later version gives, or a part that is told, says that it is not from before."""
    run = finished(tmp_path, "vectorized", EVALUATED.replace("[evaluation]", "tau = 0.001\n\n[evaluation]"))
    as_an_earlier_version_wrote(run)
    found = audit(run)
    assert ids(found, "critical") == set()
    assert ids(found, "warning") == {"page-unmarked", "report-older"}
    assert found.together is not None and found.together.claimed is None
    assert found.together.recomputed is not None and found.training.claimed is not None
    assert found.together.recomputed.lower > found.training.claimed
    half = edited_report(run, lambda report: report["sites"][0].update(together={"epsilon": 9.0}))
    assert "report-mismatch" in ids(half, "critical")


def test_a_later_report_in_the_form_of_an_earlier_one_is_found(paid: Path) -> None:
    as_an_earlier_version_wrote(paid)
    assert "report-mismatch" in ids(audit(paid), "critical")


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["privacy"]["tried"].update(epsilon=report["privacy"]["epsilon"] * 1.02),
        lambda report: report["privacy"]["tried"].update(runs=None),
        lambda report: report["history"][1].update(epsilon=report["history"][0]["epsilon"]),
        lambda report: report["evaluation"]["mean_of_sites"].update(accuracy=1.72),
        lambda report: report["evaluation"]["mean_of_sites"].update(accuracy=None),
        lambda report: report["evaluation"]["mean_of_sites_n"].update(accuracy=2),
        lambda report: report["evaluation"]["sites"]["ash"].update(accuracy=None),
        lambda report: report["made"].update(run="ab" * 16),
    ],
)
def test_figures_that_follow_from_others_are_held_against_them(
    tmp_path: Path, change: Callable[[Any], object]
) -> None:
    run = finished(tmp_path, "vectorized", EVALUATED.replace("rounds = 2", "rounds = 3"))
    assert audit(run).findings == ()
    assert "report-mismatch" in ids(edited_report(run, change), "critical")


@pytest.mark.parametrize(
    ("words", "others"),
    [
        ("δ 1e-5", "δ 1e-9"),
        ("Noise: distributed", "Noise: site"),
        (" sites in which none", "0 sites in which none"),
    ],
)
def test_words_that_are_not_of_the_report_are_told(paid: Path, words: str, others: str) -> None:
    assert audit(paid).findings == ()
    found = edited_page(paid, lambda page: page.replace(words, others))
    assert ids(found, "warning") == {"page-differs"}


def test_what_a_page_says_of_the_model_is_made_again_from_the_params(paid: Path) -> None:
    own = re.compile('<section class="model">.*?</section>', re.DOTALL)
    (section,) = own.findall((paid / "report.html").read_text("utf-8"))
    effect = re.search(r'<td data-label="adds to the log-odds">([+-])', section)
    assert effect is not None
    at, other = effect.start(1), "+-"[effect[1] == "+"]
    turned = section[:at] + other + section[at + 1 :]
    for false in (turned, ""):
        found = edited_page(paid, lambda page, false=false: own.sub(lambda _: false, page))
        assert ids(found, "warning") == {"page-differs"}


def test_the_words_of_another_version_are_not_compared(paid: Path) -> None:
    edited_report(paid, lambda report: report["made"].update(version="0.0.9"))
    found = edited_page(paid, lambda page: page.replace("Whom does it protect?", "Who is protected?"))
    assert found.findings == ()
    assert any("another version wrote them" in what for what in found.not_checked)
