"""Folds of a plan: who is in which, by nothing but the plan and the person, or record, itself.

The key of the hash is public: it follows from the digest of the plan. A person whose id is known goes by the id, so
with all records, and to the same fold at every site; a record of nobody known goes by its content. Nothing is
stratified: to keep classes in proportion one would look at other records, and one record more would move others.

What K folds cost. The plan is played as K trainings, each without one fold and followed by an evaluation on it, and
a last training on all records. Let two data sets differ by one unit u, added or removed: a record where no
patients are known, or a patient whose id is known. All that is opened is one release, each part of it adaptive in
what was opened before.

  1. The fold f of u is a function of the key and of u alone. So in every other fold the held-out records are the
     same for both data sets, and in the training without f the training records are, duplicates included.
  2. The training without f has the same distribution for both data sets, given what was opened before it. The
     evaluations on other folds are computed from params that are opened and from records that are the same: they
     are post-processing, with noise of their own.
  3. What is left are the trainings without each of the K - 1 other folds, the evaluation on f, and the last
     training: mechanisms with noise of their own, which compose. That is K trainings and one evaluation, whatever f
     is, each part with the same parameters. So a bound on them holds for every f, and in whatever order a
     coordinator has them played, seeing results: u is in no more than these, and trainings and evaluations may
     interleave (concurrent composition). A part of no records is played all the same.

It says nothing of a unit that is replaced by another (which may be in another fold), of a part of what the plan
protects as a whole, of a patient of many records where each record goes by itself, or of a site. These are charged
all: K + 1 trainings and K evaluations (`Charge.whole`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.split import ranked
from federation.model.task import Dataset
from federation.plan.plan import Plan
from privacy.wire import digest


def folds_of(dataset: Dataset, plan: Plan) -> NDArray[np.int64]:
    """The fold (1 to K) of each row, under a plan with K folds."""
    key = digest("federation/folds/1", plan.digest.encode())
    owners, ranks = ranked(dataset, plan.privacy.unit, key)
    spread = (ranks >> np.uint64(32)) * np.uint64(plan.evaluation.folds or 1) >> np.uint64(32)
    return spread.astype(np.int64)[owners] + 1


def without(dataset: Dataset, plan: Plan, fold: int) -> tuple[Dataset, Dataset | None]:
    """What a fold's training is made on, and what it is evaluated on; all records and nothing for fold 0."""
    held = folds_of(dataset, plan) == fold if fold and len(dataset) else np.zeros(len(dataset), dtype=bool)
    if not held.any():
        return dataset, None
    training, kept = (dataset.at(torch.from_numpy(chosen)).renumbered() for chosen in (~held, held))
    return training, kept
