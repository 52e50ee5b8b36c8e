"""Pages on paper, as Chromium prints them: nothing beyond the edge, no page left nearly empty, no number in two.

Skipped where there is no Chromium, or nothing that reads a PDF.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from federation.report.page import render
from federation.report.report import Report
from federation.report.said.section import Section
from tests.federation.report.pages import a_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or shutil.which("pdftotext") is None, reason="no Chromium, or no pdftotext"
)
METRICS = ("accuracy", "balanced_accuracy", "auc", "f1", "recall", "specificity", "calibration")
_PAGE = re.compile(r'<page width="([\d.]+)" height="([\d.]+)">(.*?)</page>', re.DOTALL)
_WORD = re.compile(r'xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)">(.*?)</word>')
_LEAST = 0.4  # of a page's height, that is used


class Printed(NamedTuple):
    """A sheet: its size, and its words with the place of each."""

    width: float
    height: float
    words: Sequence[tuple[float, float, float, float, str]]


def printed(page: str, folder: Path) -> list[Printed]:
    """The sheets on which Chromium prints a page."""
    (folder / "page.html").write_text(page, "utf-8")
    paper = folder / "page.pdf"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        f"--print-to-pdf={paper}",
        f"file://{folder}/page.html",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    text = subprocess.run(["pdftotext", "-bbox", paper, "-"], check=True, capture_output=True).stdout.decode()
    return [
        Printed(
            float(width),
            float(height),
            [(*map(float, found[:4]), found[4]) for found in _WORD.findall(inside)],
        )
        for width, height, inside in _PAGE.findall(text)
    ]


def wide() -> dict[str, Any]:
    """A report with whatever is wide: intervals by group, many metrics by site, long names."""
    told = a_report()
    figures = {name: {"value": 0.8031, "low": -0.1902, "high": 0.8784} for name in METRICS}
    group = {"n": 1234, "positives": 567, "metrics": figures}
    counted = {"records": 1234.0, "positives": 567.0, "metrics": figures, "calibration": [], "cells": []}
    parts = ("= 1", "= 2", "= 3", "= other", "is missing")
    told["evaluation"] |= {
        "pooled": dict.fromkeys(METRICS, 0.9) | {"n": 12345, "positives": 678},
        "sites": {f"hospital-of-the-{n}th-district": dict.fromkeys(METRICS, 0.8765) for n in range(8)},
        "groups": {"chest_pain": dict.fromkeys(parts, group)},
        "published": {
            "accuracy": 0.8, "loss": 0.4, "records": 1234.0, "standard_error": 0.01,
            "histogram": {
                **counted, "edges": [0.0, 0.5, 1.0], "threshold": 0.5, "deviation": 2.0,
                "groups": {"chest_pain": dict.fromkeys(parts, counted)},
            },
        },
        "beside_alone": {
            "metric": "auc", "sites": {"hospital-of-the-1th-district": {"gain": -0.1, "low": -0.2, "high": -0.01}},
        },
    }  # fmt: skip
    return told


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> list[Printed]:
    lines = tuple((f"feature {n}", "0.5", "yes", "+0.123", "0.045") for n in range(40))
    drawing = '<svg viewBox="0 0 260 160"><text x="9" y="9">feature</text></svg>'
    section = Section(("What it says.",), (), tuple((f"feature {n}", drawing) for n in range(12)), lines)
    page = render(Report.from_json(wide()), section=section)
    return printed(page, tmp_path_factory.mktemp("printed"))


def test_every_word_is_on_its_sheet(sheets: list[Printed]) -> None:
    beyond = [
        (number, word[4])
        for number, sheet in enumerate(sheets, 1)
        for word in sheet.words
        if word[0] < 0 or word[2] > sheet.width or word[1] < 0 or word[3] > sheet.height
    ]
    assert not beyond
    assert len(sheets) > 2


def test_the_page_is_not_made_smaller_to_fit(sheets: list[Printed]) -> None:
    heights = [word[3] - word[1] for sheet in sheets for word in sheet.words if word[4] == "What"]
    assert min(heights) > 11, "a line of a head is 1.15 x 10.5 pt or more: else something was too wide"


def test_no_sheet_but_the_last_is_nearly_empty(sheets: list[Printed]) -> None:
    used = [max(word[3] for word in sheet.words) / sheet.height for sheet in sheets[:-1]]
    assert min(used) > _LEAST, used
    assert len(sheets[-1].words) > 20, "a last sheet with a line on it"


def test_an_interval_breaks_between_its_numbers_only(sheets: list[Printed]) -> None:
    words = [word[4] for sheet in sheets for word in sheet.words]
    assert words.count("(-0.190") > 20
    assert not [word for word in words if word in ("-", "(-", "0.", "(-0.", "+")]


def test_what_is_folded_away_on_a_screen_and_drawn_is_not_printed(sheets: list[Printed]) -> None:
    words = [word[4] for sheet in sheets for word in sheet.words]
    assert "+0.123" not in words
    assert "table" not in " ".join(words).partition("What the model says")[2].partition("Sites")[0]
