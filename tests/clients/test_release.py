"""The order at the only door out: charge, read, keep, hand on; retries; where the noise's randomness comes from."""

from __future__ import annotations

import random  # noqa: TID251 - to show that its seed changes nothing
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from clients import release as door
from clients.journal.journal import Journal
from clients.policy import Policy
from clients.release import Payload, release
from clients.training import per_example
from clients.training.isolation import Tally
from clients.training.work import Trainer, contribution, site_stream, worst_case_seconds
from federation.errors import DataError, TaskError
from federation.model.task import Dataset, build_task, cross_entropy
from federation.plan.plan import Plan
from federation.round.messages import Member
from federation.round.terms import Terms, evaluation_run
from privacy.accounting.units import Limit
from privacy.errors import BudgetExceeded, LedgerRefusal, PolicyViolation, RecordsUnavailable
from privacy.ledger.heads import Head
from privacy.mechanism.encoding import EncodingOverflow
from privacy.mechanism.noise import Stream
from privacy.secagg.ring import lane_type, pack, packed_size, to_lanes
from tests.clients.journal.journals import fill_the_disk, rows, statement
from tests.clients.sites import (
    RUN,
    make_data,
    make_params,
    make_plan,
    make_terms,
    open_journal,
)
from tests.clients.units import NOISES

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
    """The ledger's story, without the limits that were set before it."""
    return [entry.kind for entry in journal.entries() if entry.kind != "budget"]


def fresh(plan: Plan) -> Trainer:
    """A trainer as in production: every release has noise of its own."""
    return Trainer(build_task(plan), make_data(40, 1), partial(site_stream, plan, SITE))


@pytest.mark.parametrize(("unit", "noise"), EVERY)
def test_the_round_is_charged_before_a_record_is_read(unit: str, noise: str, tmp_path: Path) -> None:
    plan = make_plan(unit, noise)
    journal = open_journal(tmp_path / "journal", plan)
    when_read: list[list[str]] = []
    trainer = unread(plan, lambda: when_read.append(kinds(journal)))
    with pytest.raises(TaskError, match="LookupError"):
        release(make_terms(plan), SITE, make_params(), trainer, journal)
    assert when_read[0] == ["genesis", "reserve", "begin"]
    assert kinds(journal)[-1] == "begin"  # charged, and nothing released


def test_a_refusal_of_the_journal_leaves_the_data_unread(tmp_path: Path) -> None:
    plan = make_plan()
    touched: list[None] = []
    trainer = unread(plan, lambda: touched.append(None))
    with pytest.raises(LedgerRefusal, match="no reservation"):
        journal = open_journal(tmp_path / "unreserved", plan, reserve=False)
        release(make_terms(plan), SITE, make_params(), trainer, journal)
    journal = open_journal(tmp_path / "reserved", plan)
    with pytest.raises(BudgetExceeded):
        release(make_terms(plan, round=6), SITE, make_params(), trainer, journal)
    fill_the_disk(journal)
    with pytest.raises(RecordsUnavailable):
        release(make_terms(plan), SITE, make_params(), trainer, journal)
    assert not touched


def test_nothing_is_handed_on_when_the_journal_cannot_keep_it(tmp_path: Path) -> None:
    plan = make_plan()
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)

    def disk_fills_up_meanwhile(_: int) -> Stream:
        fill_the_disk(journal)
        return Stream(bytes(32))

    trainer = replace(fresh(plan), stream=disk_fills_up_meanwhile)
    with pytest.raises(RecordsUnavailable):
        release(terms, SITE, make_params(), trainer, journal)
    fill_the_disk(journal, False)
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
    assert again.dtype == lane_type(terms.codec.ring_bits)
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
        with pytest.raises(TaskError):
            release(terms, SITE, make_params(), unread(plan), journal)
    before = kinds(journal)
    questions = [(terms, make_params(seed=1)), *((other, make_params()) for other in changed_members(terms))]
    for other, params in questions:
        with pytest.raises(LedgerRefusal, match="begun with another question"):
            release(replace(other, attempt=2), SITE, params, unread(plan), journal)
    assert kinds(journal) == before


def test_the_journal_keeps_exactly_what_was_handed_on(tmp_path: Path) -> None:
    plan = make_plan()
    journal = open_journal(tmp_path / "journal", plan)
    vector = release(make_terms(plan), SITE, make_params(), fresh(plan), journal)
    kept = rows(journal, "SELECT run, round, payload FROM releases")
    bits = make_terms(plan).codec.ring_bits
    assert kept == [(RUN.hex(), 1, pack(to_lanes(vector, bits), bits))]


# The form of what leaves.


FORM = Payload(length=6, ring_bits=40)
GOOD = np.arange(6, dtype=np.uint64)


class Tagged(np.ndarray[tuple[int], np.dtype[np.uint64]]):
    """An array that carries something along."""

    losses = (0.3, 0.2)


def too_large() -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    vector = GOOD.copy()
    vector[3] = 1 << 40
    return vector


NOT_ALLOWED: dict[str, object] = {
    "an extra metric": {"vector": GOOD, "loss": 0.3},
    "an extra array": (GOOD, GOOD),
    "the number of examples": np.append(GOOD, np.uint64(4711)),
    "fewer numbers": GOOD[:5],
    "numbers in two rows": GOOD.reshape(2, 3),
    "a number": np.uint64(4711),
    "a long error string": "patient 4711 has a negative dose; " * 40,
    "floats": GOOD.astype(np.float64),
    "signed integers": GOOD.astype(np.int64),
    "another byte order": GOOD.astype(">u8"),
    "shorter integers": GOOD.astype(np.uint16),
    "named fields": np.zeros(6, np.dtype([("vector", "u8"), ("count", "u8")])),
    "objects": GOOD.astype(object),
    "an array with something attached": GOOD.view(Tagged),
    "an array with a mask": np.ma.masked_array(GOOD, mask=[True, False] * 3),
    "a tensor": torch.arange(6),
    "bytes": GOOD.tobytes(),
    "a list": GOOD.tolist(),
    "nothing": None,
    "a number past the ring": too_large(),
}


@pytest.mark.parametrize("what", NOT_ALLOWED)
def test_nothing_but_the_one_vector_can_be_released(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DP-48: extra metric, extra array, long error string, exact number of examples; the journal keeps none."""
    with pytest.raises(PolicyViolation) as raised:
        FORM.seal(NOT_ALLOWED[what])
    assert "4711" not in str(raised.value) and "0.3" not in str(raised.value)
    plan = make_plan()
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)
    assert terms.dimension == FORM.length
    if what == "a number past the ring":
        monkeypatch.setattr(door, "contribution", lambda *_: too_large() << np.uint64(20))
    else:
        monkeypatch.setattr(door, "contribution", lambda *_: NOT_ALLOWED[what])
    with pytest.raises(PolicyViolation, match="release"):
        release(terms, SITE, make_params(), fresh(plan), journal)
    assert kinds(journal)[-1] == "begin"
    assert statement(journal, "SELECT COUNT(*) FROM releases") == (0,)


def test_what_is_released_is_read_back_from_its_bytes_and_brings_nothing_along() -> None:
    """DP-48: not the memory that an array was cut from, nor what is written on its dtype."""
    larger = np.arange(100, dtype=np.uint64)
    noted = larger[10:16].astype(np.dtype("u8", metadata={"loss": 0.3}))
    assert noted.dtype.metadata
    for vector in (larger[10:16], larger[10:22:2], noted):
        opened = FORM.open(FORM.seal(vector))
        assert np.array_equal(opened, vector)
        assert opened.base is None
        assert opened.nbytes == 48
        assert opened.dtype.metadata is None
    assert len({len(FORM.seal(GOOD * np.uint64(scale))) for scale in (0, 1, 10**9)}) == 1


@pytest.mark.parametrize(
    "data", [b"", bytes(32), bytes(48), bytes(39), bytearray(40), "0" * 40, b"\xff" * 40]
)
def test_stored_bytes_of_another_form_are_not_sent_again(
    data: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(PolicyViolation):
        FORM.open(data)  # type: ignore[arg-type]
    plan = make_plan()
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)
    monkeypatch.setattr(journal, "begin", lambda *_: data)
    with pytest.raises(PolicyViolation):
        release(terms, SITE, make_params(), unread(plan), journal)


@pytest.mark.parametrize(("unit", "noise"), EVERY)
def test_the_size_of_a_release_says_nothing_about_the_data(unit: str, noise: str, tmp_path: Path) -> None:
    """DP-48"""
    plan, sizes = make_plan(unit, noise), set()
    for number, records in enumerate((0, 1, 40)):
        journal = open_journal(tmp_path / str(number), plan)
        trainer = replace(fresh(plan), data=make_data(records, 1))
        release(make_terms(plan), SITE, make_params(), trainer, journal)
        sizes.add(statement(journal, "SELECT LENGTH(payload) FROM releases"))
    rules = make_terms(plan).parameters
    assert sizes == {(packed_size(6, rules.ring_bits),)}


# What the task's own code says.


QUOTED = "patient 4711 has a negative dose"


@pytest.mark.parametrize(
    "error", [ValueError(QUOTED), ZeroDivisionError(QUOTED), type("Odd", (Exception,), {})(QUOTED)]
)
@pytest.mark.parametrize("where", ["model", "loss", "stream"])
def test_of_an_exception_in_the_tasks_code_only_the_kind_is_passed_on(
    where: str, error: Exception, tmp_path: Path
) -> None:
    """DP-48: not its text, nor the exception itself behind another."""
    plan, trainer = make_plan(), fresh(make_plan())
    contribution(make_terms(plan), SITE, make_params(), trainer)

    def fail(*_: object) -> object:
        raise error

    if where == "stream":
        trainer = replace(trainer, stream=fail)  # type: ignore[arg-type]
    else:
        trainer = replace(trainer, task=replace(trainer.task, **{where: fail}))  # type: ignore[arg-type]
    journal = open_journal(tmp_path / "journal", plan)
    with pytest.raises(TaskError) as raised:
        release(make_terms(plan), SITE, make_params(), trainer, journal)
    assert kinds(journal)[-1] == "begin"
    if where != "loss":  # which failed on made-up records, and may say how
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
        assert type(error).__name__ in str(raised.value)
        assert QUOTED not in str(raised.value)


def test_a_loss_that_fails_on_a_real_record_leaves_it_out_and_quotes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """DP-48: on made-up records, which it is tried on before, it works."""
    plan, data, tally = make_plan(), make_data(8, 1), Tally()

    def picky(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if int(labels.max()) > 1:
            raise ValueError(f"a label of {int(labels.max())}")
        return cross_entropy(outputs, labels)

    kept = Dataset(data.features[torch.arange(8) != 3], data.labels[torch.arange(8) != 3])
    data.labels[3] = 4711
    task = replace(build_task(plan), loss=picky)
    trainer = Trainer(task, data, lambda _: Stream(bytes(32)), tally=tally)
    journal = open_journal(tmp_path / "journal", plan)
    sent = release(make_terms(plan), SITE, make_params(), trainer, journal)
    without = contribution(make_terms(plan), SITE, make_params(), replace(trainer, data=kept, tally=Tally()))
    assert np.array_equal(sent, without)
    assert tally.raised == 1
    assert "4711" not in caplog.text


# Limits, witnesses, patients, time.


def test_limits_and_heads_reach_the_journal_with_the_question(tmp_path: Path) -> None:
    plan = make_plan()
    journal, seen = open_journal(tmp_path / "journal", plan), []
    begin = journal.begin

    def watched(*arguments: object) -> bytes | None:
        seen.append(arguments)
        return begin(*arguments[:3])  # type: ignore[arg-type]

    limits, heads = (cast(Limit, object()),), (cast(Head, object()),)
    journal.begin = watched  # type: ignore[method-assign, assignment]
    release(make_terms(plan), SITE, make_params(), fresh(plan), journal, limits=limits, heads=heads)
    assert seen[0][3:] == (limits, heads, "", "")  # no run has ended, and no minute is told


@pytest.mark.parametrize("number", [4, 5], ids=["last round", "evaluation"])
def test_the_last_update_is_forgotten_when_the_evaluation_begins(number: int, tmp_path: Path) -> None:
    """Also by a site that was not there when the last sum was opened."""
    plan = make_plan()
    plan = plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"epsilon": 1.0})})
    journal = open_journal(tmp_path / "journal", plan)
    limits = Policy.for_plan(plan).limits()
    journal.reserve(evaluation_run(RUN.hex()), plan.digest, plan.figures.charge, 1, limits)
    for played in {4, number}:
        release(make_terms(plan, round=played), SITE, make_params(), fresh(plan), journal)
    kept = rows(journal, "SELECT run FROM releases")
    assert kept == [(RUN.hex() if number == 4 else evaluation_run(RUN.hex()),)]


@pytest.mark.parametrize("noise", [*NOISES, "none"])
def test_a_plan_for_patients_needs_to_know_whose_a_record_is(noise: str, tmp_path: Path) -> None:
    plan = make_plan("patient", noise)
    for patients in (None, torch.arange(39)):
        trainer = replace(fresh(plan), data=replace(make_data(40, 1), patients=patients))
        with pytest.raises(DataError, match="whose each record is"):
            contribution(make_terms(plan), SITE, make_params(), trainer)


@pytest.mark.parametrize(("unit", "noise"), EVERY)
def test_whose_a_record_is_means_nothing_where_patients_are_not_protected(unit: str, noise: str) -> None:
    plan, data = make_plan(unit, noise, sample_rate=0.37, rounds=12), make_data(40, 1)
    trainer = Trainer(build_task(plan), data, lambda _: Stream(bytes(32)))
    marked = replace(trainer, data=replace(data, patients=torch.zeros(40, dtype=torch.int64)))
    terms = make_terms(plan)
    one, other = (contribution(terms, SITE, make_params(), each) for each in (trainer, marked))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("unit", "noise"), [("record", "distributed"), ("patient", "site"), ("client", "none")]
)
def test_the_longest_round_is_measured_without_a_look_at_the_data(
    unit: str, noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(unit, noise, sample_rate=0.37, rounds=12)
    seen: list[int] = []
    features = torch.full((40, 2), torch.nan)  # what would be read from them, were they read
    data = Dataset(features, torch.full((40,), 9), torch.arange(40))

    finite: list[torch.Tensor] = []

    def watched(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(len(labels))
        if not torch._C._functorch.is_functorch_wrapped_tensor(outputs):  # type: ignore[attr-defined]
            finite.append(torch.isfinite(outputs.detach()).all())
        return cross_entropy(outputs, labels)

    losses_of = per_example.losses_of

    def counted(*given: Any) -> torch.Tensor:  # a loss under `vmap` sees records one by one
        seen.append(len(given[-1]))
        return losses_of(*given)

    monkeypatch.setattr(per_example, "losses_of", counted)
    asked: list[int] = []
    trainer = Trainer(
        replace(build_task(plan), loss=watched),
        data,
        lambda number: asked.append(number) or Stream(bytes(32)),
    )  # type: ignore[func-returns-value]
    terms = make_terms(plan)
    assert 0 < worst_case_seconds(terms, SITE, trainer) < 5
    assert not asked  # the round's own stream is not used up
    assert terms.kind.largest_batch(terms.parties) == 40
    assert finite and all(map(bool, finite))
    assert 25 <= max(seen) <= 130  # about as many as the largest batch, and a trial of twice as many


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


def test_a_round_that_left_the_ring_did_so_for_good_and_no_retry_is_another_answer(tmp_path: Path) -> None:
    """AdamW's decay takes a param that the server made up to the edge of the ring, and the noised step decides."""
    decay = {"training.optimizer": "adamw", "training.weight_decay": 0.01, "training.learning_rate": 0.01}
    plan = make_plan("record", "site", **decay)
    params = make_params()
    params[0] = 1.001 * 16 / (0.01 * 0.01)
    journal, made = open_journal(tmp_path / "journal", plan), list[int]()

    def stream(number: int) -> Stream:
        made.append(number)
        return site_stream(plan, SITE, number)

    trainer = replace(fresh(plan), stream=stream)
    for attempt in (1, 2, 3):
        with pytest.raises(EncodingOverflow):
            release(make_terms(plan, attempt=attempt), SITE, params, trainer, journal)
        assert made == [1], "one charge, one training"
    assert kinds(journal) == ["genesis", "reserve", "begin", "release"]
    assert release(make_terms(plan, round=2), SITE, make_params(), trainer, journal).size == 6
    assert made == [1, 2], "the next round is another charge"
