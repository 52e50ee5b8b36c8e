"""results.md: one part for each benchmark, which replaces its own and leaves the others as they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.timing import machine

RESULTS = Path(__file__).with_name("results.md")
HEAD = "# Results\n\nWritten by `make bench`, part by part; README.md says how to read it."
Rows = dict[str, list[str]]


def table(head: list[str], rows: Rows) -> str:
    """Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([name, *cells] for name, cells in rows.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def keep(title: str, *parts: str, page: Path = RESULTS, head: str = HEAD) -> None:
    """Write a part under its title, with the day and the machine; print it, too. New ones come last."""
    said = f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}."
    text = "\n\n".join((f"## {title}", said, *parts))
    known = _parts(page)
    known[title] = text
    page.write_text("\n\n".join((head, *known.values())) + "\n", "utf-8")
    print(text + "\n", flush=True)


def _parts(page: Path) -> dict[str, str]:
    text = page.read_text("utf-8") if page.exists() else ""
    parts = [f"## {part.strip()}" for part in f"\n{text}".split("\n## ")[1:]]
    return {part.split("\n", 1)[0].removeprefix("## "): part for part in parts}
