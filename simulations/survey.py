"""Checks a plan against every site of a folder: all that a simulation would refuse, and what the files hold.

A simulation ends at the first file that is wrong; here every site is read, one after the other, and each refusal is
kept. The looks (clients/describing/look.py) are for a terminal only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.check import account_of, units_of
from clients.data.folders import SiteFiles, find_sites, mixed_hold_outs, named_for
from clients.data.folds import without
from clients.data.load import protected, read_data
from clients.data.populations import check_pool, fingerprints
from clients.data.rows import shared
from clients.data.split import simulated
from clients.describing.doubts import doubts_of_sizes, hints_of_length, hints_of_metrics
from clients.describing.look import Look, look
from clients.policy import SiteFile, consent
from clients.rules.origin import Place
from federation.errors import FederationError
from federation.model.task import Dataset, Task, build_task
from federation.plan.plan import Plan, check_delta
from federation.plan.tabular import TabularTask
from federation.report.planned import plan_facts
from federation.round.cohort import sample
from federation.round.messages import Member
from federation.round.terms import Terms
from federation.words import many
from privacy.errors import PrivacyError
from simulations.world import own_rules, require_held_out

_NOBODY: Final = np.zeros(0, np.int64)
_PAIRS = 5  # of sites with records in common, named one by one
Refusal = FederationError | PrivacyError


@dataclass(frozen=True, repr=False)
class CheckedSite:
    """One site. `size` is what it would declare; None if its records, or those held out, cannot be read.

    `people` are hashes of the ids of its people, where the plan names a column of them.
    """

    name: str
    look: Look | None
    size: int | None
    holds_out: bool
    errors: tuple[Refusal, ...]
    people: NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class Survey:
    """The facts of a plan, its sites, doubts about the sites together, hints about the plan, and every refusal."""

    facts: dict[str, Any]
    sites: tuple[CheckedSite, ...]
    doubts: tuple[str, ...]
    hints: tuple[str, ...]
    errors: tuple[Refusal, ...]

    def to_json(self) -> dict[str, Any]:
        """The plan's facts, and of each site only whether its records can be read: nothing about them."""
        sites = [{"id": site.name, "readable": site.size is not None} for site in self.sites]
        return {**self.facts, "sites": sites}

    def require(self) -> None:
        """Return if a simulation would begin; else raise every refusal, as an ExceptionGroup."""
        if self.errors:
            raise ExceptionGroup("a simulation would be refused", self.errors)


def survey(plan: Plan, directory: Path) -> Survey:
    """Every site of a folder against a plan. Raises what refuses the plan or the folder as a whole."""
    facts, task = plan_facts(plan, 1), build_task(plan)  # refuses a plan before anybody looks for sites
    found = find_sites(directory, any_format=not isinstance(plan.task, TabularTask))
    sites = tuple(_check(plan, task, entry) for entry in found.sites)
    notes = (*found.notes, *mixed_hold_outs(directory, found.sites, plan.evaluation.holdout))
    errors = _once(error for site in sites for error in site.errors)
    if all(site.size is not None for site in sites):
        with _kept(errors):
            _check_together(plan, sites, facts["model_parameters"])
    if len(sites) >= plan.cohort.minimum:
        with _kept(errors):
            facts = plan_facts(plan, 1, len(sites))
    lengths = [site.look.files[0].length for site in sites if site.look is not None]
    is_told = any("clipping_norm" in hint for hint in facts["hints"])
    hints = tuple(hints_of_length(plan, median(lengths))) if lengths and not is_told else ()
    hints += tuple(hints_of_metrics(plan, _classes(sites)))
    return Survey(facts, sites, (*map(str, notes), *_doubts(plan, sites)), hints, tuple(errors))


def _once(errors: Iterable[Refusal]) -> list[Refusal]:
    """What all sites lack, such as an encoder of their texts, is said once."""
    return list({str(error): error for error in errors}.values())


def _check(plan: Plan, task: Task, entry: SiteFiles) -> CheckedSite:
    """One site: its records are read, checked and let go."""
    errors, size = list[Refusal](), None
    rules: SiteFile | None = None
    source: Place
    test: Place | None
    training: Dataset | None = None
    held_out: Dataset | None = None
    source, test = entry.train, entry.test
    with _kept(errors):
        rules = own_rules(entry)
    unruly = len(errors)
    if not errors:
        source, test = entry.places()
    with _kept(errors), named_for(entry):
        training = read_data(source, plan, task)
    with _kept(errors), named_for(entry):
        held_out = None if test is None else read_data(test, plan, task)
    is_readable = len(errors) == unruly
    if rules is not None:
        with _kept(errors):
            consent(plan, rules.policy)
            units_of(plan, rules.policy, account_of(rules, rules.identity()))
            for file in (source, test):
                if file is not None:
                    check_pool(rules, key := rules.identity(), fingerprints(file, plan.patient_column, key))
    if is_readable and training is not None:
        if test is None and plan.evaluation.folds is not None:
            held_out = without(training, plan, 1)[1]  # as much of it as any fold holds out
        elif test is None:
            training, held_out = simulated(training, plan, task.outcome)
        size = (rules.data.size if rules else None) or protected(plan, training)
        with _kept(errors):
            if plan.privacy.unit != "client":
                check_delta(plan, protected(plan, training))
    holds_out = held_out is not None
    ids = [part.ids.numpy() for part in (training, held_out) if part is not None and part.ids is not None]
    people = np.unique(np.concatenate(ids)) if ids else _NOBODY
    del training, held_out  # the look reads the files once more, and both at once would be twice the memory
    seen = _look(plan, task, source, test, rules.data.size if rules else None)
    return CheckedSite(entry.name, seen, size, holds_out, tuple(errors), people)


def _look(plan: Plan, task: Task, source: Place, test: Place | None, declared: int | None) -> Look | None:
    """A look at a site's files; None if one cannot be read at all, which is a refusal already."""
    try:
        return look(plan, task, source, test, declared)
    except (FederationError, PrivacyError):
        return None


def _check_together(plan: Plan, sites: tuple[CheckedSite, ...], dimension: int) -> None:
    """What only all sites together can break: the cohort, the ring for its declared sizes, the held-out records."""
    if plan.privacy.unit == "client":
        check_delta(plan, len(sites))
    if not plan.task_is_tally:
        require_held_out(site.holds_out for site in sites)
    members = tuple(Member(site.name, site.size or 0) for site in sites)
    cohort = sample(plan, members, round_number=1)
    for number in {1, plan.last_round}:
        _ = Terms(plan, bytes(16), number, 1, cohort, dimension).parameters  # settles grid, noise and ring


def _classes(sites: tuple[CheckedSite, ...]) -> list[tuple[str, int]]:
    """How many records of each class all sites together train on."""
    counts: dict[str, int] = {}
    for site in sites:
        for name, count in () if site.look is None else site.look.files[0].classes:
            counts[name] = counts.get(name, 0) + count
    return list(counts.items())


def _doubts(plan: Plan, sites: tuple[CheckedSite, ...]) -> Iterator[str]:
    looked = [(site.name, site.look) for site in sites if site.look is not None]
    pairs = shared([np.concatenate([file.marks for file in seen.files]) for _, seen in looked])
    pairs.sort(key=lambda both: -both.records)
    for both in pairs[:_PAIRS]:
        names = f"{looked[both.first][0]} and {looked[both.second][0]}"
        told = "hold the same records" if both.is_same else f"share {both.records} different records"
        yield f"{names} {told}: epsilon counts a person at one site, unless the plan says sites_per_patient"
    if len(pairs) > _PAIRS:
        yield f"{len(pairs) - _PAIRS} more pairs of sites share records"
    yield from _several(plan, [site.people for site in sites])
    if plan.privacy.noise == "site" and plan.cohort.weights == "uniform":
        yield from doubts_of_sizes([site.size for site in sites if site.size is not None])


def _several(plan: Plan, people: Sequence[NDArray[np.int64]]) -> Iterator[str]:
    """People who are at more sites than the plan has them at."""
    planned = plan.privacy.sites_per_patient or 1
    counts = np.unique(np.concatenate([_NOBODY, *people]), return_counts=True)[1]
    if plan.is_private and (several := int((counts > planned).sum())):
        told = f"{many(several, 'patient')} at more sites than {planned}, up to {int(counts.max())}"
        yield (
            f"{told}: say so by privacy.sites_per_patient, or each counts as somebody else at each site, "
            "for epsilon and for what is held out"
        )


@contextmanager
def _kept(errors: list[Refusal]) -> Iterator[None]:
    """Keep a refusal instead of raising it."""
    try:
        yield
    except (FederationError, PrivacyError) as error:
        errors.append(error)
