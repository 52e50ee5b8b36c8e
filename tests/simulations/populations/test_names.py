"""Names of sites: whatever a value holds, it becomes a name that a folder of sites takes, or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clients.policy import SITE_ID
from simulations.populations.names import numbered, site_name


@given(st.text(max_size=100))
def test_a_name_is_one_or_empty(value: str) -> None:
    name = site_name(value)
    assert name == "" or SITE_ID.fullmatch(name)
    assert site_name(name) == name


def test_numbered_names_sort_as_their_numbers_do() -> None:
    for count in (2, 10, 100, 10_000):
        assert list(numbered(count)) == sorted(set(numbered(count)))
        assert all(SITE_ID.fullmatch(name) for name in numbered(count))
