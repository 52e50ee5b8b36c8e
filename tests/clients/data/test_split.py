"""What a site holds out: the same every time, and nobody is in both parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.load import patients_in
from clients.data.split import apart, is_on_one_side, simulated, split
from federation.errors import DataError
from federation.model.task import Dataset, hashed
from federation.plan.plan import parse
from privacy.accounting.units import Unit
from tests.plans import for_patients


def dataset(labels: list[int], seed: int = 0) -> Dataset:
    features = torch.rand((len(labels), 3), generator=torch.Generator().manual_seed(seed))
    return Dataset(features, torch.tensor(labels, dtype=torch.int64))


def rows(data: Dataset | None) -> set[tuple[float, ...]]:
    return set() if data is None else {tuple(row) for row in data.features.tolist()}


@settings(max_examples=60)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    holdout=st.floats(0, 0.9),
    seed=st.integers(0, 99),
)
def test_a_split_is_stratified_and_loses_nobody(labels: list[int], holdout: float, seed: int) -> None:
    data = dataset(labels)
    train, test = split(data, holdout, seed)
    assert rows(train) | rows(test) == rows(data)
    assert not rows(train) & rows(test)
    for label in set(labels):
        count = labels.count(label)
        held = 0 if test is None else int((test.labels == label).sum())
        assert held == min(round(holdout * count), count - 1)


@settings(max_examples=60)
@given(
    labels=st.lists(st.integers(0, 1), min_size=2, max_size=60),
    holdout=st.floats(0, 0.9),
    seed=st.integers(0, 99),
)
def test_one_record_more_moves_at_most_one_other(labels: list[int], holdout: float, seed: int) -> None:
    data = dataset(labels)
    fewer = Dataset(data.features[1:], data.labels[1:])
    train, neighbor = rows(split(data, holdout, seed)[0]), rows(split(fewer, holdout, seed)[0])
    assert len((train ^ neighbor) - rows(Dataset(data.features[:1], data.labels[:1]))) <= 1


def test_a_split_is_of_the_seed_and_the_records_not_of_their_order() -> None:
    data = dataset([0, 1] * 30)
    turned = Dataset(data.features.flip(0), data.labels.flip(0))
    assert rows(split(data, 0.3, 7)[1]) == rows(split(turned, 0.3, 7)[1])
    assert rows(split(data, 0.3, 7)[1]) != rows(split(data, 0.3, 8)[1])


def test_without_holdout_there_is_no_test_part() -> None:
    data = dataset([0, 1, 0, 1])
    assert split(data, 0.0, 7) == (data, None)
    assert split(dataset([0, 1]), 0.5, 7)[1] is None


# Patients

owned = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), min_size=1, max_size=60)


def of_patients(rows_of: list[tuple[int, int]]) -> Dataset:
    """Rows of (patient, label) with features of their own."""
    data = dataset([label for _, label in rows_of])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in rows_of))}
    return Dataset(data.features, data.labels, torch.tensor([numbers[name] for name, _ in rows_of]))


@settings(max_examples=100)
@given(rows_of=owned, holdout=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_nobody_is_in_both_parts_of_a_split(
    rows_of: list[tuple[int, int]], holdout: float, seed: int
) -> None:
    data = of_patients(rows_of)
    assert data.patients is not None
    train, test = split(data, holdout, seed)
    owner = dict(zip(map(tuple, data.features.tolist()), data.patients.tolist(), strict=True))
    assert rows(train) | rows(test) == rows(data)
    assert not {owner[row] for row in rows(train)} & {owner[row] for row in rows(test)}
    for part in (train, test):
        if part is None:
            continue
        assert part.patients is not None
        names = [owner[tuple(row)] for row in part.features.tolist()]
        assert part.patients.tolist() == [list(dict.fromkeys(names)).index(name) for name in names]
    counts = [0, 0, 0]  # patients by the label that most of their records have, the least of several
    for name in set(owner.values()):
        labels = data.labels[data.patients == name].tolist()
        counts[min(set(labels), key=lambda label: (-labels.count(label), label))] += 1
    expected = sum(min(round(holdout * count), count - 1) for count in counts if count)
    assert (0 if test is None else patients_in(test)) == expected


@settings(max_examples=60)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=40), holdout=st.floats(0, 0.9))
def test_of_one_record_each_patients_are_split_as_records_are(labels: list[int], holdout: float) -> None:
    data = dataset(labels)
    alone = Dataset(data.features, data.labels, torch.arange(len(labels)))
    assert rows(split(alone, holdout, 7)[1]) == rows(split(data, holdout, 7)[1])


@settings(max_examples=60)
@given(rows_of=owned, holdout=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_one_patient_more_moves_at_most_one_other(
    rows_of: list[tuple[int, int]], holdout: float, seed: int
) -> None:
    data = of_patients(rows_of)
    assert data.patients is not None
    others = data.patients != 0
    if not others.any():
        return
    fewer = Dataset(data.features[others], data.labels[others], data.patients[others] - 1)
    train, neighbor = rows(split(data, holdout, seed)[0]), rows(split(fewer, holdout, seed)[0])
    owner = dict(zip(map(tuple, data.features.tolist()), data.patients.tolist(), strict=True))
    assert len({owner[row] for row in train ^ neighbor} - {0}) <= 1


def test_a_split_of_patients_is_not_of_the_order_of_rows() -> None:
    data = of_patients([(number % 20, number % 2) for number in range(60)])
    assert data.patients is not None
    turned = Dataset(data.features.flip(0), data.labels.flip(0), data.patients.flip(0))
    assert rows(split(data, 0.3, 7)[1]) == rows(split(turned, 0.3, 7)[1])
    assert rows(split(data, 0.3, 7)[1]) != rows(split(data, 0.3, 8)[1])


def test_patients_with_more_records_are_held_out_no_more_often() -> None:
    """Chance of a false alarm below 1e-6: 1000 of 2000 are expected among the held out, within 5 deviations."""
    data = of_patients([(number // 4 if number < 8000 else number, 0) for number in range(10_000)])
    _, test = split(data, 0.5, 3)
    assert test is not None and test.patients is not None
    many = int((torch.bincount(test.patients) == 4).sum())
    assert abs(many - 1000) < 5 * 16  # of 4000 patients, 2000 have four records and 2000 are held out


@settings(max_examples=60)
@given(count=st.integers(1, 60), holdout=st.floats(0.05, 0.9), seed=st.integers(0, 99))
def test_at_a_real_site_one_record_more_or_less_changes_the_training_part_by_that_record_alone(
    count: int, holdout: float, seed: int
) -> None:
    """What epsilon counts: neighbors before the split are neighbors, or equal, after it."""
    data = dataset([number % 2 for number in range(count)])
    less = Dataset(data.features[1:], data.labels[1:])
    whole, part = (
        rows(apart(data, holdout, seed, "record")[0]),
        rows(apart(less, holdout, seed, "record")[0]) if count > 1 else set(),
    )
    assert whole - part <= {tuple(data.features[0].tolist())} and part <= whole


def test_a_split_that_keeps_proportions_does_move_others_which_is_why_a_real_site_does_not_use_it() -> None:
    moved = 0
    for seed in range(40):
        data = dataset([0] * 12, seed)
        less = Dataset(data.features[1:], data.labels[1:])
        one = {tuple(data.features[0].tolist())}
        moved += bool((rows(split(data, 0.3, 1)[0]) ^ rows(split(less, 0.3, 1)[0])) - one)
    assert moved


def test_each_record_is_held_out_with_the_probability_asked_for() -> None:
    """Over 4000 records: within five standard deviations, a false alarm of 6 in 10^7."""
    data = dataset([0] * 4000)
    for holdout in (0.1, 0.3, 0.9):
        _, test = apart(data, holdout, seed=3, unit="record")
        assert test is not None
        assert abs(len(test) - 4000 * holdout) < 5 * (4000 * holdout * (1 - holdout)) ** 0.5


def test_apart_keeps_a_patient_together() -> None:
    data = dataset([0, 1] * 30)
    people = torch.arange(60) // 4
    owned = Dataset(data.features, data.labels, people)
    train, test = apart(owned, 0.4, seed=5, unit="patient")
    assert test is not None
    owner = {tuple(row): int(who) for row, who in zip(data.features.tolist(), people, strict=True)}
    assert not {owner[row] for row in rows(train)} & {owner[row] for row in rows(test)}
    assert patients_in(train) == len({owner[row] for row in rows(train)})


# By the patient's id

units = st.sampled_from(["record", "patient"])
people = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=40)


def identified(rows_of: list[tuple[int, int]], seed: int = 0) -> Dataset:
    """The same with the ids that a column of the file would give."""
    data, ids = of_patients(rows_of), hashed([f"mrn-{name}" for name, _ in rows_of])
    features = torch.rand((len(rows_of), 3), generator=torch.Generator().manual_seed(seed))
    return Dataset(features, data.labels, data.patients, ids)


def held(data: Dataset, holdout: float, seed: int, unit: Unit) -> set[int]:
    """The ids of those held out."""
    test = apart(data, holdout, seed, unit)[1]
    return set() if test is None or test.ids is None else set(test.ids.tolist())


@settings(max_examples=60)
@given(rows_of=people, holdout=st.floats(0.05, 0.9), seed=st.integers(0, 99), unit=units)
def test_one_record_more_of_a_patient_moves_nobody(
    rows_of: list[tuple[int, int]], holdout: float, seed: int, unit: Unit
) -> None:
    """A record is a part of its patient: were the patient to move, the record would take all the others along."""
    data = identified(rows_of)
    assert data.patients is not None and data.ids is not None
    more = Dataset(
        torch.cat([data.features, torch.rand(1, 3)]),
        torch.cat([data.labels, data.labels[:1]]),
        torch.cat([data.patients, data.patients[:1]]),
        torch.cat([data.ids, data.ids[:1]]),
    )
    before, after = rows(apart(data, holdout, seed, unit)[0]), rows(apart(more, holdout, seed, unit)[0])
    assert before <= after and after - before <= {tuple(more.features[-1].tolist())}


@settings(max_examples=60)
@given(one=people, two=people, holdout=st.floats(0.05, 0.9), seed=st.integers(0, 99), unit=units)
def test_a_patient_is_on_the_same_side_at_every_site(
    one: list[tuple[int, int]], two: list[tuple[int, int]], holdout: float, seed: int, unit: Unit
) -> None:
    here, there = identified(one, 1), identified(two, 2)
    assert here.ids is not None and there.ids is not None
    both = set(here.ids.tolist()) & set(there.ids.tolist())
    assert held(here, holdout, seed, unit) & both == held(there, holdout, seed, unit) & both


@settings(max_examples=60)
@given(rows_of=people, holdout=st.floats(0.05, 0.9), seed=st.integers(0, 99))
def test_a_record_of_a_patient_without_an_id_moves_no_other_record(
    rows_of: list[tuple[int, int]], holdout: float, seed: int
) -> None:
    """Where the plan protects records, one more may not move its patient's others: they go one by one."""
    data = of_patients(rows_of)
    assert data.patients is not None
    numbers = torch.unique(data.patients[1:], return_inverse=True)[1]
    less = Dataset(data.features[1:], data.labels[1:], numbers)
    whole = rows(apart(data, holdout, seed, "record")[0])
    part = rows(apart(less, holdout, seed, "record")[0]) if len(less) else set()
    assert whole - part <= {tuple(data.features[0].tolist())} and part <= whole


def test_equal_records_fall_on_the_same_side() -> None:
    data = dataset([0, 1] * 30)
    twice = Dataset(torch.cat([data.features, data.features]), torch.cat([data.labels, data.labels]))
    train, test = apart(twice, 0.4, 3, "record")
    assert not rows(train) & rows(test)


def test_a_unit_is_on_one_side_only_where_nothing_can_put_it_on_both() -> None:
    """The larger of two epsilons may be told in these cases alone."""
    plain, numbered, known = dataset([0, 1]), of_patients([(0, 0), (0, 1)]), identified([(0, 0), (0, 1)])
    assert [is_on_one_side(data, "record") for data in (plain, numbered, known)] == [True, False, False]
    assert [is_on_one_side(data, "patient") for data in (plain, numbered, known)] == [False, False, True]
    assert not any(is_on_one_side(data, "client") for data in (plain, numbered, known))


def test_ids_are_held_out_with_the_probability_asked_for() -> None:
    """Over 4000 patients: within five standard deviations, a false alarm of 6 in 10^7."""
    data = identified([(number // 2, 0) for number in range(8000)])
    for holdout in (0.1, 0.9):
        count = len(held(data, holdout, 3, "patient"))
        assert abs(count - 4000 * holdout) < 5 * (4000 * holdout * (1 - holdout)) ** 0.5


def test_a_simulation_has_a_person_of_several_sites_on_one_side_at_all_of_them() -> None:
    names = [f"patient {number}" for number in range(60)]
    sites = [
        replace(dataset([0, 1] * 30, seed), patients=torch.arange(60), ids=hashed(names)) for seed in (1, 2)
    ]
    at_two = for_patients().replace('unit = "patient"', 'unit = "patient"\nsites_per_patient = 2')

    def held(text: str) -> list[set[int]]:
        parts = [simulated(site, parse(text))[1] for site in sites]
        return [set() if part is None or part.ids is None else set(part.ids.tolist()) for part in parts]

    first, second = held(at_two)
    assert first == second
    assert 0 < len(first) < 60
    first, second = held(
        for_patients()
    )  # which has nobody at two sites: each site keeps its classes in proportion
    assert first != second
    assert len(first) == len(second) == 12


def test_a_simulated_site_that_would_hold_out_everybody_is_told() -> None:
    text = for_patients().replace('unit = "patient"', 'unit = "patient"\nsites_per_patient = 2')
    plan = parse(text.replace("holdout = 0.2", "holdout = 0.9"))
    alone = replace(dataset([1]), patients=torch.zeros(1, dtype=torch.int64), ids=hashed(["one person"]))
    with pytest.raises(DataError, match="holds out everybody"):
        simulated(alone, plan)
