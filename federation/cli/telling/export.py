"""`federation export`: the model of a run in a file that others read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json


class To(StrEnum):
    """The formats."""

    onnx = "onnx"
    torch = "torch"
    safetensors = "safetensors"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run that is over")],
    to: Annotated[To, typer.Option("--to", help="the format")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a new file; the run's name in this folder, if left out"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a run's model into a file of another format, with what goes in, what comes out, and its guarantee.

    The model is tried on made-up rows first: the file says of them what the model says, or it is not written.
    """
    from clients.exporting.export import export as written
    from clients.exporting.export import file_of
    from federation.cli.progress import show_progress
    from federation.report.said.finished import open_model

    with show_progress() as shown:
        shown.stage("opening the run")
        finished = open_model(run)
        place = out or file_of(run, to.value)
        about = written(finished, to.value, place, shown.stage)
    if as_json:
        print_json({"out": str(place), "to": to.value, **about.content})
        return
    from federation.cli.screen import show

    show(f"{place}: {about.sentence}")
