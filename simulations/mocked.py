"""A folder of made-up sites for `federation simulate`, so that a plan and a pipeline can be tried without data.

What is in the files comes from the plan alone (federation/plan/mock.py). No file is ever replaced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from clients.policy import SITE_ID
from federation.errors import InputError
from federation.files import refuse_existing, write_new
from federation.plan.mock import README, README_TEXT, MockTable, mock_table
from federation.plan.plan import Plan

_TEST_SHARE = 4  # of so many rows one, for a plan that holds nothing out and evaluates on files of their own


def sites_for(plan: Plan) -> int:
    """How many sites the plan's rounds need at least, so that a simulation can begin."""
    cohort = plan.cohort
    if cohort.sample_rate is not None:
        return math.ceil(cohort.minimum / cohort.sample_rate)
    return cohort.size if isinstance(cohort.size, int) else cohort.minimum


def mock_names(count: int) -> tuple[str, ...]:
    """Names of made-up sites."""
    return tuple(f"mock-{number:0{len(str(count))}}" for number in range(1, count + 1))


def write_mock_sites(plan: Plan, out: Path, sites: Sequence[str], rows: int, seed: int) -> tuple[Path, ...]:
    """Write made-up records for these sites to the folder `out`; the paths of the files.

    UnusableFile if one is there already; nothing is written then. InputError for what no simulation would take.
    """
    wrong = next((site for site in sites if not SITE_ID.fullmatch(site)), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} cannot be a site's name", hint="use up to 64 letters, digits, . - and _")
    paths = [path for site in sites for path in _paths(plan, out, site)]
    for path in paths:
        refuse_existing(path)
    for site in sites:
        training, *test = (
            mock_table(plan, f"{site}{part}", count, seed) for part, count in _parts(plan, rows)
        )
        _require_small(plan, training, len(sites))
        for path, table in zip(_paths(plan, out, site), [training, *test], strict=True):
            write_new(path, table.csv)
    readme = out / README
    if not readme.exists():
        write_new(readme, README_TEXT)
    return tuple(paths)


def _paths(plan: Plan, out: Path, site: str) -> tuple[Path, ...]:
    if plan.evaluation.holdout:
        return (out / f"{site}.csv",)
    return (out / site / "train.csv", out / site / "test.csv")


def _parts(plan: Plan, rows: int) -> tuple[tuple[str, int], ...]:
    """A suffix and a number of rows for each file of a site."""
    return (("", rows),) if plan.evaluation.holdout else (("", rows), ("-test", max(1, rows // _TEST_SHARE)))


def _require_small(plan: Plan, table: MockTable, sites: int) -> None:
    """InputError where a simulation would refuse so many records, patients or sites for the plan's delta."""
    delta, unit = plan.privacy.delta, plan.privacy.unit
    patient = plan.patient_column
    units = {"record": len(table), "client": sites}.get(unit) or len(set(table.column(patient or "")))
    if delta is not None and delta * units >= 1:
        hint = f"ask for fewer than {1 / delta:.6g}, or lower privacy.delta"
        raise InputError(f"{units} {unit}s are too many for the plan's privacy.delta = {delta:g}", hint=hint)
