"""Looks at a site's files for the people there: figures column by column, and what is probably wrong.

Nothing of it is sent, stored or logged, no exit code depends on it, and it changes nothing that a site does
(clients/describing/described.py says why).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from clients.data.load import read_data
from clients.data.people import people
from clients.data.rows import shared
from clients.data.sources.reading import read
from clients.data.sources.table import Table
from clients.describing.anonymity import anonymity, summary_of, warnings_of
from clients.describing.described import Description, describe, describe_dataset
from clients.describing.doubts import differing, doubts_of_size, hints_of_length, hints_of_metrics
from clients.policy import data_files, load_site
from clients.rules.data import SiteData
from clients.rules.origin import Place
from federation.errors import DataError
from federation.model.task import Task, build_task
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask


@dataclass(frozen=True, repr=False)
class Look:
    """A site's files, the one it trains on first; doubts about them together; hints about the plan."""

    files: tuple[Description, ...]
    doubts: tuple[str, ...]
    hints: tuple[str, ...]
    summary: str = ""  # of how many share what the site's quasi-identifiers say


def look_at_site(plan: Plan, path: Path) -> Look:
    """A look at the files of a site file. DataError or TaskError if one cannot be read at all."""
    rules, task = load_site(path), build_task(plan)
    source, test = data_files(rules, path.parent)
    if not rules.data.quasi_identifiers:
        return look(plan, task, source, test, rules.data.size)
    records = read(source) if isinstance(plan.task, TabularTask) else source  # one answer for both
    seen = look(plan, task, records, test, rules.data.size)
    warnings, summary = _anonymity(plan, rules.data, records)
    return replace(seen, doubts=(*seen.doubts, *warnings), summary=summary)


def look(plan: Plan, task: Task, source: Table | Place, test: Place | None, declared: int | None) -> Look:
    """A look at a site's records and those that it keeps to evaluate on; `declared` is the size it told in public.

    `source` may be a table that was read already, where the plan's task is of tables.
    Cells that cannot be trained on are counted, not refused. DataError or TaskError if a file cannot be read.
    """
    files = [_description(path, plan, task) for path in (source, test) if path is not None]
    first, *rest = files
    files = [first, *(_without(file, first) for file in rest)]
    most = _units(files[0], plan)
    fewest = most if test is not None else round((1 - plan.evaluation.holdout) * most)
    unit = "patient" if plan.privacy.unit == "patient" else "record"
    doubts = list(doubts_of_size(declared, fewest, most, unit))
    for both in shared([file.marks for file in files]):
        doubts.append(
            f"{both.records} different records of {files[1].file.path} are in {files[0].file.path} too: "
            "figures about records that were trained on are too good"
        )
    hints = [*hints_of_length(plan, files[0].length), *hints_of_metrics(plan, files[0].classes)]
    return Look(tuple(files), tuple(doubts), tuple(hints))


def _anonymity(plan: Plan, data: SiteData, source: Table | Place) -> tuple[tuple[str, ...], str]:
    """How many share what an outsider may know of them: warnings, and the figures in a line."""
    quasi, sensitive = data.quasi_identifiers, data.sensitive
    try:
        table = _table(source)
        table.require([*quasi, *([sensitive] if sensitive is not None else [])])
        owners = None if plan.patient_column is None else people(table, plan.patient_column).numbers
    except DataError as error:
        return (f"data.quasi_identifiers: {error.message}",), ""
    found, unit = anonymity(table, quasi, sensitive, owners), "record" if owners is None else "patient"
    return tuple(warnings_of(found, quasi, sensitive, unit)), summary_of(found, quasi, sensitive, unit)


def _description(source: Table | Place, plan: Plan, task: Task) -> Description:
    if isinstance(plan.task, TabularTask):
        return describe(_table(source), plan.task)
    place = source.path if isinstance(source, Table) else source
    return describe_dataset(place, read_data(place, plan, task))


def _table(source: Table | Place) -> Table:
    return source if isinstance(source, Table) else read(source)


def _without(file: Description, first: Description) -> Description:
    """A file without the doubts that `first`, its like, raises too."""
    return replace(file, doubts=tuple(differing(file.doubts, first.doubts, first.clipped)))


def _units(file: Description, plan: Plan) -> int:
    """How many units of those that the plan protects a file holds."""
    return file.records if plan.privacy.unit != "patient" or file.patients is None else file.patients
