"""Options that several commands have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")]

Mlflow = Annotated[
    Path | None, typer.Option("--mlflow", metavar="DIR", help="an MLflow store there gets the run (extra)")
]
TensorBoard = Annotated[
    Path | None,
    typer.Option("--tensorboard", metavar="DIR", help="event files of TensorBoard there (extra)"),
]

Query = Annotated[str | None, typer.Option(metavar="SQL", help="of a database or NDJSON: its answer")]
Sheet = Annotated[str | None, typer.Option(help="of an Excel workbook")]
Separator = Annotated[
    str | None, typer.Option(metavar="CHAR", help='of text: ";", "tab"; a comma, if left out')
]
Decimal = Annotated[str | None, typer.Option(metavar="CHAR", help='of text: ","; a point, if left out')]
Columns = Annotated[str | None, typer.Option(metavar="NAMES", help="of text without a header: a,b,c")]
Encoding = Annotated[str | None, typer.Option(help="of text; utf-8, if left out")]
PasswordFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="of a database: its password, in a file of mode 600")
]
