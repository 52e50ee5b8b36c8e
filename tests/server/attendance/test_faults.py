"""Who is left out for shares that did not open: never more honest sites than liars, never more than colluders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.attendance.faults import Faults

SITES = tuple(f"{number:02d}" for number in range(12))


def faults(*pairs: tuple[str, str]) -> Faults:
    found = Faults()
    found.accuse(pairs)
    return found


def groups(known: Faults, colluders: int) -> list[set[str]]:
    return [set(group) for group in known.groups(colluders)]


def test_of_one_accusation_both_are_left_out() -> None:
    assert groups(faults(("a", "b")), 1) == [{"a", "b"}]


def test_who_is_accused_by_more_than_can_lie_is_left_out_alone() -> None:
    assert groups(faults(("a", "d"), ("b", "d")), 1) == [{"d"}]
    assert groups(faults(("a", "d"), ("b", "d")), 2) == [{"a", "d"}]
    assert groups(faults(("a", "d"), ("b", "d"), ("c", "d")), 2) == [{"d"}]


def test_who_accuses_more_than_can_deal_badly_is_left_out_alone() -> None:
    assert groups(faults(("d", "a"), ("d", "b")), 1) == [{"d"}]


def test_no_more_are_left_out_than_can_collude() -> None:
    known = faults(("a", "b"), ("c", "d"), ("e", "f"))
    assert [len(groups(known, colluders)) for colluders in (0, 1, 2, 3)] == [0, 1, 2, 3]


def test_who_is_proven_to_be_at_fault_is_left_out_and_takes_nobody_along() -> None:
    known = faults(("a", "d"), ("b", "c"))
    known.prove(["d"])
    assert groups(known, 1) == [{"d"}, {"b", "c"}]
    assert groups(known, 0) == [{"d"}]


def test_what_is_told_names_both_and_does_not_judge() -> None:
    assert faults(("a", "b")).told() == "a says that its share from b does not open"
    assert Faults().told() == ""


@given(data=st.data(), liars=st.integers(0, 4), more=st.integers(0, 2))
def test_never_more_honest_sites_are_left_out_than_liars(data: st.DataObject, liars: int, more: int) -> None:
    """Liars deal badly to whom they like and accuse whom they like; honest sites say what is true."""
    bad = SITES[:liars]
    accuser, accused = st.sampled_from(SITES), st.sampled_from(SITES)
    pairs = data.draw(
        st.lists(
            st.tuples(accuser, accused).filter(
                lambda pair: pair[0] != pair[1] and (pair[0] in bad or pair[1] in bad)
            ),
            max_size=30,
        )
        if liars
        else st.just([])
    )
    known, colluders = faults(*pairs), liars + more
    for count in range(len(pairs) + 1):
        said = faults(*pairs[:count])
        out = [site for group in said.groups(colluders) for site in group]
        assert len(out) == len(set(out))
        assert sum(site not in bad for site in out) <= sum(site in bad for site in out)
    left = set().union(*known.groups(colluders))
    open_ = [pair for pair in pairs if not left & set(pair)]
    assert not open_, "with as many colluders as the plan says, every accusation has an end"


@pytest.mark.parametrize("colluders", range(1, 4))
def test_more_liars_than_the_plan_says_still_push_out_no_majority(colluders: int) -> None:
    pairs = [(liar, site) for liar in SITES[:6] for site in SITES[6:]]
    out = {site for group in faults(*pairs).groups(colluders) for site in group}
    assert len(out) <= 2 * colluders
