"""TOML files: read with errors that name a line, find the line of a key, write.

`tomllib` gives values without their place. `line_of` finds it again with a small scan of headers and keys,
which need not be perfect: a key that it cannot see (in an inline table) gets the line of the table around.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from federation.errors import InputError, UnusableFile

_MAX_FILE = 1 << 20

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"({_PART}(?:\s*\.\s*{_PART})*)"
_HEADER = re.compile(rf"\s*\[\[?\s*{_KEY}\s*\]")
_ASSIGNMENT = re.compile(rf"\s*{_KEY}\s*=")
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_AT_END = " (at end of document)"
_ESCAPED = re.compile(r'"[^"]*\\')
_OF_ESCAPES = re.compile(r"hex value|unescaped|scalar value|illegal character")

PATHS = "write paths with forward slashes, C:/data/a.csv, or in single quotes"

_KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A parsed file that remembers where its keys are. `path` is None for text that came from elsewhere."""

    text: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    path: Path | None = None

    def line_of(self, key: Sequence[str]) -> int | None:
        """The 1-based line of a key, or of the innermost table around it that can be found."""
        for length in range(len(key), 0, -1):
            if line := self._lines.get(tuple(key[:length])):
                return line
        return None

    def at(self, key: Sequence[str]) -> Any:
        """The value at a key, or None."""
        value: Any = self.data
        for name in key:
            if isinstance(value, list) and name.isdecimal():
                value = value[int(name) - 1]
            else:
                value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @cached_property
    def _lines(self) -> dict[_KeyPath, int]:
        return _scan(self.text)


def read(path: Path) -> Document:
    """The file as a document. UnusableFile if it cannot be read, is over 1 MiB, or is not UTF-8 or not TOML."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UnusableFile("there is no such file", hint="check the path", path=path) from None
    except IsADirectoryError:
        raise UnusableFile("is a folder", hint="name the .toml file inside it", path=path) from None
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise UnusableFile(reason, hint="check its permissions", path=path) from None
    if len(data) > _MAX_FILE:
        raise UnusableFile("is larger than 1 MiB", hint="is this the right file?", path=path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(b"SQLite format 3"):
            hint = "name the .toml file: site.toml at a site, plan.toml for a plan"
            raise UnusableFile("is a ledger or another database", hint=hint, path=path) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise UnusableFile("is not UTF-8 text", hint="save it as UTF-8", path=path, line=line) from None
    return parse(text, path)


def parse(text: str, path: Path | None = None) -> Document:
    """The text as a document. UnusableFile, with the line, if it is not TOML."""
    try:
        return Document(text, tomllib.loads(text), path)
    except RecursionError:
        raise UnusableFile("is nested too deeply", hint="a plan needs three levels", path=path) from None
    except ValueError as error:
        message, line = _message_and_line(str(error), text)
        hint = "correct this line"
        if line and _ESCAPED.search(text.split("\n")[line - 1]) and _OF_ESCAPES.search(message):
            message, hint = "a backslash in double quotes begins an escape", PATHS
        raise UnusableFile(f"is not TOML: {message}", hint=hint, path=path, line=line) from None


def with_value(text: str, key: _KeyPath, value: str) -> str:
    """The text with another value at a key; comments stay. InputError unless the key has a line of its own.

    >>> with_value("[federation]\\nseed = 7  # public\\n", ("federation", "seed"), "8")
    '[federation]\\nseed = 8  # public\\n'
    """
    lines = text.split("\n")
    number = _scan(text).get(key, 0)
    if number:
        head, tail = lines[number - 1].split("=", 1)
        comment = re.search(r"\s*#[^\"']*$|\s*$", tail)
        lines[number - 1] = f"{head}= {value}{comment[0] if comment else ''}"
    changed = "\n".join(lines)
    if parse(changed).at(key) != parse(f"x = {value}").at(("x",)):
        hint = f"give {key[-1]} a line of its own, in its table"
        raise InputError("cannot be replaced", hint=hint, key=".".join(key))
    return changed


def write(data: Mapping[str, Any], *above: str) -> str:
    """Plain data without nulls as text that `parse` reads back. Tables of the third level stand in line.

    >>> print(write({"task": {"target": "sick", "features": {"age": {"low": 20, "high": 90}}}}), end="")
    <BLANKLINE>
    [task]
    target = "sick"
    <BLANKLINE>
    [task.features]
    age = { low = 20, high = 90 }
    """
    lines, tables = [], []
    for name, value in data.items():
        if isinstance(value, Mapping) and len(above) < 2:
            place = (*above, key_of(name))
            tables.append(f"\n[{'.'.join(place)}]\n{write(value, *place)}")
        else:
            lines.append(f"{key_of(name)} = {inline(value)}\n")
    return "".join([*lines, *tables])


def key_of(name: str) -> str:
    """A key as TOML writes it: bare, or in quotes."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else inline(name)


def inline(value: Any) -> str:
    """A value as TOML writes it in one line.

    >>> print(inline({"values": ["a", "b"]}))
    { values = ["a", "b"] }
    """
    # JSON writes texts, numbers, booleans and lists as TOML does, but for DEL in a text.
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key_of(name)} = {inline(item)}" for name, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _message_and_line(message: str, text: str) -> tuple[str, int | None]:
    if found := _AT_LINE.search(message):
        message, line = message[: found.start()], int(found[1])
    elif message.endswith(_AT_END):
        message, line = message.removesuffix(_AT_END) + ", and the file ends", text.rstrip().count("\n") + 1
    else:
        line = None
    return message[:1].lower() + message[1:], line


def _scan(text: str) -> dict[_KeyPath, int]:
    """The first line of every table header and key that starts a line. Tables of an array count from 1."""
    lines: dict[_KeyPath, int] = {}
    arrays: Counter[_KeyPath] = Counter()
    tables: tuple[_KeyPath, ...] = ((),)  # the names of the table at hand: with its number, and without
    fence = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not fence and (header := _HEADER.match(line)):
            table = _split(header[1])
            tables = (table,)
            if line.lstrip().startswith("[["):
                arrays[table] += 1
                tables = (table, (*table, str(arrays[table])))
            for name in tables:
                lines.setdefault(name, number)
        elif not fence and (assignment := _ASSIGNMENT.match(line)):
            for table in tables:
                key = table + _split(assignment[1])
                for length in range(len(table) + 1, len(key) + 1):
                    lines.setdefault(key[:length], number)
        fence = _fence_after(line, fence)
    return lines


def _split(key: str) -> _KeyPath:
    """The parts of a dotted key, without quotes. An escape in a quoted part stays as written."""
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, key))


def _fence_after(line: str, fence: str) -> str:
    """The quotes that close the multi-line string we are in after this line, or "" outside of one."""
    for quotes in re.findall(r'"""|\'\'\'', line):
        if not fence:
            fence = quotes
        elif quotes == fence:
            fence = ""
    return fence
