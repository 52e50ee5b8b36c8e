"""`federation predict`: scores of rows by the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.options import (
    AsJson,
    Columns,
    Debug,
    Decimal,
    Encoding,
    PasswordFile,
    Query,
    Separator,
    Sheet,
)
from federation.cli.streams import print_json
from federation.errors import InputError

if TYPE_CHECKING:
    from clients.rules.origin import Origin
    from federation.report.said.finished import Finished


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run that is over")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="a table: a file, a database's URL, or a site.toml")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="a new CSV file; none is replaced")],
    reasons: Annotated[
        str | None,
        typer.Option(metavar="K|all", help="what each feature adds to a row's score: the K largest, or all"),
    ] = None,
    row_id: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="copy the cells of this column into the file")
    ] = None,
    personal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="score by a site's personal model: of federation personal"),
    ] = None,
    query: Query = None,
    sheet: Sheet = None,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    columns: Columns = None,
    password_file: PasswordFile = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="of the encoder that the plan pins for its texts")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score the rows of a table with a run's model: a line for each row, with its place in the source.

    Cells are read by the rules of the plan, as in training; the target need not be there. The file holds no cell of
    the table, unless --id names a column. Scores are of people: the file is readable by you alone.
    """
    explained = _explained(reasons)
    from clients.drafting.sources import Reading, by_options
    from clients.personal import AS_RECORDS
    from clients.predicting.scores import RELEASE, Asked
    from clients.predicting.scores import predict as score
    from federation.cli.progress import show_progress
    from federation.report.said.finished import open_model

    with show_progress() as shown:
        shown.stage("opening the run")
        finished = _personal(open_model(run), personal)
        reading = Reading(
            data, query, sheet, None, separator, decimal, encoding, columns, password_file, encoder
        )
        with by_options("DATA"):
            place = _of_site(Path(data), reading) if data.endswith(".toml") else reading.origin()
            shown.stage("reading")
            asked = Asked(explained, row_id)
            rows = score(finished, place, out, asked, lambda done, total: shown.stage("scoring", done, total))
    # No epsilon covers what scores of a personal model tell of its training records: the usual words are false.
    typer.echo(f"warning: {RELEASE if personal is None else AS_RECORDS}", err=True)
    if as_json:
        print_json({"rows": rows, "out": str(out), "plan_digest": finished.plan.digest, "note": RELEASE})
    else:
        from federation.cli.screen import show

        show(f"{out}: {rows:,} rows scored")


def _personal(run: Finished, path: Path | None) -> Finished:
    """The run with the params of a site's personal model, if one is named."""
    from clients.personal import read_personal, with_personal_params
    from federation.report.said.finished import require_whole

    if path is None:
        require_whole(run)
        return run
    return with_personal_params(run, read_personal(run, path))


def _explained(reasons: str | None) -> int | str | None:
    if reasons is None or reasons == "all":
        return reasons
    if not reasons.isascii() or not reasons.isdigit() or not 1 <= int(reasons[:9]) <= 1000:
        raise typer.BadParameter("a number from 1 to 1000, or all", param_hint="--reasons")
    return int(reasons)


def _of_site(path: Path, reading: object) -> Origin:
    """Where a site file says that its records are."""
    from clients.drafting.sources import origin_of_site

    if len(getattr(reading, "content", {})) > 1:
        raise InputError("a site file says how its source is read", hint="leave the options out")
    return origin_of_site(path)
