"""The command: what it prints, what its JSON holds, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.cli import main as cli
from federation.errors import FederationError
from federation.identity.keys import create, load_public
from privacy.errors import PrivacyError
from tests.federation.command import Command
from tests.worlds import text_of, write_sites

PRIVATE = text_of(noise="distributed", rounds=50)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(text_of())
    return path


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "private.toml"
    path.write_text(PRIVATE)
    return path


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    return write_sites(tmp_path / "sites")


@pytest.mark.parametrize("name", ["demo", "simulate", "check", "budget", "tradeoff"])
def test_every_command_has_help_with_an_example(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert done.code == 0
    assert f"Example: federation {name}" in done.out
    assert "--debug" in done.out
    assert "--json" in done.out


def test_simulate_prints_the_report_as_json(
    command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    done = command("simulate", plan, "--sites", sites, "--out", tmp_path / "run", "--json")
    assert done.code == 0
    assert done.json == json.loads((tmp_path / "run" / "report.json").read_text())
    assert {
        "schema", "plan_digest", "engine", "simulated", "seed",
        "privacy", "sites", "rounds", "evaluation", "timing",
    } <= set(done.json)  # fmt: skip
    assert {
        "unit",
        "noise",
        "epsilon",
        "delta",
        "noise_multiplier",
        "accountant",
        "cross_check",
        "private",
    } <= set(done.json["privacy"])


def test_simulate_prints_tables_and_where_the_files_are(
    command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    done = command("simulate", plan, "--sites", sites, "--out", tmp_path / "run")
    assert done.code == 0
    for words in ("NOT PRIVATE", "ash", "accuracy", "majority"):
        assert words in done.out
    assert str(tmp_path / "run" / "report.html") in done.out.replace("\n", "")
    # What takes long after the last round is told, too, on a busy machine.
    rounds = [line for line in done.err.splitlines() if line.startswith("trees: round ")]
    assert rounds[-1].startswith("trees: round 3 of 3")
    assert not [line for line in done.err.splitlines() if line not in rounds and not line.endswith(" ...")]


def test_a_seed_on_the_command_line_is_the_plan_s_seed(
    command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    first = command(
        "simulate", plan, "--sites", sites, "--out", tmp_path / "run", "--seed", 11, "--json"
    ).json
    assert first["seed"] == 11
    stored = tmp_path / "run" / "plan.toml"
    assert "seed = 11" in stored.read_text()
    assert command("check", stored, "--json").json["plan_digest"] == first["plan_digest"]
    refused = command("simulate", plan, "--sites", sites, "--out", tmp_path / "run", "--json")
    assert refused.code == 2
    assert refused.err.startswith("error: ")
    assert "another plan or seed" in refused.err


def test_runs_are_named_after_the_plan_and_numbered(
    command: Command, plan: Path, sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan.write_text(text_of(name="Five Trees!"))
    for _ in range(2):
        assert command("simulate", plan, "--sites", sites).code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["five-trees-1", "five-trees-2"]


def test_budget_prints_json_with_the_fields_of_the_manual(command: Command, private: Path) -> None:
    found = command("budget", private, "--json").json
    assert {"noise_multiplier", "epsilon", "delta", "accountants", "rounds", "patient_at_sites"} <= set(found)
    assert set(found["accountants"]) == {"pld", "rdp", "audit"}
    assert set(found["patient_at_sites"]) == {"1", "2", "3"}
    assert found["rounds"][0].keys() == {"round", "epsilon"}
    assert len(found["rounds"]) == 50


def test_budget_prints_a_table(command: Command, private: Path) -> None:
    done = command("budget", private)
    assert done.code == 0
    assert "noise multiplier" in done.out
    assert "Epsilon by round" in done.out


def test_budget_of_a_plan_without_privacy_is_refused(command: Command, plan: Path) -> None:
    done = command("budget", plan)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith('error: a plan with privacy.noise = "none" has no budget')


def test_check_prints_what_a_site_would_agree_to(command: Command, private: Path) -> None:
    found = command("check", private, "--json").json
    assert found["plan_digest"].startswith("sha256:")
    assert (found["private"], found["noise"], found["rounds"]) == (True, "distributed", 50)
    assert found["epsilon"] == command("budget", private, "--json").json["epsilon"] <= 3.0
    assert found["noise_multiplier"] > 1
    assert found["model_parameters"] == 12  # 5 inputs, 2 classes
    assert found["upload_bytes_per_round"] > 0
    assert found["plan_digest"] in command("check", private).out


def test_check_reads_a_site_file_and_its_data(
    command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    create(tmp_path / "keys", "ash", "Ash", 30)
    site = tmp_path / "site.toml"
    site.write_text(
        f"""
        [site]
        id = "ash"
        keys = "keys"
        journal = "journal.sqlite"
        [data]
        source = "sites/ash.csv"
        pool = "patients"
        size = 30
        [policy]
        epsilon_max = inf
        delta_max = 1e-5
        cohort_minimum = 3
        noise = ["none"]
        plans = ["{command("check", plan, "--json").json["plan_digest"]}"]
        [consortium]
        keys = ["{load_public(tmp_path / "keys" / "ash.pub").key}"]
        quorum = 1
        """
    )
    found = command("check", plan, "--site", site, "--json").json
    assert found["site"]["id"] == "ash"
    assert not (tmp_path / "journal.sqlite").exists(), "checking begins nothing"
    plan.write_text(text_of(seed=8))
    refused = command("check", plan, "--site", site)
    assert refused.code == 3
    assert "is not approved" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ("simulat",),
        ("simulate",),
        ("simulate", "plan.toml"),
        ("simulate", "plan.toml", "--sites", "x", "--engine", "warp"),
        ("simulate", "plan.toml", "--sites", "x", "--seed", "seven"),
        ("check", "plan.toml", "--fast"),
        ("demo", "castles"),
        ("demo", "bank", "--files", "f", "--out", "run"),
        ("split", "plan.toml", "--iid", "--sites", "2"),
        ("split", "plan.toml", "--out", "o"),
        ("check", "/nowhere/plan.toml"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_one_line_and_exit_code_2(command: Command, words: tuple[str, ...]) -> None:
    done = command(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def check_origins() -> None:
        raise error

    monkeypatch.setattr(cli, "check_origins", check_origins)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FederationError("one\ntwo", hint="do\tthis"), 4, "error: one two; do this\n"),
        (PrivacyError("no"), 3, "error: no\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; give the same command again\n"),
        (ZeroDivisionError("patient 987654"), 1, "error: unexpected ZeroDivisionError: a bug of ours"),
    ],
    ids=["federation", "privacy", "interrupt", "bug"],
)
def test_every_error_is_one_line_and_a_bug_shows_nothing_of_its_text(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    fail_with(monkeypatch, error)
    done = command("check", "plan.toml")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(words)
    assert done.err.count("\n") == 1
    assert "987654" not in done.err


def test_debug_shows_where_an_error_came_from(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (FederationError("stop"), ZeroDivisionError("stop")):
        fail_with(monkeypatch, error)
        with pytest.raises(type(error), match="stop"):
            command("check", "plan.toml", "--debug")


def test_a_call_without_words_is_help(command: Command) -> None:
    done = command()
    assert done.code == 2
    assert "Usage" in done.out + done.err


def test_bundled_data_are_public_and_a_user_s_are_not(
    command: Command, plan: Path, sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only runs on data of people are counted."""
    heard: list[bool] = []

    def listen(*_: object, public: bool, **__: object) -> None:
        heard.append(public)
        raise FederationError("heard enough")

    monkeypatch.setattr("simulations.simulate.simulate", listen)
    assert command("demo", "--out", tmp_path / "demo").code == 4
    assert command("simulate", plan, "--sites", sites, "--out", tmp_path / "run").code == 4
    assert heard == [True, False]


def test_bundled_data_are_written_for_who_wants_the_files(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    told = command("demo", "hospitals", "--files", folder)
    assert (told.code, told.out.splitlines()[-1]) == (
        0,
        f"next: federation simulate {folder}/plan.toml --sites {folder}/sites",
    )
    assert command("check", folder / "plan.toml", "--sites", folder / "sites").code == 0
    assert command("demo", "hospitals", "--files", folder).code == 2
    other = command("demo", "digits", "--files", tmp_path / "digits", "--json").json
    assert sorted(other) == ["plan", "population", "sites"]
    assert len(list(Path(other["sites"]).glob("*/train.csv"))) == 6


def test_a_finished_run_is_read_again_only_by_its_own_engine_and_says_that_nothing_was_run(
    command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    words = ("simulate", plan, "--sites", sites, "--out", tmp_path / "run", "--json")
    first = command(*words)
    again = command(*words)
    assert (again.code, again.json) == (0, first.json)
    assert again.err.startswith("nothing was run: ")
    assert len(again.err.splitlines()) == 1
    refused = command(*words, "--engine", "protocol")
    assert (refused.code, refused.out) == (2, "")
    assert "finished by engine vectorized, not protocol" in refused.err


@pytest.mark.parametrize("reason", ["no folder", "a bug"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_the_verdict_of_an_audit_is_told_even_if_its_page_cannot_be_made(
    command: Command, plan: Path, sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    reason: str, is_whole: bool,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    assert command("simulate", plan, "--sites", sites, "--out", run).code == 0
    page = tmp_path / "file" / "page.html"
    if reason == "no folder":
        (tmp_path / "file").touch()
    else:

        def failing(_: object) -> str:
            raise ZeroDivisionError

        monkeypatch.setattr("federation.audit.page.render", failing)
    if not is_whole:
        (run / "report.json").unlink()
    done = command("audit", run, "--report", page)
    assert ("PASS" in done.out) == is_whole
    if is_whole:
        assert done.code == (2 if reason == "no folder" else 1)
    else:
        assert done.code == 5
        assert f"warning: {page}: n/a (" in done.err
    assert done.err.splitlines()[-1].startswith("error: ")


def test_without_a_baseline_none_is_trained(
    command: Command, private: Path, sites: Path, tmp_path: Path
) -> None:
    words = ["simulate", private, "--sites", sites, "--out", tmp_path / "run", "--no-baseline", "--json"]
    assert set(command(*words).json["evaluation"]["baselines"]) == {"majority"}


def test_where_nothing_was_sent_the_json_says_null(
    command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    words = ["simulate", plan, "--sites", sites, "--out", tmp_path / "run"]
    assert "n/a" in command(*words).out
    sent = [(site["bytes_up"], site["bytes_down"]) for site in command(*words, "--json").json["sites"]]
    assert set(sent) == {(None, None)}
    assert ">n/a</td>" in (tmp_path / "run" / "report.html").read_text()
    assert command("audit", tmp_path / "run").code == 0
