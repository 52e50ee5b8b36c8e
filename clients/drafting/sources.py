"""Where a table is and how it is read, as the call says it: the keys that `[data]` of a site file has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from clients.rules.data import SiteData
from clients.rules.origin import TABLES, Origin
from federation.config.schema import Table, validate
from federation.config.toml import Document, inline, read
from federation.errors import DataError, InputError
from federation.words import some

_PLACES = ("source", "test", "password_file")
_SAID = {
    "source": "read on this machine, and nowhere else",
    "query": "the answer is the table",
    "test": "records to evaluate on",
    "separator": "parts the cells",
    "decimal": "marks the decimals",
    "encoding": "of the text",
    "columns": "the file has no header",
    "password_file": "of mode 600",
}

_KEY = re.compile(
    r"\bdata\.(source|query|sheet|test|separator|decimal|encoding|columns|password_file|encoders)\b(?: = )?"
)


class _Said(Table):
    data: SiteData = Field(examples=["[data]"], repr=False)  # a source may hold a password, by mistake


@dataclass(frozen=True)
class Reading:
    """`source` is a file, seen from where the command was given, or a database. None is what is usual."""

    source: str
    query: str | None = None
    sheet: str | None = None
    test: str | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    columns: str | None = None
    password_file: str | None = None
    encoders: str | None = None

    @property
    def content(self) -> dict[str, str | list[str]]:
        """What was said, by key."""
        said = {key: value for key, value in vars(self).items() if value is not None}
        lists = {} if self.columns is None else {"columns": self.columns.split(",")}
        return said | lists | ({} if self.encoders is None else {"encoders": [self.encoders]})

    def origin(self) -> Origin:
        """The table. InputError for a reading that fits no source."""
        said = validate(_Said, Document("", {"data": {**self.content, "pool": "none"}}))
        return said.data.origins(Path())[0]

    def lines(self, folder: Path) -> list[str]:
        """The lines of a site file in a folder."""
        said = self.content.items()
        return [f"{key} = {self._written(key, value, folder)}{_comment(key)}" for key, value in said]

    def _written(self, key: str, value: str | list[str], folder: Path) -> str:
        if isinstance(value, list) or key not in _PLACES or "://" in value or value.startswith("credential:"):
            return inline(value)
        return path_in(folder, Path(value))


def in_folder(source: str) -> str:
    """The one table of a folder: train.csv or the like, or the only one; what is no folder stays as it is.

    DataError for a folder without a table, or with several.
    """
    folder = Path(source)
    if "://" in source or not folder.is_dir():
        return source
    tables = [entry for entry in sorted(folder.iterdir()) if entry.name.lower().endswith(TABLES)]
    named = [table for table in tables if table.name.lower().startswith("train.")]
    found = named or tables
    if len(found) == 1:
        return str(found[0])
    if found:
        raise DataError(f"{source}: holds {some([table.name for table in found])}", hint="name one of them")
    hint = (
        "images need one beside them, with a row for each: its file, and what is predicted (docs/images.md)"
    )
    raise DataError(f"{source}: holds no table", hint=hint)


def origin_of_site(path: Path) -> Origin:
    """The records of a site file, by its table `[data]` alone. InputError if that says nothing that can be read."""
    document = read(path)
    content = {"data": document.data["data"]} if "data" in document.data else {}
    said = validate(_Said, replace(document, data=content))
    return said.data.origins(path.parent)[0]


def path_in(folder: Path, file: Path) -> str:
    """A path as a file in `folder` has it: within the folder from there, any other from the root."""
    whole, base = file.resolve(), folder.resolve()
    inside = whole.is_relative_to(base)
    return inline((whole.relative_to(base) if inside else whole).as_posix())


def _comment(key: str) -> str:
    return f"  # {_SAID[key]}" if key in _SAID else ""


@contextmanager
def by_options(source: str) -> Iterator[None]:
    """Errors name the options of the command, `source` among them: no site file is there, or it was taken back."""
    try:
        yield
    except InputError as error:
        error.message, error.hint = _by_options(error.message, source), _by_options(error.hint, source)
        error.key = _by_options(error.key, source)
        raise


def _by_options(text: str, source: str) -> str:
    """What is said of keys, said of options.

    >>> print(_by_options('set data.separator = ";" in site.toml (and data.decimal), or save it', "--data"))
    set --separator ";" (and --decimal), or save it
    >>> print(_by_options('add a line such as: query = "select age"; check data.source in site.toml', "DATA"))
    give --query "select age"; check DATA
    >>> print(_by_options("take data.separator out of site.toml", "DATA"))
    leave out --separator
    >>> print(_by_options("check data.source (or data.test) in site.toml", "DATA"))
    check DATA
    """
    if source == "DATA":  # one table, and no file of records to evaluate on
        text = text.replace(" (or data.test)", "")
    text = re.sub(r"take (data\.\w+) out of site\.toml", r"leave out \1", text)
    if "add a line such as: " in text:
        text = re.sub(r"add a line such as: (\w+) = ", r"give data.\1 = ", text)
    changed = _KEY.sub(lambda found: _option(found[1], source) + " " * found[0].endswith(" = "), text)
    return changed.replace(" in site.toml", "") if changed != text else text


def _option(key: str, source: str) -> str:
    if key == "encoders":
        return "--encoder"
    return source if key == "source" else "--" + key.replace("_", "-")
