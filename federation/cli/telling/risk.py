"""Risk on a terminal: a sentence for each figure, and one figure where there is room for no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from federation.cli.screen import styled
from federation.report.risks.words import NO_PROMISE, hits_of, sentences

HITS = "hits at 1% false alarms"


def whole_risk(facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The risk of all that a run releases; None where nothing is promised, or nothing is said."""
    found = facts["together"].get("risk") if facts.get("together") else facts.get("risk")
    return found if isinstance(found, Mapping) else None


def risk_lines(facts: Mapping[str, Any]) -> list[Text]:
    """What the epsilon of these facts means, for the unit that they are about; nothing where they have none."""
    if facts.get("risk", facts) is facts:  # of a plan without privacy
        return []
    found = whole_risk(facts)
    if found is None:
        return [styled(("risk", "bold"), f": {NO_PROMISE}")]
    head = styled(("What that means at the most", "bold"), ", for whoever sees all that is released:")
    return [head, *(styled(f"  {said.text}") for said in sentences(found, facts["unit"]))]


def hits(facts: Mapping[str, Any]) -> str:
    """The share of those in the data that is found when one of a hundred others is accused."""
    return hits_of(whole_risk(facts))
