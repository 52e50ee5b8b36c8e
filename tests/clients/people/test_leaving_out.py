"""Whose records are left out of a round, and that nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clients.data.load import Reading, site_data, with_persons
from clients.data.notes import FileRead
from clients.greeting.parts import parted
from clients.people import leaving_out
from clients.people.leaving_out import People, marked, present, seconds_at_most, without
from clients.people.listed import Line, Withdrawals, write_list
from clients.policy import Policy
from clients.training.work import Trainer, contribution
from federation.errors import DataError, TaskError
from federation.model.task import Dataset, build_task, hashed
from federation.round.plays import run_of
from privacy.canonical import JSON
from privacy.errors import PolicyViolation, RecordsUnavailable
from privacy.ledger.chain import Entry
from privacy.ledger.withdrawals import FIELD
from privacy.mechanism.noise import Stream
from tests import plans
from tests.clients.people.houses import BARE, people_of_rows, write_table
from tests.clients.sites import SMALL, make_data, make_params, make_plan, make_terms
from tests.clients.units import PRIVATE
from tests.worlds import plan_of, rows_of

LIST = Withdrawals(bytes(range(32)), "mrn")


def listing(*people: str) -> Withdrawals:
    return replace(LIST, lines=tuple(Line(LIST.mark(person), "2026-11-29") for person in people))


def owned(records: int = 24) -> tuple[Dataset, list[str]]:
    people = people_of_rows(records)
    patients = torch.unique(hashed(people), return_inverse=True)[1]
    return replace(make_data(records, 1), patients=patients, persons=hashed(people)), people


def trainer_of(plan_data: Dataset, held_out: Dataset | None = None, **changes: object) -> Trainer:
    plan = make_plan(**changes)  # type: ignore[arg-type]
    return Trainer(build_task(plan), plan_data, lambda _: Stream(bytes(32)), held_out)


def test_the_records_of_those_on_the_list_go_and_no_others() -> None:
    data, people = owned()
    gone = {"P0001", "P0004", "P0007"}
    trainer = trainer_of(marked(data, LIST), marked(data, LIST))
    assert present(trainer, LIST) is trainer
    after = present(trainer, listing(*gone, "nobody here"))
    stays = torch.tensor([who not in gone for who in people])
    assert 3 < int((~stays).sum()) < len(data)
    for part in (after.data, after.held_out):
        assert part is not None
        assert part.features.equal(data.features[stays])
        assert part.labels.equal(data.labels[stays])
        assert int(part.patients.max()) + 1 == len(torch.unique(part.patients)) == len(set(people) - gone)  # type: ignore[union-attr, arg-type]
    assert present(after, listing(*gone)) is after
    assert without(data, listing(*gone)).features.equal(data.features[stays])
    assert without(data, LIST) is data


@pytest.mark.parametrize("spelling", [" P0001", "P0001 ", "P0001\u200b", "\u00a0P0001"])
def test_spellings_that_a_pool_takes_for_one_are_one(spelling: str) -> None:
    assert LIST.mark(spelling) == LIST.mark("P0001")
    assert len({LIST.mark(text) for text in ("00123", "123", "123.0", "p1", "P1")}) == 5


def test_another_secret_makes_other_marks_and_neither_names_anybody() -> None:
    data, _ = owned()
    other = Withdrawals(bytes(32), "mrn")
    one, two = marked(data, LIST).persons, marked(data, other).persons
    assert one is not None and two is not None and data.persons is not None
    assert len(torch.unique(one)) == len(torch.unique(data.persons))
    assert not set(one.tolist()) & set(two.tolist())
    assert not set(one.tolist()) & set(data.persons.tolist())


@pytest.mark.parametrize(("unit", "noise"), PRIVATE)
def test_a_site_where_everybody_withdrew_contributes_noise_of_the_same_form(unit: str, noise: str) -> None:
    """Nobody is told by a round that fails. So with a published evaluation, whose part is as empty."""
    plan = make_plan(unit, noise)
    data, people = owned()
    full = Trainer(build_task(plan), marked(data, LIST), lambda _: Stream(bytes(32)), marked(data, LIST))
    empty = present(full, listing(*people))
    assert len(empty.data) == 0
    terms, params = make_terms(plan), make_params()
    one, other = (contribution(terms, "berlin", params, each) for each in (full, empty))
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert (one != other).any()


@pytest.mark.parametrize("unit", ["record", "patient"])
@pytest.mark.parametrize("bins", [None, 4])
def test_so_does_its_evaluation(unit: str, bins: int | None) -> None:
    small = {name: value for name, value in SMALL.items() if name != "evaluation"}
    asked = {"holdout": 0.25, "metrics": ["accuracy"], "evaluation.epsilon": 1.0}
    asked |= {} if bins is None else {"evaluation.bins": bins}
    column = {"task.patient": "who"} if unit == "patient" else {}
    plan = plans.plan_of(small, asked, column, unit=unit)
    data, people = owned()
    full = Trainer(build_task(plan), marked(data, LIST), lambda _: Stream(bytes(32)), marked(data, LIST))
    terms = make_terms(plan, round=plan.last_round)
    one, other = (
        contribution(terms, "berlin", make_params(), each) for each in (full, present(full, listing(*people)))
    )
    assert one.shape == other.shape


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_folds_are_parted_without_them_and_nobody_else_moves(unit: str) -> None:
    """Also where nobody is left."""
    small = {name: value for name, value in SMALL.items() if name != "evaluation"}
    asked = {"metrics": ["accuracy"], "evaluation.epsilon": 1.0, "evaluation.folds": 2, "holdout": 0}
    plan = plans.plan_of(small, asked, {"task.patient": "who"} if unit == "patient" else {}, unit=unit)
    data, people = owned()
    data = replace(data, ids=data.persons)
    full = Trainer(build_task(plan), marked(data, LIST), lambda _: Stream(bytes(32)))
    run = run_of(bytes(16), 1)
    for gone in (["P0001", "P0004"], people):
        first = parted(present(full, listing(*gone)), plan, run)
        then = present(parted(full, plan, run), listing(*gone))
        assert first.data.features.equal(then.data.features)
        rest = [0 if one.held_out is None else len(one.held_out) for one in (first, then)]
        assert rest[0] == rest[1]
        assert contribution(make_terms(plan), "berlin", make_params(), first).shape


def test_nobody_else_moves_between_training_and_what_is_held_out(tmp_path: Path) -> None:
    """The list is asked after the records were parted, each by itself."""
    plan = plan_of(noise="none", holdout=0.25)
    write_table(tmp_path / "ash.csv", rows_of(0, 60), people_of_rows(60))
    records = site_data(tmp_path / "ash.csv", None, plan, build_task(plan), Policy.for_plan(plan), "mrn")
    assert records.held_out is not None
    trainer = Trainer(
        build_task(plan),
        marked(records.training, LIST),
        lambda _: Stream(bytes(32)),
        marked(records.held_out, LIST),
    )
    gone = ["P0001", "P0002", "P0010", "P0030", "P0051"]
    hashes = set(hashed(gone).tolist())
    after = present(trainer, listing(*gone))
    for before, now in ((records.training, after.data), (records.held_out, after.held_out)):
        assert before.persons is not None and now is not None
        stays = torch.tensor([person not in hashes for person in before.persons.tolist()])
        assert int((~stays).sum()) > 0
        assert now.features.equal(before.features[stays])


def test_the_column_of_a_plan_s_patients_is_read_once_and_any_other_beside_it(tmp_path: Path) -> None:
    path, people = tmp_path / "ash.csv", people_of_rows(6)
    write_table(path, rows_of(0, 6), people)
    plan = plan_of({"task.patient": "mrn"}, noise="none")
    policy, task = Policy.for_plan(plan), build_task(plan)
    for column, names in (("mrn", people), ("ward", [row[2] for row in rows_of(0, 6)])):
        data = site_data(path, None, plan_of(BARE, {"task.patient": "mrn"}), task, policy, column).training
        assert data.persons is not None and data.persons.equal(hashed(names))
        assert data.ids is not None and data.ids.equal(hashed(people))


def test_a_column_that_is_missing_or_names_nobody_is_refused_whoever_withdrew(tmp_path: Path) -> None:
    """It must not depend on the list: a refusal then tells of nothing."""
    plan = plan_of(noise="none")
    path = tmp_path / "ash.csv"
    write_table(path, rows_of(0, 3), ["P1", "", "P2"])
    for column, told in (("mrn", 'row 3, column "mrn": is empty'), ("patient", '"patient"')):
        with pytest.raises(DataError, match=told):
            site_data(path, None, plan, build_task(plan), Policy.for_plan(plan), column)


def test_a_task_of_one_s_own_says_it_by_the_ids_of_its_dataset() -> None:
    data, _ = owned()
    place = FileRead(Path("images"), len(data))
    told = with_persons(Reading(replace(data, ids=data.persons, persons=None), place), "mrn", plan_of())
    assert told.persons is not None and told.persons.equal(data.persons)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"images: data\.person is set, and the task does not say whose"):
        with_persons(Reading(replace(data, ids=None, persons=None), place), "mrn", plan_of())


def test_where_nobody_says_whose_records_they_are_a_withdrawal_stops_the_site() -> None:
    trainer = trainer_of(make_data(8, 1))
    assert present(trainer, LIST) is trainer
    with pytest.raises(PolicyViolation, match="people withdrew, and nothing says whose the records are"):
        present(trainer, listing("P1"))


def test_a_list_is_asked_in_every_round_and_takes_time_only_when_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it takes then is in the pace at which answers leave."""
    data, _ = owned()
    people = People(tmp_path / "list", lambda: None)
    write_list(people.path, LIST)
    trainer, said = people.present(trainer_of(marked(data, LIST)))
    assert said(bytes(32)) == LIST.commitment(bytes(32))
    with monkeypatch.context() as patch:
        patch.setattr(leaving_out, "present", None)
        assert people.present(trainer)[0] is trainer
    write_list(people.path, listing("P0001"))
    after, said = people.present(trainer)
    assert len(after.data) == len(data) - 2
    assert said(bytes(32)) == listing("P0001").commitment(bytes(32))
    assert people.present(after)[0] is after


def test_what_the_ledger_said_is_found_at_once_however_many_withdrew_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a round, whose length others see: what is tried for it does not grow with who withdrew."""
    tried: list[int | None] = []
    plain = Withdrawals.marks

    def marks(own: Withdrawals, lines: int | None = None) -> tuple[bytes, ...]:
        tried.append(lines)
        return plain(own, lines)

    monkeypatch.setattr(Withdrawals, "marks", marks)
    told: list[Entry] = []
    people = People(tmp_path / "list", lambda: told[-1] if told else None)
    names, counts = [f"P{number:04d}" for number in range(60)], []
    write_list(people.path, listing(*names[:1]))
    trainer = people.taken(trainer_of(owned()[0]))
    for number, size in enumerate((1, 2, 50, 50, 60, 60), start=1):
        write_list(people.path, listing(*names[:size]))
        tried.clear()
        people.now()
        trainer, said = people.present(trainer)
        counts.append(len(tried))
        body: dict[str, JSON] = {"run": "aa", "round": number, FIELD: said(bytes(32))}
        told.append(Entry(number, "release", body, bytes(32), bytes(32), bytes(64)))
    assert counts[1:] == [
        3,
        3,
        2,
        3,
        2,
    ]  # twice the ledger's word; once more, within the pace, where it has grown
    again = People(
        people.path, lambda: told[1]
    )  # a new process: the list has grown while the site was stopped
    again.taken(trainer_of(owned()[0]))
    tried.clear()
    again.now()
    assert len(tried) == 1


@pytest.mark.parametrize("change", [{"secret": bytes(32)}, {"column": "ward"}], ids=["secret", "column"])
def test_another_list_than_when_the_data_were_read_brings_nobody_back(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """Such as one that was lost, begun anew and found again: no mark on it is that of a record that was read."""
    data, _ = owned()
    people = People(tmp_path / "list", lambda: None)
    write_list(people.path, listing("P0001"))
    trainer = people.taken(trainer_of(data))
    assert len(trainer.data) == len(data) - 2
    other = replace(LIST, **change)  # type: ignore[arg-type]
    write_list(people.path, replace(other, lines=(Line(other.mark("P0004"), "2026-11-29"),)))
    for ask in (lambda: people.present(trainer), lambda: people.taken(trainer_of(data))):
        with pytest.raises(RecordsUnavailable, match="another list of people"):
            ask()
    write_list(people.path, listing("P0001", "P0004"))
    assert len(people.present(trainer)[0].data) < len(trainer.data)


def test_the_time_for_leaving_out_follows_from_public_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = owned()
    seen: list[int] = []
    monkeypatch.setattr(leaving_out, "_at", lambda made, stays: seen.append(len(made)))
    assert seconds_at_most(data, 500) > 0
    assert seconds_at_most(replace(data, persons=None), 500) == 0
    assert seen == [500, 500]
