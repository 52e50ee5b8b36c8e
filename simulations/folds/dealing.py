"""Which fold each record of a simulation is in.

A fold has about one K-th of every class of every site. Whole people stay together where people are known, at all
sites where their ids are. Records are taken in the order of a hash of their content under the plan's public seed:
so the same records get the same folds in any order and in any kind of file, and another seed gives others.

That looks at the classes, so one record more may move others. In a simulation nothing depends on it; a real run
could not be dealt like this (docs/decisions/0034-folds.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from clients.data.split import content_hashes
from federation.errors import DataError, InputError
from federation.model.outcomes import strata
from federation.model.task import Dataset
from federation.plan.outcomes import Outcome

LEAST, MOST = 2, 50
Numbers = NDArray[np.int64]


def require_folds(folds: int) -> None:
    """InputError for a number of folds that makes no cross-validation."""
    if not LEAST <= folds <= MOST:
        raise InputError(f"{folds} folds: must be from {LEAST} to {MOST}", hint="5 is usual")


def deal(
    data: Mapping[str, Dataset], folds: int, seed: int, outcome: Outcome | None = None
) -> dict[str, Numbers]:
    """The fold (0 to `folds` - 1) of each record, by site. DataError where a fold would leave too little."""
    names = sorted(data)
    places = np.repeat(np.arange(len(names)), [len(data[name]) for name in names])
    labels = strata(outcome, torch.cat([data[name].labels for name in names])).numpy()
    owners = np.concatenate([_owners(number, data[name]) for number, name in enumerate(names)])
    order = np.argsort(np.concatenate([content_hashes(data[name], seed) for name in names]), kind="stable")
    kinds = places * (int(labels.max()) + 1) + labels  # a class of a site
    groups = _in_order(owners[order]) if any(one.patients is not None for one in data.values()) else None
    found = np.empty(len(labels), dtype=np.int64)
    found[order] = _dealt(kinds[order], labels[order], groups, folds)
    dealt = {name: found[places == number] for number, name in enumerate(names)}
    _require_enough(dealt, folds)
    return dealt


def _owners(site: int, data: Dataset) -> Numbers:
    """Whose each record is, as a pair of numbers: a person known by id is one person at all sites."""
    rows = np.arange(len(data))
    if data.ids is not None:
        return np.stack([np.full_like(rows, -1), data.ids.numpy()], axis=1)
    own = -1 - rows if data.patients is None else data.patients.numpy()
    return np.stack([np.full_like(rows, site), own], axis=1)


def _in_order(owners: Numbers) -> Numbers:
    """Owners numbered as they first come."""
    _, first, owner = np.unique(owners, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[owner.reshape(-1)]


def _dealt(kinds: Numbers, labels: Numbers, groups: Numbers | None, folds: int) -> Numbers:
    """Folds in proportion to classes of sites; where every one of these is too small for that, to classes."""
    rule = StratifiedKFold(folds) if groups is None else StratifiedGroupKFold(folds)
    found = np.empty(len(labels), dtype=np.int64)
    for alike in (kinds, labels):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a class has fewer records than there are folds
                for number, (_, held) in enumerate(rule.split(labels[:, None], alike, groups)):
                    found[held] = number
        except ValueError:
            continue
        return found
    reason = f"there are fewer than {folds} records of every class, or fewer people than folds"
    raise DataError(reason, hint="make fewer folds")


def _require_enough(dealt: Mapping[str, Numbers], folds: int) -> None:
    """Something to test on in every fold, and at every site something to train on."""
    for number in range(folds):
        if not any((of == number).any() for of in dealt.values()):
            reason = f"fold {number + 1} of {folds} would hold no records"
            raise DataError(reason, hint="make fewer folds: there are too few records, or people")
        for name, of in dealt.items():
            if (of == number).all():
                reason = f"fold {number + 1} of {folds} would leave site {name} nothing to train on"
                raise DataError(reason, hint="make fewer folds, or leave the site out")
