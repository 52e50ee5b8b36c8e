"""Tables as people might publish them: measurements, codes, names, dates, free text, gaps; some of it odd."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from federation.plan.made_up.mock import MockTable
from tests.random_plans import NAMES

_KINDS = st.sampled_from(
    [
        "measure",
        "count",
        "code",
        "word",
        "flag",
        "id",
        "text",
        "date",
        "gap",
        "constant",
        "float codes",
        "any",
    ]
)


def write_table(path: Path, table: MockTable) -> Path:
    path.write_text(table.csv, "utf-8")
    return path


@st.composite
def tables(draw: st.DrawFn, least: int = 30) -> tuple[MockTable, str]:
    """A table with a target of classes, and the name of that."""
    rows = draw(st.integers(least, 70))
    names = draw(st.lists(NAMES, min_size=2, max_size=8, unique=True))
    target, *others = names
    columns = {target: tuple("yn"[number % 2] for number in range(rows))}
    for name in others:
        columns[name] = tuple(draw(_column(draw(_KINDS), rows)))
    return MockTable(tuple(columns), tuple(columns.values())), target


def _column(kind: str, rows: int) -> st.SearchStrategy[list[str]]:
    cells: dict[str, st.SearchStrategy[str]] = {
        "measure": st.floats(-1e6, 1e6).map(repr),
        "count": st.integers(0, 400).map(str),
        "code": st.integers(1, 4).map(str),
        "word": st.sampled_from(["mild", "severe", "none", "N/A", "Mild"]),
        "flag": st.sampled_from(["0", "1"]),
        "id": st.uuids().map(str),
        "text": st.text(st.characters(categories=("L", "Zs")), min_size=1, max_size=80).map(
            lambda t: f"x{t}x"
        ),
        "date": st.dates().map(str),
        "gap": st.sampled_from(["", "1.5", "2.5"]),
        "constant": st.just("same"),
        "float codes": st.sampled_from(["0", "1.0", "2.0", "2"]),
        "any": st.one_of(
            st.floats(), st.integers(-(10**20), 10**20), st.sampled_from(["007", "1e400", "1_000"])
        ).map(str),
    }
    return st.lists(cells[kind], min_size=rows, max_size=rows)
