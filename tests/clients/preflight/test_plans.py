"""Plans at hand: which are looked at, what each asks of the site, and what is said to leave it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from clients.policy import load_site
from clients.preflight.before import Seen, look
from clients.preflight.leaves import bytes_a_round
from federation.plan.plan import Plan, load
from federation.report.numbers import upward
from privacy.accounting.risks.charged import risk_for
from privacy.accounting.risks.epsilon import advantage
from privacy.accounting.units import Patient
from tests.clients.sites import FIVE, RUN, SMALL, Round, joined, make_plan, make_terms
from tests.clients.test_check import everything, spend
from tests.clients.test_join import ROWS, SITE, write_site
from tests.plans import text_of

TEXT = text_of(SMALL, {"unit": "record", "noise": "distributed"}, epsilon=3.0)


def write_plan(folder: Path, name: str = "plan.toml", text: str = TEXT) -> Plan:
    (folder / name).write_text(text)
    return load(folder / name)


def write(folder: Path, *plans: str, rows: list[str] | None = None, more: str = "", **changed: str) -> Path:
    """A site file that approves these digests."""
    text = SITE.replace(
        'tasks = ["tabular-classification"]', f"plans = {list(plans)!r}".replace("'", '"') + more
    )
    for name, value in changed.items():
        text = text.replace(name, value)
    return write_site(folder, text, rows)


def seen(path: Path, *named: Path) -> Seen:
    return look(load_site(path), path, named, by_socket=True)


def levels(found: Seen) -> Mapping[str, str]:
    return {finding.name: finding.level for finding in found.findings}


def only_error(found: Seen) -> tuple[str, int, str]:
    (error,) = [finding for finding in found.findings if finding.error is not None]
    assert error.error is not None
    return error.name, error.error.exit_code, str(error.error)


def test_an_approved_plan_beside_the_site_file_is_found_and_nothing_is_written(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    path = write(tmp_path, plan.digest)
    write_plan(tmp_path, "other.toml", TEXT.replace("rounds = 4", "rounds = 5"))
    before = everything(tmp_path)
    found = seen(path)
    assert set(levels(found).values()) == {"ok"}
    assert [(each.file, each.plan.digest) for each in found.plans] == [(tmp_path / "plan.toml", plan.digest)]
    (budget,) = [finding for finding in found.findings if finding.name == "budget"]
    assert budget.detail.startswith("epsilon 0.000 charged per record, ")
    assert everything(tmp_path) == before


def test_an_approved_plan_that_is_not_here_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, "sha256:" + "a" * 64)
    (missing,) = [finding for finding in seen(path).findings if finding.name == "plan"]
    assert (missing.level, "sha256:" + "a" * 64 in missing.detail, "plan_files" in missing.cure) == (
        "warning",
        True,
        True,
    )


@pytest.mark.parametrize("way", ["plan_files", "--plan"])
def test_a_plan_that_is_named_is_looked_at_and_not_approved_by_that(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    write_plan(folder, text=TEXT.replace('noise = "distributed"', 'noise = "site"'))
    more = '\nplan_files = ["elsewhere/plan.toml"]' if way == "plan_files" else ""
    path = write(tmp_path, "sha256:" + "a" * 64, more=more)
    found = seen(path, *([] if more else [folder / "plan.toml"]))
    name, code, text = only_error(found)
    assert (name, code) == ("plan", 3)
    assert "policy.noise" in text


@pytest.mark.parametrize("content", [None, "no toml [", "[federation]\nname = 3\n"])
def test_a_named_file_that_is_no_plan_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "wrong.toml").write_text(content)
    path = write(tmp_path, "sha256:" + "a" * 64)
    name, code, text = only_error(seen(path, tmp_path / "wrong.toml"))
    assert (name, code) == ("plan", 2)
    assert "wrong.toml" in text


def test_other_files_beside_the_site_file_are_passed_over(tmp_path: Path) -> None:
    for name, content in (
        ("broken.toml", "no toml ["),
        ("roster.toml", "serial = 1"),
        ("half.toml", "[privacy]"),
    ):
        (tmp_path / name).write_text(content)
    path = write(tmp_path, write_plan(tmp_path).digest)
    assert set(levels(seen(path)).values()) == {"ok"}


def test_a_budget_that_does_not_hold_the_plan_is_an_error(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    path = write(tmp_path, plan.digest)
    spend(path, make_plan(epsilon=7.9)).close()
    name, code, text = only_error(seen(path))
    assert (name, code) == ("budget", 3)
    assert "per record" in text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["x,100,yes", *ROWS], 'column "age"'),
        ([row.rpartition(",")[0] + ",maybe" for row in ROWS], 'column "sick"'),
    ],
    ids=["no number", "no class"],
)
def test_data_of_another_schema_are_an_error_that_shows_no_value(
    tmp_path: Path, rows: list[str], words: str
) -> None:
    path = write(tmp_path, write_plan(tmp_path).digest, rows=rows)
    name, code, text = only_error(seen(path))
    assert (name, code) == ("schema", 2)
    assert words in text
    assert "maybe" not in text


def test_a_run_that_is_open_is_charged_already_and_goes_on(tmp_path: Path) -> None:
    """Else a site with room for one plan could not be started again in the middle of it."""
    plan = write_plan(tmp_path)
    path = write(tmp_path, plan.digest, epsilon_max="x_max").with_name("site.toml")
    path.write_text(path.read_text().replace("x_max = 8.0", "epsilon_max = 3.01"))
    spend(path, plan).close()
    found = seen(path)
    assert set(levels(found).values()) == {"ok"}
    (budget,) = [finding for finding in found.findings if finding.name == "budget"]
    assert budget.detail == f"run {RUN.hex()} is open and charged: 0 of its 4 rounds were begun"


def test_a_plan_whose_approved_runs_were_made_is_a_warning(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    path = write(tmp_path, plan.digest)
    with_run = spend(path, plan)
    with_run.close_run(RUN.hex(), "ab" * 32)
    with_run.close()
    assert levels(seen(path))["budget"] == "warning"


def test_what_leaves_says_bytes_address_and_risk(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    (known,) = seen(write(tmp_path, plan.digest)).plans
    told = dict(known.leaves)
    assert "a masked vector of 6 numbers, with noise" in told["each round"]
    assert "declared size 30" in told["at the start"]
    assert told["is opened"].startswith("the sum over 3 sites or more")
    assert told["risk"].startswith("epsilon 3.000 at delta 1e-05 for one record:")
    risk = risk_for(plan.charges, "record", Patient(), 1e-5)
    assert risk is not None
    assert risk.advantage < advantage(3.0, 1e-5) / 2, "of this plan, and not of epsilon 3"
    assert f"hit rate at most {upward(risk.advantage, 3)} above" in told["risk"]
    assert "an attacker who accuses 1 wrongly finds at most" in told["risk"]


@pytest.mark.parametrize(
    ("noise", "words"), [("none", "NOT PRIVATE"), ("central", "sees the sum without it")]
)
def test_a_plan_that_protects_less_says_so(tmp_path: Path, noise: str, words: str) -> None:
    from clients.preflight.leaves import risk_of

    plan = make_plan("client" if noise == "central" else "record", noise)
    assert words in risk_of(plan)


@pytest.mark.parametrize("sites", [3, 5])
def test_the_bytes_of_a_round_are_those_that_are_sent(tmp_path: Path, sites: int) -> None:
    sizes = dict(list(FIVE.items())[:sites])
    plan = make_plan()
    told, length = bytes_a_round(replace_cohort(plan, sites), 30)
    terms = make_terms(plan, sizes)
    played = Round(terms, joined(tmp_path, plan, sizes)).play()
    sent = sum(len(reply) for (site, _), reply in played.replies.items() if site == "amsterdam")
    assert length == terms.length
    assert sent <= told <= 1.2 * sent


def replace_cohort(plan: Plan, sites: int) -> Plan:
    return plan.model_copy(update={"cohort": plan.cohort.model_copy(update={"size": sites})})


def test_of_a_plan_that_the_policy_refuses_no_code_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strangers.py").write_text("raise AssertionError('loaded')")
    monkeypatch.syspath_prepend(str(tmp_path))
    head, _, rest = TEXT.partition("[task]")
    text = 'task = "strangers:task"\n' + head + rest[rest.index("[cohort]") :]
    (tmp_path / "stranger.txt").write_text(text)
    path = write(tmp_path, "sha256:" + "a" * 64)
    found = seen(path, tmp_path / "stranger.txt")
    assert only_error(found)[:2] == ("plan", 3)
    assert found.plans[0].leaves == ()
    assert "strangers" not in sys.modules
