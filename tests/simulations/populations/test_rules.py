"""What a split refuses: one line says what is wrong and what to do, shows no value, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.errors import InputError
from simulations.populations.split import split

QUOTED = "quoted"

WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no-such-column": ("", {"by": "regoin"}, 'has no column "regoin"; did you mean "region"'),
    "no-such-label": ("", {"dirichlet": 1, "sites": 2, "label": "z"}, 'has no column "z"'),
    "one-value": ("", {"by": "one"}, "the column has one value"),
    "one-site": ("", {"iid": True, "sites": 1}, "--sites must be from 2"),
    "more-sites-than-rows": ("", {"iid": True, "sites": 9}, "9 sites of 2 rows or more cannot be made of 6"),
    "more-sites-than-people": (
        "",
        {"iid": True, "sites": 6, "patient": "region", "minimum": 1},
        "2 people cannot be",
    ),
    "alpha-0": ("", {"dirichlet": 0, "sites": 2}, "--dirichlet must be from 0.001"),
    "alpha-nan": ("", {"dirichlet": float("nan"), "sites": 2}, "--dirichlet must be from 0.001"),
    "quantity-infinite": ("", {"quantity": float("inf"), "sites": 2}, "--quantity must be from 0.001"),
    "shift-2": ("", {"shift": 2, "feature": "x", "sites": 2}, "--shift must be from 0 to 1"),
    "shift-without-feature": ("", {"shift": 1, "sites": 2}, "--shift goes with --feature"),
    "shift-of-text": (
        "",
        {"shift": 1, "feature": "region", "sites": 2},
        'column "region": is not a finite number',
    ),
    "nothing-asked": ("", {}, "nothing says how the rows are dealt"),
    "two-ways": ("", {"iid": True, "by": "region"}, "in one way only"),
    "no-sites": ("", {"iid": True}, "--iid goes with --sites"),
    "sites-and-column": ("", {"by": "region", "sites": 2}, "--sites and --by contradict"),
    "across-without-people": ("", {"iid": True, "sites": 2, "across": 0.1}, "--across goes with --patient"),
    "across-by": ("", {"by": "region", "patient": "x", "across": 0.1}, "--across and --by contradict"),
    "across-too-many": ("", {"iid": True, "sites": 2, "patient": "x", "across": 0.5}, "and 0 have two rows"),
    "across-nan": ("", {"iid": True, "sites": 2, "patient": "x", "across": float("nan")}, "--across must be"),
    "test-1": ("", {"iid": True, "sites": 2, "test": 1.0}, "--test must be a share from 0 to 0.9"),
    "minimum-0": ("", {"iid": True, "sites": 2, "minimum": 0}, "--minimum must be 1 or more"),
    "seed-below-0": ("", {"iid": True, "sites": 2, "seed": -1}, "--seed must be"),
    "small-sites": ("", {"by": "x", "minimum": 2}, "6 of 6 sites would have fewer than 2 rows"),
    "never-enough": (
        "",
        {"dirichlet": 0.001, "sites": 3, "label": "y"},
        "sites always had fewer than 2",
    ),
    "label-of-many": ("", {"dirichlet": 1, "sites": 2, "label": "many"}, "has more than 1,000 values"),
    "no-test-for-all": ("", {"by": "region", "patient": "region", "test": 0.5}, "nothing to test on"),
    "one-class": (
        "",
        {"dirichlet": 1, "sites": 2, "label": "one"},
        'column "one" has one value, and no skew',
    ),
    "no-label": ("many", {"dirichlet": 1, "sites": 2}, "--dirichlet goes with --label"),
    "header-only": ("a,b\n", {"iid": True, "sites": 2}, "has a header and no rows"),
    "empty": ("\n", {"iid": True, "sites": 2}, "is empty"),
    "ragged": (f"a,b\n1,2\n{QUOTED}\n3,4\n", {"iid": True, "sites": 2}, "row 3 has 1 cell, the header has 2"),
    "no-quote": (f'a,b\n1,"{QUOTED}\n3,4\n', {"iid": True, "sites": 2}, "row 2 is not CSV"),
    "swallowed": (f'a,b\n1,"{QUOTED}\n3,4"\n5,6\n', {"iid": True, "sites": 2}, "lines look like rows"),
    "header-again": ("a,b\n1,2\na,b\n3,4\n", {"iid": True, "sites": 2}, "row 3 is the header once more"),
    "semicolons": ("a;b\n1;2\n3;4\n", {"iid": True, "sites": 2}, "separated by semicolons"),
    "no-text": ("a,b\n1,\udcff\n", {"iid": True, "sites": 2}, "row 2 is not UTF-8 text"),
    "no-header": (
        "63.0,1.0,1.0\n67.0,1.0,4.0\n",
        {"iid": True, "sites": 2},
        "the first row looks like a record",
    ),
    "no-header-of-whole-numbers": (
        "39,State-gov,77516,13\n50,Private,83311,9\n",
        {"iid": True, "sites": 2},
        "the first row looks like a record; the first row must be the columns' names: set data.columns",
    ),
    "blanks": (
        "A11 6 A34 1169\nA12 48 A32 5951\n",
        {"iid": True, "sites": 2},
        "separated by blanks",
    ),
    "one-name": (
        f"a,b\n{QUOTED},1\n{QUOTED.upper()},2\n",
        {"by": "a"},
        'rows 2 and 3, column "a": two values make',
    ),
    "no-name": ("a,b\n?,1\nx,2\n", {"by": "a"}, 'row 2, column "a": makes no name'),
    "no-file-there": ("a,b\nnul,1\nx,2\n", {"by": "a"}, 'row 2, column "a": makes no name'),
    "empty-cell": ("a,b\n x,1\n ,2\n", {"by": "a"}, 'row 3, column "a": is empty'),
    "nobody": (
        "a,b\nx,1\nn/a,2\n",
        {"iid": True, "sites": 2, "patient": "a"},
        'row 3, column "a": names nobody',
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_without_a_value_and_writes_nothing(tmp_path: Path, case: str) -> None:
    content, asked, said = WRONG[case]
    table = tmp_path / "table.csv"
    many = 1200 if "many" in (content, asked.get("label")) else 6
    columns = "one,region,x,y,many\n" if content == "many" else "one,many,region,x,y\n"
    rows = [
        f"1,{'ns'[i % 2]},{i},{i % 2},v{i}" if content == "many" else f"1,v{i},{'ns'[i % 2]},{i},{i % 2}"
        for i in range(many)
    ]
    plain = columns + "\n".join(rows) + "\n"
    table.write_bytes((content if "\n" in content else plain).encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as caught:
        split(table, tmp_path / "out", **asked)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert QUOTED not in str(caught.value).lower()
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
