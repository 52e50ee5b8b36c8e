"""What a site consents to, and site files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from clients.policy import Policy, consent, load_site, require_company, require_complete
from federation.errors import SiteFileError, UnusableFile
from federation.plan.plan import Plan, parse
from privacy.accounting.filters import Budget, Filter, admit
from privacy.accounting.units import Limit, Patient
from privacy.errors import BudgetExceeded, MalformedMessage, PolicyViolation, UnsafeParameters
from tests.certificates import certificate
from tests.patience import within
from tests.plans import TEXT, changed, for_patients, plan_of

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
    "text",
    [TEXT, NOT_PRIVATE, changed('"distributed"', '"site"'), changed('"record"', '"client"'), for_patients()],
)
def test_a_simulated_site_consents_to_its_plan_and_to_no_other(text: str) -> None:
    plan = parse(text)
    simulated = Policy.for_plan(plan)
    consent(plan, simulated)
    with pytest.raises(PolicyViolation):
        consent(parse(text.replace("seed = 7", "seed = 8")), simulated)


@pytest.mark.parametrize("noise", ["site", "distributed", "central"])
@pytest.mark.parametrize("unit", ["record", "patient", "client"])
def test_a_simulated_site_has_budget_for_its_plan_once(unit: str, noise: str) -> None:
    text = for_patients(noise).replace('unit = "patient"', f'unit = "{unit}"')
    plan = parse(text.replace("rounds = 200", "rounds = 20"))
    charge, limits = plan.kind.charge, Policy.for_plan(plan).limits()
    assert [limit.unit for limit in limits] == list(dict.fromkeys(["record", unit]))
    for limit in limits:
        asked = charge.to(limit.unit, limit.patient)
        frozen = Filter.frozen(limit.budget, asked)
        # A record of a patient or client who are protected as a whole costs more than they do.
        most = 3.0 if limit.unit == unit else limit.budget.epsilon
        assert 0 < admit((), asked, limit.budget, frozen).epsilon <= most
        assert (limit.budget.epsilon > 4.5) == (limit.unit != unit)
        with pytest.raises(BudgetExceeded):
            admit((asked,), asked, limit.budget, frozen)


def test_a_simulated_site_without_privacy_has_no_limit_to_spend() -> None:
    for text in (NOT_PRIVATE, NOT_PRIVATE.replace('"record"', '"client"')):
        (limit,) = Policy.for_plan(parse(text)).limits()
        assert limit == Limit("record", Budget(math.inf, 1e-5))


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


def test_a_site_demands_one_colluder_in_ten_and_two_honest_sites_beside_them() -> None:
    demands = policy()
    for minimum, colluders in ((3, 1), (10, 1), (11, 2), (100, 10)):
        plan = parse(changed("minimum = 3", f"minimum = {minimum}"))
        assert demands.colluders_demanded(plan) == colluders
        assert demands.survivors_demanded(plan) == max(3, colluders + 2)
    assert demands.survivors_demanded(parse(changed("colluders = 1", "colluders = 0"))) == 3


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        (
            changed("colluders = 1", "colluders = 0"),
            {},
            r"policy\.colluders_minimum: the plan's secure_aggregation\.colluders is 0, the limit 1; agree on",
        ),
        (changed("minimum = 3", "minimum = 11"), {}, r"policy\.colluders_minimum: .* is 1, the limit 2"),
        (TEXT, {"colluders_minimum": 2}, r"policy\.colluders_minimum: .* is 1, the limit 2"),
        (
            changed("minimum = 3", "minimum = 5"),
            {"survivors_minimum": 5},
            r"policy\.survivors_minimum: with the plan's dropouts a sum of 4 of 5 sites is opened, the limit 5",
        ),
    ],
)
def test_a_site_demands_honest_company(text: str, changes: dict[str, object], expected: str) -> None:
    plan = parse(text)
    with pytest.raises(PolicyViolation, match=expected):
        consent(plan, policy(plans=(plan.digest,), **changes))
    allowed = {"colluders_minimum": plan.secure_aggregation.colluders, "survivors_minimum": 3}
    consent(plan, policy(plans=(plan.digest,), **allowed))


@pytest.mark.parametrize("colluders", [0, 1, 2])
@pytest.mark.parametrize("dropouts", [0, 1, 3])
def test_a_simulated_site_asks_for_the_company_that_its_plan_gives(colluders: int, dropouts: int) -> None:
    text = changed("colluders = 1", f"colluders = {colluders}").replace(
        "dropouts = 1", f"dropouts = {dropouts}"
    )
    plan = parse(text.replace("minimum = 3", "minimum = 40"))
    consent(plan, Policy.for_plan(plan))
    with pytest.raises(PolicyViolation, match="survivors_minimum"):
        require_company(plan, Policy.for_plan(plan), 39)


PEOPLE = {"epsilon_max": 4.0, "records": 3, "sites": 2}


def test_each_unit_has_a_limit_of_its_own() -> None:
    assert policy().limits() == (Limit("record", Budget(5.0, 1e-5)),)
    rules = policy(patient={**PEOPLE, "delta_max": 1e-6}, client={"epsilon_max": 8.0})
    assert rules.limits() == (
        Limit("record", Budget(5.0, 1e-5)),
        Limit("patient", Budget(4.0, 1e-6), Patient(records=3, sites=2)),
        Limit("client", Budget(8.0, 1e-5)),
    )


@pytest.mark.parametrize(
    ("unit", "changes", "expected"),
    [
        (
            "patient",
            {"patient": {**PEOPLE, "epsilon_max": 2.9}},
            r"policy\.patient\.epsilon_max: .* 3\.0, .* 2\.9",
        ),
        (
            "patient",
            {"patient": {**PEOPLE, "delta_max": 1e-6}},
            r"policy\.patient\.delta_max: .* 1e-05, .* 1e-06",
        ),
        ("patient", {"epsilon_max": 2.9, "patient": PEOPLE}, r"policy\.epsilon_max: .* 3\.0, the limit 2\.9"),
        ("patient", {"delta_max": 1e-6, "patient": {**PEOPLE, "delta_max": 1e-5}}, r"policy\.delta_max"),
        ("client", {"client": {"epsilon_max": 2.9}}, r"policy\.client\.epsilon_max: .* 3\.0, the limit 2\.9"),
        ("client", {"client": {"epsilon_max": 3.0, "delta_max": 1e-6}}, r"policy\.client\.delta_max"),
        ("client", {"epsilon_max": 2.9, "client": {"epsilon_max": 8.0}}, r"policy\.epsilon_max"),
        (
            "record",
            {"client": {"epsilon_max": 100.0}},
            r'policy\.client: .*privacy\.unit is "record", which promises',
        ),
        ("patient", {"client": {"epsilon_max": 100.0}}, r'policy\.client: .*privacy\.unit is "patient"'),
    ],
)
def test_a_plan_is_held_to_the_limit_of_its_own_unit_and_to_that_of_a_record(
    unit: str, changes: dict[str, object], expected: str
) -> None:
    plan = parse(for_patients().replace('unit = "patient"', f'unit = "{unit}"'))
    with pytest.raises(PolicyViolation, match=expected):
        consent(plan, policy(plans=(plan.digest,), **changes))


def test_what_a_plan_for_records_costs_a_patient_is_left_to_the_ledger() -> None:
    consent(PLAN, policy(patient={**PEOPLE, "epsilon_max": 0.1, "delta_max": 1e-9}))
    plan = parse(for_patients())
    consent(plan, policy(plans=(plan.digest,), patient={**PEOPLE, "epsilon_max": 3.0}))


def test_a_plan_with_too_little_noise_is_refused() -> None:
    consent(PLAN, policy(noise_multiplier_min=PLAN.kind.noise_multiplier))
    with pytest.raises(
        PolicyViolation, match=r"policy\.noise_multiplier_min: .* is 2\.179, the limit 2\.2; agree"
    ):
        consent(PLAN, policy(noise_multiplier_min=2.2))
    loud = policy(plans=(), tasks=("tabular-classification",), epsilon_max=100.0, noise_multiplier_min=1.0)
    with pytest.raises(PolicyViolation, match="noise_multiplier_min"):
        consent(parse(changed("epsilon = 3.0", "epsilon = 100.0")), loud)


def test_asking_in_every_round_costs_next_to_nothing() -> None:
    rules = policy(noise_multiplier_min=0.5, patient=PEOPLE)
    consent(PLAN, rules)
    with within(1):
        for _ in range(200):
            consent(PLAN, rules)


FORGERIES = [
    ("clipping_norm = 1.0", "clipping_norm = 1e6"),
    ("epsilon = 3.0", "epsilon = 99.0"),
    ("delta = 1e-5", "delta = 0.5"),
    ("rounds = 200", "rounds = 2000"),
    ("sample_rate = 0.1", "sample_rate = 1.0"),
    ("minimum = 3", "minimum = 4"),
    ("colluders = 1", "colluders = 0"),
    ('noise = "distributed"', 'noise = "site"'),
    ('unit = "record"', 'unit = "client"'),
    ("holdout = 0.2", "holdout = 0.0"),
    ('model = "logistic"', 'model = "mlp"'),
    ("low = 20", "low = 21"),
]


@pytest.mark.parametrize(("old", "new"), FORGERIES)
def test_a_server_that_changes_an_approved_plan_is_refused(old: str, new: str) -> None:
    """DP-49: any other clipping norm, epsilon, number of steps: another plan, which nobody approved."""
    consent(PLAN, policy(epsilon_max=100.0, delta_max=0.9))
    with pytest.raises(PolicyViolation, match="is not approved"):
        consent(parse(changed(old, new)), policy(epsilon_max=100.0, delta_max=0.9, colluders_minimum=0))


def test_a_server_that_asks_for_a_clipping_norm_of_a_billion_or_almost_no_noise_sends_no_plan() -> None:
    """DP-49: C = 1e9, and an epsilon so large that z would be almost 0."""
    data = PLAN.canonical()
    for old, new in (
        (b'"clipping_norm":1', b'"clipping_norm":1000000000'),
        (b'"epsilon":3', b'"epsilon":1000000'),
    ):
        assert data.count(old) == 1
        with pytest.raises(MalformedMessage):
            Plan.from_canonical(data.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("epsilon = 3.0", "epsilon = 5.1", "epsilon_max"),
        ("delta = 1e-5", "delta = 1e-4", "delta_max"),
        ('noise = "distributed"', 'noise = "central"', "noise"),
        ("sample_rate = 0.1", "sample_rate = 0.001", "noise_multiplier_min"),
    ],
)
def test_where_a_task_is_approved_its_plans_stay_within_the_limits(old: str, new: str, rule: str) -> None:
    """DP-49: approval of a task is no approval of every number beside it."""
    rules = policy(plans=(), tasks=("tabular-classification",), noise_multiplier_min=1.0)
    consent(PLAN, rules)
    with pytest.raises(PolicyViolation, match=rf"policy\.{rule}:"):
        consent(parse(changed(old, new)), rules)


def test_where_a_task_is_approved_the_work_of_a_plan_is_bounded_before_any_is_done() -> None:
    """A plan that costs a site hours, and its accountant minutes, is refused at once; one that was read is not."""
    absurd = changed('noise = "distributed"', 'noise = "site"').replace("rounds = 200", "rounds = 1000000")
    plan = parse(absurd.replace("local_steps = 1", "local_steps = 100000"))
    rules = policy(plans=(), tasks=("tabular-classification",), noise_multiplier_min=0.5)
    with (
        within(0.2),
        pytest.raises(PolicyViolation, match=r"policy\.steps_max: .* is 100000000000, the limit 1"),
    ):
        consent(plan, rules)
    consent(plan, policy(plans=(plan.digest,), steps_max=1))
    with pytest.raises(PolicyViolation, match=r"policy\.steps_max: .* is 200, the limit 199; agree on"):
        consent(PLAN, policy(plans=(), tasks=("tabular-classification",), steps_max=199))
    consent(PLAN, policy(plans=(), tasks=("tabular-classification",), steps_max=200))


def test_ten_times_the_steps_are_ten_times_the_charge() -> None:
    """DP-49: steps x10 under one claim need more noise; at the old noise they would be charged and refused."""
    longer = parse(changed("rounds = 200", "rounds = 2000"))
    assert longer.kind.noise_multiplier > 2 * PLAN.kind.noise_multiplier
    charge = PLAN.kind.charge.with_count(2000)
    (limit,) = policy(epsilon_max=3.0).limits()
    asked = charge.to("record", limit.patient)
    with pytest.raises(BudgetExceeded):
        admit((), asked, limit.budget, Filter.frozen(limit.budget, asked))


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


LIMITED = SITE.replace(
    "[consortium]",
    """approvers = ["KEY-C", "KEY-D"]
noise_multiplier_min = 0.5
[policy.patient]
epsilon_max = 6.0
records = 4
sites = 2
[policy.client]
epsilon_max = 9.0
delta_max = 1e-6
[consortium]""".replace("KEY-C", "c3" * 32).replace("KEY-D", "d4" * 32),
)


def test_a_site_file_may_limit_every_unit_and_name_who_may_raise_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(LIMITED)
    rules = load_site(path).policy
    assert rules.approvers == ("c3" * 32, "d4" * 32)
    assert rules.noise_multiplier_min == 0.5
    assert [(limit.unit, limit.budget.epsilon, limit.budget.delta) for limit in rules.limits()] == [
        ("record", 5.0, 1e-5),
        ("patient", 6.0, 1e-5),
        ("client", 9.0, 1e-6),
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("records = 4", "record = 4", 'policy.patient.record = 4: unknown key; did you mean "records"?'),
        ("records = 4\n", "", "policy.patient.records: is missing; add a line such as: records = 4"),
        ("sites = 2\n", "", "policy.patient.sites: is missing; add a line such as: sites = 2"),
        ("epsilon_max = 6.0\n", "", "policy.patient.epsilon_max: is missing; add a line such as"),
        ("records = 4", "records = 0", "policy.patient.records = 0: must be at least 1"),
        ("records = 4", "records = 4.5", "policy.patient.records = 4.5: must be a whole number"),
        ("records = 4", "records = true", "policy.patient.records = true: must be a whole number"),
        (
            "records = 4",
            "records = 501",
            "policy.patient.records = 501: and sites make a patient more than 1000",
        ),
        (
            "epsilon_max = 6.0",
            "epsilon_max = inf",
            "policy.patient.epsilon_max = inf: must be a finite number",
        ),
        (
            "epsilon_max = 6.0",
            "epsilon_max = nan",
            "policy.patient.epsilon_max = nan: must be a finite number",
        ),
        ("epsilon_max = 6.0", "epsilon_max = 0", "policy.patient.epsilon_max = 0: must be above 0"),
        ("delta_max = 1e-6", "delta_max = 1.0", "policy.client.delta_max = 1.0: must be below 1"),
        ("[policy.client]", "[policy.clients]", 'policy.clients: unknown key; did you mean "client"?'),
        ("_min = 0.5", "_min = 0", "policy.noise_multiplier_min = 0: must be above 0"),
        ("_min = 0.5", "_min = nan", "policy.noise_multiplier_min = nan: must be a finite number"),
        ("_min = 0.5", '_min = "1"', 'policy.noise_multiplier_min = "1": must be a number'),
        ('"' + "d4" * 32 + '"', "", "are one person, and raising a budget takes two; name another"),
        ("d4" * 32, "c3" * 32, "must be distinct public keys; copy them from the .pub files"),
        ("d4" * 32, "D4" * 32, "must be distinct public keys"),
    ],
)
def test_a_mistake_in_a_limit_is_one_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "site.toml"
    assert LIMITED.count(old) == 1
    path.write_text(LIMITED.replace(old, new))
    with pytest.raises(SiteFileError) as caught:
        load_site(path)
    line = str(caught.value)
    assert expected in line and "\n" not in line and "; " in line


@pytest.mark.parametrize("table", ["patient", "client", "noise_multiplier_min"])
def test_a_site_that_allows_runs_without_privacy_has_no_other_limit(tmp_path: Path, table: str) -> None:
    path = tmp_path / "site.toml"
    limit = "noise_multiplier_min = 1.0" if "noise" in table else f"[policy.{table}]\nepsilon_max = 1.0"
    limit += "\nrecords = 1\nsites = 1" if table == "patient" else ""
    free = SITE.replace('["distributed", "site"]', '["none"]').replace(
        "epsilon_max = 5.0", "epsilon_max = inf"
    )
    path.write_text(free.replace("[consortium]", f"{limit}\n[consortium]"))
    with pytest.raises(
        SiteFileError, match=rf"policy\.{table}.*: and noise contradict each other; remove it, or"
    ):
        load_site(path)


@pytest.mark.parametrize("minimum", [1, 2])
def test_however_small_a_pool_is_it_hides_among_three_sites(tmp_path: Path, minimum: int) -> None:
    """DP-56: neither plan nor policy lets a pool without all noise of its own be summed up with fewer than two
    others.
    """
    with pytest.raises(UnsafeParameters, match=r"cannot hide in a sum|each site knows the other's part"):
        parse(changed("minimum = 3", f"minimum = {minimum}"))
    path = tmp_path / "site.toml"
    path.write_text(
        SITE.replace("cohort_minimum = 3", f"cohort_minimum = {minimum}").replace(
            "[policy]", "size = 1\n[policy]"
        )
    )
    bare = path.read_text().replace("epsilon_max = 5.0", "epsilon_max = inf")
    path.write_text(bare.replace('["distributed", "site"]', '["none"]'))
    with pytest.raises(SiteFileError, match=r"must be at least 2|shows this site's bare update to the other"):
        load_site(path)


OF_TWO = {"noise": "site", "minimum": 2, "colluders": 0, "dropouts": 0}


def test_a_site_agrees_to_rounds_of_two_in_so_many_words_and_to_nothing_else_by_them() -> None:
    two, three = plan_of(OF_TWO), plan_of(OF_TWO, minimum=3)
    approved = {"plans": (two.digest, three.digest)}
    with pytest.raises(PolicyViolation, match=r"of two sites the other sees this one's part of each sum"):
        consent(two, policy(**approved))
    agreed = policy(cohort_minimum=2, **approved)
    consent(two, agreed)
    assert (agreed.colluders_demanded(two), agreed.survivors_demanded(two)) == (0, 2)
    assert (agreed.colluders_demanded(three), agreed.survivors_demanded(three)) == (1, 3)
    with pytest.raises(PolicyViolation, match=r"policy\.colluders_minimum"):
        consent(three, agreed)
    with pytest.raises(PolicyViolation, match=r"policy\.colluders_minimum"):
        consent(two, policy(cohort_minimum=2, colluders_minimum=1, **approved))


def test_a_site_that_takes_part_has_a_size_and_a_consortium(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE.replace("[policy]", "size = 30\n[policy]"))
    (tmp_path / "ca.crt").write_bytes(certificate())
    assert require_complete(load_site(path), path).quorum == 2
    path.write_text(SITE)
    with pytest.raises(SiteFileError, match=r"site\.toml data\.size: is missing; declare in public"):
        require_complete(load_site(path), path)
    path.write_text(SITE[: SITE.index("[consortium]")].replace("[policy]", "size = 30\n[policy]"))
    with pytest.raises(SiteFileError, match=r"site\.toml consortium: is missing; add the table"):
        require_complete(load_site(path), path)


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
            "cohort_minimum = 1",
            "site.toml:11 policy.cohort_minimum = 1: must be at least 2",
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
            "data.query: is missing; add a line such as: query = ",
        ),
        (
            '"cleveland.csv"',
            r'"data\table.csv"',
            "site.toml:6 data.source: is no path: a backslash in double quotes begins an escape; write paths with",
        ),
        (
            '"keys/"',
            r'"C:\new\keys"',
            "site.toml:3: is not TOML: a backslash in double quotes begins an escape",
        ),
        (
            '"journal.sqlite"',
            r'"\box\newer.sqlite"',
            "is no path: a backslash in double quotes begins an escape",
        ),
        ('"ca.crt"', r'"..\ncerts\ca.crt"', "site.toml:19: is not TOML: a backslash"),
        ('"ca.crt"', r'"C:\new.crt"', "server.certificate"),
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
    with pytest.raises((SiteFileError, UnusableFile)) as caught:
        load_site(path)
    line = str(caught.value)
    assert line.startswith(str(tmp_path)) and expected in line and "\n" not in line


def test_a_source_that_may_hold_a_password_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    for slip in ('sourse = "postgresql://me:SECRET@db"', 'source = ["postgresql://me:SECRET@db"]'):
        path.write_text(SITE.replace('source = "cleveland.csv"', slip))
        with pytest.raises(SiteFileError) as caught:
            load_site(path)
        assert "SECRET" not in str(caught.value)
        assert "site.toml:6 data.sour" in str(caught.value)


def test_the_minimums_of_a_policy_are_asked_of_the_smallest_group() -> None:
    """Twenty sites in groups of five: a sum is of five, and the site that demands six refuses."""
    one = plan_of({"cohort.minimum": 20})
    grouped = plan_of({"cohort.minimum": 20, "secure_aggregation.groups": 4, "server.combine": "median"})
    asked = {"plans": (grouped.digest, one.digest), "colluders_minimum": 1}
    consent(grouped, policy(cohort_minimum=5, survivors_minimum=4, **asked))
    for stricter in ({"cohort_minimum": 6}, {"survivors_minimum": 5}):
        (rule,) = stricter
        with pytest.raises(PolicyViolation, match=rule):
            consent(grouped, policy(**{**asked, **stricter}))
        consent(one, policy(**{**asked, **stricter}))
    own = Policy.for_plan(grouped)
    assert (own.cohort_minimum, own.survivors_minimum) == (5, 4)
    consent(grouped, own)
