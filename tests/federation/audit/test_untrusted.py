"""JSON of which two readers could see two things is refused, and so is what is no file that ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from federation.audit.untrusted import MAX_DEPTH, Torn, is_regular, json_of, text_of

DEEP = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)


def test_plain_json_is_read() -> None:
    text = '{"a": [1, -2.5, "ü", true, null, {"b": 1e-9}], "c": 12345678901234567890}'
    assert json_of(text) == {"a": [1, -2.5, "ü", True, None, {"b": 1e-9}], "c": 12345678901234567890}
    assert json_of(DEEP) is not None


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', '"a', "nul", "\ufeff{}", "{} {}"])
def test_what_is_not_whole_is_torn(text: str) -> None:
    with pytest.raises(Torn):
        json_of(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '[{"b": {"a": 1, "a": 2}}]',
        "NaN",
        '{"a": -Infinity}',
        "1e999",
        "9" * 21,
        "-" + "9" * 5000,
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * 100 + "]" * 100,
        "[" * 200_000 + "]" * 200_000,
        '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)
def test_what_readers_differ_about_is_refused_and_is_not_torn(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        json_of(text)
    assert not isinstance(caught.value, Torn)


def test_only_a_file_that_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text", "utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    assert text_of(tmp_path / "link") == "text"
    for name in (".", "pipe", "loop", "nowhere"):
        assert not is_regular(tmp_path / name)
        with pytest.raises(OSError, match="no regular file"):
            text_of(tmp_path / name)
    assert not is_regular(Path("/dev/zero"))
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="utf-8"):
        text_of(tmp_path / "file")
