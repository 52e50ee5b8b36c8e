"""`federation track`, and what `simulate` and `serve` do with the same options: runs for MLflow and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.options import AsJson, Debug, Mlflow, TensorBoard
from federation.cli.streams import print_json
from federation.errors import InputError

if TYPE_CHECKING:
    from federation.tracking.track import Registries


def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run that is over")],
    mlflow: Mlflow = None,
    tensorboard: TensorBoard = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a run's figures, settings and digests into files of MLflow and TensorBoard, on this machine.

    They hold what the report holds. A run that is there already is not written twice.
    """
    registries = registries_of(mlflow, tensorboard)
    if not registries:
        raise InputError("nothing says where to", hint="name --mlflow DIR, --tensorboard DIR, or both")
    found = registries.track(run)
    if as_json:
        print_json({"run": str(run), **found})
    else:
        print_tracked(found)


def registries_of(mlflow: Path | None, tensorboard: Path | None) -> Registries:
    """Where runs go. InputError where a library is missing, before anything is begun."""
    from federation.tracking.track import Registries

    registries = Registries(mlflow, tensorboard)
    registries.require()
    return registries


def print_tracked(found: Mapping[str, str]) -> None:
    """Where the run is now."""
    if "mlflow" in found:
        store = quote(str(found["mlflow_store"]))
        typer.echo(f"mlflow   run {found['mlflow']}; mlflow ui --backend-store-uri {store}")
    if "tensorboard" in found:
        typer.echo(f"events   {found['tensorboard']}")
