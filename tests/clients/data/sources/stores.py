"""One table, kept in every way in which a site may keep its own."""

from __future__ import annotations

import gzip
import sqlite3
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from clients.rules.origin import Origin
from federation.plan.tasks import Classification

Rows = Sequence[Sequence[Any]]

COLUMNS = {  # name: its type in SQLite, and in PostgreSQL
    "age": ("INTEGER", "integer"),
    "dose": ("REAL", "double precision"),
    "weight": ("TEXT", "numeric(10, 2)"),
    "cp": ("INTEGER", "smallint"),
    "smoker": ("TEXT", "boolean"),
    "stage": ("TEXT", "text"),
    "seen": ("TEXT", "date"),
    "mrn": ("TEXT", "varchar(20)"),
    "num": ("INTEGER", "bigint"),
}
STAGES = ("early", 'späť; "late"', "1,b")
TASK = Classification.model_validate(
    {
        "kind": "tabular-classification",
        "target": "num",
        "patient": "mrn",
        "classes": ["0", "1"],
        "model": "logistic",
        "features": {
            "age": {"low": 0, "high": 100},
            "dose": {"low": -1e6, "high": 1e6},
            "weight": {"low": 0, "high": 200},
            "cp": {"values": ["1", "2", "3", "4"]},
            "smoker": {"values": ["true", "false"]},
            "stage": {"values": list(STAGES)},
        },
    }
)
RULED = Classification.model_validate(
    {
        **TASK.model_dump(exclude={"features"}),
        "features": {
            "age": {"low": 0, "high": 100, "missing": "indicator"},
            "dose": {"low": -1e6, "high": 1e6, "scale": "symlog", "missing": "indicator"},
            "weight": {"low": 1, "high": 200, "scale": "log", "missing": "indicator"},
            "cp": {"hash": 8, "missing": "category"},
            "smoker": {"values": ["true", "false"], "missing": "category"},
            "stage": {"values": list(STAGES[:2]), "other": True, "missing": "category"},
            "seen": {
                "date": "%d.%m.%Y",
                "since": "2024-01-01",
                "until": "2024-12-31",
                "take": ["days", "month", "weekday"],
                "missing": "indicator",
            },
        },
    }
)
"""The same columns, and a rule for each of what is not there."""
SOME: Rows = [
    (
        20 + number % 60,
        (0.1, -12345.678901234567, 1e15, 1.5e-7, 3.0, 1e22, 0.30000000000000004)[number % 7],
        Decimal(4000 + number * 7) / 100,
        1 + number % 4,
        number % 3 == 0,
        STAGES[number % 3],
        date(2024, 1 + number % 12, 1 + number % 28),
        f"P{number // 2:03}",
        number % 2,
    )
    for number in range(40)
]


def text_of(value: object) -> str:
    """A value as people write it to CSV."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def csv(
    path: Path, rows: Rows = SOME, separator: str = ",", decimal: str = ".", encoding: str = "utf-8"
) -> Origin:
    """As text."""

    def cell(value: object) -> str:
        text = text_of(value)
        if isinstance(value, float | Decimal):
            text = text.replace(".", decimal)
        quoted = text.replace('"', '""')
        return f'"{quoted}"' if any(mark in text for mark in (separator, '"', "\n")) else text

    lines = [separator.join(COLUMNS), *(separator.join(map(cell, row)) for row in rows)]
    content = "".join(f"{line}\n" for line in lines).encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    place = Origin.of(path)
    return replace(place, separator=separator, decimal=decimal, encoding=encoding)  # type: ignore[arg-type]


def arrow(rows: Rows) -> Any:
    """A table of Arrow, its texts as a dictionary."""
    import pyarrow

    columns = {name: pyarrow.array([row[place] for row in rows]) for place, name in enumerate(COLUMNS)}
    columns["stage"] = columns["stage"].dictionary_encode()
    return pyarrow.table(columns)


def parquet(path: Path, rows: Rows = SOME) -> Origin:
    """As Parquet, of several row groups."""
    from pyarrow.parquet import write_table

    write_table(arrow(rows), path, row_group_size=7)
    return Origin.of(path)


def feather(path: Path, rows: Rows = SOME) -> Origin:
    """As an Arrow file, compressed as pandas does it."""
    from pyarrow.feather import write_feather

    write_feather(arrow(rows), str(path), compression="lz4")
    return Origin.of(path)


def sqlite(path: Path, rows: Rows = SOME) -> Origin:
    """As a table of a SQLite database; decimals, dates and truths are texts there."""
    types = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    plain = [[text_of(v) if isinstance(v, bool | Decimal | date) else v for v in row] for row in rows]
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"CREATE TABLE admissions ({types})")
        marks = ", ".join("?" * len(COLUMNS))
        database.executemany(f"INSERT INTO admissions VALUES ({marks})", plain)  # noqa: S608
        database.commit()
    return replace(Origin.of(path), query="select * from admissions order by rowid")


def ndjson(path: Path, rows: Rows = SOME) -> Origin:
    """As one JSON object a line."""
    import json

    names = list(COLUMNS)
    plain = [[text_of(v) if isinstance(v, bool | Decimal | date) else v for v in row] for row in rows]
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in plain))
    columns = ", ".join(f"json_extract(body, '$.{name}') as {name}" for name in names)
    return replace(Origin.of(path), query=f"select {columns} from resources order by rowid")  # noqa: S608


def excel(path: Path, rows: Rows = SOME, sheets: Sequence[str] = ("clinic",)) -> Origin:
    """As the last sheet of a workbook: the parts of one that a reader needs, written by hand."""
    kept = "".join(_row(number, row) for number, row in enumerate([list(COLUMNS), *rows], 1))
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    named = [(number, name) for number, name in enumerate(sheets, 1)]
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{kinds}.styles+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{relation}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>' for number, name in named)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(
            f'<Relationship Id="r{number}" Type="{relation}/worksheet" Target="worksheets/sheet{number}.xml"/>'
            for number, _ in named
        )
        + f'<Relationship Id="s" Type="{relation}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet {main}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
        "</styleSheet>",
    }
    for number, _ in named:
        data = kept if number == len(named) else ""
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f"<worksheet {main}><sheetData>{data}</sheetData></worksheet>"
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            archive.writestr(part, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return Origin.of(path)


def _row(number: int, row: Sequence[Any]) -> str:
    cells = "".join(_cell(f"{chr(ord('A') + place)}{number}", value) for place, value in enumerate(row))
    return f'<row r="{number}">{cells}</row>'


def _cell(place: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, date):
        return f'<c r="{place}" s="1"><v>{(value - date(1899, 12, 30)).days}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


@dataclass(frozen=True)
class Store:
    """A way to keep a table: a function of a path, and the suffix that the path needs."""

    keep: Callable[..., Origin]
    suffix: str
    needs: str = ""

    def origin(self, folder: Path, rows: Rows = SOME) -> Origin:
        """The table, kept in a folder."""
        return self.keep(folder / f"clinic{self.suffix}", rows)


STORES: Mapping[str, Store] = {
    "csv": Store(csv, ".csv"),
    "semicolons": Store(lambda path, rows: csv(path, rows, ";", ","), ".csv"),
    "tabs": Store(lambda path, rows: csv(path, rows, "\t", ",", "utf-16"), ".tsv"),
    "commas": Store(lambda path, rows: csv(path, rows, ",", ","), ".csv"),
    "iso-8859-2": Store(lambda path, rows: csv(path, rows, ";", ".", "iso-8859-2"), ".csv"),
    "gzip": Store(csv, ".csv.gz"),
    "sqlite": Store(sqlite, ".sqlite"),
    "ndjson": Store(ndjson, ".ndjson"),
    "parquet": Store(parquet, ".parquet", "pyarrow"),
    "arrow": Store(feather, ".arrow", "pyarrow"),
    "excel": Store(excel, ".xlsx", "python_calamine"),
}
