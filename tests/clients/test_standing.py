"""What holds in every round of a run: the policy as it stands, the budget of the pool, and the end of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from scipy import stats

from clients.join import open_site
from clients.policy import Policy
from clients.site import Site
from clients.training.work import Trainer
from federation.errors import InputError, TooFewSurvivors
from federation.files import replace_file
from federation.identity.keys import private_pem
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from federation.round.messages import Frame, Hello, Kind, Reason, abort_reason, heads_from
from federation.round.terms import Terms
from privacy.accounting.events import GaussianEvent
from privacy.errors import BudgetExceeded, LedgerRefusal, MalformedMessage, PolicyViolation
from privacy.ledger.state import fold
from privacy.mechanism.noise import SIGMA, Stream
from privacy.signing import public_identity
from tests.clients.journal.journals import spent
from tests.clients.sites import (
    CONSORTIUM,
    FIVE,
    RUN,
    SIZES,
    Round,
    approved,
    clipped_sum,
    closing,
    flat,
    greeting_of,
    hello,
    identity,
    invite,
    joined,
    kinds,
    loaded,
    make_data,
    make_params,
    make_plan,
    make_site,
    make_sites,
    make_terms,
    refused,
)

PLAN = make_plan()
FIRST = make_terms(PLAN)
SECOND = replace(FIRST, round=2, attempt=2)
PARAMS = bytes(range(32))  # a digest of the last params

# Policy, round by round.

SITE = f"""\
[site]
id = "berlin"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "berlin.csv"
pool = "patients"
size = 24
[policy]
epsilon_max = 8.0
delta_max = 1e-5
cohort_minimum = 3
colluders_minimum = 0
noise = ["distributed", "site"]
plans = ["{PLAN.digest}"]
[consortium]
keys = ["{public_identity(CONSORTIUM).hex()}"]
quorum = 1
"""
ROWS = [f"{20 + number},{100 + 3 * number},{'yes' if number % 3 else 'no'}" for number in range(30)]


def write_site(folder: Path) -> Path:
    """The site file of berlin, with the key and the size that the roster knows, and its data."""
    (folder / "keys").mkdir()
    replace_file(folder / "keys" / "berlin.key", private_pem(identity("berlin")), is_secret=True)
    (folder / "berlin.csv").write_text("\n".join(["age,pressure,sick", *ROWS]))
    (folder / "site.toml").write_text(SITE)
    return folder / "site.toml"


def unread(site: Site) -> None:
    """From here on, whoever touches the data of this site fails otherwise than by a refusal."""
    assert site._joined is not None
    site._joined.trainer = replace(site._joined.trainer, data=cast(Dataset, None), stream=nobody)


def nobody(_: int) -> Stream:
    raise AssertionError("a stream is drawn from")


CHANGES = {
    "epsilon": ("epsilon_max = 8.0", "epsilon_max = 7.0"),
    "delta": ("delta_max = 1e-5", "delta_max = 1e-6"),
    "plans": (PLAN.digest, "sha256:" + "0" * 64),
    "cohort": ("cohort_minimum = 3", "cohort_minimum = 4"),
    "noise": ('noise = ["distributed", "site"]', 'noise = ["site"]'),
    "noise multiplier": ("cohort_minimum = 3", "cohort_minimum = 3\nnoise_multiplier_min = 50.0"),
    "patients": ("[consortium]", "[policy.patient]\nepsilon_max = 8.0\nrecords = 4\nsites = 2\n[consortium]"),
    "client": ("[consortium]", "[policy.client]\nepsilon_max = 8.0\n[consortium]"),
}


@pytest.mark.parametrize("when", ["invited", "prepared"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_policy_changed_during_a_run_holds_from_the_next_round_on(
    change: tuple[str, str], when: str, tmp_path: Path
) -> None:
    """DP-49: also if the keys of that round are exchanged already. Put back, the run goes on: the control."""
    path = write_site(tmp_path)
    site = open_site(path)
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    sites = {**joined(tmp_path / "others", PLAN), "berlin": site}
    first = Round(FIRST, sites, following=SECOND).play()
    before = site.journal.entries()
    path.write_text(SITE.replace(*change))
    assert path.read_text() != SITE
    kept = site._joined
    assert kept is not None
    trainer = kept.trainer
    unread(site)
    second = Round(replace(SECOND, attempt=3), sites) if when == "invited" else Round.prepared(first)
    with pytest.raises(TooFewSurvivors):
        second.play()
    asked = [kind for name, kind in second.replies if name == "berlin"]
    reply = Frame.from_bytes(second.replies["berlin", asked[-1]])
    assert (reply.kind, abort_reason(reply.body)) == (Kind.ABORT, Reason.POLICY)
    assert isinstance(site.last_error, PolicyViolation)
    assert site.journal.entries() == before  # nothing charged, nothing begun
    path.write_text(SITE)
    kept.trainer = trainer
    third = Round(replace(SECOND, attempt=4), sites).play()
    assert third.coordinator.survivors == tuple(SIZES)
    site.close()


@pytest.mark.parametrize("damage", ["", "[site]\n", None], ids=["empty", "cut", "gone"])
def test_a_site_file_that_cannot_be_read_ends_the_part_of_a_site(damage: str | None, tmp_path: Path) -> None:
    """DP-49: a policy that nobody knows allows nothing."""
    path = write_site(tmp_path)
    site = open_site(path)
    site.receive(hello(PLAN))
    path.unlink() if damage is None else path.write_text(damage)
    before = site.journal.entries()
    assert refused(site, invite(FIRST)) is Reason.FAILED
    assert isinstance(site.last_error, InputError)
    with pytest.raises(InputError):
        site.release(FIRST, make_params())
    assert site.journal.entries() == before
    site.close()


LIES: Mapping[str, Plan] = {
    "ten times the steps": make_plan(rounds=40),
    "no clipping to speak of": make_plan(clipping_norm=1e6),
    "another epsilon": make_plan(epsilon=7.9),
    "larger batches": make_plan(sample_rate=0.9),
    "noise of another kind": make_plan("record", "site"),
    "no noise": make_plan("record", "none"),
    "clients": make_plan("client"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_plan_that_nobody_approved_is_refused_whatever_was_changed_in_it(lie: Plan, tmp_path: Path) -> None:
    """DP-49: noise and steps are not sent beside a plan, they follow from it; another has another digest."""
    assert lie.digest != PLAN.digest
    site = make_site(tmp_path, PLAN, "berlin", 24)
    assert refused(site, hello(lie)) is Reason.POLICY
    assert kinds(site) == ["genesis"]
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    unread(site)
    before = site.journal.entries()
    assert refused(site, hello(lie)) is Reason.POLICY  # in the middle of the run, too
    assert site.journal.entries() == before


@pytest.mark.parametrize("norm", [b"1000000000", b"0", b"1e400", b"null", b"-1"])
def test_a_clipping_norm_that_is_none_makes_no_plan(norm: bytes, tmp_path: Path) -> None:
    """DP-49: C = 1e9 is not even a plan; nor is one without a norm, which would be one without noise."""
    read = Hello.from_bytes(Frame.from_bytes(hello(PLAN)).body)
    body = replace(read, plan=read.plan.replace(b'"clipping_norm":0.5', b'"clipping_norm":' + norm))
    site = make_site(tmp_path, PLAN, "berlin", 24)
    before = site.receive(hello(PLAN))
    assert Frame.from_bytes(before).kind is Kind.WELCOME
    entries = site.journal.entries()
    assert refused(site, greeting_of(body.to_bytes())) is Reason.PROTOCOL
    assert site.journal.entries() == entries


@pytest.mark.parametrize("lie", ["another epsilon", "larger batches", "ten times the steps"])
def test_a_run_keeps_its_plan_even_if_the_site_would_allow_the_other_one(lie: str, tmp_path: Path) -> None:
    """DP-49: a new plan in the middle of a job."""
    other = LIES[lie]
    policy = Policy.for_plan(PLAN).model_copy(update={"plans": approved(PLAN, other)})
    site = make_site(tmp_path, PLAN, "berlin", 24, policy=policy)
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME
    before = site.journal.entries()
    assert refused(site, hello(other)) is Reason.POLICY
    assert "reserved for another plan" in str(site.last_error)
    assert site.journal.entries() == before
    assert Frame.from_bytes(site.receive(invite(FIRST))).kind is Kind.ADVERT  # of the plan it had agreed to


# The budget of a pool.


def test_two_jobs_on_one_pool_compose_and_the_third_is_refused_in_writing(tmp_path: Path) -> None:
    """DP-43: two processes of one site, one journal, rounds in turns."""
    plan = make_plan(epsilon=2.0, rounds=2)
    policy = Policy.for_plan(plan).model_copy(update={"epsilon_max": 3.0, "plans": approved(plan, runs=3)})
    runs = [bytes([number]) * 16 for number in (1, 2, 3)]
    jobs = []
    for run in runs:
        job = make_sites(tmp_path / f"others {run[0]}", plan)  # these have other pools for every job
        for site in job.values():
            assert Frame.from_bytes(site.receive(hello(plan, run))).kind is Kind.WELCOME
        jobs.append({**job, "berlin": make_site(tmp_path / "berlin", plan, "berlin", 24, policy=policy)})
    first, second, third = (job["berlin"] for job in jobs)
    for site, run in ((first, runs[0]), (second, runs[1])):
        assert Frame.from_bytes(site.receive(hello(plan, run))).kind is Kind.WELCOME
    for number in (1, 2):
        for job, run in zip(jobs[:2], runs, strict=False):
            terms = make_terms(plan, run=run, round=number, attempt=number)
            assert Round(terms, job).play().coordinator.survivors == tuple(SIZES)
    charged = spent(first.journal)
    assert 2.0 < charged <= 3.0 < 2 * 2.0  # less than the sum, and not the larger one
    assert refused(third, hello(plan, runs[2])) is Reason.BUDGET
    assert isinstance(third.last_error, BudgetExceeded)
    refusals = [entry.body for entry in third.journal.entries() if entry.kind == "refuse"]
    assert [(body["run"], body["plan"], body["unit"]) for body in refusals] == [
        (runs[2].hex(), plan.digest, "record")
    ]
    assert refused(third, invite(make_terms(plan, run=runs[2]))) is Reason.UNKNOWN_RUN
    assert spent(third.journal) == charged


def returned(site: Site) -> int:
    """How many releases of the run are still charged."""
    charges = fold(site.journal.entries()).charged("record")
    return sum(event.count for event in charges if isinstance(event, GaussianEvent))


def close(run: bytes = RUN, body: bytes = PARAMS) -> bytes:
    return closing(PLAN, body, run)


def test_a_closed_run_returns_the_rounds_that_never_began_and_begins_none(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    Round(FIRST, sites).play()
    site = sites["berlin"]
    assert returned(site) == 4
    reply = Frame.from_bytes(site.receive(close()))
    assert (reply.kind, heads_from(reply.body)) == (Kind.CLOSED, (site.journal.head(),))
    assert kinds(site)[-1] == "close"
    assert returned(site) == 1
    unread(site)
    before = site.journal.entries()
    second = Round(SECOND, {**joined(tmp_path / "others", PLAN), "berlin": site})
    with pytest.raises(TooFewSurvivors):
        second.play()
    assert isinstance(site.last_error, LedgerRefusal)
    assert "this run is closed" in str(site.last_error)
    for terms in (FIRST, replace(FIRST, attempt=9)):  # not even what it released before
        with pytest.raises(LedgerRefusal, match="closed"):
            site.release(terms, make_params())
    assert site.journal.entries() == before


def test_closing_a_run_again_changes_nothing_and_for_other_params_is_refused(tmp_path: Path) -> None:
    site = joined(tmp_path, PLAN)["berlin"]
    first, before = site.receive(close()), site.journal.entries()
    assert site.receive(close()) == first
    assert refused(site, close(body=bytes([9]) * 32)) is Reason.POLICY
    assert "closed with other params" in str(site.last_error)
    assert site.journal.entries() == before


@pytest.mark.parametrize("body", [b"", PARAMS[:-1], PARAMS + b"\0"])
def test_a_closing_that_does_not_say_how_it_ended_is_refused(body: bytes, tmp_path: Path) -> None:
    site = joined(tmp_path, PLAN)["berlin"]
    assert refused(site, close(body=body)) is Reason.PROTOCOL
    assert isinstance(site.last_error, MalformedMessage)
    assert "close" not in kinds(site)


def test_a_run_that_a_site_has_not_joined_is_not_closed(tmp_path: Path) -> None:
    site = joined(tmp_path, PLAN)["berlin"]
    assert refused(site, close(run=bytes(16))) is Reason.UNKNOWN_RUN
    assert "close" not in kinds(site)


def test_a_plan_that_was_admitted_as_a_whole_is_not_returned(tmp_path: Path) -> None:
    """Its epsilon counts on all of it: to stop early and take the rest back would be a choice made on results."""
    plan = make_plan(sample_rate=0.1, rounds=10)
    site = joined(tmp_path, plan)["berlin"]
    reserve = next(entry for entry in site.journal.entries() if entry.kind == "reserve")
    assert reserve.body["by"] == {"record": "plan"}
    site.receive(closing(plan, PARAMS))
    assert returned(site) == 10
    assert refused(site, hello(plan, bytes(16))) is Reason.POLICY
    site.policy = lambda: Policy.for_plan(plan).model_copy(update={"plans": approved(plan, runs=2)})
    assert refused(site, hello(plan, bytes(16))) is Reason.BUDGET


def test_what_was_returned_can_be_spent_by_the_next_run(tmp_path: Path) -> None:
    site = joined(tmp_path, PLAN)["berlin"]
    site.policy = lambda: Policy.for_plan(PLAN).model_copy(update={"plans": approved(PLAN, runs=2)})
    with pytest.raises(BudgetExceeded):  # the control
        site.journal.require_room("another", PLAN.digest, PLAN.charges, site.policy().limits())
    site.receive(close())
    assert Frame.from_bytes(site.receive(hello(PLAN, bytes(16)))).kind is Kind.WELCOME


# Whoever comes late.


def noise_of(site: Site, terms: Terms, trainer: Trainer) -> np.ndarray:
    """What is in a site's release beside its clipped gradients, in standard deviations of its share of noise."""
    params = make_params(terms.dimension)
    release = terms.codec.from_ring(site.release(terms, params))
    model = loaded(trainer.task, params, torch.float64)
    clean = clipped_sum(model, trainer.data, terms.plan.privacy.clipping_norm or 0.0).numpy()
    assert flat(model).numel() == terms.dimension
    return (release - clean / terms.codec.step) / SIGMA


def test_a_site_that_joins_at_round_seven_charges_and_noises_like_the_others(tmp_path: Path) -> None:
    """DP-50: elsewhere a client that missed round 0 never became private."""
    plan = make_plan(rounds=8, model="mlp")
    four = {name: size for name, size in FIVE.items() if name != "berlin"}
    sites = joined(tmp_path, plan, four)
    for number in range(1, 7):
        Round(make_terms(plan, four, round=number, attempt=number), sites).play()
    sites["berlin"] = make_site(tmp_path, plan, "berlin", 24)
    assert Frame.from_bytes(sites["berlin"].receive(hello(plan))).kind is Kind.WELCOME
    for number in (7, 8):
        terms = make_terms(plan, FIVE, round=number, attempt=number)
        assert Round(terms, sites).play().coordinator.survivors == tuple(FIVE)
    events = {name: fold(site.journal.entries()).charged("record") for name, site in sites.items()}
    assert len(set(events.values())) == 1  # the whole plan, for everyone
    begun = [entry.body["round"] for entry in sites["berlin"].journal.entries() if entry.kind == "begin"]
    assert begun == [7, 8]
    terms = make_terms(plan, FIVE, round=8, attempt=8)
    for name, site in sites.items():
        trainer = Trainer(build_task(plan), make_data(FIVE[name], FIVE[name]), nobody)
        noise = noise_of(site, terms, trainer)
        low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], noise.size) / noise.size
        assert low < float(np.mean(noise**2)) < high, name


def test_the_measure_of_noise_tells_a_site_without_it(tmp_path: Path) -> None:
    """DP-50, the failing control: the sum alone, as the server would get it in central mode."""
    plan = make_plan("record", "central", model="mlp")
    sites, terms = joined(tmp_path, plan), make_terms(plan)
    Round(terms, sites).play()
    trainer = Trainer(build_task(plan), make_data(24, 24), nobody)
    assert float(np.mean(noise_of(sites["berlin"], terms, trainer) ** 2)) < 1e-3
