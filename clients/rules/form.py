"""How text files are read, where nothing else is said of a site: `reading.toml` in a folder of sites.

A simulation reads many sites' files, which belong to nobody there: no keys, no pool and no policy are asked for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from clients.rules.data import SPACE, columns_named, encoding_known, one_character
from clients.rules.origin import Origin, reader_of
from federation.config.schema import Table, Texts, validate
from federation.config.toml import read
from federation.errors import InputError, SiteFileError

NAME = "reading.toml"
_TEXT = ("csv", "own")


class Reading(Table):
    """The keys of `[data]` in site.toml that say how a file is read, by themselves."""

    refusal: ClassVar[type[InputError]] = SiteFileError
    separator: str = Field(default=",", examples=[f'"{SPACE}"', '";"'])
    decimal: Literal[".", ","] = Field(default=".", examples=['","'])
    encoding: str = Field(default="utf-8", examples=['"windows-1252"'])
    columns: Texts | None = Field(default=None, examples=['["age", "sex", "died"]'])
    encoders: Texts = Field(default=(), examples=['["encoders/minilm"]'])

    _separator = field_validator("separator")(one_character)
    _columns = field_validator("columns")(columns_named)
    _encoding = field_validator("encoding")(encoding_known)

    def origin(self, file: Path, folder: Path) -> Origin:
        """A file as this, in `folder`, says that it is read; of files that are no text nothing else is said."""
        kind, encoders = reader_of(file.name), tuple(folder / name for name in self.encoders)
        if kind not in _TEXT:
            return replace(Origin.of(file), encoders=encoders)
        return Origin(
            kind=kind,
            file=file,
            separator=self.separator,
            decimal=self.decimal,
            encoding=self.encoding,
            columns=self.columns or (),
            encoders=encoders,
        )


def load_reading(path: Path) -> Reading:
    """The reading.toml at a path. SiteFileError names line and key."""
    return validate(Reading, read(path))
