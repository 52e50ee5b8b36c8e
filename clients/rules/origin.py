"""Where a site's records are: a file, or the answer to a query. Says how to read them, and reads nothing.

What a text file does not say of itself (which character parts its cells, which mark its decimals, its encoding) is
declared and never guessed: 1.234 is a number in both readings, and a wrong one trains a model on nonsense.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from federation.config.schema import Mistake, nearest

Kind = Literal["csv", "ndjson", "parquet", "arrow", "excel", "sqlite", "postgresql", "npz", "own"]
"""What reads it; "own" is a file or folder of a kind that no reader here knows by its name."""

KINDS: Mapping[str, Kind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".xlsx": "excel",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".npz": "npz",
}
PACKED: Mapping[str, Kind] = {f"{suffix}.gz": KINDS[suffix] for suffix in (".csv", ".tsv", ".ndjson")}
TABLES = tuple(
    suffix
    for suffix, kind in {**KINDS, **PACKED}.items()
    if kind in ("csv", "parquet", "arrow", "excel", "npz")
)
"""Suffixes of files that are a table each, without a query."""

_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1"})
_SECURITY = ("disable", "require", "verify-ca", "verify-full")
_OPTIONS = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout")
_EXAMPLE = 'write it like "postgresql://reader@db.example.org/clinic", and the password to data.password_file'


def reader_of(source: str) -> Kind:
    """What reads a source, told by its name alone.

    >>> reader_of("a.csv.gz"), reader_of("a.PARQUET"), reader_of("postgres://db/x"), reader_of("scans/")
    ('csv', 'parquet', 'postgresql', 'own')
    """
    if "://" in source:
        return "sqlite" if source.lower().startswith("sqlite:") else "postgresql"
    name = Path(source).name.lower()
    packed = next((kind for suffix, kind in PACKED.items() if name.endswith(suffix)), None)
    return packed or KINDS.get(Path(name).suffix, "own")


@dataclass(frozen=True)
class Server:
    """A PostgreSQL database, as a URL names it; without any password. `options` are libpq's."""

    host: str
    port: int
    name: str
    user: str | None
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def named(cls, url: str) -> Server:
        """The database of a URL. A Mistake for one that names none, holds a password or asks for what is unsafe."""
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
        except ValueError:
            raise Mistake("is no URL of a database", _EXAMPLE) from None
        if parts.password is not None or parts.netloc.count("@") > 1:
            hint = "take it out: this file is copied and printed; name a file with it in data.password_file"
            raise Mistake("has a password in the URL", hint)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        for option in options:
            if option not in _OPTIONS:
                raise Mistake("has an option that is not known here", nearest(option, _OPTIONS))
        host = options.pop("host", None) or unquote(parts.hostname or "")
        mode = options.setdefault("sslmode", "prefer" if is_local(host) else "verify-full")
        if "sslmode" in parts.query and mode not in _SECURITY:
            raise Mistake(
                "may go over the network unencrypted", f"set sslmode to {' or '.join(_SECURITY[1:])}"
            )
        if not parts.path.strip("/") or parts.fragment:
            raise Mistake("names no database", _EXAMPLE)
        user = None if parts.username is None else unquote(parts.username)
        return cls(host, port, unquote(parts.path[1:]), user, tuple(sorted(options.items())))

    @property
    def security(self) -> Literal["local", "verified", "unverified"]:
        """What keeps others out of the connection: no network, a certificate that is verified, or nothing sure."""
        if is_local(self.host):
            return "local"
        return "verified" if dict(self.options).get("sslmode", "").startswith("verify-") else "unverified"

    def __str__(self) -> str:
        port = "" if self.port == 5432 else f":{self.port}"
        return f"postgresql://{'' if self.host.startswith('/') else self.host}{port}/{self.name}"


@dataclass(frozen=True)
class Origin:
    """A table: a `file`, which a query may be asked of, or a query's answer by a `server`; and how to read it."""

    kind: Kind
    file: Path = Path()
    server: Server | None = None
    query: str | None = field(default=None, repr=False)
    sheet: str | None = None
    separator: str = ","
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()  # of text that has no header
    password_file: Path | None = None
    timeout_seconds: int = 600
    encoders: tuple[Path, ...] = ()  # folders of pretrained encoders, which read its texts

    @classmethod
    def of(cls, place: Place) -> Origin:
        """A file that says of itself how it is read: CSV with commas, points and UTF-8, where it is text."""
        return place if isinstance(place, Origin) else cls(reader_of(place.name), place)

    def __str__(self) -> str:
        return str(self.server or self.file)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the records, or what opens them: nobody else may read these."""
        found = [] if self.server is not None else [self.file]
        if self.kind == "ndjson" and any(mark in self.file.name for mark in "*?["):
            found = sorted(self.file.parent.glob(self.file.name))
        return (*found, *([self.password_file] if self.password_file is not None else []))


Place = Path | Origin
"""A file whose name says how it is read, or what says so."""


def sqlite_file(url: str) -> str:
    """The file of a URL: "sqlite:///clinic.db" is one beside site.toml, "sqlite:////srv/clinic.db" is not.

    >>> sqlite_file("sqlite:///clinic.db"), sqlite_file("sqlite:////srv/clinic.db"), sqlite_file("a.db")
    ('clinic.db', '/srv/clinic.db', 'a.db')
    """
    if "://" not in url:
        return url
    found = re.fullmatch(r"sqlite:///([^?#]+)", url, re.IGNORECASE)
    if found is None:
        raise Mistake("names no file", 'write it like "sqlite:///clinic.db", seen from this file')
    return found[1]


def is_local(host: str) -> bool:
    """Whether nothing goes over a network: this machine, or a socket in a folder."""
    return host.lower() in _LOCAL or host.startswith("/")
