"""Files that are no CSV are called what they are, whatever their name, with the way to make them one."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from clients.data.sources.formats import other_format

TABLE = "age,dose,sick\n40,0.5,no\n41,1.5,yes\n"


def zipped(name: str, content: str = TABLE) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what", "cure"),
    [
        (zipped("[Content_Types].xml"), "is an Excel workbook", "save it as CSV"),
        (
            zipped("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
            "is an OpenDocument",
            "save it as CSV",
        ),
        (zipped("x.npy"), "is a NumPy archive", "export"),
        (zipped("clinic.csv"), "is a ZIP archive", "unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "is an old Office file", "save it as CSV"),
        (gzip.compress(TABLE.encode(), mtime=0), "is compressed by gzip", "unpack it"),
        (b"\x28\xb5\x2f\xfd\x04", "is compressed by zstd", "unpack it"),
        (b"PAR1\x15\x04", "is a Parquet file", "export"),
        (b"<stata_dta><header>", "is a Stata file", "export"),
        (b"$FL2@(#) SPSS DATA FILE", "is an SPSS file", "export"),
        (b"\0" * 12 + b"\xc2\xea\x81\x60\xb3\x14\x11\xcf", "is a SAS data set", "export"),
        (b"  <!DOCTYPE html><html>", "is HTML", "save it as CSV"),
        (b"<table><tr><td>40", "is HTML", "save it as CSV"),
        (b'[{"age": 40}]', "is JSON", "save it as CSV"),
        (TABLE.encode("utf-16"), "is UTF-16 text", "save it as CSV, UTF-8"),
        (TABLE.encode("utf-16-le"), "is UTF-16 text", "save it as CSV, UTF-8"),
        (TABLE.encode("utf-16-be"), "is UTF-16 text", "save it as CSV, UTF-8"),
        (TABLE.encode("utf-32"), "is UTF-32 text", "save it as CSV, UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a binary file", "save it as CSV, UTF-8"),
        (b"age;dose\n40;0,5\n", "has its cells separated by semicolons", "with points in decimals"),
        (b'\xef\xbb\xbf"age";"dose"\n"40";"0,5"\n', "has its cells separated by semicolons", "with commas"),
        (
            b"age;dose (mg, oral);sick\n40;1;no\n41;1;no\n",
            "has its cells separated by semicolons",
            "with commas",
        ),
        (b"age\tdose\n40\t0,5\n", "has its cells separated by tabs", "with commas"),
        (b"age|dose\n40|0,5\n", "has its cells separated by bars", "with commas"),
        (b"sep=;\nage;dose\n", "begins with a line for Excel", "remove that line"),
    ],
    ids=lambda value: (
        "" if isinstance(value, bytes) else value
    ),  # archives hold the time at which they are made
)
def test_a_file_is_called_what_it_is(content: bytes, what: str, cure: str) -> None:
    found = other_format(content[:4096])
    assert found is not None
    assert found[0].startswith(what) and cure in found[1]


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        b"\xef\xbb\xbf" + TABLE.encode(),
        b"",
        b"\n\n",
        b"age\n40\n",
        b'"codes (a;b;c;d;e)",age\n"x;y;z",40\n',
        b"codes (a;b;c;d),age\nx;y;z,40\n",
        b"age,note\n40,a;b;c;d\n",
        b"age,note\n40,\xe9\n",
        b'age,json\n40,"{}"\n',
    ],
)
def test_what_may_be_csv_is_left_to_the_reader(content: bytes) -> None:
    assert other_format(content) is None
