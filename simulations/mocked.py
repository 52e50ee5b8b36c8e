"""A folder of made-up sites for `federation simulate`, so that a plan and a pipeline can be tried without data.

What is in the files comes from the plan alone (federation/plan/made_up/mock.py). No file is ever replaced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from clients.data.images.png import write_pictures
from clients.data.sources.extra import library
from clients.policy import SITE_ID
from clients.rules.origin import Origin
from federation.errors import InputError
from federation.files import refuse_existing, taken_back, write_new
from federation.plan.columns.features import Numeric, Picture
from federation.plan.made_up.mock import README, README_TEXT, MockTable, mock_table
from federation.plan.made_up.mock_pictures import FOLDER
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask

Suffix = Literal[".csv", ".parquet"]

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


def write_mock_sites(
    plan: Plan, out: Path, sites: Sequence[str], rows: int, seed: int, suffix: Suffix = ".csv"
) -> tuple[Path, ...]:
    """Write made-up records for these sites to the folder `out`; the paths of the files.

    UnusableFile if one is there already; nothing is written then. InputError for what no simulation would take.
    """
    wrong = next((site for site in sites if not SITE_ID.fullmatch(site)), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} cannot be a site's name", hint="use up to 64 letters, digits, . - and _")
    paths = [path for site in sites for path in _paths(plan, out, site, suffix)]
    for path in paths:
        refuse_existing(path)
    readme, images = out / README, tuple(path.parent / FOLDER for path in paths if _has_images(plan))
    for path in images:
        refuse_existing(path)
    folders = {*images, *(path.parent for path in paths)}
    with taken_back(out, (*paths, *folders, readme)), _emptied(images):
        if not readme.exists():
            write_new(readme, README_TEXT)
        _write(plan, out, sites, rows, seed, suffix)
    return tuple(paths)


def _write(plan: Plan, out: Path, sites: Sequence[str], rows: int, seed: int, suffix: Suffix) -> None:
    for site in sites:
        training, *test = (
            mock_table(plan, f"{site}{part}", count, seed) for part, count in _parts(plan, rows)
        )
        _require_small(plan, training, len(sites))
        for path, table in zip(_paths(plan, out, site, suffix), [training, *test], strict=True):
            write_new(path, table.csv if suffix == ".csv" else _parquet(plan, table, path))
            write_pictures(path.parent, table.pictures)


def _paths(plan: Plan, out: Path, site: str, suffix: Suffix) -> tuple[Path, ...]:
    if not plan.evaluation.holdout:
        return (out / site / f"train{suffix}", out / site / f"test{suffix}")
    return (out / site / f"train{suffix}" if _has_images(plan) else out / f"{site}{suffix}",)


def _has_images(plan: Plan) -> bool:
    """Whether a site needs a folder, for its images."""
    return isinstance(plan.task, TabularTask) and any(isinstance(f, Picture) for f in plan.task.features)


@contextmanager
def _emptied(folders: Sequence[Path]) -> Iterator[None]:
    """If the body fails, remove what it wrote into these folders, which were not there before."""
    try:
        yield
    except BaseException:
        for path in (path for folder in folders for path in folder.glob("*.png")):
            path.unlink(missing_ok=True)
        raise


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


def _parquet(plan: Plan, table: MockTable, path: Path) -> bytes:
    """A Parquet file: numbers where the plan has a range, texts elsewhere. DataError where pyarrow is not here."""
    place, task = Origin.of(path), plan.task
    arrow, parquet = library(place), library(place, "parquet")
    numeric = (
        {f.name for f in task.features if isinstance(f, Numeric)} if isinstance(task, TabularTask) else set()
    )
    columns = {
        name: [float(cell) if cell else None for cell in cells] if name in numeric else list(cells)
        for name, cells in zip(table.header, table.columns, strict=True)
    }
    stream = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(columns), stream)
    content: bytes = stream.getvalue().to_pybytes()
    return content
