"""How many share what an outsider may know: known answers, bounds for any table, and words without values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.describing.anonymity import anonymity, summary_of, warnings_of
from federation.errors import DataError
from tests.clients.data.tables import table_of

HEADER = ("age", "sex", "diagnosis", "stay")
ROWS = [
    ("30", "m", "flu", 1),
    ("30", "m", "flu", 2),
    ("30", "m", "cold", 7),
    ("41", "f", "flu", 3),
    ("41", "f", "asthma", 3),
    ("41", "m", "cold", 9),
    ("41", "m", "cold", 8),
    ("30", "f", "asthma", 5),
    ("30", "f", "flu", 4),
    ("30", "f", "cold", 6),
    ("52", "m", "flu", 1),
]
TABLE = table_of(HEADER, ROWS)


@pytest.mark.parametrize(
    ("quasi", "sensitive", "k", "diversity", "closeness"),
    [  # as pycanon 1.3.6 has them
        (["age"], "diagnosis", 1, 1, 0.5454545454545454),
        (["age"], "stay", 1, 1, 0.43181818181818177),
        (["age", "sex"], "diagnosis", 1, 1, 0.6363636363636364),
        (["age", "sex"], "stay", 1, 1, 0.5056818181818182),
        (["sex"], "diagnosis", 5, 2, 0.21818181818181817),
        (["sex"], "stay", 5, 4, 0.15909090909090912),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_figures_agree_with_those_of_another_library(
    quasi: list[str], sensitive: str, k: int, diversity: int, closeness: float
) -> None:
    found = anonymity(TABLE, quasi, sensitive)
    assert (found.k, found.diversity) == (k, diversity)
    assert found.closeness == pytest.approx(closeness, abs=1e-12)


def test_rows_of_one_person_are_one_in_the_crowd() -> None:
    found = anonymity(TABLE, ["sex"], None, np.zeros(len(ROWS), np.int64))
    assert (found.people, found.k, found.alone) == (1, 1, 2)


def test_warnings_name_columns_and_counts_and_no_value() -> None:
    found = anonymity(TABLE, ["age", "sex"], "diagnosis")
    lines = [*warnings_of(found, ["age", "sex"], "diagnosis", "record")]
    assert lines[0].startswith(
        '11 of 11 records share their values of "age", "sex" with fewer than 4 others, 1 with'
    )
    assert all(word in line for word, line in zip(("k-anon", "l-div", "t-close"), lines, strict=True))
    told = summary_of(found, ["age", "sex"], "diagnosis", "record")
    assert told.endswith('"diagnosis" l-diversity 1, t-closeness 0.64')
    assert not any(value in " ".join([*lines, told]) for value in ("30", "52", "flu", "asthma"))
    assert [*warnings_of(anonymity(TABLE, ["sex"], "stay"), ["sex"], "stay", "record")] == []
    assert "11" not in repr(found)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match='has no column "postcode"'):
        anonymity(TABLE, ["postcode"], None)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 3)), min_size=1, max_size=30
    )
)
def test_any_table_has_figures_within_their_bounds(rows: list[tuple[str, str, int]]) -> None:
    table = table_of(("a", "b", "s"), rows)
    coarse, fine = anonymity(table, ["a"], "s"), anonymity(table, ["a", "b"], "s")
    assert 1 <= fine.k <= coarse.k <= len(rows)
    assert fine.alone <= fine.small <= fine.people == len(rows)
    assert fine.diversity is not None and coarse.diversity is not None and fine.diversity <= coarse.diversity
    assert fine.closeness is not None and 0 <= fine.closeness <= 1
