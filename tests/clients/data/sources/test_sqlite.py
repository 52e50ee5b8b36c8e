"""A SQLite database is asked one question, and nothing in it or beside it can change; NDJSON is asked likewise."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from clients.data.load import read_table
from clients.data.readable import require_readable
from clients.data.sources.reading import read
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.tasks import Classification
from tests import ROOT
from tests.clients.data.sources.stores import SOME, TASK, sqlite

OMOP, FHIR = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
PEOPLE = [
    ("1", 1950, "M", [128, 141.5], True),
    ("2", 1987, "F", [119], False),
    ("3", 1969, "F", [155, 150], True),
]
RECORDS = Classification.model_validate(
    {
        "kind": "tabular-classification",
        "target": "diabetes",
        "patient": "mrn",
        "classes": ["0", "1"],
        "model": "logistic",
        "features": {
            "age": {"low": 0, "high": 100},
            "sex": {"values": ["F", "M"]},
            "systolic": {"low": 60, "high": 260},
        },
    }
)
ANSWER = [("1", "74", "M", "141.5", "1"), ("2", "37", "F", "119", "0"), ("3", "55", "F", "155", "1")]


def refused(place: Origin, query: str) -> str:
    with pytest.raises(DataError) as caught:
        read(replace(place, query=query))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "delete from admissions",
        "delete from admissions returning age",
        "insert into admissions (age) values (1) returning age",
        "drop table admissions",
        "create temp table copied as select * from admissions",
        "attach database 'other.sqlite' as other",
        "pragma journal_mode = wal",
        "select * from pragma_table_info('admissions')",
        "vacuum into 'copy.sqlite'",
        "begin immediate",
    ],
)
def test_what_writes_or_looks_elsewhere_is_refused(tmp_path: Path, query: str) -> None:
    place = sqlite(tmp_path / "clinic.sqlite")
    before = hashlib.sha256(place.file.read_bytes()).digest()
    assert "data.query" in refused(place, query)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clinic.sqlite"]
    assert hashlib.sha256(place.file.read_bytes()).digest() == before


def test_a_second_statement_is_refused(tmp_path: Path) -> None:
    place = sqlite(tmp_path / "clinic.sqlite")
    line = refused(place, "select age from admissions; drop table admissions")
    assert line.endswith("data.query is more than one statement; write one select")


def test_a_wrong_query_says_what_is_wrong_with_it_and_no_value(tmp_path: Path) -> None:
    place = sqlite(tmp_path / "clinic.sqlite")
    assert "no such table: admission" in refused(place, "select * from admission")
    assert "no such column: years" in refused(place, "select years from admissions")
    assert "syntax error" in refused(place, "selekt 1")
    assert "early" not in refused(place, "select json_extract(stage, '$') from admissions")


def test_a_query_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    place = replace(sqlite(tmp_path / "clinic.sqlite"), timeout_seconds=1)
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(i) as age from n"
    assert "data.query took more than 1 s; make it faster, or raise data.timeout_seconds" in refused(
        place, endless
    )


def test_text_that_is_none_is_named_by_row_and_column(tmp_path: Path) -> None:
    place = sqlite(tmp_path / "clinic.sqlite")
    with closing(sqlite3.connect(place.file)) as database:
        database.execute("update admissions set stage = cast(x'ff61' as text) where rowid = 3")
        database.commit()
    assert 'row 3, column "stage": holds bytes, and is no cell' in refused(place, "select * from admissions")


def test_a_database_that_another_program_writes_to_is_read(tmp_path: Path) -> None:
    place = sqlite(tmp_path / "clinic.sqlite")
    with closing(sqlite3.connect(place.file)) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("insert into admissions (age) values (1)")
        database.commit()
        assert len(read(place)) == len(SOME) + 1


def test_a_site_asks_whether_the_query_is_taken_when_it_starts(tmp_path: Path) -> None:
    place = sqlite(tmp_path / "clinic.sqlite")
    require_readable([place], is_for_own_code=False)
    with pytest.raises(DataError, match="no such table"):
        require_readable([replace(place, query="select * from absent")], is_for_own_code=False)


def test_columns_of_the_answer_are_checked_as_those_of_a_file(tmp_path: Path) -> None:
    place = replace(
        sqlite(tmp_path / "clinic.sqlite"), query="select age, age as dose, 7 as num from admissions"
    )
    with pytest.raises(DataError, match=r'has no columns "weight", "cp", "smoker", \.\.\. \(5 in all\)'):
        read_table(place, TASK)


def test_a_view_of_omop_is_a_table(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "omop.sqlite")) as database:
        database.executescript(
            "create table person (person_id integer, year_of_birth integer, gender_concept_id integer);"
            "create table measurement (person_id integer, measurement_concept_id integer, value_as_number real);"
            "create table condition_occurrence (person_id integer, condition_concept_id integer);"
        )
        for name, born, sex, pressures, is_ill in PEOPLE:
            database.execute(
                "insert into person values (?, ?, ?)", (name, born, 8507 if sex == "M" else 8532)
            )
            database.executemany(
                "insert into measurement values (?, 3004249, ?)", [(name, p) for p in pressures]
            )
            if is_ill:
                database.execute("insert into condition_occurrence values (?, 201826)", (name,))
        database.commit()
    table = read(replace(Origin.of(tmp_path / "omop.sqlite"), query=OMOP))
    numbers = [tuple(cell.removesuffix(".0") for cell in row) for row in table.rows(range(5))]
    assert numbers == ANSWER


def export(folder: Path) -> Origin:
    """A FHIR bulk export of the same people, as a query over all of its files."""
    patients, observations, conditions = [], [], []
    for name, born, sex, pressures, is_ill in PEOPLE:
        gender = {"M": "male", "F": "female"}[sex]
        patients.append(
            {"resourceType": "Patient", "id": name, "gender": gender, "birthDate": f"{born}-03-01"}
        )
        about = {"reference": f"Patient/{name}"}
        for pressure in pressures:
            code = {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}
            value = {"value": pressure, "unit": "mmHg"}
            kind = {"resourceType": "Observation", "subject": about}
            observations.append({**kind, "code": code, "valueQuantity": value})
        if is_ill:
            code = {"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]}
            conditions.append({"resourceType": "Condition", "subject": about, "code": code})
    for kind, found in (("Patient", patients), ("Observation", observations), ("Condition", conditions)):
        (folder / f"{kind}.ndjson").write_text("".join(f"{json.dumps(each)}\n" for each in found))
    return replace(Origin.of(folder / "*.ndjson"), query=FHIR)


def test_a_fhir_export_is_a_table(tmp_path: Path) -> None:
    place = export(tmp_path)
    assert [*read(place).rows(range(5))] == ANSWER
    assert len(read_table(place, RECORDS).data) == 3
    require_readable([place], is_for_own_code=False)


def test_a_line_that_is_no_object_is_named_and_not_shown(tmp_path: Path) -> None:
    place = export(tmp_path)
    with (tmp_path / "Patient.ndjson").open("a") as file:
        file.write('{"resourceType": "Patient", "name": "Meier"\n')
    line = refused(place, FHIR)
    assert line.endswith("Patient.ndjson: row 4 is no JSON object; write one JSON object a line (NDJSON)")


def test_no_file_of_that_name_is_told(tmp_path: Path) -> None:
    assert "there are no such files" in refused(Origin.of(tmp_path / "*.ndjson"), FHIR)
