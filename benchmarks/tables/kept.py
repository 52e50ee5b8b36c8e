"""Figures that were computed already, so that a run that was stopped goes on: of this very code alone.

One line of JSON a figure. A line that a killed run left half written is ignored, and computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.tables.page import Found

_ROOT = Path(__file__).parents[2]
_ROOMS = ("benchmarks/tables", "clients", "federation", "privacy", "server", "simulations")
Pair = tuple[float, float]


def code() -> str:
    """What stands for the code that figures follow from: 16 hex digits."""
    found = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (_ROOT / room).rglob("*.py")):
        if path.name != "page.py" or "benchmarks" not in path.parts:
            data = path.read_bytes()
            found.update(f"{path.relative_to(_ROOT)} {len(data)}\n".encode() + data)
    return found.hexdigest()[:16]


class Kept:
    """The figures of a file, by table, split and choice."""

    def __init__(self, path: Path) -> None:
        self._path, self._code = path, code()
        self._found: dict[tuple[str, int, str], Pair] = {}
        for line in _lines(path):
            if line.get("code") == self._code:
                self._found[line["table"], line["split"], line["choice"]] = tuple(line["figures"])
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def __len__(self) -> int:
        return len(self._found)

    def get(self, table: str, split: int, choice: str) -> Pair | None:
        """The figures, if they are known."""
        return self._found.get((table, split, choice))

    def add(self, table: str, split: int, choice: str, figures: Pair) -> None:
        """Keep these, in the file, too."""
        self._found[table, split, choice] = figures
        said = {"code": self._code, "table": table, "split": split, "choice": choice, "figures": figures}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")

    def found(self) -> Found:
        """All of them, as the page wants them."""
        every: Found = {}
        for table, split, choice in sorted(self._found, key=lambda key: key[1]):
            every.setdefault((table, choice), []).append(self._found[table, split, choice])
        return every


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
