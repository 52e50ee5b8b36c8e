"""Made-up tables are what their pages say; their plans are by the rule, and reach what is told."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.data.folders import find_sites
from federation.cli.main import app
from federation.model.params import initial_params
from federation.model.shape import known_dimension
from federation.plan.plan import load
from federation.plan.settings import hints, settings_for
from federation.plan.tabular import TabularTask
from federation.sums.state import begin
from server.run import server_stream
from simulations.populations.made_up.heart import SITES
from simulations.populations.registry import population_for, scenario_for
from simulations.summary import model_of, pooled_metrics
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import read_world
from tests import ROOT

PAGES = ROOT / "docs" / "scenarios"
EXPECTED = {"heart": 0.81, "readmission": 0.76, "credit": 0.82, "fraud": 0.87, "moderation": 0.96}
PEOPLE = {"readmission": "patient_nbr", "fraud": "card", "moderation": "author"}
Row = dict[str, str]


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, population_for(request.param).write(tmp_path_factory.mktemp(request.param), 0)


def rows_of(directory: Path) -> list[Row]:
    found = []
    for path in sorted(directory.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found += [{**row, "site": path.parent.name, "part": path.stem} for row in csv.DictReader(file)]
    return found


def test_a_first_run_by_the_rule_reaches_what_its_page_says(made: tuple[str, Path]) -> None:
    """Within what noise and so few positives may do to it; docs/scenarios/ has the mean of four runs."""
    name, directory = made
    plan = load(scenario_for(name))
    world = read_world(plan, find_sites(directory).sites)
    state = begin(plan, bytes(16), initial_params(world.task.model, 7))
    *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
    reached = pooled_metrics(world, model_of(world, state.params))["auc"]
    assert reached is not None
    assert reached == pytest.approx(EXPECTED[name], abs=0.035)
    assert f" {EXPECTED[name]:.2f} " in (PAGES / f"{name}.md").read_text("utf-8")


def test_its_settings_are_those_that_the_rule_proposes(made: tuple[str, Path]) -> None:
    name, directory = made
    plan, people = load(scenario_for(name)), PEOPLE.get(name)
    assert isinstance(plan.task, TabularTask)
    rows = [row for row in rows_of(directory) if row["part"] == "train"]
    units = len({row[people] for row in rows}) if people else len(rows)
    params = known_dimension(plan)
    assert params is not None
    assert plan.privacy.epsilon is not None
    assert plan.privacy.delta is not None
    rule = settings_for(plan.task, params, units, plan.privacy.epsilon, plan.privacy.delta)
    assert plan.privacy.clipping_norm == pytest.approx(rule.clipping_norm, rel=0.05)
    assert plan.training.sample_rate == pytest.approx(rule.sample_rate, rel=0.05)
    assert (plan.federation.rounds, plan.server.learning_rate) == (rule.rounds, rule.learning_rate)
    assert not list(hints(plan, params))


def test_a_person_s_rows_are_all_in_one_part_and_protected_together(made: tuple[str, Path]) -> None:
    name, directory = made
    plan, people = load(scenario_for(name)), PEOPLE.get(name)
    assert (plan.privacy.unit == "patient") is (people is not None)
    if people is None:
        return
    assert plan.patient_column == people
    parts, sites = defaultdict(set), defaultdict(set)
    for row in rows_of(directory):
        parts[row[people]].add(row["part"])
        sites[row[people]].add(row["site"])
    assert all(len(found) == 1 for found in parts.values())
    most = max(map(len, sites.values()))
    assert most == (plan.privacy.sites_per_patient or 1)


def test_no_post_of_the_test_is_in_the_training(tmp_path: Path) -> None:
    rows = rows_of(population_for("moderation").write(tmp_path, 1))
    assert len({row["post"] for row in rows}) == len(rows) > 7000


def test_frauds_are_rare_and_returns_are_not(tmp_path: Path) -> None:
    shares = {}
    for name, positive in (("fraud", "1"), ("readmission", "<30"), ("credit", "1")):
        rows = rows_of(population_for(name).write(tmp_path / name, 0))
        target = list(rows[0])[-3]
        shares[name] = sum(row[target] == positive for row in rows) / len(rows)
    assert 1 / 180 < shares["fraud"] < 1 / 120
    assert 0.09 < shares["readmission"] < 0.12
    assert 0.18 < shares["credit"] < 0.23


def test_hospitals_lack_what_they_do_not_measure(tmp_path: Path) -> None:
    rows = rows_of(population_for("heart").write(tmp_path, 0))
    lacking = {site: [row for row in rows if row["site"] == site] for site in SITES}
    shares = {site: sum(row["ca"] == "?" for row in found) / len(found) for site, found in lacking.items()}
    assert shares["harcourt"] < 0.05
    assert min(share for site, share in shares.items() if site != "harcourt") > 0.9
    assert all(row["chol"] == "?" for row in lacking["lindqvist"])
    assert not any(row["age"] == "?" or row["num"] == "?" for row in rows)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_ours_with_options_that_they_have(page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    commands = [line[2:].split("#")[0].split() for block in blocks for line in block.splitlines()]
    assert len(commands) >= 3
    for command in commands:
        assert command[0] == "federation"
        assert CliRunner().invoke(app, [*command[1:], "--help"]).exit_code == 0, command


def test_files_of_a_scenario_pass_the_check_that_its_page_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["demo", "heart", "--files", "heart/"]).exit_code == 0
    checked = CliRunner().invoke(app, ["check", "heart/plan.toml", "--sites", "heart/sites/"])
    assert checked.exit_code == 0, checked.output
    assert "hint" not in checked.output
