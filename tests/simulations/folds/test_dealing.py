"""Folds: each record once, classes of every site in proportion, people whole, whatever the order of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import DataError, InputError
from federation.model.task import Dataset, hashed
from simulations.folds.dealing import deal, require_folds


def records(
    count: int, share: float = 0.3, at: int = 0, people: int = 0, names: str | None = None
) -> Dataset:
    """Records that follow from their numbers; of so many `people`, known by id where `names` begins their names."""
    rows = torch.arange(count)
    features = torch.stack([rows * 0.37 % 1, rows * 0.61 % 1 + at], dim=1).float()
    labels = (rows < share * count).long()
    if not people:
        return Dataset(features, labels)
    ids = None if names is None else hashed([f"{names}{number % people}" for number in range(count)])
    return Dataset(features, labels, rows % people, ids)


@given(st.lists(st.integers(20, 90), min_size=1, max_size=4), st.integers(2, 6), st.integers(0, 5))
def test_each_fold_has_its_share_of_every_class_of_every_site(
    sizes: list[int], folds: int, seed: int
) -> None:
    data = {f"site-{number}": records(size, at=number) for number, size in enumerate(sizes)}
    dealt = deal(data, folds, seed)
    for name, one in data.items():
        assert set(dealt[name]) <= set(range(folds)) and len(dealt[name]) == len(one)
        for label in (0, 1):
            counts = np.bincount(dealt[name][one.labels.numpy() == label], minlength=folds)
            assert counts.max() - counts.min() <= 1


def test_folds_follow_from_the_records_and_the_seed_and_not_from_the_order_of_rows() -> None:
    one, order = records(60), torch.randperm(60, generator=torch.Generator().manual_seed(3))
    dealt = deal({"a": one}, 4, 7)["a"]
    assert np.array_equal(deal({"a": one.at(order)}, 4, 7)["a"], dealt[order.numpy()])
    assert not np.array_equal(deal({"a": one}, 4, 8)["a"], dealt)


@pytest.mark.parametrize("names", [None, "p"], ids=["numbered at each site", "by id"])
def test_people_are_whole_and_those_with_an_id_at_all_sites(names: str | None) -> None:
    data = {name: records(90, at=at, people=30, names=names) for at, name in enumerate("ab")}
    dealt = deal(data, 5, 0)
    for name, one in data.items():
        assert one.patients is not None
        of = {(int(person), int(fold)) for person, fold in zip(one.patients, dealt[name], strict=True)}
        assert len(of) == 30, "nobody is in two folds"
    if names is not None:
        homes = [dict(zip(data[name].ids.tolist(), dealt[name], strict=True)) for name in "ab"]  # type: ignore[union-attr]
        assert homes[0] == homes[1]
    sizes = sum(np.bincount(of, minlength=5) for of in dealt.values())
    assert sizes.min() >= 30 and sizes.max() <= 42


def test_sites_of_which_some_know_people_and_some_do_not_are_dealt_together() -> None:
    dealt = deal({"a": records(40, people=10, names="p"), "b": records(40, at=1)}, 4, 0)
    assert np.bincount(dealt["b"], minlength=4).min() >= 8


def test_small_sites_are_dealt_by_class_over_all_sites() -> None:
    data = {f"site-{number}": records(4, share=0.5, at=number) for number in range(6)}
    dealt = np.concatenate(list(deal(data, 5, 0).values()))
    assert np.bincount(dealt, minlength=5).max() - np.bincount(dealt, minlength=5).min() <= 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"a": records(3)}, "fewer than 5 records of every class"),
        ({"a": records(40), "b": records(40, at=1, people=1)}, "leave site b nothing to train on"),
        ({"a": records(40, people=3)}, "fewer people than folds"),
    ],
    ids=["few records", "a site of one person", "few people"],
)
def test_folds_that_leave_too_little_are_refused(data: dict[str, Dataset], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        deal(data, 5, 0)


@pytest.mark.parametrize("folds", [-1, 0, 1, 51])
def test_so_many_folds_make_no_cross_validation(folds: int) -> None:
    with pytest.raises(InputError, match="folds: must be from 2 to 50"):
        require_folds(folds)
