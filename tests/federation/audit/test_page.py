"""The page and the lines in which people read an audit."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from federation.audit.findings import SEVERITIES, Finding, Findings
from federation.audit.outcome import Audit, Claim, Cost, SiteAudit, Steps
from federation.audit.page import audit_lines, between, render, write_audit_page, write_verdict
from federation.report.files import PAGE, read_report, write_page
from federation.report.wording import NOT_AUDITED
from privacy.accounting.bounds import Bounds
from tests.federation.audit.audited import receipts

BOUNDS = Bounds(2.98, 2.99)
NONE = Bounds(float("inf"), float("inf"))
STEPS = Steps(200, 200, 199)
SITE = SiteAudit("north", "north.sqlite", 40, False, STEPS, Steps(1, 1, 1), 2.99, BOUNDS, Bounds(0.5, 0.5))
UNKNOWN = {"training": Steps(200, None, None), "evaluation": Steps(1, None, None), "evaluated": None}
FAILED = Audit(
    run="ab" * 16,
    plan_digest="sha256:" + "0" * 64,
    simulated=True,
    findings=(
        Finding("charge-mismatch", "north", "noise 1 instead of 2"),
        Finding("run-open", "south", "open"),
    ),
    training=Claim(2.5, BOUNDS),
    evaluation=Claim(0.6, Bounds(0.5, 0.5)),
    delta=1e-5,
    units={
        "record": Cost(BOUNDS, Bounds(0.5, 0.5), Bounds(3.11, 3.1201)),
        "client": Cost(NONE, NONE, NONE),
    },
    sites=(SITE, replace(SITE, id="south", ledger="", simulated=None, **UNKNOWN)),  # type: ignore[arg-type]
    entries_verified=80,
    not_checked=("whether the noise was drawn",),
)
PASSED = replace(FAILED, findings=(), simulated=False)


class Loads(HTMLParser):
    """What a page would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe") or any(name in ("src", "href") for name, _ in attrs):
            self.found.append(tag)


def test_one_critical_finding_fails_and_the_others_do_not() -> None:
    assert (FAILED.verdict, PASSED.verdict) == ("fail", "pass")
    assert replace(FAILED, findings=FAILED.findings[1:]).verdict == "pass"


def test_of_very_many_sites_the_first_are_shown_and_those_of_which_something_was_found() -> None:
    sites = tuple(replace(PASSED.sites[0], id=f"site-{number:03d}") for number in range(200))
    odd = replace(FAILED.findings[0], site="site-170")
    lines = audit_lines(replace(FAILED, sites=sites, findings=(odd,)))
    shown = [line.split()[0] for line in lines if line.startswith("site-")]
    assert shown == [*(f"site-{number:03d}" for number in range(50)), "site-170"]
    assert any(line.startswith("and 149 sites more") for line in lines)
    page = render(replace(PASSED, sites=sites))
    assert "<details><summary>all 200 sites</summary>" in page and "site-199" in page
    assert "<details" not in render(PASSED)


def test_the_page_tells_verdict_findings_sites_and_what_was_not_checked() -> None:
    page = render(FAILED)
    for word in (
        "FAIL",
        "charge-mismatch",
        "noise 1 instead of 2",
        "north",
        "199",
        "no ledger",
        "2.980 to 2.990",
    ):
        assert word in page
    for word in ("whether the noise was drawn", "What a pass means", "What it does not mean", "no evidence"):
        assert word in page
    assert "PASS" in render(PASSED) and "None:" in render(PASSED)
    assert "nothing but the server&#39;s word for south" in render(PASSED)


def test_page_and_lines_tell_what_training_and_evaluation_cost_together() -> None:
    for text in (render(FAILED), "\n".join(audit_lines(FAILED))):
        for word in ("claimed", "0.500", "3.121", "no promise", "evaluation", "together"):
            assert word in text


def test_a_plan_without_evaluation_has_no_column_for_it() -> None:
    cost = Cost(BOUNDS, None, BOUNDS)
    sites = (replace(SITE, evaluation=None, evaluated=None),)
    plain = replace(PASSED, evaluation=None, units={"record": cost}, sites=sites)
    assert "evaluation" not in render(plain)
    assert "evaluation  claimed" not in "\n".join(audit_lines(plain))
    assert plain.to_json()["units"]["record"]["evaluation"] is None


def test_the_page_loads_nothing() -> None:
    page = render(FAILED)
    assert Loads(page).found == []
    assert "url(" not in page and "@import" not in page and "http" not in page


def test_names_cannot_become_markup_or_terminal_codes() -> None:
    hostile = "<script>alert(1)</script>\x1b[2J"
    bad = replace(
        FAILED, findings=(Finding("ledger-key", hostile, hostile),), sites=(replace(SITE, id=hostile),)
    )
    assert "<script" not in render(bad)
    assert "\x1b" not in "\n".join(audit_lines(bad))


def test_the_lines_hold_what_the_page_holds() -> None:
    text = "\n".join(audit_lines(FAILED))
    for word in (
        "verdict     FAIL (simulated run): 1 critical finding",
        "nothing but the server's word for south",
        "charge-mismatch [north]",
        "199",
        "whether the noise was drawn",
    ):
        assert word in text
    assert "no findings" in "\n".join(audit_lines(PASSED))


def test_an_audit_without_plan_is_a_page_too(tmp_path: Path) -> None:
    bare = Audit("", (Finding("plan-unreadable", None, "no plan"),))
    write_audit_page(bare, tmp_path / "audit.html")
    assert "plan-unreadable" in (tmp_path / "audit.html").read_text("utf-8")
    assert "n/a" in "\n".join(audit_lines(bare))


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (None, "n/a"),
        (Bounds(float("inf"), float("inf")), "no promise"),
        (Bounds(1.0001, 1.0002), "1.000 to 1.001"),
        (Bounds(1.9994999999, 1.9995000001), "2.000"),
        (BOUNDS, "2.980 to 2.990"),
    ],
)
def test_bounds_are_one_number_where_they_agree(bounds: Bounds | None, text: str) -> None:
    assert between(bounds) == text


def test_of_many_findings_alike_the_first_are_told_and_the_rest_counted() -> None:
    found = Findings()
    for number in range(20):
        found.add("receipt-missing", f"round {number} has no receipt")
    found.add("run-open", "open", "north")
    told = found.sorted()
    assert len(told) == 14
    assert told[12].detail == "and 8 more of this kind"
    assert [finding.severity for finding in told[-2:]] == ["critical", "info"]


def test_what_a_file_says_is_shown_without_control_letters_and_never_at_length() -> None:
    found = Findings()
    found.add("ledger-key", "a\u202eb\ud800c" + "d" * 5000, "ash\x1b")
    told = found.sorted()[0]
    assert told.detail.startswith("a?b?c") and len(told.detail) < 500 and told.site == "ash?"


def test_every_id_is_kebab_case_and_used(request: pytest.FixtureRequest) -> None:
    """An id that no file adds would be one that scripts wait for in vain."""
    folder = request.config.rootpath / "federation" / "audit"
    code = "".join(path.read_text("utf-8") for path in folder.rglob("*.py") if path.name != "findings.py")
    for name in SEVERITIES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert f'"{name}"' in code, name


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_run_says_on_its_page_what_an_audit_found_of_it(
    run: Path, is_whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    report = read_report(run)
    write_page(run, report)
    assert NOT_AUDITED in (run / PAGE).read_text("utf-8")
    if not is_whole:
        with receipts(run) as lines:
            del lines[1]
    write_verdict(run, report)
    page = (run / PAGE).read_text("utf-8")
    assert NOT_AUDITED not in page
    assert ("pass: no contradiction found; 3 of 3 sites" in page) == is_whole
    assert ("fail: " in page and "the audit found something" in caplog.text) != is_whole
    with receipts(run) as lines:
        lines.clear()
    write_verdict(run, report)
    assert (run / PAGE).read_text("utf-8") == page, "what a page says once, it keeps"


def test_a_run_that_cannot_be_audited_keeps_its_page(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report = read_report(run)
    write_page(run, report)
    before = (run / PAGE).read_text("utf-8")
    monkeypatch.setattr("federation.audit.page._MOST_AUDITED", 1)
    write_verdict(run, report)
    assert not caplog.text, "one too large is left to who asks for it"
    monkeypatch.undo()
    (run / "plan.toml").unlink()
    write_verdict(run, report)
    assert "the run was not audited (UnusableFile)" in caplog.text
    assert (run / PAGE).read_text("utf-8") == before
