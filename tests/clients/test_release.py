"""The order at the only door out: charge, read, keep, hand on; retries; where the noise's randomness comes from."""

from __future__ import annotations

import random  # noqa: TID251 - to show that its seed changes nothing
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from clients.release import Trainer, contribution, release, site_stream
from federation.chain import JournalUnavailable
from federation.journal import Journal
from federation.messages import Member
from federation.plan import Plan
from federation.task import Dataset, build_task
from federation.terms import Terms
from privacy.errors import BudgetExceeded, PolicyViolation
from privacy.noise import Stream
from tests.clients.sites import (
    RUN,
    make_data,
    make_params,
    make_plan,
    make_terms,
    open_journal,
)

SITE = "amsterdam"
PRIVATE = [(unit, noise) for unit in ("record", "client") for noise in ("site", "distributed", "central")]
EVERY = [*PRIVATE, ("record", "none"), ("client", "none")]


class Unread:
    """Data that must not be looked at."""

    def __init__(self, seen: Callable[[], object] = lambda: None) -> None:
        self._seen = seen

    def __getattr__(self, name: str) -> object:
        self._seen()
        raise LookupError("the data were read")

    def __len__(self) -> int:
        self._seen()
        raise LookupError("the data were read")


def unread(plan: Plan, seen: Callable[[], object] = lambda: None) -> Trainer:
    return Trainer(build_task(plan), cast(Dataset, Unread(seen)), lambda _: Stream(bytes(32)))


def kinds(journal: Journal) -> list[str]:
    return [entry.kind for entry in journal.entries()]


def fresh(plan: Plan) -> Trainer:
    """A trainer as in production: every release has noise of its own."""
    return Trainer(build_task(plan), make_data(40, 1), partial(site_stream, plan, SITE))


@pytest.mark.parametrize(("unit", "noise"), EVERY)
def test_the_round_is_charged_before_a_record_is_read(unit: str, noise: str, tmp_path: Path) -> None:
    plan = make_plan(unit, noise)
    journal = open_journal(tmp_path / "journal", plan)
    when_read: list[list[str]] = []
    trainer = unread(plan, lambda: when_read.append(kinds(journal)))
    with pytest.raises(LookupError):
        release(make_terms(plan), SITE, make_params(), trainer, journal)
    assert when_read[0] == ["genesis", "reserve", "begin"]
    assert kinds(journal)[-1] == "begin"  # charged, and nothing released


def test_a_refusal_of_the_journal_leaves_the_data_unread(tmp_path: Path) -> None:
    plan = make_plan()
    touched: list[None] = []
    trainer = unread(plan, lambda: touched.append(None))
    with pytest.raises(PolicyViolation, match="no reservation"):
        journal = open_journal(tmp_path / "unreserved", plan, reserve=False)
        release(make_terms(plan), SITE, make_params(), trainer, journal)
    journal = open_journal(tmp_path / "reserved", plan)
    with pytest.raises(BudgetExceeded):
        release(make_terms(plan, round=5), SITE, make_params(), trainer, journal)
    journal._connection.execute("PRAGMA query_only = ON")  # a disk that takes no more
    with pytest.raises(JournalUnavailable):
        release(make_terms(plan), SITE, make_params(), trainer, journal)
    assert not touched


def test_nothing_is_handed_on_when_the_journal_cannot_keep_it(tmp_path: Path) -> None:
    plan = make_plan()
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)

    def disk_fills_up_meanwhile(_: int) -> Stream:
        journal._connection.execute("PRAGMA query_only = ON")
        return Stream(bytes(32))

    trainer = replace(fresh(plan), stream=disk_fills_up_meanwhile)
    with pytest.raises(JournalUnavailable):
        release(terms, SITE, make_params(), trainer, journal)
    journal._connection.execute("PRAGMA query_only = OFF")
    assert kinds(journal) == ["genesis", "reserve", "begin"]
    release(terms, SITE, make_params(), fresh(plan), journal)  # the same charge serves the next try
    assert kinds(journal) == ["genesis", "reserve", "begin", "release"]


@pytest.mark.parametrize(("unit", "noise"), EVERY)
def test_a_retry_resends_the_same_bytes_without_reading_data(unit: str, noise: str, tmp_path: Path) -> None:
    plan = make_plan(unit, noise)
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)
    first = release(terms, SITE, make_params(), fresh(plan), journal)
    again = release(replace(terms, attempt=2), SITE, make_params(), unread(plan), journal)
    assert np.array_equal(first, again)
    assert again.dtype == np.uint64
    journal.close()
    reopened = open_journal(tmp_path / "journal", plan)  # also after a crash
    assert np.array_equal(first, release(terms, SITE, make_params(), unread(plan), reopened))
    assert kinds(reopened) == ["genesis", "reserve", "begin", "release"]


def changed_members(terms: Terms) -> list[Terms]:
    fewer = terms.members[:2]
    smaller = (*fewer, Member("cleveland", 29))
    return [
        replace(terms, members=(*fewer, Member("dresden", 30))),
        replace(terms, members=(*terms.members, Member("dresden", 30))),
        replace(terms, members=smaller),
    ]


@pytest.mark.parametrize("released", [True, False])
def test_a_begun_round_answers_no_second_question(released: bool, tmp_path: Path) -> None:
    """Other params would be a second look; another cohort has another grid, and fewer shares of noise."""
    plan = make_plan(colluders=1)
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)
    if released:
        release(terms, SITE, make_params(), fresh(plan), journal)
    else:
        with pytest.raises(LookupError):
            release(terms, SITE, make_params(), unread(plan), journal)
    before = kinds(journal)
    questions = [(terms, make_params(seed=1)), *((other, make_params()) for other in changed_members(terms))]
    for other, params in questions:
        with pytest.raises(PolicyViolation, match="begun with other"):
            release(replace(other, attempt=2), SITE, params, unread(plan), journal)
    assert kinds(journal) == before


def test_the_journal_keeps_exactly_what_was_handed_on(tmp_path: Path) -> None:
    plan = make_plan()
    journal = open_journal(tmp_path / "journal", plan)
    vector = release(make_terms(plan), SITE, make_params(), fresh(plan), journal)
    rows = journal._connection.execute("SELECT run, round, payload FROM releases").fetchall()
    assert rows == [(RUN.hex(), 1, b"".join(int(value).to_bytes(8, "little") for value in vector))]


# Randomness.


@pytest.mark.parametrize(("unit", "noise"), [case for case in PRIVATE if case[1] != "central"])
def test_no_global_seed_reaches_the_noise_and_no_two_releases_share_it(unit: str, noise: str) -> None:
    plan = make_plan(unit, noise)
    terms = make_terms(plan)
    trainer = Trainer(build_task(plan), make_data(40, 1), partial(site_stream, plan, SITE))
    releases = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            np.random.seed(1)  # noqa: TID251 - to show that it changes nothing
            random.seed(1)
            vector = contribution(terms, SITE, make_params(), trainer)
            releases.append(terms.codec.from_ring(vector))
    assert bool((releases[0] != releases[1]).all())  # a key for both would repeat coordinates


def test_only_a_run_without_privacy_can_be_repeated_from_its_seed() -> None:
    plain, private = make_plan("record", "none"), make_plan("record", "distributed")
    assert site_stream(plain, SITE, 1).take(32) == site_stream(plain, SITE, 1).take(32)
    assert site_stream(private, SITE, 1).take(32) != site_stream(private, SITE, 1).take(32)
    other = plain.model_copy(update={"federation": plain.federation.model_copy(update={"seed": 8})})
    streams = [(plain, SITE, 1), (plain, SITE, 2), (plain, "berlin", 1), (other, SITE, 1)]
    assert len({site_stream(*place).take(32) for place in streams}) == 4
