"""Holdout: chooses the records, or patients, that a site keeps from training; always the same ones.

The choice depends on a public seed and on the records, so it can be repeated with the rows in any order. `apart`,
for real sites, looks at nothing but the record, or patient, itself: one more changes the training part by itself
alone, which is what epsilon counts. `split`, for simulations, keeps the classes in proportion; there one record
more may move another one across the border.

What a run costs by `apart`. A plan that publishes an evaluation charges for both parts: the composition, of which a
ledger, a report and an audit speak. For one run by itself, one unit u (a record where no patients are known, or a
patient whose id is known), added or removed, costs at most the larger of the two, for this reason:

  1. On which side u falls is a function of the public seed and of u alone (its own content, or its patient's id).
     So two data sets that differ by u differ in one part only; the other part is the same, duplicates included,
     which fall where u falls. A patient at several sites falls on one side at all of them: same id, same seed.
  2. If that part is the training's: its releases are private at the training's epsilon. The evaluation is computed
     from them and from held-out records that are the same, so it is post-processing of them, with noise of its own.
  3. If it is the evaluation's: the training's releases have the same distribution for both data sets, and given any
     outcome of them the evaluation is private at its own epsilon.
  4. So the joint release is private at the epsilon of u's side, hence at the larger, at the same delta.

It fails where u can be in both parts (a test file of the site's own, or a patient whose records go one by one),
where a record is a part of a patient who moves as a whole, for a site as a whole, and for `split`. A ledger never
counts by it: a record that is held out in one run trains in the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.people import usual
from federation.errors import DataError
from federation.model.outcomes import strata
from federation.model.task import Dataset
from federation.plan.outcomes import Outcome
from federation.plan.plan import Plan
from privacy.accounting.units import Unit


def simulated(dataset: Dataset, plan: Plan, outcome: Outcome | None = None) -> tuple[Dataset, Dataset | None]:
    """The parts of a simulated site under a plan: `split`, or by ids alone where people may be at several sites.

    `split` looks at one site, and would train on somebody at one site whom it holds out at another. So a plan whose
    `sites_per_patient` is above 1 has `apart` decide. DataError where that leaves nobody to train on.
    """
    holdout, seed = plan.evaluation.holdout, plan.federation.seed
    if dataset.ids is None or (plan.privacy.sites_per_patient or 1) == 1:
        return split(dataset, holdout, seed, outcome)
    parts = apart(dataset, holdout, seed, "patient")
    if len(parts[0]) == 0 < len(dataset):
        raise DataError("a site holds out everybody it has", hint="give it more people, or a test file")
    return parts


def split(
    dataset: Dataset, holdout: float, seed: int, outcome: Outcome | None = None
) -> tuple[Dataset, Dataset | None]:
    """Training part and held-out part: `holdout` of every class, rounded, chosen by a public seed.

    Within a class the records are ordered by a hash of their own content, so that the part a record falls in
    depends on the others only at the border: one record more or less moves at most one other. A class keeps
    one record at least to train on. None if nothing is held out.

    If patients are known, whole patients are chosen in the same way: no patient is in both parts, and a patient's
    class is the one that most of their records have. Of other outcomes, labels that are alike are a class.
    """
    owners = _owners(dataset)
    ranks = _sums(owners, content_hashes(dataset, seed))
    classes = usual(owners, strata(outcome, dataset.labels).numpy())
    held = np.zeros(len(ranks), dtype=bool)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        members = members[np.argsort(ranks[members], kind="stable")]
        held[members[: min(round(holdout * len(members)), len(members) - 1)]] = True
    return _parts(dataset, held[owners])


def apart(dataset: Dataset, holdout: float, seed: int, unit: Unit) -> tuple[Dataset, Dataset | None]:
    """Training part and held-out part: each record, or each patient, by its own hash with probability `holdout`.

    A patient whose id is known goes by that id, so one record more of a patient moves nobody, and a patient is on
    the same side at every site. Patients without ids go by the hash of all their records where the plan protects
    them as a whole; where it protects a record, each record goes by itself, since one more would move its patient's
    others. None if nothing is held out.
    """
    owners, ranks = ranked(dataset, unit, _key(seed))
    held = ranks < np.uint64(round(holdout * 2**64))
    return _parts(dataset, held[owners])


def ranked(dataset: Dataset, unit: Unit, key: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Who each row goes with, and a hash for each of these under a public key, by nothing but them alone."""
    if dataset.patients is not None and dataset.ids is None and unit == "record":
        return np.arange(len(dataset)), _contents(dataset, key)
    owners = _owners(dataset)
    return owners, _id_hashes(dataset, owners, key)


def is_on_one_side(dataset: Dataset, unit: Unit) -> bool:
    """Whether `apart` puts one unit into one part only, at every site: where the proof above holds."""
    return dataset.patients is None if unit == "record" else unit == "patient" and dataset.ids is not None


def _id_hashes(dataset: Dataset, owners: NDArray[np.int64], key: bytes) -> NDArray[np.uint64]:
    """A rank for each owner, by its id; by its content where there is no id."""
    if dataset.ids is None:
        return _sums(owners, _contents(dataset, key))
    _, first = np.unique(owners, return_index=True)
    return _numbered(dataset.ids.numpy()[first], key)


def _owners(dataset: Dataset) -> NDArray[np.int64]:
    """The patient of each row; where patients are not known, each row is its own."""
    return np.arange(len(dataset)) if dataset.patients is None else dataset.patients.numpy()


def _parts(dataset: Dataset, held: NDArray[np.bool_]) -> tuple[Dataset, Dataset | None]:
    return (_part(dataset, ~held), _part(dataset, held)) if held.any() else (dataset, None)


def content_hashes(dataset: Dataset, seed: int) -> NDArray[np.uint64]:
    """A hash of each row's features, or of what it says where these are not exact, under a public seed."""
    return _contents(dataset, _key(seed))


def _contents(dataset: Dataset, key: bytes) -> NDArray[np.uint64]:
    if dataset.contents is not None:
        return _numbered(dataset.contents.numpy(), key)
    rows = np.ascontiguousarray(dataset.features.numpy()).reshape(len(dataset), -1)
    return _keyed([row.tobytes() for row in rows], key)


def _numbered(names: NDArray[np.int64], key: bytes) -> NDArray[np.uint64]:
    return _keyed([name.tobytes() for name in names.astype(">i8")], key)


def _key(seed: int) -> bytes:
    return seed.to_bytes(8, "big")


def _keyed(texts: Sequence[bytes], key: bytes) -> NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(text, digest_size=8, key=key).digest() for text in texts)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def _sums(owners: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The sum of each owner's row hashes, modulo 2^64: the same in any order; with one row, that row's hash."""
    totals = np.zeros(owners.max() + 1, dtype=np.uint64)
    np.add.at(totals, owners, hashes)
    return totals


def _part(dataset: Dataset, chosen: NDArray[np.bool_]) -> Dataset:
    return dataset.at(torch.from_numpy(chosen)).renumbered()
