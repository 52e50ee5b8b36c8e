"""What a page states of epsilon: every number by the name of its field, the whole run first, nothing twice told."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.report import wording
from federation.report.numbers import upward
from federation.report.page import render
from federation.report.report import PrivacyClaim, Report, whole
from federation.report.stated import Stated, fields, read_stated, stated
from tests.federation.report.pages import a_report, check_quiet

PARTS = {"evaluation": {"epsilon": 1.999}, "together": {"epsilon": 3.7612}}
EXCESS = {
    "noise_excess": 1.29099,
    "noise_excess_of": {
        "sites": 5,
        "choices": [
            {"dropouts": 1, "colluders": 1, "noise_excess": 1.29099},
            {"dropouts": 0, "colluders": 1, "noise_excess": 1.11803},
        ],
    },
}
UNITS = [
    {"unit": "record", "records": 1, "sites": 1, "epsilon": 2.991, **PARTS},
    {"unit": "client", "records": 1, "sites": 1, "epsilon": None}
    | {name: {"epsilon": None} for name in PARTS},
]


def evaluated(**more: Any) -> Report:
    """A report of a run with an evaluation."""
    plain = a_report()
    plain["privacy"] |= {**PARTS, **EXCESS, "units": UNITS}
    plain["sites"] = [{**site, **PARTS} for site in plain["sites"]]
    return Report.from_json({**plain, **more})


@given(st.none() | st.floats(0, 200), st.text(max_size=12))
def test_what_is_stated_is_read_again_and_is_rounded_up(value: float | None, field: str) -> None:
    field = " ".join(field.replace("\x00", "").split())
    (found,) = read_stated(str(stated(value, field)))
    assert found.is_of(value) and found.text == upward(value)
    assert found.field == field or "\r" in field


@pytest.mark.parametrize(
    ("digits", "text"),
    [
        ("2.991", "2.99"),
        ("2.9910", "3.00"),
        ("", "3.00"),
        ("2.991", "3"),
        ("2.991", ""),
        ("2.991", "2.9920000001"),
    ],
)
def test_another_spelling_is_another_number(digits: str, text: str) -> None:
    assert Stated("f", "2.991", "3.00").is_of(2.991) and Stated("f", "2.991", "2.991").is_of(2.991)
    assert not Stated("f", digits, text).is_of(2.991)


def test_a_long_text_is_not_worked_out() -> None:
    assert not Stated("f", "2.991", "2." + "9" * 10**6).is_of(2.991)


@given(st.text(alphabet='<>/!-["data=e1.\x00', max_size=60))
def test_any_text_is_a_page_or_a_value_error(text: str) -> None:
    try:
        read_stated(text)
    except ValueError:
        pass


@pytest.mark.parametrize("report", [evaluated(), Report.from_json(a_report())], ids=["evaluated", "trained"])
def test_the_page_states_every_epsilon_of_the_report_and_nothing_else(report: Report) -> None:
    page, wanted = render(report), fields(report)
    check_quiet(page)
    found = read_stated(page)
    assert {each.field for each in found} == wanted.keys()
    assert all(each.is_of(wanted[each.field]) for each in found)


def test_a_page_without_privacy_states_none() -> None:
    report = Report.from_json(a_report(private=False))
    assert fields(report) == {} and read_stated(render(report)) == []


def test_the_whole_run_comes_first_and_its_parts_beside_it() -> None:
    report = evaluated()
    found = read_stated(render(report))
    assert [each.field for each in found[:4]] == [
        "privacy.together.epsilon",
        "privacy.epsilon",
        "privacy.evaluation.epsilon",
        "privacy.together.epsilon",
    ]
    assert [each.text for each in found[:4]] == ["3.77", "2.991", "1.999", "3.762"]
    assert whole(report.privacy) == whole(report.sites[0]) == 3.7612
    assert whole(Report.from_json(a_report()).privacy) == 2.991


def test_the_bet_is_that_of_the_whole_run() -> None:
    """e^3.7612 to 1."""
    assert "at most 97.8% sure" in wording.meaning(evaluated().privacy)
    alone = PrivacyClaim.from_json(a_report()["privacy"])
    assert "at most 95.3% sure" in wording.meaning(alone)


def test_the_assumptions_say_that_both_parts_are_counted() -> None:
    both, alone = (" ".join(wording.assumptions(one)) for one in (evaluated(), Report.from_json(a_report())))
    assert "and the evaluation after it, both composed" in both and "cross-check of the training" in both
    assert "the held-out records behind the published evaluation" in both
    assert (
        "evaluation" not in alone and "not the test records behind the exact figures of a simulation" in alone
    )


def test_an_evaluation_that_was_charged_and_not_published_is_said() -> None:
    assert "charged and not published: its epsilon counts" in render(evaluated())
    assert "not published" not in render(Report.from_json(a_report()))


def test_the_excess_of_noise_is_a_sentence_and_a_table() -> None:
    page = check_quiet(render(evaluated())).text
    assert "5 sites in which none drops out, the noise is 1.29 times what epsilon needs" in page
    assert "1 dropout and 1 colluder, as planned 1.29" in page
    assert "0 dropouts and 1 colluder 1.12" in page
    one_source = a_report()
    one_source["privacy"] |= {"noise_excess": 1.0, "noise_excess_why": "the server adds all of it"}
    assert not re.search("More noise", render(Report.from_json(one_source)))


@pytest.mark.parametrize("word", ["no promise", "not bounded"])
def test_no_promise_is_read_in_the_words_of_this_version_and_of_those_before(word: str) -> None:
    assert Stated("privacy.units[3].epsilon", "", word).is_of(None)
    assert not Stated("privacy.units[3].epsilon", "2.0", word).is_of(None)
    assert not Stated("privacy.units[3].epsilon", "", word).is_of(2.0)
