"""docs/threat-model.md names tests that exist, for every attacker, and says what does not hold."""

from __future__ import annotations

import re

import pytest

from tests import ROOT

LINK = re.compile(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)")
SECTIONS = (ROOT / "docs" / "threat-model.md").read_text("utf-8").split("\n## ")[1:]


@pytest.mark.parametrize("section", SECTIONS, ids=[text.partition("\n")[0] for text in SECTIONS])
def test_every_claim_about_an_attacker_names_a_test_that_there_is(section: str) -> None:
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert rows
    for row in rows:
        links = LINK.findall(row.split(" | ")[-1])
        assert links, f"a claim without a test: {row}"
        for name, path in links:
            code = (ROOT / path).read_text("utf-8")
            assert re.search(rf"^def {name}\(", code, re.M), f"{path} has no {name}"
    assert re.search(r"^What does not: ", section, re.M)
