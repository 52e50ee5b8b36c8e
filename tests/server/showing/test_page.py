"""The live page: one file, which loads nothing but its own snapshots and puts no name in as markup."""

from __future__ import annotations

import re

from federation.live.page import policy_of
from server.showing.page import page
from tests.federation.report.pages import Page


def test_it_loads_nothing_and_writes_text_only() -> None:
    text = page()
    found = Page(text)
    assert found.loads == []
    assert found.handlers == []
    assert found.open == []
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert re.findall(r"https?://", text) == []
    assert re.findall(r"url\(", text) == []
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|Function\(", text)
    assert re.findall(r"fetch\(\"([^\"]*)\"", text) == ["snapshot.json"]


def test_its_own_script_and_style_are_allowed_and_no_other() -> None:
    policy = policy_of(page())
    assert policy.count("sha256-") == 2
    assert "style=" not in page()  # an attribute would be refused by the policy


def test_a_histogram_is_shown_by_its_figures_and_not_as_an_object() -> None:
    text = page()
    assert "const figures = published(run.evaluation || {});" in text
    assert "const {histogram, measured, ...figures} = told" in text
    assert "Object.entries(run.evaluation" not in text
