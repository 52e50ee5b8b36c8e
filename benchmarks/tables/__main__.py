"""AUC and calibration of ours, of pooled models without privacy and of Opacus, on the same held-out rows.

    python -m benchmarks.tables DATA... [--splits 3] [--minutes 25] [--kept FILE] [--out FILE]

DATA are folders with the public tables as benchmarks/tables/sets.py names them; what is in none is named and left
out. A split chooses the quarter that is tested on. It writes benchmarks/tables.md after each table. What it has
computed is kept, and after `--minutes` it begins no other split of a table: the same command goes on, and a
change of the code begins anew.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic

from benchmarks.tables.judging import Judging
from benchmarks.tables.kept import Kept
from benchmarks.tables.page import PAGE, page
from benchmarks.tables.sets import Set, deal, sets

KEPT = Path(__file__).parents[2] / "build" / "tables.jsonl"


def main(arguments: Sequence[str]) -> None:
    """Run what is missing, split by split, and write the page after each table."""
    asked = ArgumentParser(prog="python -m benchmarks.tables")
    asked.add_argument("data", nargs="+", type=Path)
    asked.add_argument("--splits", type=int, default=3)
    asked.add_argument("--minutes", type=float, default=25.0)
    asked.add_argument("--kept", type=Path, default=KEPT)
    asked.add_argument("--out", type=Path, default=PAGE)
    given = asked.parse_args(arguments)
    known = _known(given.data)
    kept, start = Kept(given.kept), monotonic()
    print(f"{len(kept)} figures are kept in {given.kept}", flush=True)
    work = [(split, each, folder) for split in range(given.splits) for each, folder in known]
    for done, (split, each, folder) in enumerate(work):
        minutes = (monotonic() - start) / 60
        if minutes > given.minutes:
            print(f"{len(work) - done} splits of tables are left: the same command goes on", flush=True)
            break
        print(f"{done} of {len(work)}, {minutes:.1f} minutes: {each.name}, split {split}", flush=True)
        _split(kept, split, each, folder)
        given.out.write_text("\n".join(page([one for one, _ in known], kept.found())), "utf-8")


def _known(folders: Sequence[Path]) -> list[tuple[Set, Path]]:
    """The tables that are there, and where; those that are not are named."""
    found = []
    for each in sets():
        folder = next((one for one in folders if each.there(one)), None)
        if folder is None:
            print(f"left out, as no folder has {each.files[0]}: {each.name}", file=sys.stderr, flush=True)
        else:
            found.append((each, folder))
    return found


def _split(kept: Kept, split: int, each: Set, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        made = partial(deal, each, folder, Path(name) / "sites", split)
        judging = Judging(made, split, is_survival="event" in each.task)
        for choice, figures in judging.choices.items():
            if kept.get(each.name, split, choice) is None:
                start = monotonic()
                found = figures()
                kept.add(each.name, split, choice, found)
                said = " ".join(f"{one:.4f}" for one in found)
                print(f"  {choice}: {said} ({monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
