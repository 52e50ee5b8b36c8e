"""A drafted site file is one that check accepts; it consents to one plan, and never to less safety unasked."""

from __future__ import annotations

import math
import stat
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clients.check import preflight
from clients.drafting.answers import drafted
from clients.drafting.sites import Draft, Limits, made, policy_for
from clients.drafting.sources import Reading
from clients.policy import Policy, consent, load_site
from federation.errors import DataError, InputError, UnusableFile
from federation.identity.keys import create, load_private, load_public
from federation.plan.made_up.mock import mock_table
from federation.plan.plan import Plan
from privacy.errors import PolicyViolation
from privacy.signing import public_identity
from tests import plans
from tests.clients.drafting.drafts import FAST, given_in
from tests.random_plans import random_plans

SAFETY: list[plans.Changes] = [
    {},
    {"noise": "site"},
    {"noise": "none"},
    {"noise": "central", "dropouts": 0},
    {"colluders": 0, "dropouts": 0},
    {"cohort.minimum": 25, "colluders": 2},
    {"evaluation.epsilon": 0.5},
    {"unit": "client", "noise": "distributed"},
]


def draft_in(folder: Path, plan: Plan | None = None, **changes: object) -> Draft:
    return drafted(given_in(folder, plan, **changes), None)


@settings(max_examples=12, deadline=None)
@given(plan=st.sampled_from(SAFETY).flatmap(lambda safety: random_plans({**FAST, **safety})))
def test_check_accepts_every_site_file_that_is_drafted_and_what_is_not_is_refused_by_the_policy(
    plan: Plan,
) -> None:
    table = mock_table(plan, "cleveland", 60)
    assume(table.header not in set(zip(*table.columns, strict=True)))
    with TemporaryDirectory() as folder:
        try:
            draft = draft_in(Path(folder), plan)
        except PolicyViolation:
            accepted = Limits(None if plan.is_private else math.inf, 0, 3)
            draft = draft_in(Path(folder), plan, limits=accepted)
        with made(draft) as new_keys:
            assert new_keys
            facts = preflight(plan, draft.path)
        rules = load_site(draft.path)
    assert facts["site"]["runs_left"] == 1
    assert rules.policy == draft.policy
    assert rules.data.source == "heart.csv" or Path(rules.data.source).is_absolute()


@pytest.mark.parametrize("safety", SAFETY, ids=str)
def test_a_draft_consents_to_one_plan_once_and_demands_what_any_site_demands(safety: plans.Changes) -> None:
    plan = plans.plan_of(FAST, safety)
    default = Policy.for_plan(plan).model_copy(update={"colluders_minimum": None, "survivors_minimum": None})
    try:
        consent(plan, default)
        is_safe = plan.is_private
    except PolicyViolation:
        is_safe = False
    if not is_safe:
        with pytest.raises(PolicyViolation):
            policy_for(plan, Limits())
        return
    policy = policy_for(plan, Limits())
    assert (policy.colluders_minimum, policy.survivors_minimum, policy.tasks) == (None, None, ())
    assert policy.noise == (plan.privacy.noise,)
    assert [(approval.digest, approval.runs) for approval in policy.plans] == [(plan.digest, 1)]
    assert policy.cohort_minimum == plan.cohort.minimum
    other = plans.plan_of(FAST, safety, seed=8)
    with pytest.raises(PolicyViolation, match="is not approved"):
        consent(other, policy)


def test_a_plan_without_noise_takes_a_word_of_its_own() -> None:
    plan = plans.plan_of(FAST, noise="none")
    with pytest.raises(PolicyViolation, match=r"adds no noise.*--epsilon-max inf") as error:
        policy_for(plan, Limits())
    assert error.value.exit_code == 3
    with pytest.raises(PolicyViolation):
        policy_for(plan, Limits(epsilon_max=1000.0))
    assert policy_for(plan, Limits(epsilon_max=math.inf)).noise == ("none",)


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({}, "record"),
        ({"unit": "patient", "task.patient": "mrn"}, "patient"),
        ({"unit": "client"}, "client"),
    ],
    ids=["record", "patient", "client"],
)
def test_a_limit_is_one_for_what_the_plan_protects(changes: plans.Changes, unit: str) -> None:
    plan = plans.plan_of(FAST, changes)
    limits = {
        limit.unit: limit.budget.epsilon for limit in policy_for(plan, Limits(epsilon_max=9.0)).limits()
    }
    assert limits[unit] == 9.0
    with pytest.raises(PolicyViolation, match="epsilon_max"):
        policy_for(plan, Limits(epsilon_max=2.0))


def test_nobody_else_reads_the_site_file_or_the_keys(tmp_path: Path) -> None:
    draft = draft_in(tmp_path)
    with made(draft):
        pass
    files = [draft.path, draft.keys, *draft.keys.iterdir()]
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    assert modes.pop("cleveland.pub") & 0o022 == 0
    assert modes.pop("keys") == 0o700
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(draft.folder.stat().st_mode) == 0o700


def test_keys_that_are_there_are_used_and_their_size_is_the_one_declared(tmp_path: Path) -> None:
    create(tmp_path / "site" / "keys", "cleveland", "Clinic", 77)
    key = (tmp_path / "site" / "keys" / "cleveland.key").read_bytes()
    draft = draft_in(tmp_path, size=None)
    assert draft.size == 77
    with made(draft) as new_keys:
        assert not new_keys
    assert (draft.keys / "cleveland.key").read_bytes() == key
    assert load_public(draft.public).key == public_identity(load_private(draft.keys / "cleveland.key")).hex()
    draft.path.unlink()
    with (
        pytest.raises(InputError, match="give --size 77"),
        made(replace(draft, size=60)),
    ):
        pass
    draft.public.unlink()
    with pytest.raises(UnusableFile, match="is missing beside its private key"), made(draft):
        pass
    assert not draft.path.exists()


def test_no_site_file_is_replaced(tmp_path: Path) -> None:
    draft = draft_in(tmp_path)
    draft.folder.mkdir()
    draft.path.write_text("mine")
    with pytest.raises(UnusableFile, match="exists already"), made(draft):
        pass
    assert draft.path.read_text() == "mine"
    assert not draft.keys.exists()


@pytest.mark.parametrize("failure", [DataError("no"), KeyboardInterrupt()], ids=["data", "Ctrl-C"])
def test_what_was_written_is_taken_back_where_a_check_fails(failure: BaseException, tmp_path: Path) -> None:
    draft = draft_in(tmp_path)
    with pytest.raises(type(failure)), made(draft):
        raise failure
    assert [file for file in draft.folder.rglob("*") if file.is_file()] == []


def test_keys_that_were_there_before_stay_where_a_check_fails(tmp_path: Path) -> None:
    create(tmp_path / "site" / "keys", "cleveland", "Clinic", 60)
    draft = draft_in(tmp_path)
    with pytest.raises(DataError), made(draft):
        raise DataError("no")
    assert sorted(file.name for file in draft.folder.rglob("*.*")) == ["cleveland.key", "cleveland.pub"]


@pytest.mark.parametrize("name", ['a "b".csv', "a\\b.csv", "ü #.csv", "a'b.csv"])
def test_any_printable_path_is_written_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    data = tmp_path / "site" / name
    data.write_text(mock_table(plans.plan_of(FAST), "a", 30).csv)
    draft = draft_in(tmp_path, data=Reading(str(data)))
    with made(draft):
        assert load_site(draft.path).data.source == name


def test_a_path_with_a_line_break_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no path") as error:
        draft_in(tmp_path, data=Reading(f"{tmp_path}/a\nb.csv"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "site").exists()


def test_data_outside_of_the_folder_are_named_from_the_root(tmp_path: Path) -> None:
    draft = draft_in(tmp_path)
    assert f'source = "{tmp_path}/heart.csv"' in draft.text


def test_every_line_says_what_it_is(tmp_path: Path) -> None:
    lines = [line for line in draft_in(tmp_path).text.splitlines() if line and not line.startswith("#")]
    bare = [line.partition(" = ")[0] for line in lines if "  # " not in line]
    assert bare == ["[site]", "id", "[data]", "keys", "quorum", "address"]


def test_without_a_coordinator_the_table_waits_as_a_comment(tmp_path: Path) -> None:
    draft = draft_in(tmp_path, address=None, certificate=None)
    with made(draft):
        assert load_site(draft.path).server is None
    assert "# [server]" in draft.text
