"""What the extra brings: libraries that only some sources need, imported when one is read."""

from __future__ import annotations

from typing import Any

from clients.rules.origin import Origin
from federation import extras
from federation.errors import DataError

_LIBRARIES = {"parquet": "pyarrow", "arrow": "pyarrow", "excel": "python_calamine", "postgresql": "psycopg"}
_NAMES = {"parquet": "Parquet", "arrow": "Arrow", "excel": "an Excel workbook", "postgresql": "PostgreSQL"}


def library(place: Origin, module: str = "") -> Any:
    """The library that reads such a source, or a module of it. DataError with the command that installs it."""
    name = _LIBRARIES[place.kind]
    message = f"{place}: {_NAMES[place.kind]} is read by {name}, which is not here"
    return extras.library(f"{name}.{module}" if module else name, "tables", message, DataError)
