"""Writes the documents that `federation audit` was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from federation.audit.outcome import Audit
from federation.files import write_output
from federation.papers.card import model_card
from federation.papers.dpia import impact_assessment
from federation.papers.facts import Facts, facts_of
from federation.papers.nist import nist_answers
from federation.papers.registry import registry_entry

PAPERS: Final[Mapping[str, Callable[[Facts], str]]] = {
    "registry": registry_entry,
    "card": model_card,
    "dpia": impact_assessment,
    "nist": nist_answers,
}
"""By name, as the options of `federation audit` are called."""


def write_papers(run: Path, found: Audit, wanted: Mapping[str, Path]) -> None:
    """Write each document that has a place. All are made before the first is written.

    AuditFailure for a run that was not passed; UnusableFile for a place that cannot be written.
    """
    facts = facts_of(run, found)
    made = {place: PAPERS[name](facts) for name, place in wanted.items()}
    for place, text in made.items():
        write_output(place, text)
