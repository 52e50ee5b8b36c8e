"""`federation plan encoder`: what a plan says of a pretrained encoder of texts, and how long it takes here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.progress import working
from federation.cli.streams import print_json


def encoder(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="of the encoder; that of an installed package, if left out"),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=2, max=8192, help="of a text that are read; the rest is cut off")
    ] = 128,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print the line of a plan that pins an encoder of texts: its digest, its width. Nothing is downloaded."""
    from clients.data.encoding.encoders import looked_at
    from federation.cli.screen import show
    from federation.config.toml import inline

    with working("opening the encoder"):
        found = looked_at(folder, tokens)
    if as_json:
        print_json(
            {"folder": str(found.folder), "digest": found.digest, "tokens": tokens, "width": found.width}
            | {"numbers": found.numbers, "milliseconds": found.milliseconds}
        )
        return
    line = {"text": "encoder", "digest": found.digest, "tokens": tokens, "width": found.width}
    show(
        f"{found.folder}: {found.numbers:,} numbers; {found.milliseconds:.0f} ms a text of {tokens} tokens here",
        f"note = {inline(line | {'trained_on': 'say here what it was trained on'})}",
    )
