"""A site's files: what is read, and that every complaint names the place and never the value."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clients.data.load import patients_in, protected, read_csv, read_data, site_data
from clients.data.split import split
from clients.policy import Policy
from federation.errors import DataError, FederationError, TaskError
from federation.model.task import Dataset, Source, Task, build_task, cross_entropy
from federation.plan.plan import Plan, parse
from federation.plan.tasks import Classification
from privacy.errors import PolicyViolation, UnsafeParameters
from tests.clients.data.test_split import dataset
from tests.patience import within
from tests.plans import TEXT, changed, for_patients

TASK = Classification.model_validate(
    {
        "kind": "tabular-classification",
        "target": "num",
        "classes": ["0", "1"],
        "model": "logistic",
        "features": {"age": {"low": 20, "high": 90}, "cp": {"values": ["1", "2", "atypical"]}},
    }
)
ROWS = "age,cp,num,other\n55,1,0,x\n20,2,1,\n90,atypical,1,y\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.csv"
    path.write_text(ROWS)
    return path


def refused(path: Path, content: str | bytes) -> str:
    """The one line that a file is refused with."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        read_csv(path, TASK)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and "; " in line
    assert caught.value.exit_code == 2
    assert "SECRET" not in line
    return line.removeprefix(f"{path}: ")


def test_a_row_is_scaled_by_public_ranges_and_one_hot(site: Path) -> None:
    data = read_csv(site, TASK)
    expected = [[0.0, 1, 0, 0], [-1.0, 0, 1, 0], [1.0, 0, 0, 1]]
    assert torch.equal(data.features, torch.tensor(expected))
    assert torch.equal(data.labels, torch.tensor([0, 1, 1]))
    assert data.features.dtype == torch.float32 and data.labels.dtype == torch.int64


@settings(max_examples=50)
@given(
    ages=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    low=st.floats(-1e300, 1e300),
    width=st.floats(1e-3, 1e300),
)
def test_every_number_lands_where_the_formula_says_inside_the_box(
    tmp_path_factory: pytest.TempPathFactory, ages: list[float], low: float, width: float
) -> None:
    high = low + width
    if not low / 2 < high / 2:
        return
    task = TASK.model_copy(update={"features": TASK.features[:1]})
    numeric = task.features[0].model_copy(update={"low": low, "high": high})
    task = task.model_copy(update={"features": (numeric,)})
    path = tmp_path_factory.mktemp("scaled") / "site.csv"
    path.write_text("age,num\n" + "".join(f"{age!r},0\n" for age in ages))
    features = read_csv(path, task).features.numpy()[:, 0]
    clipped = np.clip(np.array(ages), low, high)
    assert np.all(np.abs(features) <= 1)
    assert np.allclose(features, 2 * ((clipped / 4 - low / 4) / (high / 4 - low / 4)) - 1, atol=1e-6)


def test_columns_come_in_the_plans_order_whatever_the_files(site: Path) -> None:
    data = read_csv(site, TASK)
    site.write_text("other, num ,cp,age\nx,0,1,55\n,1,2,20\ny,1,atypical,90\n")
    again = read_csv(site, TASK)
    assert torch.equal(data.features, again.features) and torch.equal(data.labels, again.labels)


def test_a_whole_number_matches_as_pandas_writes_it_beside_an_empty_cell(site: Path) -> None:
    site.write_text("age,cp,num\n55.0,1.0,0.0\n 20 ,2, 1\n90,atypical,1.0\n")
    assert read_csv(site, TASK).features.argmax(dim=1).tolist() == [1, 2, 0]
    assert read_csv(site, TASK).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + ROWS.encode(),
        ROWS.replace("\n", "\r\n").encode(),
        ROWS.replace("\n", "\r").encode(),
        (ROWS + "\n\n  \n").replace("  \n", "").encode(),
        ROWS.replace("atypical", '"atypical"').encode(),
        ROWS.replace(",x", ',"a, b\nc"').encode(),
        ROWS.rstrip("\n").encode(),
    ],
)
def test_the_dialects_of_spreadsheets_are_read(site: Path, content: bytes) -> None:
    expected = read_csv(site, TASK)
    site.write_bytes(content)
    data = read_csv(site, TASK)
    assert torch.equal(data.features, expected.features) and torch.equal(data.labels, expected.labels)


def test_a_row_is_counted_as_a_text_editor_does(site: Path) -> None:
    assert refused(site, "age,cp,num\n55,1,0\nSECRET,1,0\n").startswith('row 3, column "age": ')
    assert refused(site, "age,cp,num\n\n55,1,0\n\nSECRET,1,0\n").startswith("row 5, ")
    assert refused(site, 'age,cp,num,note\n55,1,0,"two\nlines"\nSECRET,1,0,x\n').startswith("row 4, ")
    assert refused(site, "age,cp,num\r\n55,1,0\r\nSECRET,1,0\r\n").startswith("row 3, ")


CELLS = [
    ("SECRET,1,0", 'row 2, column "age": is not a finite number; drop or fill such rows'),
    ("?,1,0", 'column "age": is not a finite number'),
    ("5_5,1,0", 'column "age": is not a finite number'),
    ('"5,5",1,0', 'column "age": is not a finite number'),
    (",1,0", 'row 2, column "age": is empty; drop or fill such rows'),
    ("  ,1,0", 'column "age": is empty'),
    ("nan,1,0", 'column "age": is not a finite number'),
    ("-inf,1,0", 'column "age": is not a finite number'),
    ("1e999,1,0", 'column "age": is not a finite number'),
    (
        "55,SECRET,0",
        "row 2, column \"cp\": is not one of the plan's values; correct the cell, or the plan's list",
    ),
    ("55,3,0", 'row 2, column "cp": is not one of the plan\'s values'),
    ("55,Atypical,0", 'column "cp": is not one of the plan\'s values'),
    ("55,,0", 'row 2, column "cp": is empty'),
    ("55,nan,0", 'column "cp": is not one of the plan\'s values'),
    ("55,1,2", 'row 2, column "num": is not one of the plan\'s values'),
    ("55,1,SECRET", 'row 2, column "num": is not one of the plan\'s values'),
    ("55,1,", 'row 2, column "num": is empty'),
    ("55,1", "row 2 has 2 cells, the header has 3; look for a comma"),
    ("55,1,0,SECRET", "row 2 has 4 cells, the header has 3"),
    (
        '55,"SECRET"x,0',
        "row 2 is not CSV: text follows a quote that closes; look there for a stray or missing",
    ),
    ('55,"SECRET,0\n1,2,0', "row 2 is not CSV"),
    ("S" * 200_000 + ",1,0", "row 2 is not CSV"),
]


@pytest.mark.parametrize(("row", "expected"), CELLS)
def test_a_wrong_cell_is_named_by_its_place(site: Path, row: str, expected: str) -> None:
    assert expected in refused(site, f"age,cp,num\n{row}\n55,1,0\n")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty; it needs a header and rows"),
        ("\n\n", "is empty"),
        ("age,cp,num\n", "has a header and no rows"),
        ("age,cp,num", "has a header and no rows"),
        ("aeg,cp,num\n1,1,0\n", 'has no column "age"; did you mean "aeg"?'),
        (
            "Age,cp,nun\n1,1,0\n",
            'has no columns "age", "num"; did you mean "Age" for "age", "nun" for "num"?',
        ),
        ("x,cp,num\n1,1,0\n", 'has no column "age"; valid here: x, cp, num'),
        ("age,cp\n1,1\n", 'has no column "num"'),
        ('"x\ny",cp,num\n1,1,0\n', 'has no column "age"; the first row must be'),
        (",".join(f"c{i:03}" for i in range(99)) + "\n" + "1," * 98 + "1\n", "c013, c014, ..."),
        (
            "55.0,1,0\n60,1,0\n",
            'has no columns "age", "cp", "num"; the first row must be the columns\' names',
        ),
        (
            "age;cp;num\n1;1;0\n",
            'separated by semicolons; set data.separator = ";" in site.toml',
        ),
        (
            "age;cp (a, b);num\n1;0,5;0\n",
            'no columns "age", "cp", "num"; set data.separator = ";" in site.toml',
        ),
        ("age,cp,num,age\n1,1,0,1\n", 'has two columns "age"; rename or remove one'),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a binary file; save it as CSV, UTF-8"),
        (b"age,cp,num\n1,1,0\n\xe9,1,0\n", "row 3 is not UTF-8 text; save it as CSV, UTF-8"),
        ("age,cp,num\n1,1,0\n".encode("utf-16"), "is UTF-16 text; set data.encoding in site.toml"),
    ],
)
def test_a_wrong_file_is_one_line(site: Path, content: str | bytes, expected: str) -> None:
    assert expected in refused(site, content)


def test_a_header_that_may_be_data_is_not_shown(site: Path) -> None:
    line = refused(site, "63.0,SECRET,0\n67.0,SECRET,1\n")
    assert "63" not in line and "67" not in line


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; check data\.source"):
        read_csv(tmp_path / "absent.csv", TASK)
    with pytest.raises(DataError, match=r"cannot be read .*: check data\.source"):
        read_csv(tmp_path, TASK)
    with pytest.raises(DataError, match="no such file"):
        read_csv(tmp_path / "site.parquet", TASK)


@settings(max_examples=100)
@given(
    content=st.one_of(st.binary(max_size=80), st.lists(st.lists(st.text(max_size=6), max_size=4), max_size=5))
)
def test_any_bytes_are_a_dataset_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "site.csv"
    if isinstance(content, list):
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows(content)
        content = b"age,cp,num\n" + buffer.getvalue().encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    with suppress(DataError):
        assert bool(torch.isfinite(read_csv(path, TASK).features).all())


def test_a_hundred_thousand_rows_take_seconds_at_most(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("age,cp,num\n" + "".join(f"{20 + i % 70},{1 + i % 2},{i % 2}\n" for i in range(100_000)))
    with within(5):
        data = read_csv(path, TASK)
        train, test = split(data, 0.2, 7)
    assert test is not None
    assert (len(train), len(test)) == (80_000, 20_000)


# Patients

WITH_PATIENTS = TASK.model_copy(update={"patient": "mrn"})


def test_patients_are_numbered_as_they_appear_and_are_no_feature(site: Path) -> None:
    site.write_text(
        "mrn,age,cp,num\nB7,55,1,0\n a ,20,2,1\nB7,90,1,1\nA,30,1,0\na,31,1,0\n007,40,1,0\n7,40,1,0\n"
    )
    data = read_csv(site, WITH_PATIENTS)
    assert data.patients is not None and data.patients.dtype == torch.int64
    assert data.patients.tolist() == [0, 1, 0, 2, 1, 3, 4]  # exact texts, but for blanks around them
    assert patients_in(data) == 5
    assert torch.equal(data.features, read_csv(site, TASK).features)
    assert patients_in(read_csv(site, TASK)) is None


def test_the_id_of_a_patient_is_the_same_number_in_every_file(site: Path) -> None:
    """Blanks and invisible characters aside: so a patient is held out at all sites or at none."""
    site.write_text("mrn,age,cp,num\nB7,55,1,0\nA,20,2,1\nB7,90,1,1\n")
    here = read_csv(site, WITH_PATIENTS).ids
    site.write_text("mrn,age,cp,num\n A\u200b ,20,2,1\nC,30,1,0\n")
    there = read_csv(site, WITH_PATIENTS).ids
    assert here is not None and there is not None
    assert here[0] == here[2] != here[1] == there[0] != there[1]
    assert read_csv(site, TASK).ids is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("mrn,age,cp,num\nSECRET,55,1,0\n,20,2,1\n", 'row 3, column "mrn": is empty; every row needs'),
        ("mrn,age,cp,num\nSECRET,55,1,0\n  ,20,2,1\n", 'row 3, column "mrn": is empty'),
        ("mnr,age,cp,num\nSECRET,55,1,0\n", 'has no column "mrn"; did you mean "mnr"?'),
        ("mrn,age,cp,num,mrn\nSECRET,55,1,0,1\n", 'has two columns "mrn"'),
    ],
)
def test_a_row_that_is_nobodys_is_named_by_its_place(site: Path, content: str, expected: str) -> None:
    site.write_text(content)
    with pytest.raises(DataError) as caught:
        read_csv(site, WITH_PATIENTS)
    assert expected in str(caught.value) and "SECRET" not in str(caught.value)


def plan_and_site(folder: Path, text: str, content: str) -> tuple[Path, Plan, Task]:
    plan = parse(text.replace('["1", "2", "3", "4"]', '["1", "2", "atypical"]'))
    path = folder / "site.csv"
    path.write_text(content)
    return path, plan, build_task(plan)


def by_patient(*records: int) -> str:
    """A file in which patient i has records[i] records."""
    lines = [
        f"SECRET{who},{20 + who + 3 * n},1,{who % 2}"
        for who, count in enumerate(records)
        for n in range(count)
    ]
    return "mrn,age,cp,num\n" + "\n".join(lines) + "\n"


KNOWN = changed('target = "num"', 'target = "num"\npatient = "mrn"')


def test_a_patient_with_more_records_than_the_plan_says_is_refused_and_not_described(tmp_path: Path) -> None:
    """DP-27: duplicate records of one patient are found where patients are known."""
    content = by_patient(1, 3, 2)
    for most in ("", "records_per_patient = 1", "records_per_patient = 2"):
        text = KNOWN.replace('unit = "record"', f'unit = "record"\n{most}')
        with pytest.raises(DataError) as caught:
            read_data(*plan_and_site(tmp_path, text, content))
        line = str(caught.value)
        assert "a patient has more records than privacy.records_per_patient allows; agree on" in line
        assert "SECRET" not in line and "3" not in line.removeprefix(str(tmp_path))
    text = KNOWN.replace('unit = "record"', 'unit = "record"\nrecords_per_patient = 3')
    assert patients_in(read_data(*plan_and_site(tmp_path, text, content))) == 3
    assert patients_in(read_data(*plan_and_site(tmp_path, KNOWN, by_patient(1, 1)))) == 2


def test_where_the_plan_protects_patients_or_nobody_it_does_not_count_their_records(tmp_path: Path) -> None:
    content = by_patient(1, 3, 2)
    client = KNOWN.replace('unit = "record"', 'unit = "client"')
    nobody = KNOWN.replace(
        'noise = "distributed"\nepsilon = 3.0\ndelta = 1e-5\nclipping_norm = 1.0', 'noise = "none"'
    )
    for text in (for_patients(), client, nobody):
        assert len(read_data(*plan_and_site(tmp_path, text, content))) == 6


def test_a_patient_with_more_records_than_the_policy_says_is_refused_and_not_counted(tmp_path: Path) -> None:
    whole = KNOWN.replace("holdout = 0.2", "holdout = 0.0")
    text = whole.replace('unit = "record"', 'unit = "record"\nrecords_per_patient = 5')
    path, plan, task = plan_and_site(tmp_path, text, by_patient(1, 3, 2, 2, 1))
    limit = {"epsilon_max": 9.0, "sites": 2}
    values = Policy.for_plan(plan).model_dump()
    with pytest.raises(
        PolicyViolation, match=r"policy\.patient\.records: a patient has more records"
    ) as caught:
        site_data(
            path, None, plan, task, Policy.model_validate({**values, "patient": {**limit, "records": 2}})
        )
    assert "3" not in str(caught.value) and "SECRET" not in str(caught.value)
    allowed = Policy.model_validate({**values, "patient": {**limit, "records": 3}})
    assert patients_in(site_data(path, None, plan, task, allowed).training) == 5
    path, plan, task = plan_and_site(tmp_path, for_patients(), by_patient(3))
    assert (
        len(site_data(path, None, plan, task, Policy.for_plan(plan)).training) == 3
    )  # protected whole, however many


def test_delta_is_held_against_those_that_the_plan_protects(tmp_path: Path) -> None:
    """DP-8: delta >= 1/N is refused, where N counts patients if patients are protected."""
    content = by_patient(*[4] * 10)  # forty records of ten patients
    for delta, refused_for in (
        (0.2, "record, patient"),
        (0.1, "record, patient"),
        (0.05, "record"),
        (0.02, ""),
    ):
        for text in (
            for_patients(),
            KNOWN.replace('unit = "record"', 'unit = "record"\nrecords_per_patient = 4'),
        ):
            whole = text.replace("holdout = 0.2", "holdout = 0.0")
            path, plan, task = plan_and_site(tmp_path, whole.replace("1e-5", str(delta)), content)
            if plan.privacy.unit in refused_for:
                with pytest.raises(UnsafeParameters, match=r"must be below 1/N"):
                    site_data(path, None, plan, task, Policy.for_plan(plan))
            else:
                data = site_data(path, None, plan, task, Policy.for_plan(plan)).training
                assert protected(plan, data) == (10 if plan.privacy.unit == "patient" else 40)
    client = KNOWN.replace('unit = "record"', 'unit = "client"').replace("1e-5", "0.5")
    path, plan, task = plan_and_site(tmp_path, client.replace("holdout = 0.2", "holdout = 0.0"), content)
    assert len(site_data(path, None, plan, task, Policy.for_plan(plan)).training) == 40  # N counts sites then


@pytest.mark.parametrize("holdout", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("unit", ["record", "patient"])
def test_a_pool_of_one_is_read_like_any_other_and_kept_together(
    tmp_path: Path, unit: str, holdout: float
) -> None:
    """DP-56: one record, or one patient, is trained on or held out by its own hash; no refusal tells which."""
    text = (for_patients() if unit == "patient" else KNOWN).replace("holdout = 0.2", f"holdout = {holdout}")
    path, plan, task = plan_and_site(tmp_path, text, by_patient(4 if unit == "patient" else 1))
    records = site_data(path, None, plan, task, Policy.for_plan(plan))
    training, held_out = records.training, records.held_out
    sizes = [len(training), 0 if held_out is None else len(held_out)]
    assert sorted(sizes) == [0, 4 if unit == "patient" else 1]
    assert protected(plan, training) == (1 if sizes[0] else 0)
    assert holdout > 0 or sizes[1] == 0


# The user's own data function


def own_plan() -> Plan:
    table = TEXT[TEXT.index("[task]") : TEXT.index("[cohort]")]
    return parse('task = "my_package.readmission:task"\n' + TEXT.replace(table, ""))


def numbered(*numbers: int | float) -> Dataset:
    """Two rows with these patients."""
    return Dataset(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), torch.tensor(numbers))


def identified(patients: Any, ids: Any) -> Dataset:
    """Two rows with these patients and ids."""
    numbers = None if patients is None else torch.tensor(patients)
    return Dataset(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), numbers, torch.tensor(ids))


def own_task(result: object) -> Task:
    def data(source: Source) -> Dataset:
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[return-value]

    return Task("mine", lambda: nn.Linear(3, 2), cross_entropy, data)


def test_the_plans_own_table_and_the_users_own_function_are_both_read(site: Path) -> None:
    text = TEXT.replace('["1", "2", "3", "4"]', '["1", "2", "atypical"]')
    plan = parse(text)
    assert len(read_data(site, plan, build_task(plan))) == 3
    mine = dataset([0, 1])
    assert read_data(site, own_plan(), own_task(mine)) is mine


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, r"is no federation\.Dataset"),
        (Dataset(torch.zeros(2, 3), torch.zeros(2)), "int64 labels"),
        (Dataset(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64)), "a label for each"),
        (Dataset(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)), "must have records"),
        (Dataset(torch.full((1, 3), torch.nan), torch.zeros(1, dtype=torch.int64)), "finite"),
        (ValueError("patient SECRET\nis odd"), "failed with ValueError"),
        (numbered(0), "must number its patients"),
        (numbered(0, 2), "must number its patients"),
        (numbered(1, 2), "must number its patients"),
        (numbered(-1, 0), "must number its patients"),
        (identified([0, 1], [5, 5]), "must give each of its patients one id"),
        (identified([0, 0], [5, 6]), "must give each of its patients one id"),
        (identified([0, 1], [5.0, 6.0]), "must give each of its patients one id"),
        (identified([0, 1], [5]), "must give each of its patients one id"),
        (identified(None, [5, 6]), "must give each of its patients one id"),
        (identified([[0], [1]], [[5], [6]]), "must number its patients"),
        (numbered(0.0, 1.0), r"must number its patients \(n,\) int64 from 0, without gaps"),
    ],
)
def test_what_the_users_function_gets_wrong_is_one_line_without_values(
    site: Path, result: object, expected: str
) -> None:
    with pytest.raises(TaskError, match=expected) as caught:
        read_data(site, own_plan(), own_task(result))
    assert "SECRET" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_users_function_may_say_whose_the_records_are_and_must_where_patients_are_protected(
    site: Path,
) -> None:
    table = TEXT[TEXT.index("[task]") : TEXT.index("[cohort]")]
    text = 'task = "my_package.readmission:task"\n' + TEXT.replace(table, "")
    records, patients = parse(text), parse(text.replace('unit = "record"', 'unit = "patient"'))
    assert read_data(site, records, own_task(numbered(1, 0))).patients is not None
    with pytest.raises(DataError, match="more records"):
        read_data(site, records, own_task(numbered(0, 0)))
    assert patients_in(read_data(site, patients, own_task(numbered(0, 0)))) == 1
    with pytest.raises(TaskError, match=r"do not say whose each record is; give Dataset\.patients"):
        read_data(site, patients, own_task(dataset([0, 1])))


def test_the_users_function_is_not_asked_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="no such file"):
        read_data(tmp_path / "absent.csv", own_plan(), own_task(ValueError("unreachable")))


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "site.csv").write_text(
        "age,cp,extra\n55,1,a\n,1,a\n60,9,a\n61,1,a,0\nage,cp,extra\n62,x,a\n63,1\n"
    )
    with pytest.raises(DataError) as caught:
        read_csv(tmp_path / "site.csv", TASK)
    line = str(caught.value)
    assert "row 5 has 4 cells, the header has 3 (2 such rows: 5, 8)" in line
    assert "row 6 is the header once more" in line
    assert 'has no column "num"' in line
    assert 'row 3, column "age": is empty' in line
    assert 'row 4, column "cp": is not one of the plan\'s values' in line
    assert "\n" not in line
