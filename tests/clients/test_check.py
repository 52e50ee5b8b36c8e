"""What is known of a plan, and of a site, before any data moves."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from pathlib import Path

import pytest

from clients.approvals import open_journal
from clients.check import account_of, admitted, preflight
from clients.data.notes import FileRead
from clients.data.populations import claim_pool, fingerprints, registry_path
from clients.journal.journal import Journal
from clients.policy import load_site
from federation.config.base import Base
from federation.errors import DataError, InputError, SiteFileError, UnusableFile
from federation.identity.keys import create, load_private
from federation.plan.guarantee import cost_for
from federation.plan.plan import Plan, parse
from privacy.accounting.units import Patient
from privacy.errors import BudgetExceeded, LedgerCorrupt, LedgerRefusal, PolicyViolation, UnsafeParameters
from tests.clients.sites import RUN, make_plan, make_terms
from tests.clients.test_join import ROWS, SITE, write_site


def own_journal(path: Path) -> Journal:
    """The journal of a site file, as a real site opens it."""
    rules = load_site(path)
    key = load_private(rules.keys / f"{rules.id}.key")
    return Journal.open(rules.journal, site=rules.id, pool=rules.data.pool, key=key)


def spend(path: Path, plan: Plan, run: bytes = RUN) -> Journal:
    """A journal in which a plan is reserved, still open."""
    journal, limits = own_journal(path), load_site(path).policy.limits()
    journal.reserve(run.hex(), plan.digest, plan.kind.charge, plan.federation.rounds, limits)
    return journal


def everything(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Every file of a folder: when it was changed, its mode, its content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in files}


@pytest.mark.parametrize("noise", ["distributed", "none"])
def test_the_facts_of_a_plan(noise: str) -> None:
    plan = make_plan("record", noise, minimum=5, colluders=1, dropouts=3)
    facts = preflight(plan, None)
    assert facts["plan_digest"] == plan.digest
    assert (facts["name"], facts["rounds"], facts["model_parameters"]) == ("small", 4, 6)
    assert facts["private"] is (noise != "none")
    assert (facts["unit"], facts["noise"]) == ("record", noise)
    # Of five sites with one colluder, four shares unmask: one dropout survives, though the plan wishes for three.
    assert facts["smallest_cohort"] == {"sites": 5, "shares_that_unmask": 4, "dropouts_survived": 1}
    if noise == "none":
        assert facts["epsilon"] is facts["delta"] is facts["noise_multiplier"] is None
        assert facts["upload_bytes_per_round"] == 6 * 28 // 8  # 24 bits, 3 for five sites, 1 for the sign
    else:
        assert (facts["epsilon"], facts["delta"]) == (cost_for(plan, "record", Patient()).together, 1e-5)
        assert 0.5 < facts["noise_multiplier"] < 5
    assert "site" not in facts
    assert json.loads(json.dumps(facts)) == facts


def test_a_plan_that_no_round_could_agree_on_is_refused() -> None:
    with pytest.raises(UnsafeParameters, match="parameters are too many"):
        preflight(make_plan("client", "site", epsilon=0.0001, model="mlp"), None)


def test_the_facts_of_a_site_that_has_never_joined(tmp_path: Path) -> None:
    facts = preflight(make_plan(epsilon=3.0), write_site(tmp_path))["site"]
    assert (facts["id"], facts["records"], facts["epsilon_max"]) == ("berlin", 25, 8.0)
    assert (facts["lines"], facts["records_read"], facts["records_held_out"]) == (31, 30, 5)
    assert 2.9 < facts["epsilon_after_this_plan"] <= 3.0
    assert not (tmp_path / "journal.sqlite").exists()  # looking leaves no trace


def test_how_many_runs_of_a_plan_are_left_is_told_and_none_is_a_refusal(tmp_path: Path) -> None:
    plan = make_plan(epsilon=1.0)
    tasks = 'tasks = ["tabular-classification"]'
    assert tasks in SITE
    path = write_site(tmp_path)
    assert preflight(plan, path)["site"]["runs_left"] is None, "its task is approved"
    for runs, left in ((1, 0), (3, 2)):
        path.write_text(SITE.replace(tasks, f'plans = [{{ digest = "{plan.digest}", runs = {runs} }}]'))
        if runs == 1:
            assert preflight(plan, path)["site"]["runs_left"] == 1
            with closing(open_journal(load_site(path))) as journal:
                limits = load_site(path).policy.limits()
                journal.reserve("one", plan.digest, plan.kind.charge, plan.federation.rounds, limits)
            with pytest.raises(LedgerRefusal, match="approves one run of this plan, and it was made"):
                preflight(plan, path)
        else:
            assert preflight(plan, path)["site"]["runs_left"] == left


def test_the_company_that_a_site_demands_is_told_and_asked_for(tmp_path: Path) -> None:
    demands = SITE.replace("colluders_minimum = 0\n", "")
    plan = make_plan(epsilon=3.0, minimum=4, colluders=2)
    facts = preflight(plan, write_site(tmp_path, demands))["site"]
    assert (facts["colluders_minimum"], facts["survivors_minimum"]) == (1, 4)
    with pytest.raises(PolicyViolation, match=r"policy\.colluders_minimum: .* is 0, the limit 1"):
        preflight(make_plan(epsilon=3.0), tmp_path / "site.toml")
    (tmp_path / "site.toml").write_text(
        demands.replace("cohort_minimum = 3", "cohort_minimum = 3\nsurvivors_minimum = 5")
    )
    with pytest.raises(
        PolicyViolation, match=r"policy\.survivors_minimum: .* of 4 of 4 sites .* the limit 5"
    ):
        preflight(plan, tmp_path / "site.toml")


def test_what_was_read_of_each_file_is_told_at_the_site_and_is_no_fact(tmp_path: Path) -> None:
    header, *rows = (write_site(tmp_path).parent / "berlin.csv").read_text().splitlines()
    twins = header.replace(header.split(",")[0], header.split(",")[0].upper(), 1)
    text = "\n".join(
        [
            f"{header},{twins.split(',')[0]}",
            *(f"{row},1" for row in rows),
            ",,," + "," * (len(header.split(",")) - 3),
        ]
    )
    (tmp_path / "berlin.csv").write_text(text + "\n\n")
    told: list[FileRead] = []
    facts = preflight(make_plan(epsilon=3.0), tmp_path / "site.toml", tell=told.append)["site"]
    (read,) = told
    assert str(read) == f"{tmp_path / 'berlin.csv'}: 33 lines, 30 records, 2 blank"
    assert facts["lines"] == 33 and "in other capitals" in str(read.notes)
    assert "capitals" not in json.dumps(facts)


def test_what_earlier_runs_spent_counts_and_is_refused_when_it_is_too_much(tmp_path: Path) -> None:
    path, first, large = write_site(tmp_path), make_plan(epsilon=4.0), make_plan(epsilon=7.5)
    with closing(spend(path, first)) as journal:
        before = len(journal.entries())
        facts = preflight(make_plan(epsilon=3.0), path)["site"]
        assert 4.0 < facts["epsilon_after_this_plan"] < 7.0  # composition is better than addition
        assert facts["units"]["record"]["epsilon_before"] == pytest.approx(4.0, abs=0.05)
        with pytest.raises(BudgetExceeded, match="is spent"):
            preflight(large, path)
        assert len(journal.entries()) == before  # asking is no refusal to write down
    with pytest.raises(BudgetExceeded):
        spend(path, large, bytes(16))  # and a real run ends the same way


def test_a_base_of_an_earlier_run_is_told_as_charged_where_this_ledger_holds_it(tmp_path: Path) -> None:
    path, earlier = write_site(tmp_path), make_plan(epsilon=3.0)
    spend(path, earlier).close()
    rules = load_site(path)
    account = account_of(rules, rules.identity())
    for run, expected in (
        (earlier.digest, "charged to this pool already"),
        (f"sha256:{64 * '0'}", "nothing of it"),
    ):
        base = Base(digest=f"sha256:{64 * '1'}", trained_on="notes", run=run)
        plan = earlier.model_copy(update={"base": base})
        assert admitted(plan, rules.policy, account)["base_run"].startswith(expected)
    assert "base_run" not in admitted(earlier, rules.policy, account)


def test_a_site_without_limits_has_no_epsilon_to_tell(tmp_path: Path) -> None:
    text = SITE.replace("epsilon_max = 8.0", "epsilon_max = inf").replace("distributed", "none")
    facts = preflight(make_plan("record", "none"), write_site(tmp_path, text))["site"]
    assert facts["records"] == 25
    assert "epsilon_after_this_plan" not in facts


def test_policy_is_asked_before_the_data_are_read(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (tmp_path / "berlin.csv").unlink()
    with pytest.raises(PolicyViolation):
        preflight(make_plan("record", "central"), path)
    with pytest.raises(DataError):
        preflight(make_plan(), path)


def test_bad_data_and_a_bad_site_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pressure"):
        preflight(make_plan(), write_site(tmp_path, rows=["33,,yes", *ROWS]))
    with pytest.raises(SiteFileError, match="colour"):
        preflight(make_plan(), write_site(tmp_path, SITE + 'colour = "blue"\n'))


def test_a_journal_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    own_journal(path).close()
    path.write_text(SITE.replace('pool = "patients"', 'pool = "others"'))
    with pytest.raises(LedgerCorrupt, match="another site or pool"):
        preflight(make_plan(), path)
    path.write_text(SITE)
    (tmp_path / "keys" / "berlin.key").unlink()
    (tmp_path / "keys" / "berlin.pub").unlink()
    create(tmp_path / "keys", "berlin", "Charite", 30)
    with pytest.raises(LedgerCorrupt, match="signed by another key"):
        preflight(make_plan(), path)


def test_a_journal_of_a_simulation_is_no_account_of_a_real_site(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    rules = load_site(path)
    key = load_private(rules.keys / "berlin.key")
    Journal.open(rules.journal, site="berlin", pool="patients", key=key, simulated=True).close()
    with pytest.raises(LedgerCorrupt, match="are never the same"):
        preflight(make_plan(), path)


def test_the_upload_is_what_a_round_of_the_smallest_cohort_sends() -> None:
    plan = make_plan("client", "distributed")
    terms = make_terms(plan)
    assert preflight(plan, None)["upload_bytes_per_round"] == (6 * terms.codec.ring_bits + 7) // 8


def test_the_budget_is_asked_before_the_data_are_read(tmp_path: Path) -> None:
    path = write_site(tmp_path, SITE.replace("epsilon_max = 8.0", "epsilon_max = 11.0"))
    spend(path, make_plan()).close()
    (tmp_path / "berlin.csv").unlink()
    with pytest.raises(BudgetExceeded):
        preflight(make_plan(), path)
    with pytest.raises(DataError):
        preflight(make_plan(epsilon=1.0), path)


def test_the_size_that_a_site_declares_decides_the_ring(tmp_path: Path) -> None:
    small, plan = preflight(make_plan(), None), make_plan()
    large = preflight(plan, write_site(tmp_path, SITE.replace("size = 30", "size = 30000")))
    terms = make_terms(plan, {"amsterdam": 30000, "berlin": 30000, "cleveland": 30000})
    assert large["upload_bytes_per_round"] == (6 * terms.codec.ring_bits + 7) // 8
    assert large["upload_bytes_per_round"] > small["upload_bytes_per_round"]


LIMITED = SITE.replace(
    "[consortium]",
    "[policy.patient]\nepsilon_max = 40.0\ndelta_max = 1e-6\nrecords = 3\nsites = 2\n[consortium]",
)
WHO = ["who,age,pressure,sick", *(f"P{number // 2},{row}" for number, row in enumerate(ROWS))]


def test_every_limit_is_told_with_what_is_spent_of_it(tmp_path: Path) -> None:
    path = write_site(tmp_path, LIMITED)
    facts = preflight(make_plan(epsilon=2.0), path)["site"]
    record, patient = facts["units"]["record"], facts["units"]["patient"]
    assert list(facts["units"]) == ["record", "patient"]
    assert record["epsilon_before"] == patient["epsilon_before"] == 0
    assert record["epsilon_after"] == facts["epsilon_after_this_plan"] <= 2.0
    assert (record["epsilon_max"], record["delta"]) == (8.0, 1e-5)
    assert (patient["epsilon_max"], patient["delta"]) == (40.0, 1e-6)
    assert patient["epsilon_after"] > 3 * record["epsilon_after"]  # six records, and a smaller delta
    assert json.loads(json.dumps(facts)) == facts
    spend(path, make_plan(epsilon=2.0)).close()
    assert preflight(make_plan(epsilon=1.0), path)["site"]["units"]["patient"][
        "epsilon_before"
    ] == pytest.approx(patient["epsilon_after"], rel=1e-6)


def test_a_plan_that_a_record_could_bear_and_a_patient_could_not_is_refused(tmp_path: Path) -> None:
    path = write_site(tmp_path, LIMITED.replace("epsilon_max = 40.0", "epsilon_max = 5.0"))
    preflight(make_plan(epsilon=0.3), path)
    with pytest.raises(BudgetExceeded, match="per patient: "):
        preflight(make_plan(epsilon=2.0), path)


def test_a_policy_looser_than_the_ledger_is_told_before_anything_moves(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    spend(path, make_plan(epsilon=1.0)).close()
    path.write_text(SITE.replace("epsilon_max = 8.0", "epsilon_max = 9.0"))
    with pytest.raises(PolicyViolation, match="allows more per record than its ledger does"):
        preflight(make_plan(epsilon=1.0), path)


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_patients_are_counted_where_they_are_known(unit: str, tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (tmp_path / "berlin.csv").write_text("\n".join(WHO))
    plan = make_plan(unit, **{"task.patient": "who", "epsilon": 3.0})
    if unit == "record":
        with pytest.raises(DataError, match="a patient has more records"):
            preflight(plan, path)
        return
    facts = preflight(plan, path)["site"]
    assert facts["patients"] == 14  # of 15: by their own ids, about a fifth is held out
    assert facts["records"] == 28
    assert "patients" not in preflight(make_plan(epsilon=3.0), path)["site"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("size = 30\n", "", r"site\.toml data\.size: is missing"),
        (SITE[SITE.index("[consortium]") :], "", r"site\.toml consortium: is missing"),
        ('keys = "keys/"', 'keys = "other/"', r"berlin\.key: there is no such key"),
    ],
)
def test_what_a_site_lacks_to_take_part_is_told(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        preflight(make_plan(), write_site(tmp_path, SITE.replace(old, new)))


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (tmp_path / "keys" / "berlin.key").write_text("SECRET")
    with pytest.raises(UnusableFile, match="is no private key") as caught:
        preflight(make_plan(), path)
    assert "SECRET" not in str(caught.value)


def test_data_that_belong_to_another_pool_are_told(tmp_path: Path) -> None:
    """DP-42: before a run as in a run."""
    path = write_site(tmp_path)
    rules = load_site(path)
    key = load_private(rules.keys / "berlin.key")
    own_journal(path).close()
    claim_pool(rules, key, fingerprints(tmp_path / "berlin.csv", None, key))
    assert preflight(make_plan(), path)["site"]["pool"] == "patients"  # the control
    path.write_text(
        SITE.replace('pool = "patients"', 'pool = "others"').replace("journal.sqlite", "new.sqlite")
    )
    before = everything(tmp_path)
    with pytest.raises(PolicyViolation, match='some of these data were used under pool "patients"'):
        preflight(make_plan(), path)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("epsilon", [3.0, 7.5])
def test_looking_changes_no_file(tmp_path: Path, used: bool, epsilon: float) -> None:
    path = write_site(tmp_path)
    if used:
        rules = load_site(path)
        key = load_private(rules.keys / "berlin.key")
        journal = spend(path, make_plan(epsilon=4.0))  # in use: its write-ahead log is there
        claim_pool(rules, key, fingerprints(tmp_path / "berlin.csv", None, key))
        assert registry_path(rules).exists()
    before = everything(tmp_path)
    with suppress(BudgetExceeded):
        preflight(make_plan(epsilon=epsilon), path)
    assert everything(tmp_path) == before
    if used:
        journal.close()


def test_a_published_evaluation_needs_room_of_its_own(tmp_path: Path) -> None:
    path, plan = write_site(tmp_path), make_plan(epsilon=6.0)
    told = {}
    for spent in (0.5, 7.0):
        published = plan.model_copy(
            update={"evaluation": plan.evaluation.model_copy(update={"epsilon": spent})}
        )
        if spent > 1:
            with pytest.raises(BudgetExceeded, match="per record: "):
                preflight(published, path)
        else:
            told = preflight(published, path)["site"]["units"]["record"]
    alone = preflight(plan, path)["site"]["units"]["record"]
    assert alone["epsilon_after"] < told["epsilon_after"] < 8.0


def test_a_plan_with_an_evaluation_is_told_with_both_and_what_one_run_costs_alone(tmp_path: Path) -> None:
    """The larger of the two stands beside the sum where no record can be in both parts, and nowhere else."""
    plan = parse(make_plan(epsilon=3.0).to_toml().replace("[evaluation]", "[evaluation]\nepsilon = 2.0"))
    facts = preflight(plan, write_site(tmp_path))
    parts = [facts["epsilon"], facts["evaluation"]["epsilon"]]
    assert max(parts) < facts["together"]["epsilon"] < sum(parts)
    assert facts["site"]["epsilon_of_this_run_alone"] == max(parts)
    assert facts["site"]["epsilon_after_this_plan"] == facts["together"]["epsilon"], "a ledger counts both"
    own_test = SITE.replace('source = "berlin.csv"', 'source = "berlin.csv"\ntest = "berlin.csv"')
    assert "epsilon_of_this_run_alone" not in preflight(plan, write_site(tmp_path, own_test))["site"]
    assert "epsilon_of_this_run_alone" not in preflight(make_plan(), write_site(tmp_path))["site"]
