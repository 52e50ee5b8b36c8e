"""What a registry is told of a run that is over: what its report says, by name and round, and digests of its files.

Nothing is worked out here and nothing is read but the run folder, so a registry learns of a real run what its
report publishes and no more (docs/decisions/0054-registries-are-told-the-report.md). The params are those that the
run's receipts end with, or `open_run` refuses them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from federation.errors import AuditFailure
from federation.model.params import params_bytes, params_digest
from federation.report.numbers import spent
from federation.report.report import Report, metrics_of, whole
from federation.report.said.finished import open_run

FILES: Final = ("plan.toml", "params.safetensors", "report.json", "report.html")
"""What is copied, in this order; a page may be missing."""
_SETTINGS: Final = (
    "federation",
    "cohort",
    "training",
    "privacy",
    "secure_aggregation",
    "server",
    "evaluation",
)


@dataclass(frozen=True)
class Scalar:
    """A figure at the end of a round."""

    name: str
    value: float
    round: int


@dataclass(frozen=True)
class Tracked:
    """A run for a registry. `times`: when each round ended, in seconds since 1970, as the report has it."""

    name: str
    title: str
    scalars: tuple[Scalar, ...]
    settings: Mapping[str, str]
    tags: Mapping[str, str]
    times: Mapping[int, float]
    begun: float
    ended: float
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def identity(self) -> str:
        """Which run this is: the digest of its report."""
        return self.tags["federation.report_sha256"]

    @property
    def folder(self) -> str:
        """A name for a folder of its own."""
        return re.sub(r"[^\w.-]+", "-", self.title).strip("-.") or self.identity[:8]


def told(run: Path) -> Tracked:
    """A run folder, for a registry. Errors as of `open_run`."""
    finished = open_run(run)
    files = {name: (run / name).read_bytes() for name in FILES if (run / name).is_file()}
    try:
        report = Report.from_json(json.loads(files["report.json"]))
    except (ValueError, KeyError, RecursionError):
        raise AuditFailure(f"{run}: report.json cannot be read", hint="see federation audit RUN") from None
    made, privacy = report.made, report.privacy
    last = max((line.round for line in report.rounds), default=0)
    ended = datetime.fromisoformat(made.finished).timestamp() if made is not None else 0.0
    tags = {
        "federation.plan_digest": report.plan_digest,
        "federation.params_digest": params_digest(params_bytes(finished.params)).hex(),
        **{
            f"federation.{_word(name)}_sha256": hashlib.sha256(data).hexdigest()
            for name, data in files.items()
        },
        "federation.run": made.run if made is not None else "",
        "federation.version": made.version if made is not None else "",
        "federation.engine": report.engine,
        "federation.simulated": str(report.simulated).lower(),
        "federation.private": str(privacy.private).lower(),
        "mlflow.note.content": _guarantee(report),
    }
    identity = made.run[:8] if made is not None else tags["federation.report_sha256"][:8]
    return Tracked(
        name=report.name,
        title=f"{report.name} {identity}"
        if report.fold is None
        else f"{report.name} fold {report.fold.number}",
        scalars=tuple(Scalar(name, value, at) for (name, at), value in _scalars(report, last).items()),
        settings=dict(_flat(finished.plan.model_dump(mode="json", exclude_none=True))),
        tags=tags,
        times=_times(report, ended),
        begun=ended - report.timing.total_seconds,
        ended=ended,
        files=files,
    )


def _word(name: str) -> str:
    return {"report.html": "page"}.get(name, name.partition(".")[0])


def _guarantee(report: Report) -> str:
    privacy = report.privacy
    if not privacy.private:
        said = "NOT PRIVATE"
    else:
        of = f"at delta {privacy.delta:g}, for one {privacy.unit}; noise: {privacy.noise}"
        said = f"epsilon {spent(whole(privacy))} {of}"
    return f"{said}. {'Simulated: exact figures, covered by no epsilon.' if report.simulated else ''}".strip()


def _scalars(report: Report, last: int) -> dict[tuple[str, int], float]:
    """By name and round. Figures that a report does not have are left out."""
    found: dict[tuple[str, int], float] = {}

    def add(name: str, value: object, number: int) -> None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name, number] = float(value)

    for line in report.history:
        add("epsilon", line.epsilon, line.round)
        for name, value in line.metrics.items():
            add(f"pooled/{name}", value, line.round)
    for each in report.rounds:
        add("round/cohort", each.cohort, each.round)
        add("round/survivors", each.survivors, each.round)
        add("round/seconds", each.seconds, each.round)
    add("epsilon", report.privacy.epsilon, last)
    if report.privacy.together is not None:
        add("epsilon_with_evaluation", report.privacy.together.epsilon, last)
    for name, value in _figures(report):
        add(name, value, last)
    return found


def _figures(report: Report) -> Iterator[tuple[str, Any]]:
    """What is told once, of the model that the run ends with."""
    of = report.evaluation
    for name, value in metrics_of(of.pooled).items():
        yield f"pooled/{name}", value
    for name, value in of.mean_of_sites.items():
        yield f"mean_of_sites/{name}", value
    for place, figures in of.baselines.items():
        yield from ((f"baselines/{place}/{name}", value) for name, value in figures.items())
    for site, own in of.sites.items():
        yield from ((f"sites/{site}/{name}", value) for name, value in metrics_of(own).items())
    if of.published is not None:
        for name in ("accuracy", "loss", "records", "standard_error"):
            yield f"published/{name}", getattr(of.published, name)
        noised = of.published.histogram or of.published.measured
        for name, ranged in (noised.metrics if noised is not None else {}).items():
            yield f"published/{name}", None if ranged is None else ranged.value
    if report.folds is not None:
        yield from ((f"folds/mean/{name}", value) for name, value in report.folds.mean.items())


def _times(report: Report, ended: float) -> dict[int, float]:
    """Counted back from the end, since a report has how long rounds took and when the last of them was over."""
    times, at = dict[int, float](), ended
    for line in reversed(report.rounds):
        times[line.round] = at
        at -= line.seconds
    return times


def _flat(tables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The plan's settings by dotted name. Columns are in plan.toml."""
    task = tables["task"]
    if isinstance(task, str):
        yield "task", task
    else:
        yield from ((f"task.{key}", str(value)) for key, value in task.items() if isinstance(value, str))
    for name in _SETTINGS:
        for key, value in tables.get(name, {}).items():
            yield f"{name}.{key}", str(value)
