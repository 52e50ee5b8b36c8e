"""The entry point of the installed command: signals are answered from here on, while all else is imported."""

from __future__ import annotations

import sys

from federation.cli.process import run


def main() -> None:
    """Run the command and end with its status."""
    sys.exit(run(_dispatch))


def _dispatch() -> int:
    from federation.cli.main import dispatch

    return dispatch()
