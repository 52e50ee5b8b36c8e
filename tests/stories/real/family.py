"""Which processes descend from one, as the kernel knows it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def descendants(root: int) -> list[int]:
    """All of them, children first."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    grown = {root}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown and child not in found}
        found += sorted(grown)
    return found


def command(process: int) -> str:
    """With which words a process was started; "" if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
