"""Recognizes files that are no CSV by how they begin, whatever they are called, and says how to make them one.

The first bytes decide (magic numbers, byte order marks, NULs); then which character separates the header's cells.
Nothing here reads a record.
"""

from __future__ import annotations

import csv
import re

from federation.plan.numerals import as_number

SAVE = "save it as CSV, UTF-8"
HOLDS_NUL, NO_NUL = "holds a NUL byte", "take it out: text has none"
NUL, NEWLINE = b"\0", b"\n"
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1f]")  # what text does not hold, beside NUL
HEAD = 4096  # bytes from the beginning of a file that are looked at
WIDE = ("utf-16", "utf-32")  # encodings in which a line break is no single byte

_UNPACK = f"unpack it, and if needed {SAVE}"
_EXPORT = "export it as CSV, UTF-8"
_DECLARE = f'set data.encoding in site.toml ("utf-16"), or {SAVE}'
_WORKBOOK = ("is an Excel workbook", SAVE)

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office file, such as an Excel workbook (.xls)", SAVE),
    (b"\x1f\x8b", "is compressed by gzip", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd", _UNPACK),
    (b"BZh", "is compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "is compressed by xz", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", _UNPACK),
    (b"PAR1", "is a Parquet file", _EXPORT),
    (b"ARROW1", "is an Arrow or Feather file", _EXPORT),
    (b"ORC", "is an ORC file", _EXPORT),
    (b"Obj\x01", "is an Avro file", _EXPORT),
    (b"SQLite format 3\0", "is a SQLite database", _EXPORT),
    (b"\x89HDF", "is an HDF5 file", _EXPORT),
    (b"\x93NUMPY", "is a NumPy array", _EXPORT),
    (b"\0" * 12 + b"\xc2\xea\x81\x60\xb3\x14", "is a SAS data set", _EXPORT),
    (b"HEADER RECORD*******", "is a SAS transport file", _EXPORT),
    (b"$FL2", "is an SPSS file", _EXPORT),
    (b"$FL3", "is an SPSS file", _EXPORT),
    (b"<stata_dta>", "is a Stata file", _EXPORT),
    (b"RDX", "is an R data file", _EXPORT),
    (b"%PDF", "is a PDF", "export the table itself as CSV, UTF-8"),
    (b"{\\rtf", "is a text document (RTF)", SAVE),
    (b"\xff\xfe\0\0", "is UTF-32 text", SAVE),
    (b"\0\0\xfe\xff", "is UTF-32 text", SAVE),
    (b"\xff\xfe", "is UTF-16 text", _DECLARE),
    (b"\xfe\xff", "is UTF-16 text", _DECLARE),
    (b"version https://git-lfs", "is a pointer to a file in Git LFS", "fetch the file itself"),
)
_MARKUP = (
    (b"<!doctype", "HTML"),
    (b"<html", "HTML"),
    (b"<table", "HTML"),
    (b"<?xml", "XML"),
    (b"{", "JSON"),
    (b"[{", "JSON"),
)
_LEAST_BLANK = (
    4  # cells of a row: a sentence in a table of one column has as many words as the next one by chance
)
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


def other_format(head: bytes, separator: str = ",", encoding: str = "utf-8") -> tuple[str, str] | None:
    """What a file with these first bytes is instead of the CSV that was declared, and what to do; or None.

    >>> other_format(b"PAR1..."), other_format(b"age,sick\\n40,1\\n")
    (('is a Parquet file', 'export it as CSV, UTF-8'), None)
    """
    if head.startswith(b"PK\x03\x04"):
        return _archive(head)
    is_wide = encoding.startswith(WIDE)
    if is_wide and b"\0" in head:
        return _other_separator(head.decode(encoding, errors="ignore"), separator)
    binary = next(((what, cure) for magic, what, cure in _MAGIC if head.startswith(magic)), None)
    if binary is None and b"\0" in head:
        binary = ("is UTF-16 text", _DECLARE) if _is_utf16(head) else _with_nul(head)
    if binary is None and is_wide:
        binary = (
            f"is no {encoding} text",
            "set data.encoding in site.toml to what it is, or leave it out for UTF-8",
        )
    return binary or _other_text(head, separator, encoding)


def _with_nul(head: bytes) -> tuple[str, str]:
    """What a file with a NUL byte is: text with one in it, as some systems write an empty field, or no text at all.

    >>> _with_nul(b"age,note\\n40,fine\\0\\n"), _with_nul(b"\\x7fELF\\x02\\x01\\0")[0]
    (('row 2 holds a NUL byte', 'take it out: text has none'), 'is a binary file')
    """
    if _CONTROL.search(head) or head.count(NUL) * 10 > len(head):
        return "is a binary file", SAVE
    return f"row {head.count(NEWLINE, 0, head.index(NUL)) + 1} {HOLDS_NUL}", NO_NUL


def _other_text(head: bytes, separator: str, encoding: str) -> tuple[str, str] | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower()
    for mark, name in _MARKUP:
        if start.startswith(mark):
            return f"is {name}", SAVE
    is_utf8 = encoding == "utf-8"
    if not is_utf8 and head.startswith(b"\xef\xbb\xbf"):
        return f"is UTF-8 text, and data.encoding says {encoding}", 'set data.encoding = "utf-8" in site.toml'
    return _other_separator(head.decode("utf-8-sig" if is_utf8 else encoding, errors="replace"), separator)


def _archive(head: bytes) -> tuple[str, str]:
    if b"opendocument" in head:
        return "is an OpenDocument file", SAVE
    if b".npy" in head[:100]:
        return "is a NumPy archive", _EXPORT
    office = any(name in head for name in (b"[Content_Types].xml", b"xl/", b"docProps/"))
    return _WORKBOOK if office else ("is a ZIP archive", _UNPACK)


def _is_utf16(head: bytes) -> bool:
    """Latin text in UTF-16 without a byte order mark: every second byte is zero, most of the time."""
    zeros = [head[start::2].count(0) for start in (0, 1)]
    return max(zeros) > len(head) / 4 and min(zeros) < len(head) / 20


def _other_separator(text: str, declared: str) -> tuple[str, str] | None:
    """Told by the header, or by header and first row where some of the declared separators are in them, too."""
    lines = [line for line in text.splitlines() if line.strip()][:2]
    if not lines:
        return None
    if lines[0].lower().startswith("sep=") and len(lines[0].strip()) <= len("sep=,"):
        return "begins with a line for Excel (sep=), not with the columns' names", "remove that line"
    commas = [_width(line, declared) for line in lines]
    for separator, name in _SEPARATORS.items():
        widths = [_width(line, separator) for line in lines]
        same, ragged = widths[0] == widths[-1], commas[0] != commas[-1]
        if widths[0] > 1 and (commas[0] == 1 or (widths[0] > commas[0] and same and ragged)):
            return f"has its cells separated by {name}", _cure_of(separator)
    if max(commas) == 1 and len(lines) > 1 and _are_blank_separated(lines):
        return "has its cells separated by blanks", _cure_of(" ")
    return None


def _are_blank_separated(lines: list[str]) -> bool:
    """Whether two lines without any other separator are rows of many cells, of which some are numbers."""
    first, second = (line.split() for line in lines)
    numbers = sum(as_number(cell) is not None for cell in second)
    return len(first) == len(second) >= _LEAST_BLANK and numbers > 1


def _cure_of(separator: str) -> str:
    if separator == ",":
        return "take data.separator out of site.toml"
    named = {"\t": "tab", " ": "space"}.get(separator, separator)
    return (
        f'set data.separator = "{named}" in site.toml (and data.decimal), or '
        "save it with commas, and with points in decimals"
    )


def _width(line: str, separator: str) -> int:
    return len(next(csv.reader([line], delimiter=separator), []))
