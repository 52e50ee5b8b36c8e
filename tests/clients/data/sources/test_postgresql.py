"""A real PostgreSQL server: the same table as elsewhere, nothing written, one statement, no secret told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients.data.load import read_table
from clients.data.readable import require_readable
from clients.data.sources.postgresql import _unreachable
from clients.data.sources.reading import read
from clients.rules.origin import Origin, Server
from federation.errors import DataError
from tests.clients.data.sources.clinic import SECRET, SELECT, Clinic, running, without_password
from tests.clients.data.sources.stores import COLUMNS, SOME, TASK, csv
from tests.clients.data.sources.test_reading import same

pytestmark = [pytest.mark.extras, pytest.mark.waits]
PLAIN = f"select {', '.join(COLUMNS)} from admissions order by id"  # noqa: S608


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    with running() as server:
        yield server


def refused(clinic: Clinic, query: str, **keys: object) -> str:
    with pytest.raises(DataError) as caught:
        read(clinic.origin(query, **keys))
    line = str(caught.value)
    assert "\n" not in line and SECRET not in line
    return line


def test_a_table_is_the_same_there_as_in_a_file(clinic: Clinic, tmp_path: Path) -> None:
    same(csv(tmp_path / "clinic.csv"), clinic.origin(PLAIN))


def test_a_missing_cell_is_named_by_the_row_of_the_answer(clinic: Clinic) -> None:
    rows = [list(row) for row in SOME]
    rows[3][0] = rows[5][5] = None
    clinic.keep(rows, "gaps")
    with pytest.raises(
        DataError, match='row 4, column "age": is empty, also row 6, column "stage": is empty'
    ):
        read_table(clinic.origin("select * from gaps order by id"), TASK)


def test_types_are_written_as_a_file_has_them(clinic: Clinic) -> None:
    query = """
    select 1::real / 10 as a, 'nan'::double precision as b, timestamp '2024-01-31 09:00:00.50' as c,
    timestamptz '2024-01-31 09:00:00+01' as d, null::text as e, true as f, '\\x00'::bytea as g, 1e20::float8 as h;
    """
    table = read(clinic.origin(query))
    assert [table.column(name)[0] for name in table.header] == [
        "0.1",
        "",
        "2024-01-31 09:00:00.5",
        "2024-01-31 08:00:00+00:00",
        "",
        "true",
        "1e+20",
    ]
    with pytest.raises(DataError, match='column "g" holds bytes, and no cells'):
        table.column("g")


@pytest.mark.parametrize(
    "query",
    [
        "delete from admissions returning age",
        "with gone as (delete from admissions returning age) select age from gone",
        "drop table admissions",
        "select nextval('admissions_id_seq') as age",
        "create table copied as select * from admissions",
        "select * from admissions for update",
        "select set_config('transaction_read_only', 'off', false), age from admissions",
        "copy admissions to program 'touch /tmp/copied'",
        "set transaction read write",
        "do $$ begin delete from admissions; end $$",
        "select age from admissions) to program 'touch /tmp/copied'; --",
    ],
)
def test_what_writes_is_refused_even_to_the_owner(clinic: Clinic, query: str) -> None:
    clinic.run(
        "grant all on admissions, admissions_id_seq to reader", "grant create on schema public to reader"
    )
    before = (
        clinic.ask("select count(*) from admissions"),
        clinic.ask("select last_value from admissions_id_seq"),
    )
    line = refused(clinic, query)
    assert "data.query" in line
    assert before == (
        clinic.ask("select count(*) from admissions"),
        clinic.ask("select last_value from admissions_id_seq"),
    )


@pytest.mark.parametrize(
    "query", ["select 1 as a; select 2 as b", "select 1; drop table admissions", "commit; select 1"]
)
def test_a_second_statement_is_refused(clinic: Clinic, query: str) -> None:
    assert refused(clinic, query).endswith("data.query is more than one statement; write one select")


def test_a_query_that_takes_too_long_is_ended(clinic: Clinic) -> None:
    line = refused(clinic, "select pg_sleep(600) is null as age", timeout_seconds=1)
    assert "data.query took more than 1 s; make it faster, or raise data.timeout_seconds" in line


def test_a_wrong_query_says_what_is_wrong_with_it(clinic: Clinic) -> None:
    assert 'relation "admission" does not exist' in refused(clinic, "select * from admission")
    assert 'column "years" does not exist' in refused(clinic, "select years from admissions")
    assert "syntax error" in refused(clinic, "selekt 1")
    clinic.run("create table hidden (age int)")
    assert "may not read all that data.query asks for; grant select" in refused(
        clinic, "select * from hidden"
    )


def test_no_value_is_told_where_the_server_would_tell_it(clinic: Clinic) -> None:
    line = refused(clinic, "select stage::integer as age from admissions")
    assert "early" not in line and line.endswith(
        "data.query fails (InvalidTextRepresentation 22P02); try it by hand"
    )


def test_who_is_not_let_in_is_told_where_the_password_goes(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "wrong").touch(mode=0o600)
    (tmp_path / "wrong").write_text("another secret")
    for origin, told in (
        (without_password(clinic.origin()), r"does not let this user in; set data\.password_file"),
        (
            replace(clinic.origin(), password_file=tmp_path / "wrong"),
            r"does not take the password in .*wrong; write the right one there \(data\.password_file\)",
        ),
    ):
        with pytest.raises(DataError, match=told) as caught:
            read(origin)
        assert "another secret" not in str(caught.value)


def test_a_password_that_is_wrong_is_told_by_its_file(tmp_path: Path) -> None:
    error = Exception('FATAL:  password authentication failed for user "reader"')
    server, file = Server("localhost", 5432, "clinic", "reader"), tmp_path / "word"
    place = Origin("postgresql", server=server, password_file=file)
    assert f"does not take the password in {file}; write the right one" in str(
        _unreachable(place, server, error)
    )
    assert "set data.password_file" in str(_unreachable(replace(place, password_file=None), server, error))


def test_a_server_or_database_that_is_not_there_is_one_line(clinic: Clinic) -> None:
    origin = clinic.origin()
    assert origin.server is not None
    for server, expected in (
        (replace(origin.server, name="absent"), "there is no such database"),
        (replace(origin.server, port=1), "no server answers at 127.0.0.1, port 1"),
        (replace(origin.server, options=(("sslmode", "require"),)), "no encrypted connection"),
    ):
        with pytest.raises(DataError, match=expected):
            read(replace(origin, server=server))


def test_a_site_asks_whether_the_query_is_taken_when_it_starts(clinic: Clinic) -> None:
    require_readable([clinic.origin()], is_for_own_code=False)
    with pytest.raises(DataError, match="does not exist"):
        require_readable([clinic.origin("select * from nothing")], is_for_own_code=False)


def test_the_environment_may_hold_the_password(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=off -c statement_timeout=0")
    assert len(read(without_password(clinic.origin()))) == len(SOME)
    assert "may only read" in refused(clinic, "delete from admissions returning age")


def test_an_answer_is_one_snapshot_and_the_rows_are_claimed_that_were_read(clinic: Clinic) -> None:
    from clients.data.populations import fingerprints_under

    clinic.keep(SOME[:4], "changing")
    reading = read_table(clinic.origin("select * from changing order by id"), TASK)
    clinic.run("delete from changing where mrn = 'P000'")
    assert reading.table is not None
    assert len(fingerprints_under(bytes(32), reading.table, "mrn")) == 4 + 2


def test_no_repr_shows_what_opens_the_database(clinic: Clinic) -> None:
    origin = clinic.origin()
    assert SECRET not in repr(origin) and SELECT not in repr(origin)
    assert str(origin) == f"postgresql://127.0.0.1:{clinic.port}/clinic"
    assert isinstance(origin.server, Server)
