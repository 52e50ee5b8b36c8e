"""Where runs go that are given no folder, and how an interrupted one goes on."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from federation.cli.process import advise, command_line


def named(name: str) -> str:
    """A plan's name as that of a folder.

    >>> named("Heart disease, 2024"), named("?")
    ('heart-disease-2024', 'run')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"


def free_folder(name: str) -> Path:
    """runs/NAME-1, or the first number that is free."""
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder


def advise_to_resume(out: Path, *begun: str, is_named: bool) -> None:
    """Have an interruption tell the command that goes on in `out`, where any of the files `begun` says so."""
    words = ["federation", *sys.argv[1:], *([] if is_named else ["--out", str(out)])]

    def told() -> str:
        is_begun = any((out / name).exists() for name in begun)
        return f"{'resume' if is_begun else 'nothing was begun; start'} with: {command_line(words)}"

    advise(told)
