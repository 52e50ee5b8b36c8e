"""One plan of several tables takes what is in any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.data.load import read_csv
from clients.data.sources.reading import read
from clients.data.sources.table import Table
from clients.drafting.plans import propose
from clients.drafting.several import as_one
from federation.errors import DataError
from federation.plan.tabular import TabularTask

CLEVELAND = "age,ca,num\n" + "".join(f"{30 + row},{row % 3},{row % 2}\n" for row in range(30))
SWITZERLAND = "num,ca,age\n" + "".join(f"{row % 2},{'?' if row % 4 else 3},{20 + row}\n" for row in range(24))


def tables_in(folder: Path, *texts: str) -> list[Table]:
    found = []
    for number, text in enumerate(texts):
        (folder / f"{number}.csv").write_text(text)
        found.append(read(folder / f"{number}.csv"))
    return found


def test_the_plan_of_one_table_refuses_another_site_and_the_plan_of_both_takes_it(tmp_path: Path) -> None:
    both = tables_in(tmp_path, CLEVELAND, SWITZERLAND)
    one, all_of_them = (propose(as_one(some), "num", "heart").plan.task for some in (both[:1], both))
    assert isinstance(one, TabularTask) and isinstance(all_of_them, TabularTask)
    assert len(read_csv(tmp_path / "0.csv", one)) == 30
    with pytest.raises(DataError, match='column "ca"'):
        read_csv(tmp_path / "1.csv", one)
    assert [len(read_csv(tmp_path / f"{number}.csv", all_of_them)) for number in range(2)] == [30, 24]
    columns = as_one(both)
    assert (len(columns), columns.header) == (54, ("age", "ca", "num"))
    assert columns.column("age") == [*both[0].column("age"), *both[1].column("age")]


@pytest.mark.parametrize(
    ("other", "words"),
    [("age,num\n1,2\n", 'has no column "ca"'), ("age,ca,num,x\n1,2,0,1\n", 'has no column "x"')],
    ids=["a column less", "a column more"],
)
def test_tables_of_other_columns_are_refused(tmp_path: Path, other: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_one(tables_in(tmp_path, CLEVELAND, other))
