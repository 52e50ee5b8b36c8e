"""privacy.wire: one value, one encoding, and no bytes that surprise a reader."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.wire import Reader, Writer, digest

FIELDS = st.one_of(
    *(
        st.tuples(st.just(name), st.integers(0, 2**bits - 1))
        for name, bits in {"u8": 8, "u16": 16, "u32": 32, "u64": 64}.items()
    ),
    st.tuples(st.just("blob"), st.binary(max_size=40)),
    st.tuples(st.just("text"), st.text(max_size=40)),
)


def _write(fields: list[tuple[str, object]]) -> bytes:
    writer = Writer()
    for name, value in fields:
        getattr(writer, name)(value)
    return writer.finish()


def _read(data: bytes, names: list[str]) -> list[object]:
    reader = Reader(data)
    values = [
        getattr(reader, name)(200) if name in ("blob", "text") else getattr(reader, name)() for name in names
    ]
    reader.finish()
    return values


@given(st.lists(FIELDS, max_size=8))
def test_what_is_written_is_read_back(fields: list[tuple[str, object]]) -> None:
    assert _read(_write(fields), [name for name, _ in fields]) == [value for _, value in fields]


@given(st.lists(FIELDS, min_size=1, max_size=6), st.integers(1, 20))
def test_every_truncation_and_every_extension_is_malformed(
    fields: list[tuple[str, object]], cut: int
) -> None:
    data, names = _write(fields), [name for name, _ in fields]
    for wrong in (data[: max(0, len(data) - cut)], data + bytes(cut)):
        with pytest.raises(MalformedMessage):
            _read(wrong, names)


@given(
    st.binary(max_size=60), st.lists(st.sampled_from(["u8", "u16", "u32", "u64", "blob", "text"]), max_size=6)
)
def test_any_bytes_are_read_or_malformed_and_reading_is_canonical(data: bytes, names: list[str]) -> None:
    try:
        values = _read(data, names)
    except MalformedMessage:
        return
    assert _write(list(zip(names, values, strict=True))) == data


def test_a_layout_is_big_endian_with_lengths_before() -> None:
    data = Writer().u8(1).u16(2).u32(3).u64(4).fixed(b"ab").blob(b"cd").text("é").finish()
    assert data.hex() == "010002000000030000000000000004616200000002636400000002c3a9"


@pytest.mark.parametrize(("name", "bits"), [("u8", 8), ("u16", 16), ("u32", 32), ("u64", 64)])
def test_an_integer_that_does_not_fit_is_refused(name: str, bits: int) -> None:
    for value in (-1, 2**bits):
        with pytest.raises(ValueError, match=f"{bits}-bit"):
            getattr(Writer(), name)(value)


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read() -> None:
    with pytest.raises(MalformedMessage, match="longer than 5 bytes"):
        Reader((2**32 - 1).to_bytes(4, "big")).blob(5)


def test_text_that_is_not_utf8_is_malformed() -> None:
    for wrong in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80"):
        with pytest.raises(MalformedMessage, match="UTF-8"):
            Reader(Writer().blob(wrong).finish()).text()


def test_a_digest_is_sha256_of_length_prefixed_parts() -> None:
    plain = b"\0\0\0\x01L" + b"\0\0\0\x02ab" + b"\0\0\0\0"
    assert digest("L", b"ab", b"") == hashlib.sha256(plain).digest()


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_a_digest_keeps_parts_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (digest("L", *one) == digest("L", *other)) is (one == other)
    assert digest("L", *one) != digest("M", *one)
