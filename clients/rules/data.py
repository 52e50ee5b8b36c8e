"""`[data]` of a site file: where the records are, how they are read, and whose budget they spend."""

from __future__ import annotations

import codecs
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from clients.endpoint import PathText
from clients.rules.origin import Origin, Server, reader_of, sqlite_file
from federation.config.schema import Mistake, Table, Texts, missing
from federation.identity.keys import credential
from federation.plan.identifiers import cleaned

_SCHEMES = ("sqlite", "postgresql", "postgres")
_ASKED = ("sqlite", "postgresql", "ndjson")  # kinds that a query is asked of
_SELECT = 'query = "select age, sex, died from admissions"'
_ONLY_FOR = {
    "query": (_ASKED, "is for a database or NDJSON"),
    "sheet": (("excel",), "is for an Excel workbook"),
    "password_file": (("postgresql",), "is for PostgreSQL"),
    "separator": (("csv", "own"), "is for CSV"),
    "decimal": (("csv", "own"), "is for CSV"),
    "encoding": (("csv", "own"), "is for CSV"),
    "columns": (("csv", "own"), "is for CSV"),
}
SPACE = " "
_OF_CELLS = "\"'\\\r\n\0-+."  # quotes, ends of lines, and what stands in numbers and texts


def one_character(separator: str) -> str:
    """What parts the cells of a line. Mistake where it cannot."""
    named = {"comma": ",", "semicolon": ";", "tab": "\t", "space": SPACE}.get(separator, separator)
    if len(named) != 1 or named.isalnum() or named in _OF_CELLS:
        raise Mistake("cannot part cells", 'write ",", ";", "tab", "space" or "|"')
    return named


def columns_named(columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names of the columns of text without a header. Mistake for one that is there twice, or is none."""
    if columns is None:
        return None
    names = tuple(map(cleaned, columns))
    are_apart = bool(names) and all(names) and len(set(names)) == len(names)
    if not are_apart or not all(map(str.isprintable, names)):
        raise Mistake("must name each column of the file once, in order", 'write ["age", "sex", "died"]')
    return names


def encoding_known(encoding: str) -> str:
    """The encoding of a file as Python names it. Mistake for what is none of text."""
    hint = 'write for example "utf-8", "windows-1252", "iso-8859-15" or "utf-16"'
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)  # refuses what is no encoding of text, such as "hex"
    except (LookupError, ValueError):
        raise Mistake("is no encoding", hint) from None
    if name in ("utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"):
        raise Mistake("is no encoding of files", hint)
    return "utf-8" if name == "utf-8-sig" else name


class SiteData(Table):
    """`[data]`: the records. `pool` is the population whose budget they spend; `size` is public.

    `test` holds records to evaluate on, where the plan publishes an evaluation; without it some of `source` are
    held out. `columns` names those of text whose first row is a record already. `test_query` and `test_sheet`
    ask the same source, unless `test` names another. `person` is the column that says whose each record is,
    whatever a plan says of patients: by it the records of people who withdraw are left out. `quasi_identifiers` are
    columns by which somebody outside might know a person, `sensitive` is what they must not learn: `check --site`
    warns on the terminal where few people share them. `encoders` are folders of pretrained encoders, of which a
    plan pins the one that reads a text.
    """

    source: PathText = Field(min_length=1, examples=['"cleveland.csv"'])
    query: str | None = Field(
        default=None, min_length=1, examples=['"select age, sex, died from admissions"']
    )
    sheet: str | None = Field(default=None, min_length=1, examples=['"Sheet1"'])
    test: PathText | None = Field(default=None, min_length=1, examples=['"cleveland-test.csv"'])
    test_query: str | None = Field(
        default=None, min_length=1, examples=['"select age, sex, died from later"']
    )
    test_sheet: str | None = Field(default=None, min_length=1, examples=['"Sheet2"'])
    pool: str = Field(min_length=1, examples=['"cardiology-patients-2024"'])
    size: int | None = Field(default=None, ge=1, lt=1 << 53, examples=["300"])
    separator: str = Field(default=",", examples=['";"'])
    decimal: Literal[".", ","] = Field(default=".", examples=['","'])
    encoding: str = Field(default="utf-8", examples=['"windows-1252"'])
    columns: Texts | None = Field(default=None, examples=['["age", "sex", "died"]'])
    password_file: PathText | None = Field(default=None, min_length=1, examples=['"credential:clinic"'])
    timeout_seconds: int = Field(default=600, ge=1, le=86400, examples=["600"])
    person: str | None = Field(default=None, min_length=1, examples=['"mrn"'])
    quasi_identifiers: Texts = Field(default=(), examples=['["age", "sex", "postcode"]'])
    sensitive: str | None = Field(default=None, min_length=1, examples=['"diagnosis"'])
    encoders: Texts = Field(default=(), examples=['["encoders/minilm"]'])

    @field_validator("source", "test")
    @classmethod
    def _place(cls, source: str | None) -> str | None:
        if source is None or "://" not in source:
            return source
        scheme = source.partition("://")[0].partition("+")[0].lower()
        if scheme not in _SCHEMES:
            hint = "name a file, sqlite:///FILE or postgresql://USER@HOST/DATABASE"
            raise Mistake("is no source that can be read here", hint)
        _ = sqlite_file(source) if scheme == "sqlite" else Server.named(source)
        return source

    _separator = field_validator("separator")(one_character)
    _columns = field_validator("columns")(columns_named)
    _encoding = field_validator("encoding")(encoding_known)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kinds = [reader_of(name) for name in (self.source, self.test) if name is not None]
        for key, (takers, reason) in _ONLY_FOR.items():
            if (
                key in self.model_fields_set
                and getattr(self, key) is not None
                and not set(kinds) & set(takers)
            ):
                raise Mistake(reason, "remove it, or name another data.source", (key,))
        if kinds[0] in _ASKED and self.query is None:
            raise missing("query", _SELECT)
        tests = kinds[-1]
        if self.test_query is not None and tests not in _ASKED:
            raise Mistake("is for a database or NDJSON", "remove it", ("test_query",))
        if self.test is not None and tests in _ASKED and self.test_query is None:
            raise missing("test_query", f"test_{_SELECT}")
        if self.test_sheet is not None and tests != "excel":
            raise Mistake("is for an Excel workbook", "remove it", ("test_sheet",))
        if self.sensitive is not None and not self.quasi_identifiers:
            reason = "says nothing without data.quasi_identifiers"
            raise Mistake(reason, 'add for example: quasi_identifiers = ["age", "sex"]', ("sensitive",))
        return self

    def origins(self, folder: Path) -> tuple[Origin, Origin | None]:
        """The records, and those to evaluate on if they are apart; files are seen from the site file's folder."""
        source = self.origin(self.source, folder, self.query, self.sheet)
        if self.test is None and self.test_query is None and self.test_sheet is None:
            return source, None
        return source, self.origin(self.test or self.source, folder, self.test_query, self.test_sheet)

    def folders(self, folder: Path) -> tuple[Path, ...]:
        """The folders of encoders, seen from the site file's."""
        return tuple(folder / name for name in self.encoders)

    def origin(self, place: str, folder: Path, query: str | None = None, sheet: str | None = None) -> Origin:
        """A file or database as this table says it is read."""
        kind = reader_of(place)
        origin = Origin(
            kind=kind,
            query=query,
            sheet=sheet,
            separator=self.separator,
            decimal=self.decimal,
            encoding=self.encoding,
            columns=(self.columns or ()) if kind in _ONLY_FOR["columns"][0] else (),
            timeout_seconds=self.timeout_seconds,
            encoders=self.folders(folder),
        )
        if kind != "postgresql":
            return replace(origin, file=folder / sqlite_file(place))
        sealed = None if self.password_file is None else credential(self.password_file, folder)
        return replace(origin, server=Server.named(place), password_file=sealed)
