"""`federation export`: the model of a run in a file that others read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.streams import print_json
from federation.errors import InputError
from privacy.errors import PolicyViolation

if TYPE_CHECKING:
    from clients.exporting.forms import Form
    from clients.exporting.smaller.beside import Lost
    from federation.report.said.finished import Finished

_EXACT = "an exact figure of these records: for this terminal only, and covered by no epsilon"


class To(StrEnum):
    """The formats."""

    onnx = "onnx"
    torch = "torch"
    safetensors = "safetensors"
    pmml = "pmml"
    peft = "peft"


class Weights(StrEnum):
    """What weights may be made of."""

    int8 = "int8"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run that is over")],
    to: Annotated[To, typer.Option("--to", help="the format")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a new file; the run's name in this folder, if left out"),
    ] = None,
    quantize: Annotated[Weights | None, typer.Option(help="of ONNX: weights of 8 bits, dynamically")] = None,
    prune: Annotated[
        float | None, typer.Option(metavar="SHARE", help="set this share of the weights to 0, the smallest")
    ] = None,
    distill: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="a student: logistic, linear, mlp or package.module:factory"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="public rows for the student; made up, if left out"),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="state that --data are public; the file keeps the statement")
    ] = False,
    measure: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="records with labels: what is lost on them, on this terminal"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a run's model into a file of another format, with what goes in, what comes out, and its guarantee.

    The model is tried on made-up rows first: the file says of them what the model says, or it is not written. A
    smaller model (--quantize, --prune, --distill) costs no epsilon; what it loses is told beside the run's own.
    """
    from clients.exporting.export import export as written
    from clients.exporting.export import file_of
    from clients.exporting.smaller.changes import Changes
    from federation.cli.progress import show_progress
    from federation.report.said.finished import open_model

    changes = Changes(distill, data, public, prune, quantize.value if quantize else None)
    if to is To.peft:
        _adapter(run, out, bool(changes) or measure is not None, as_json=as_json)
        return
    form: Form = to.value  # type: ignore[assignment]  # of all others
    changes.check(form)
    with show_progress() as shown:
        shown.stage("opening the run")
        finished = open_model(run)
        _check(finished, bool(changes), data, measure, as_json)
        place = out or file_of(run, form)
        found = written(finished, form, place, changes, measure, shown.stage)
    if as_json:
        print_json({"out": str(place), "to": to.value, **found.stated.content})
        return
    from federation.cli.screen import show

    show(f"{place}: {found.stated.sentence}")
    show(*_told(found.stated.content, found.lost))


def _adapter(run: Path, out: Path | None, is_changed: bool, *, as_json: bool) -> None:
    """The adapter of a run, in a folder of its own."""
    from clients.exporting.peft_form import export_adapter
    from federation.cli.progress import show_progress
    from federation.report.said.finished import open_model

    if is_changed:
        raise InputError(
            "--to peft writes the adapter as it is", hint="leave out what changes or measures it"
        )
    place = out or Path(f"{run.resolve().name or 'model'}-adapter")
    with show_progress() as shown:
        shown.stage("opening the run")
        about = export_adapter(open_model(run), place, shown.stage)
    if as_json:
        print_json({"out": str(place), "to": To.peft.value, **about.content})
        return
    from federation.cli.screen import show

    show(f"{place}: {about.sentence}")


def _check(run: Finished, is_changed: bool, data: Path | None, measure: Path | None, as_json: bool) -> None:
    """What has to be known before anything is computed."""
    if measure is not None and not is_changed:
        raise InputError("--measure tells what a change loses, and there is none", hint="leave it out")
    if measure is not None and as_json and not run.simulated:
        hint = "leave out --json, or --measure"
        raise InputError("an exact figure of records of a real run is written nowhere", hint=hint)
    if data is not None:
        from clients.data.folders import place_of
        from simulations.tried import shared_rows

        if many := shared_rows(place_of(data)):
            raise PolicyViolation(
                f"--data: {many} of its rows, or more, are a site's in a simulation on this machine, so not public",
                hint="a row of a pool here is a new release: leave these rows out, or leave out --data",
            )


def _told(content: dict[str, Any], lost: Lost | None) -> list[str]:
    lines = []
    for one in content["done"]:
        figures = ", ".join(f"{key} {value}" for key, value in one.items() if key not in ("what", "data"))
        lines.append(f"{one['what']}: {figures}")
        if "data" in one:
            lines += [
                f"  on {one['data']['rows']:,} rows, {one['data']['digest']}: {one['data']['statement']}"
            ]
    if beside := content.get("beside_the_run"):
        same = beside.get("agreement")
        said = f"figures {beside['apart']:.4g} apart" if same is None else f"the same answer on {same:.2%}"
        lines.append(f"beside the run's own model: {said} of {beside['rows']:,} {beside['of']}")
    if lost is not None:
        lines += [lost.words, _EXACT]
    elif beside:
        lines.append("what that loses in accuracy only records with labels tell: --measure DATA")
    return lines
