"""What a site consents to, and site files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from clients.policy import Policy, consent, load_site
from federation.errors import PlanError
from federation.plan import Plan, parse
from privacy.errors import PolicyViolation
from tests.federation.plans import TEXT, changed

SITE = """\
[site]
id = "cleveland"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "cleveland.csv"
pool = "cardiology-patients-2024"
[policy]
epsilon_max = 5.0
delta_max = 1e-5
cohort_minimum = 3
noise = ["distributed", "site"]
tasks = ["tabular-classification"]
[consortium]
keys = ["KEY-A", "KEY-B"]
quorum = 2
[server]
address = "fed.example.org:8443"
certificate = "ca.crt"
""".replace("KEY-A", "a1" * 32).replace("KEY-B", "b2" * 32)
NOT_PRIVATE = TEXT.replace(
    'noise = "distributed"\nepsilon = 3.0\ndelta = 1e-5\nclipping_norm = 1.0', 'noise = "none"'
)
PLAN = parse(TEXT)


def policy(**changes: object) -> Policy:
    values = {
        "epsilon_max": 5.0,
        "delta_max": 1e-5,
        "cohort_minimum": 3,
        "noise": ("distributed", "site"),
        "plans": (PLAN.digest,),
    }
    return Policy.model_validate({**values, **changes})


@pytest.mark.parametrize(
    "text", [TEXT, NOT_PRIVATE, changed('"distributed"', '"site"'), changed('"record"', '"client"')]
)
def test_a_simulated_site_consents_to_its_plan_and_to_no_other(text: str) -> None:
    plan = parse(text)
    simulated = Policy.for_plan(plan)
    consent(plan, simulated)
    with pytest.raises(PolicyViolation):
        consent(parse(text.replace("seed = 7", "seed = 8")), simulated)


def test_limits_are_inclusive() -> None:
    consent(PLAN, policy(epsilon_max=3.0, delta_max=1e-5))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"epsilon_max": 2.9},
            r"policy\.epsilon_max: the plan's privacy\.epsilon is 3\.0, the limit 2\.9; agree on",
        ),
        ({"delta_max": 1e-6}, r"policy\.delta_max: the plan's privacy\.delta is 1e-05, the limit 1e-06"),
        ({"cohort_minimum": 4}, r"policy\.cohort_minimum: the plan's cohort\.minimum is 3, the limit 4"),
        ({"noise": ("site",)}, r"policy\.noise: the plan's privacy\.noise is distributed, allowed: site"),
        (
            {"plans": ("sha256:" + "0" * 64,)},
            r"policy\.plans: the plan sha256:[0-9a-f]{64} is not approved; read the plan",
        ),
    ],
)
def test_a_refusal_names_rule_value_limit_and_way_out(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(PolicyViolation, match=expected):
        consent(PLAN, policy(**changes))


def test_a_plan_without_privacy_needs_it_written_twice() -> None:
    plan = parse(NOT_PRIVATE)
    allowed = {"plans": (plan.digest,)}
    consent(plan, policy(noise=("none",), epsilon_max=math.inf, **allowed))
    with pytest.raises(PolicyViolation, match=r"policy\.noise"):
        consent(plan, policy(**allowed))


def test_a_task_may_be_approved_instead_of_a_digest_but_not_other_code() -> None:
    tasks = policy(plans=(), tasks=("tabular-classification",))
    consent(PLAN, tasks)
    own: Plan = parse(changed('"logistic"', '"my_package.models:small"'))
    with pytest.raises(PolicyViolation, match="not approved"):
        consent(own, tasks)
    consent(own, policy(plans=(), tasks=("my_package.models:small",)))


def test_a_site_file_is_read_and_its_paths_made_whole(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    site = load_site(path)
    assert site.id == "cleveland"
    assert site.keys == tmp_path / "keys"
    assert site.journal == tmp_path / "journal.sqlite"
    assert site.data.pool == "cardiology-patients-2024"
    assert site.policy.noise == ("distributed", "site")
    assert site.server is not None and site.server.address == "fed.example.org:8443"
    assert site.consortium is not None
    assert site.consortium.keys == ("a1" * 32, "b2" * 32)
    assert (site.consortium.quorum, site.consortium.serial) == (2, 0)
    consent(PLAN, site.policy)


def test_a_site_file_may_leave_out_the_server_and_in_a_simulation_the_consortium(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE[: SITE.index("[server]")])
    assert load_site(path).server is None
    path.write_text(SITE[: SITE.index("[consortium]")])
    assert load_site(path).consortium is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "epsilon_max",
            "epsilon_mx",
            'site.toml:9 policy.epsilon_mx = 5.0: unknown key; did you mean "epsilon_max"?',
        ),
        (
            "epsilon_max = 5.0\n",
            "",
            "site.toml:8 policy.epsilon_max: is missing; add a line such as: epsilon_max = 5.0",
        ),
        (
            "epsilon_max = 5.0",
            "epsilon_max = inf",
            "site.toml:9 policy.epsilon_max = inf: and noise contradict",
        ),
        ("epsilon_max = 5.0", "epsilon_max = nan", "site.toml:9 policy.epsilon_max = nan: must be"),
        ("delta_max = 1e-5", "delta_max = 1", "site.toml:10 policy.delta_max = 1: must be below 1"),
        (
            "cohort_minimum = 3",
            "cohort_minimum = 2",
            "site.toml:11 policy.cohort_minimum = 2: must be at least 3",
        ),
        (
            '["distributed", "site"]',
            '["distribute"]',
            'site.toml:12 policy.noise = ["distribute"]: must be "site", ',
        ),
        ('["distributed", "site"]', "[]", "site.toml:12 policy.noise = []: must have at least 1 entries"),
        ('["distributed", "site"]', '["none"]', "site.toml:9 policy.epsilon_max = 5.0: and noise contradict"),
        (
            'tasks = ["tabular-classification"]',
            "",
            "site.toml:8 policy: approves no plan and no task; add a line such as",
        ),
        (
            'tasks = ["tabular-classification"]',
            'plans = ["sha256:1"]',
            'site.toml:13 policy.plans = ["sha256:1"]: must be',
        ),
        (
            '["tabular-classification"]',
            '["tabular"]',
            'site.toml:13 policy.tasks = ["tabular"]: must be names of tasks',
        ),
        ('"cleveland"', '"../cleveland"', 'site.toml:2 site.id = "../cleveland": cannot be a site\'s id'),
        (
            '"cleveland.csv"',
            '"sqlite:///db"',
            "site.toml:6 data.source: is a database, which cannot be read yet",
        ),
        ("[data]", "[dat]", 'site.toml:5 dat: unknown key; did you mean "data"?'),
        ("quorum = 2", "quorum = 3", "site.toml:16 consortium.quorum = 3: is more than the 2 keys; pin more"),
        ("quorum = 2", "quorum = 0", "site.toml:16 consortium.quorum = 0: must be at least 1"),
        ("quorum = 2", "serial = 2", "site.toml:14 consortium.quorum: is missing"),
        ("quorum = 2", "quorum = 2\nserial = -1", "site.toml:17 consortium.serial = -1: must be at least 0"),
        ("b2" * 32, "a1" * 32, "must be distinct public keys; copy them from the .pub files"),
        ("b2" * 32, "b2" * 31, "must be distinct public keys"),
        ("b2" * 32, "B2" * 32, "must be distinct public keys"),
        ("b2" * 32, "zz" * 32, "must be distinct public keys"),
    ],
)
def test_a_mistake_in_a_site_file_is_one_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE.replace(old, new, 1))
    with pytest.raises(PlanError) as caught:
        load_site(path)
    line = str(caught.value)
    assert line.startswith(str(tmp_path)) and expected in line and "\n" not in line


def test_a_source_that_may_hold_a_password_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    for slip in ('sourse = "postgresql://me:SECRET@db"', 'source = ["postgresql://me:SECRET@db"]'):
        path.write_text(SITE.replace('source = "cleveland.csv"', slip))
        with pytest.raises(PlanError) as caught:
            load_site(path)
        assert "SECRET" not in str(caught.value)
        assert "site.toml:6 data.sour" in str(caught.value)
