"""docs/assurance.md names, for each property, just the test files that say they hold it."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tests import ROOT

NUMBERS = re.compile(r"DP-(\d+(?:,\s*(?:DP-)?\d+)*)")


def in_tests() -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path == Path(__file__):
            continue
        for match in NUMBERS.finditer(path.read_text("utf-8")):
            for number in re.findall(r"\d+", match[1]):
                found[int(number)].add(str(path.relative_to(ROOT)))
    return dict(found)


def in_docs() -> dict[int, set[str]]:
    rows = re.findall(r"^\| DP-(\d+) \| .+ \| (.+) \|$", (ROOT / "docs" / "assurance.md").read_text(), re.M)
    return {int(number): set(re.findall(r"\(\.\./([^)]+)\)", links)) for number, links in rows}


def test_every_property_names_the_tests_that_hold_it_and_no_others() -> None:
    assert in_docs() == in_tests()
    assert len(in_docs()) > 50
