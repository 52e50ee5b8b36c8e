"""One value, one text; and what is read is of the type it should be, with nothing left over."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from privacy.canonical import MAX_WHOLE, Fields, canonical, parsed, settled

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_WHOLE, MAX_WHOLE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


@given(OBJECTS)
@example({"x": 1e20})
@example({"x": 1e16})
@example({"x": -0.0})
@example({"x": 5e-324})
@example({"\U0001f600": 1, "\ufb33": 2})
def test_what_settles_is_read_back_from_its_text_unchanged(data: dict[str, Any]) -> None:
    """DP-44: huge and tiny numbers, and any names, either come back the same or are refused when written."""
    try:
        plain = settled(data)
    except ValueError:
        assert _is_hard(data)
        return
    assert parsed(canonical(plain)) == plain == data
    assert canonical(plain) == canonical(data)


def _is_hard(data: Any) -> bool:
    """Whether there is a whole float in it that is written like an integer past 2^53."""
    if isinstance(data, dict | list):
        return any(map(_is_hard, data.values() if isinstance(data, dict) else data))
    return isinstance(data, float) and 2**53 <= abs(data) < 1e21


def test_minus_zero_and_zero_are_one_number() -> None:
    """DP-44: -0.0 has the text of 0."""
    assert canonical({"x": -0.0}) == canonical({"x": 0}) == canonical({"x": 0.0}) == '{"x":0}'


def test_a_number_too_small_for_a_float_is_zero() -> None:
    """DP-44: 1e-400 is read as 0, and only the canonical 0 is accepted as a text."""
    assert canonical(json.loads('{"x":1e-400}')) == '{"x":0}'
    with pytest.raises(ValueError, match="canonical"):
        parsed('{"x":1e-400}')


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30, 1e17, 1e20, -1e18])
def test_integers_that_readers_of_json_disagree_on_are_refused(number: float) -> None:
    """DP-44: huge integers, also in the guise of floats that are written like integers."""
    with pytest.raises(ValueError):
        settled({"x": number})
    with pytest.raises(ValueError):
        parsed(json.dumps({"x": int(number)}))


def test_floats_past_the_integers_keep_their_value() -> None:
    """DP-44: 1e21 is the first that is written with an exponent again."""
    assert settled({"x": 1e21, "y": 1.5e300}) == {"x": 1e21, "y": 1.5e300}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(number: float) -> None:
    """DP-44: NaN and the infinities have no JSON."""
    with pytest.raises(ValueError):
        canonical({"x": number})


@pytest.mark.parametrize("text", ['{"x":NaN}', '{"x":Infinity}', '{"x":-Infinity}', '{"x":1e999}'])
def test_what_python_alone_reads_as_a_number_is_refused(text: str) -> None:
    """DP-44: Python's reader accepts more than JSON."""
    with pytest.raises(ValueError):
        parsed(text)


def test_texts_that_look_alike_stay_different() -> None:
    """DP-44: no normalization; composed and decomposed letters are two texts."""
    composed, decomposed = "M\u00fcller", unicodedata.normalize("NFD", "M\u00fcller")
    assert composed != decomposed
    assert canonical({"site": composed}) != canonical({"site": decomposed})
    both = {composed: 1, decomposed: 2}
    assert settled(both) == both


def test_half_a_character_is_refused() -> None:
    """DP-44: a lone surrogate has no UTF-8."""
    with pytest.raises(ValueError):
        canonical({"x": "\ud800"})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "3", "null", "{", '{"a": 1}', '{"a":1}\n', ' {"a":1}', '{"a":1,"a":1}', '{"b":1,"a":1}',
        '{"a":1.0}',         '{"a":"\\u00e9"}', '{"a":' * 100_000, None, b'{"a":1}', 3,
    ],
)  # fmt: skip
def test_only_the_one_text_is_read(text: object) -> None:
    with pytest.raises(ValueError, match="is no canonical JSON object"):
        parsed(text)


def test_the_order_of_names_is_that_of_utf_16() -> None:
    # RFC 8785, section 3.2.3: U+1F600 is written as two surrogates, which come before U+FB33.
    assert canonical({"\ufb33": 2, "\U0001f600": 1}) == '{"\U0001f600":1,"\ufb33":2}'


FIELDS: list[tuple[str, list[Any], list[Any]]] = [
    ("text", ["", "a"], [1, None, True, ["a"]]),
    ("whole", [0, MAX_WHOLE], [-1, True, 1.0, "1", None, 2**53]),
    ("number", [0, -1.5], [True, "1", None]),
    ("flag", [True, False], [0, 1, None, "true"]),
    ("rows", [[], [1]], [{}, "ab", None]),
    ("table", [{}, {"a": 1}], [[], "ab", None]),
]


@pytest.mark.parametrize(("kind", "good", "bad"), FIELDS)
def test_a_field_is_of_its_type_or_refused(kind: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        fields = Fields({"x": value})
        assert getattr(fields, kind)("x") == value
        fields.finish()
    for value in bad:
        with pytest.raises(ValueError, match="'x'"):
            getattr(Fields({"x": value}), kind)("x")
    with pytest.raises(ValueError, match="lacks 'x'"):
        getattr(Fields({}), kind)("x")


@pytest.mark.parametrize(
    "value", ["AB", "0x", "a", "abc", "a b", " ab", "abcd", "\u0660\u0660", 3, None, b"ab"]
)
def test_bytes_have_one_spelling(value: object) -> None:
    assert Fields({"x": "ab"}).octets("x", 1) == b"\xab"
    with pytest.raises(ValueError, match="hexadecimal"):
        Fields({"x": value}).octets("x", 1)


def test_nothing_may_be_left_over() -> None:
    fields = Fields({"x": 1, "more": 2})
    fields.whole("x")
    with pytest.raises(ValueError, match="unknown field 'more'"):
        fields.finish()
    with pytest.raises(ValueError, match="lacks 'x'"):
        fields.whole("x")
    with pytest.raises(ValueError, match="no object"):
        Fields([1])
