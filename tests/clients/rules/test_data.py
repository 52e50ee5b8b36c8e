"""`[data]` says where records are and how they are read; what does not fit its source is refused, with the key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clients.policy import load_site
from clients.rules.data import SiteData
from clients.rules.origin import Origin, Server
from federation.config.schema import Mistake
from federation.errors import SiteFileError, UnusableFile
from federation.identity.keys import load_password

REST = """
pool = "p"
size = 40
[policy]
epsilon_max = 5.0
delta_max = 1e-5
cohort_minimum = 3
noise = ["distributed"]
tasks = ["tabular-classification"]
"""


def site(folder: Path, lines: str) -> tuple[Origin, Origin | None]:
    path = folder / "site.toml"
    path.write_text(f'[site]\nid = "a"\nkeys = "keys/"\njournal = "j.sqlite"\n[data]\n{lines}{REST}')
    return load_site(path).data.origins(folder)


def test_columns_are_named_for_text_and_for_nothing_else(tmp_path: Path) -> None:
    source, test = site(tmp_path, 'source = "a.data"\ntest = "b.parquet"\ncolumns = ["age", "sex"]')
    assert source.columns == ("age", "sex")
    assert test is not None and test.columns == ()


@pytest.mark.parametrize(
    ("lines", "key", "expected"),
    [
        ('source = "a.sqlite"', "data.query", "is missing; add a line such as: query ="),
        ('source = "postgresql://db/x"', "data.query", "is missing"),
        ('source = "*.ndjson"', "data.query", "is missing"),
        ('source = "a.csv"\nquery = "select 1"', "data.query", "is for a database or NDJSON"),
        ('source = "a.parquet"\nseparator = ";"', "data.separator", "is for CSV"),
        ('source = "a.xlsx"\ndecimal = ","', "data.decimal", "is for CSV"),
        ('source = "a.csv"\nsheet = "x"', "data.sheet", "is for an Excel workbook"),
        ('source = "a.csv"\npassword_file = "x"', "data.password_file", "is for PostgreSQL"),
        ('source = "a.csv"\nseparator = "ab"', "data.separator", "cannot part cells"),
        ('source = "a.csv"\nseparator = "1"', "data.separator", "cannot part cells"),
        ('source = "a.csv"\nseparator = "."', "data.separator", "cannot part cells"),
        ('source = "a.csv"\ndecimal = ";"', "data.decimal", "must be"),
        ('source = "a.csv"\nencoding = "latin-99"', "data.encoding", "is no encoding"),
        ('source = "a.csv"\nencoding = "hex"', "data.encoding", "is no encoding"),
        ('source = "a.parquet"\ncolumns = ["a"]', "data.columns", "is for CSV"),
        ('source = "a.csv"\ncolumns = ["a", "a "]', "data.columns", "must name each column of the file once"),
        ('source = "a.csv"\ncolumns = []', "data.columns", "must name each column of the file once"),
        ('source = "a.csv"\ncolumns = ["a", "b\\nc"]', "data.columns", "must name each column of the file once"),
        ('source = "mysql://db/x"', "data.source", "is no source that can be read here"),
        ('source = "https://db/x.csv"', "data.source", "is no source that can be read here"),
        ('source = "sqlite://x"', "data.source", "names no file"),
        ('source = "postgresql://db"', "data.source", "names no database"),
        ('source = "postgresql://db:port/x"', "data.source", "is no URL of a database"),
        ('source = "postgresql://me:SECRET@db/x"', "data.source", "has a password in the URL"),
        ('source = "postgresql://me:SEC@RET@db/x"', "data.source", "has a password in the URL"),
        ('source = "postgresql://db/x?password=SECRET"', "data.source", "has an option that is not known here"),
        ('source = "postgresql://db/x?options=-c"', "data.source", "has an option that is not known here"),
        ('source = "postgresql://db/x?sslmode=prefer"', "data.source", "may go over the network unencrypted"),
        ('source = "a.csv"\ntest_query = "select 1"', "data.test_query", "is for a database or NDJSON"),
        ('source = "a.csv"\ntest = "b.sqlite"', "data.test_query", "is missing"),
        ('source = "a.csv"\nsensitive = "x"', "data.sensitive", "says nothing without data.quasi_identifiers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_and_no_secret(
    tmp_path: Path, lines: str, key: str, expected: str
) -> None:
    with pytest.raises(SiteFileError) as caught:
        site(tmp_path, lines)
    line = str(caught.value)
    assert f"{key}: {expected}" in line and "\n" not in line
    assert not any(part in line for part in ("SECRET", "RET", "SEC@"))


def test_files_are_seen_from_the_site_file_and_urls_are_no_files(tmp_path: Path) -> None:
    source, test = site(tmp_path, 'source = "a.csv"\ntest = "b.parquet"\nseparator = "tab"')
    assert (source.kind, source.file, source.separator) == ("csv", tmp_path / "a.csv", "\t")
    assert test is not None and (test.kind, test.file) == ("parquet", tmp_path / "b.parquet")
    assert site(tmp_path, 'source = "sqlite:///a/b.db"\nquery = "q"')[0].file == tmp_path / "a" / "b.db"
    assert site(tmp_path, 'source = "sqlite:////a/b.db"\nquery = "q"')[0].file == Path("/a/b.db")
    database = site(
        tmp_path, 'source = "postgresql+psycopg://me@db.org/x"\nquery = "q"\npassword_file = "s"'
    )[0]
    assert str(database) == "postgresql://db.org/x" and database.files == (tmp_path / "s",)


def test_a_test_query_asks_the_same_source(tmp_path: Path) -> None:
    source, test = site(tmp_path, 'source = "a.db"\nquery = "one"\ntest_query = "two"')
    assert test is not None and (source.query, test.query, test.file) == ("one", "two", source.file)
    source, test = site(tmp_path, 'source = "a.xlsx"\nsheet = "one"\ntest_sheet = "two"')
    assert test is not None and (source.sheet, test.sheet) == ("one", "two")


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://db.org/x", "verify-full"),
        ("postgresql://db.org/x?sslmode=require", "require"),
        ("postgresql://db.org/x?sslmode=verify-ca", "verify-ca"),
        ("postgresql://db.org/x?sslmode=disable", "disable"),
        ("postgresql://db.org/x?sslmode=verify-full", "verify-full"),
        ("postgresql://localhost/x", "prefer"),
        ("postgresql:///x?host=/run/postgresql", "prefer"),
        ("postgresql://localhost/x?host=db.org", "verify-full"),
    ],
)
def test_the_server_is_verified_over_a_network_unless_told_otherwise(url: str, mode: str) -> None:
    assert dict(Server.named(url).options)["sslmode"] == mode


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf8", "utf-8-sig", "windows-1252", "iso-8859-15", "utf-16", "cp850"]
)
def test_encodings_of_text_are_taken(encoding: str) -> None:
    found: Any = SiteData(source="a.csv", pool="p", encoding=encoding)
    assert "".encode(found.encoding) in (b"", b"\xff\xfe", b"\xfe\xff")


def test_a_password_that_others_may_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\nmore\n")
    path.chmod(0o644)
    with pytest.raises(UnusableFile, match="others on this machine can open this password") as caught:
        load_password(path)
    assert "s3cret" not in str(caught.value)
    path.chmod(0o600)
    assert load_password(path) == "s3cret"
    os.unlink(path)
    with pytest.raises(UnusableFile, match="there is no such password"):
        load_password(path)


def test_a_mistake_names_its_key() -> None:
    with pytest.raises(Mistake):
        Server.named("postgresql://db/")
