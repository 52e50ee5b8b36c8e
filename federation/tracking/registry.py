"""A run in an MLflow store: a database and a folder of artifacts on this machine, written by MLflow's own client.

The store is `DIR/mlflow.db` (SQLite) and `DIR/artifacts`: MLflow's older store of plain files is refused by its
newest versions. The run, its metrics, params and tags are MLflow's words for figures, settings and digests. The
params are registered as a version of a model with the plan's name, tagged with their digest and linked to the run.

Nothing leaves the machine. Telemetry is switched off before the library is loaded, no address that the environment
names is used, and a store whose artifacts lie elsewhere, such as s3://, is refused.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from federation.errors import UnusableFile
from federation.quiet import QUIET
from federation.tracking.library import library
from federation.tracking.told import Tracked

LIBRARY: Final = "mlflow"
DATABASE, ARTIFACTS = "mlflow.db", "artifacts"
_TALKATIVE: Final = (
    "mlflow",
    "alembic",
    "alembic.runtime.migration",
)  # of the making of tables, line by line
_KEY: Final = "federation.report_sha256"
_AT_ONCE: Final = 900  # metrics of one call; MLflow takes 1000
_LONGEST: Final = 500  # characters of a setting


def write_run(run: Tracked, folder: Path) -> str:
    """Put the run into the store of `folder`, which is made if it is not there; the run's id in MLflow.

    A run that the store holds already is left as it is. UnusableFile for a store that cannot be used.
    """
    store = folder.resolve()
    with _usable(store / DATABASE):
        store.mkdir(parents=True, exist_ok=True)
        client = _client(store)
        experiment = _experiment(client, run, store)
        known = _known(client, experiment, run)
        number = known or _written(client, experiment, run)
        _registered(client, number, run)
    return number


def address_of(folder: Path) -> str:
    """The store of a folder, as MLflow names it."""
    return f"sqlite:///{folder.resolve() / DATABASE}"


def _client(store: Path) -> Any:
    os.environ.update(QUIET)
    address, mlflow = address_of(store), library(LIBRARY)
    for name in _TALKATIVE:  # after the import, which sets their levels
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow.MlflowClient(tracking_uri=address, registry_uri=address)


def _experiment(client: Any, run: Tracked, store: Path) -> str:
    """The experiment of the plan's name. Its artifacts lie in this folder, or nothing is written."""
    place = (store / ARTIFACTS).as_uri()
    found = client.get_experiment_by_name(_named(run))
    if found is None:
        return str(client.create_experiment(_named(run), artifact_location=place))
    if not str(found.artifact_location).startswith(place):
        reason = f"keeps the artifacts of {_named(run)!r} somewhere else"
        raise UnusableFile(reason, hint="name a folder of its own", path=store / DATABASE)
    return str(found.experiment_id)


def _known(client: Any, experiment: str, run: Tracked) -> str | None:
    """The id of this run, if it is there as a whole. What an interrupted call left of it is deleted."""
    for found in client.search_runs([experiment], f"tags.`{_KEY}` = '{run.identity}'"):
        if found.info.status == "FINISHED":
            return str(found.info.run_id)
        client.delete_run(found.info.run_id)
    return None


def _written(client: Any, experiment: str, run: Tracked) -> str:
    entities = library(LIBRARY, "entities")
    begun = round(1000 * run.begun)
    number = client.create_run(
        experiment, start_time=begun, tags={**run.tags, "mlflow.runName": run.title}
    ).info.run_id
    metrics = [
        entities.Metric(
            _allowed(one.name), one.value, round(1000 * run.times.get(one.round, run.ended)), one.round
        )
        for one in run.scalars
    ]
    params = [entities.Param(_allowed(name), value[:_LONGEST]) for name, value in run.settings.items()]
    client.log_batch(number, params=params)
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(number, metrics=metrics[start : start + _AT_ONCE])
    with TemporaryDirectory(prefix="federation-") as scratch:
        for name, data in run.files.items():
            (Path(scratch) / name).write_bytes(data)
        client.log_artifacts(number, scratch)
    client.set_terminated(number, end_time=round(1000 * run.ended))
    return str(number)


def _registered(client: Any, number: str, run: Tracked) -> None:
    """One version of the plan's model for each run."""
    if client.search_model_versions(f"run_id = '{number}'"):
        return
    if not client.search_registered_models(f"name = '{_named(run)}'"):
        client.create_registered_model(_named(run))
    source = client.get_run(number).info.artifact_uri
    tags = {name: run.tags[name] for name in run.tags if name.endswith(("_digest", "_sha256"))}
    client.create_model_version(_named(run), source=source, run_id=number, tags=tags)


def _named(run: Tracked) -> str:
    """The plan's name, without what MLflow or its filters take for syntax."""
    return re.sub(r"[/:'\"%]", "-", run.name)


def _allowed(name: str) -> str:
    return re.sub(r"[^\w\-. /]", "_", name)


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    """UnusableFile for what MLflow and its database raise; they name no figure of a run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of a library about libraries: nobody who tracks a run can act on it
            yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another", path=path) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("mlflow", "sqlalchemy", "alembic"):
            raise
        reason = f"MLflow cannot use this store ({type(error).__name__})"
        hint = "name another folder; of a store by another version: mlflow db upgrade sqlite:///FILE"
        raise UnusableFile(reason, hint=hint, path=path) from None
