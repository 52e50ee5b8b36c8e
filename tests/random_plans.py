"""Plans as people might write them: any columns, ranges, values and classes."""

from __future__ import annotations

import tomllib
from types import MappingProxyType

from hypothesis import strategies as st

from federation.config.toml import write
from federation.plan.columns.features import Numeric
from federation.plan.identifiers import are_told_apart, cleaned
from federation.plan.plan import Plan, parse
from tests import plans

_LETTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))
_NUMBERS = st.floats(-1e12, 1e12, allow_subnormal=False) | st.integers(-(10**6), 10**6)
NAMES = st.text(_LETTERS, min_size=1, max_size=12).filter(lambda name: cleaned(name) == name != "")


def values(least: int) -> st.SearchStrategy[list[str]]:
    """Values, or classes, that a plan may list."""
    codes = st.integers(0, 99).map(str) | NAMES
    return st.lists(codes, min_size=least, max_size=5).filter(are_told_apart)


def ranges() -> st.SearchStrategy[dict[str, float]]:
    """Public ranges."""
    pairs = st.tuples(_NUMBERS, _NUMBERS).map(sorted)
    return pairs.filter(lambda pair: pair[0] < pair[1]).map(lambda pair: {"low": pair[0], "high": pair[1]})


def numbers() -> st.SearchStrategy[dict[str, object]]:
    """Ranges, with a rule for missing numbers or a scale, or none."""
    rules = st.sampled_from([{}, {}, {"missing": "indicator"}, {"scale": "symlog"}])
    fitting = st.builds(lambda pair, rule: {**pair, **rule}, ranges(), rules)
    money = st.sampled_from([{"low": 1, "high": 1000000, "scale": "log", "missing": 100}])
    return fitting.filter(_is_fit) | money


def _is_fit(shape: dict[str, object]) -> bool:
    try:
        Numeric.model_validate({"name": "x", **shape})
    except ValueError:
        return False  # no room on the scale
    return True


def texts() -> st.SearchStrategy[dict[str, object]]:
    """Lists of values, with others or without; codes; dates."""
    rules = st.sampled_from([{}, {}, {"missing": "category"}, {"other": True}])
    listed = st.builds(lambda found, rule: {"values": found, **rule}, values(1), rules)
    codes = st.builds(lambda size: {"hash": size, "missing": "category"}, st.integers(2, 40))
    day = {"since": "1999-12-31", "until": "2024-02-29", "missing": "indicator"}
    forms = st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%d%b%Y", "%B %d, %Y"])
    parts = st.sampled_from([["days"], ["month"], ["days", "weekday"], ["days", "month", "weekday"]])
    return listed | codes | st.builds(lambda form, take: {"date": form, "take": take, **day}, forms, parts)


@st.composite
def random_plans(draw: st.DrawFn, changes: plans.Changes = MappingProxyType({})) -> Plan:
    """A plan with up to five columns, with patients or without."""
    names = draw(st.lists(NAMES, min_size=3, max_size=7, unique=True))
    target, patient, *columns = names
    one = numbers() | texts()
    tables = tomllib.loads(plans.text_of(changes))
    tables["task"] |= {"target": target, "classes": draw(values(2))}
    tables["task"]["features"] = {name: draw(one) for name in columns}
    if draw(st.booleans()):
        tables["task"]["patient"] = patient
        if (tables["privacy"]["unit"], tables["privacy"]["noise"]) == ("record", "distributed"):
            tables["privacy"] |= draw(st.sampled_from([{}, {"unit": "patient"}, {"records_per_patient": 3}]))
    return parse(write(tables))
