"""Asks one query of a SQLite database, or of NDJSON, and can do nothing else to it.

The file is opened for reading alone; SQLite's own gate (an authorizer) lets a statement select and nothing more: no
writing, no other file (ATTACH), no PRAGMA, no extension. A query that takes too long is stopped.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from clients.data.sources.collecting import table_of_rows
from clients.data.sources.opened import MAX_LINE, SOURCE, opened
from clients.data.sources.table import Table
from clients.rules.origin import Origin
from federation.errors import DataError

_ALLOWED = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_BETWEEN_LOOKS = 10_000  # instructions of SQLite's machine between two looks at the clock


def read_sqlite(place: Origin) -> Table:
    """The answer to a database's query. DataError for a query that is none, writes, fails or takes too long."""
    with closing(_database(place)) as database:
        return _answer(place, database)


def read_ndjson(place: Origin) -> Table:
    """The answer to a query over files of JSON, one object a line, such as a FHIR bulk export.

    The query finds them in a table, resources: file, type, id, and the object itself as body.
    """
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE resources (file TEXT, type TEXT, id TEXT, body TEXT)")
        files = place.files
        if not files:
            raise DataError(f"{place}: there are no such files", hint=SOURCE)
        database.executemany("INSERT INTO resources VALUES (?, ?, ?, ?)", _all(files))
        database.commit()
        return _answer(place, database)


def require_query(place: Origin) -> None:
    """DataError if the database is not there, or does not take the query. Reads no more than its first row."""
    with closing(_database(place)) as database:
        _guard(place, database)
        with _explained(place):
            database.execute(place.query or "")


def _database(place: Origin) -> sqlite3.Connection:
    with opened(place.file) as file:
        head = file.read(100)
    if not head.startswith(b"SQLite format 3\0"):
        raise DataError(f"{place}: is no SQLite database", hint="check data.source in site.toml")
    # A file that was cut off is read as if zeros stood there. Pages and their size: sqlite.org/fileformat, 1.3.
    size, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    if head[24:28] == head[92:96] and place.file.stat().st_size < pages * (size if size > 1 else 1 << 16):
        raise DataError(f"{place}: is cut off", hint="name a copy that is whole")
    return sqlite3.connect(
        f"file:{quote(str(place.file.absolute()))}?mode=ro", uri=True, isolation_level=None
    )


def _answer(place: Origin, database: sqlite3.Connection) -> Table:
    _guard(place, database)
    with _explained(place):
        cursor = database.execute(place.query or "")
        if cursor.description is None:
            raise DataError(f"{place}: data.query answers with no rows", hint="write a select")
        return table_of_rows(place, [name for name, *_ in cursor.description], cursor)


def _guard(place: Origin, database: sqlite3.Connection) -> None:
    """Let statements read and nothing else, and not for ever."""
    end = time.monotonic() + place.timeout_seconds
    database.execute("PRAGMA query_only = ON")
    database.execute("PRAGMA trusted_schema = OFF")
    database.text_factory = _text
    database.set_progress_handler(lambda: time.monotonic() > end, _BETWEEN_LOOKS)
    database.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
    )


def _text(raw: bytes) -> object:
    """A text as Python has it; what is none stays bytes, which no cell can hold."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


@contextmanager
def _explained(place: Origin) -> Iterator[None]:
    """SQLite's words are told where they are about the query alone. Once it runs they may be about a value."""
    try:
        yield
    except sqlite3.Error as error:
        raise _refusal(place, error) from None
    except sqlite3.Warning:  # Python 3.11 says so of a second statement
        raise _second(place) from None


_SAID = (
    (("SQLITE_AUTH",), "data.query may only read", "write one select"),
    (
        ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_READONLY"),
        "another program is at work in it",
        "try again, or name a copy of it",
    ),
    (("SQLITE_NOTADB", "SQLITE_CORRUPT"), "is damaged, or is encrypted", "name a copy that is whole"),
)
_OF_THE_QUERY = re.compile(
    r"no such (table|column|function): .*|ambiguous column name: .*|near .*: syntax error|incomplete input"
)


def _refusal(place: Origin, error: sqlite3.Error) -> DataError:
    name, said = getattr(error, "sqlite_errorname", ""), str(error)
    if isinstance(error, sqlite3.ProgrammingError) and "one statement" in said:
        return _second(place)
    if name == "SQLITE_INTERRUPT":
        message = f"{place}: data.query took more than {place.timeout_seconds} s"
        return DataError(message, hint="make it faster, or raise data.timeout_seconds")
    for names, message, hint in _SAID:
        if name.startswith(names):
            return DataError(f"{place}: {message}", hint=hint)
    if _OF_THE_QUERY.fullmatch(said):
        return DataError(f"{place}: data.query: {said}", hint="correct the query")
    return DataError(f"{place}: data.query fails ({name or type(error).__name__})", hint="try it by hand")


def _second(place: Origin) -> DataError:
    return DataError(f"{place}: data.query is more than one statement", hint="write one select")


def _all(files: tuple[Path, ...]) -> Iterator[tuple[str, str, str, str]]:
    for file in files:
        for kind, name, body in _resources(file):
            yield file.name, kind, name, body


def _resources(path: Path) -> Iterator[tuple[str, str, str]]:
    """Type, id and text of each line. DataError names a line that is no JSON object."""
    with opened(path) as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                hint = "write one JSON object a line (NDJSON)"
                raise DataError(f"{path}: row {number} is no JSON object", hint=hint)
            yield str(found.get("resourceType") or ""), str(found.get("id") or ""), line.decode()
