"""Holdout: chooses the records, or patients, that a site keeps from training; always the same ones.

The choice depends on a public seed and on the records' own content, so it can be repeated with the rows in any
order. `apart`, for real sites, looks at nothing else: one record more changes the training part by that record
alone, which is what epsilon counts. `split`, for simulations, keeps the classes in proportion; there one record
more may move another one across the border.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from federation.model.task import Dataset


def split(dataset: Dataset, holdout: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Training part and held-out part: `holdout` of every class, rounded, chosen by a public seed.

    Within a class the records are ordered by a hash of their own content, so that the part a record falls in
    depends on the others only at the border: one record more or less moves at most one other. A class keeps
    one record at least to train on. None if nothing is held out.

    If patients are known, whole patients are chosen in the same way: no patient is in both parts, and a patient's
    class is the one that most of their records have.
    """
    owners = _owners(dataset)
    ranks = _sums(owners, _content_hashes(dataset, seed))
    classes = _usual(owners, dataset.labels.numpy())
    held = np.zeros(len(ranks), dtype=bool)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        members = members[np.argsort(ranks[members], kind="stable")]
        held[members[: min(round(holdout * len(members)), len(members) - 1)]] = True
    return _parts(dataset, held[owners])


def apart(dataset: Dataset, holdout: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Training part and held-out part: each record, or each patient, by its own hash with probability `holdout`.

    A patient goes by the hash of all their records, so one record more of a patient may move that patient and
    no other. None if nothing is held out.
    """
    owners = _owners(dataset)
    ranks = _sums(owners, _content_hashes(dataset, seed))
    held = ranks < np.uint64(round(holdout * 2**64))
    return _parts(dataset, held[owners])


def _owners(dataset: Dataset) -> NDArray[np.int64]:
    """The patient of each row; where patients are not known, each row is its own."""
    return np.arange(len(dataset)) if dataset.patients is None else dataset.patients.numpy()


def _parts(dataset: Dataset, held: NDArray[np.bool_]) -> tuple[Dataset, Dataset | None]:
    return (_part(dataset, ~held), _part(dataset, held)) if held.any() else (dataset, None)


def _content_hashes(dataset: Dataset, seed: int) -> NDArray[np.uint64]:
    key = seed.to_bytes(8, "big")
    rows = np.ascontiguousarray(dataset.features.numpy()).reshape(len(dataset), -1)
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row in rows)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def _sums(owners: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The sum of each owner's row hashes, modulo 2^64: the same in any order; with one row, that row's hash."""
    totals = np.zeros(owners.max() + 1, dtype=np.uint64)
    np.add.at(totals, owners, hashes)
    return totals


def _usual(owners: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label that most of each owner's rows have; of several, the least."""
    best, most = np.zeros(owners.max() + 1, dtype=np.int64), np.zeros(owners.max() + 1, dtype=np.int64)
    for label in np.unique(labels):
        counts = np.bincount(owners[labels == label], minlength=len(most))
        best, most = np.where(counts > most, label, best), np.maximum(counts, most)
    return best


def _part(dataset: Dataset, chosen: NDArray[np.bool_]) -> Dataset:
    rows = torch.from_numpy(chosen)
    patients = None
    if dataset.patients is not None:
        patients = torch.unique(dataset.patients[rows], return_inverse=True)[1]  # from 0, without gaps
    return Dataset(dataset.features[rows], dataset.labels[rows], patients)
