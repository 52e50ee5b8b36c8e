"""`federation check`: findings on the terminal, and the same JSON, exit code and stderr with and without them."""

from __future__ import annotations

import csv
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import plans
from tests.clients.sites import SMALL
from tests.clients.test_join import ROWS, SITE, write_site
from tests.federation.command import Command
from tests.worlds import rows_of, text_of, write_csv, write_sites

DOUBTFUL = [f"{-9 if number % 4 == 0 else 20 + number},999,yes" for number in range(30)]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    changes = {key: value for key, value in SMALL.items() if key != "evaluation"}
    path.write_text(plans.text_of(changes, noise="distributed", holdout=0.0))
    return path


def site_with(folder: Path, rows: Sequence[str], text: str = SITE) -> Path:
    folder.mkdir(exist_ok=True)
    return write_site(folder, text, list(rows))


def test_what_a_site_holds_is_shown(command: Command, plan: Path, tmp_path: Path) -> None:
    site = site_with(tmp_path, DOUBTFUL, SITE.replace("size = 30", "size = 6000"))
    done = command("check", plan, "--site", site)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert f'{tmp_path / "berlin.csv"}: 31 lines, 30 records, 0 of class "no", 30 of class "yes"' in lines
    rows = [line.split() for line in lines]
    assert ["age", "0", "to", "100", "26.7%", "0%", "23", "0"] in rows
    assert ["pressure", "50", "to", "250", "0%", "100%", "1", "0"] in rows
    for words in (
        "-9 stands in 8 records",
        "26.7% of the records are below",
        "every record holds the same number",
        "all records are of one class",
        "data.size declares 6000, the files hold 30 records",
    ):
        assert any(line.startswith("warning: ") and words in line for line in lines), words
    assert len([line for line in lines if line.startswith("hint: ")]) == 1


def test_ordinary_data_have_no_warning(command: Command, plan: Path, tmp_path: Path) -> None:
    done = command("check", plan, "--site", site_with(tmp_path, ROWS))
    assert (done.code, done.err) == (0, "")
    assert "warning" not in done.out


def test_findings_change_neither_json_nor_exit_code_nor_stderr_and_are_logged_nowhere(
    command: Command, plan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site = site_with(tmp_path, ROWS)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    clean = command("check", plan, "--site", site, "--json")
    read = command("check", plan, "--site", site)
    site_with(tmp_path, DOUBTFUL)
    assert command("check", plan, "--site", site, "--json") == clean
    shown = command("check", plan, "--site", site)
    assert (shown.code, shown.err) == (read.code, read.err) == (0, "")
    assert "warning: " in shown.out and "warning: " not in read.out
    assert not caplog.records
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == files


def test_findings_of_a_folder_change_neither_json_nor_exit_code_nor_stderr(
    command: Command, tmp_path: Path
) -> None:
    plan, sites = tmp_path / "plan.toml", write_sites(tmp_path / "sites")
    plan.write_text(text_of())
    clean, read = (command("check", plan, "--sites", sites, *more) for more in (("--json",), ()))
    write_csv(sites / "ash.csv", [["-9", "99", "a", "no"]] * 33)
    shutil.copy(sites / "ash.csv", sites / "birch.csv")
    doubtful, shown = (command("check", plan, "--sites", sites, *more) for more in (("--json",), ()))
    assert doubtful == clean
    assert clean.json["sites"] == [{"id": name, "readable": True} for name in ("ash", "birch", "cedar")]
    assert (shown.code, shown.err) == (read.code, read.err) == (0, "")
    assert "warning: ash and birch hold the same records" in shown.out
    assert "warning" not in read.out


def test_what_is_shown_of_a_folder_does_not_grow_with_columns_times_sites(
    command: Command, tmp_path: Path
) -> None:
    names = [f"c{place:02d}" for place in range(60)]
    ranges = {name: {"low": 0, "high": 10 if name < "c20" else 100} for name in names}
    plan, sites = tmp_path / "plan.toml", tmp_path / "sites"
    plan.write_text(
        text_of(**{"task.features": ranges, "task.target": "sick", "task.classes": ["no", "yes"]})
    )
    sites.mkdir()
    for site in range(6):
        rows = [
            [str((7 * row + 3 * site + place) % 89) for place in range(60)] + [("no", "yes")[row % 2]]
            for row in range(30 + site)
        ]
        lines = [",".join(row) for row in ([*names, "sick"], *rows)]
        (sites / f"s{site}.csv").write_text("\n".join(lines) + "\n")
    done = command("check", plan, "--sites", sites)
    assert done.code == 0
    lines = done.out.splitlines()
    clipped = [line for line in lines if line.startswith("warning: ") and "are clipped" in line]
    assert len(clipped) == 5 and "16 more columns are clipped as much, or less" in clipped[-1]
    assert all("6 sites)" in line for line in clipped[:-1])
    assert "21 more columns, of which less is clipped or missing" in lines
    assert len(lines) < 90


def test_a_test_file_is_doubted_only_for_what_the_training_file_does_not_tell(
    command: Command, tmp_path: Path
) -> None:
    plan, sites = tmp_path / "plan.toml", write_sites(tmp_path / "sites")
    plan.write_text(text_of())
    high = [["95" if place % 4 == 0 else "60", *row[1:]] for place, row in enumerate(rows_of(7, 60))]
    write_csv(sites / "elm" / "train.csv", high[:40])
    write_csv(sites / "elm" / "test.csv", high[40:])
    shown = command("check", plan, "--sites", sites).out.splitlines()
    assert len([line for line in shown if "above the range" in line]) == 1
    write_csv(sites / "elm" / "train.csv", [["60", *row[1:]] for row in high[:40]])
    shown = command("check", plan, "--sites", sites).out.splitlines()
    assert len([line for line in shown if "elm: " in line and "above the range" in line]) == 1


def test_a_report_and_a_run_folder_hold_none_of_it(command: Command, tmp_path: Path) -> None:
    plan, sites = tmp_path / "plan.toml", write_sites(tmp_path / "sites")
    plan.write_text(text_of())
    write_csv(sites / "ash.csv", [["-9", "0.5", "a", "no"]] * 32)
    assert command("simulate", plan, "--sites", sites, "--out", tmp_path / "run").code == 0
    shown = command("check", plan, "--sites", sites).out.splitlines()
    found = [line.removeprefix("warning: ") for line in shown if line.startswith("warning: ")]
    assert len(found) == 4
    written = [
        path for path in (tmp_path / "run").rglob("*") if path.suffix in (".json", ".jsonl", ".html", ".toml")
    ]
    assert len(written) > 3
    for path in written:
        text = path.read_text("utf-8")
        assert not [line for line in found if line in text]


def test_of_data_that_are_refused_what_can_be_read_is_shown_first(
    command: Command, plan: Path, tmp_path: Path
) -> None:
    site = site_with(
        tmp_path, [f"?,{100 + number},no" if number < 9 else ROWS[number] for number in range(30)]
    )
    done = command("check", plan, "--site", site)
    assert done.code == 2
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    assert ["age", "0", "to", "100", "0%", "0%", "21", "9"] in [
        line.split() for line in done.out.splitlines()
    ]
    refused = command("check", plan, "--site", site, "--json")
    assert (refused.code, refused.out, refused.err) == (2, "", done.err)


def several_wrong(folder: Path) -> Path:
    sites = write_sites(folder / "sites", 5)
    for name, old, new in (("ash", ",a,", ",z,"), ("birch", "dose", "dosis"), ("cedar", ",no", ",maybe")):
        path = sites / f"{name}.csv"
        path.write_text(path.read_text().replace(old, new))
    return sites


def test_errors_of_all_sites_are_told_at_once(command: Command, tmp_path: Path) -> None:
    plan, sites = tmp_path / "plan.toml", several_wrong(tmp_path)
    plan.write_text(text_of())
    done = command("check", plan, "--sites", sites)
    assert done.code == 2
    lines = done.err.splitlines()
    assert [line.startswith("error: ") for line in lines] == [True] * 3
    for line, file in zip(lines, ("ash.csv", "birch.csv", "cedar.csv"), strict=True):
        assert file in line
    for name in ("ash", "birch", "cedar", "dogwood", "elm"):
        assert f"\n{name}  " in done.out  # those that are right are shown as well
    as_json = command("check", plan, "--sites", sites, "--json")
    assert (as_json.code, as_json.err) == (2, done.err)
    assert [site["readable"] for site in as_json.json["sites"]] == [False, False, False, True, True]


def test_a_refusal_for_privacy_alone_has_its_own_exit_code(command: Command, tmp_path: Path) -> None:
    plan, sites = tmp_path / "plan.toml", write_sites(tmp_path / "sites")
    plan.write_text(text_of(noise="distributed", delta=0.05))
    done = command("check", plan, "--sites", sites)
    assert (done.code, done.err.count("error: ")) == (3, done.err.count("\n"))
    assert "must be below 1/N" in done.err
    (sites / "ash.csv").write_text("")
    assert command("check", plan, "--sites", sites).code == 2


def test_several_errors_have_a_traceback_with_debug(command: Command, tmp_path: Path) -> None:
    plan, sites = tmp_path / "plan.toml", several_wrong(tmp_path)
    plan.write_text(text_of())
    with pytest.raises(ExceptionGroup):
        command("check", plan, "--sites", sites, "--debug")


def test_site_and_sites_are_two_questions(command: Command, plan: Path, tmp_path: Path) -> None:
    done = command("check", plan, "--site", "site.toml", "--sites", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --site and --sites are two questions; ask for one of them\n"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
def test_a_key_that_others_can_open_is_refused_with_the_cure(
    command: Command, plan: Path, tmp_path: Path, mode: int
) -> None:
    site = site_with(tmp_path, ROWS)
    quiet = command("check", plan, "--site", site, "--json")
    key = tmp_path / "keys" / "berlin.key"
    key.chmod(mode)
    told = command("check", plan, "--site", site, "--json")
    said = f"others on this machine can open this private key (mode {mode:04o}); chmod 600 {key}; if others"
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"error: {key}: {said}") and told.err.count("\n") == 1
    key.chmod(0o600)
    assert command("check", plan, "--site", site, "--json") == quiet
    assert (quiet.code, quiet.err) == (0, "")


def test_a_key_of_a_simulated_site_is_refused_too(command: Command, tmp_path: Path) -> None:
    plan, sites = tmp_path / "plan.toml", write_sites(tmp_path / "sites")
    plan.write_text(text_of())
    text = SITE.replace('"berlin"', '"oak"').replace("berlin.csv", "train.csv")
    text = text.replace("epsilon_max = 8.0", "epsilon_max = inf").replace('["distributed"]', '["none"]')
    write_csv(sites / "oak" / "train.csv", rows_of(4, 40))
    (sites / "oak" / "site.toml").write_text(text)
    assert command("keys", "new", sites / "oak" / "keys", "--id", "oak").code == 0
    assert command("check", plan, "--sites", sites).err == ""
    (sites / "oak" / "keys" / "oak.key").chmod(0o644)
    done = command("check", plan, "--sites", sites)
    assert (done.code, done.err.count("others on this machine can open")) == (2, 1)


def test_a_key_that_others_can_open_signs_nothing(command: Command, tmp_path: Path) -> None:
    assert command("keys", "new", tmp_path, "--id", "ash").code == 0
    assert command("keys", "new", tmp_path, "--id", "consortium").code == 0
    assert command("roster", "add", tmp_path / "roster.toml", tmp_path / "ash.pub").code == 0
    before = (tmp_path / "roster.toml").read_bytes()
    key = tmp_path / "consortium.key"
    key.chmod(0o644)
    done = command("roster", "sign", tmp_path / "roster.toml", "--key", key)
    assert done.code == 2
    assert done.err.startswith(f"error: {key}: others on this machine")
    assert (tmp_path / "roster.toml").read_bytes() == before


def test_a_sealed_key_is_opened_by_the_passphrase_that_the_site_file_names(
    command: Command, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, secret = site_with(tmp_path, ROWS), tmp_path / "secret"
    for old in (tmp_path / "keys").iterdir():
        old.unlink()
    secret.write_text("correct horse battery\n")
    sealed = ("keys", "new", tmp_path / "keys", "--id", "berlin", "--passphrase-file", secret)
    assert command(*sealed).err.startswith(
        f"error: {secret}: others on this machine can open this passphrase"
    )
    secret.chmod(0o600)
    assert command(*sealed).code == 0
    assert "is sealed by a passphrase; name the file" in command("check", plan, "--site", site).err
    text = site.read_text()
    for named in ("secret", "credential:berlin"):
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "berlin").write_text("correct horse battery")
        (tmp_path / "berlin").chmod(0o400)
        site.write_text(text.replace('keys = "keys/"', f'keys = "keys/"\npassphrase_file = "{named}"'))
        assert command("check", plan, "--site", site).code == 0
        (tmp_path / "berlin").unlink()
    secret.write_text("correct horse cattery\n")
    site.write_text(text.replace('keys = "keys/"', 'keys = "keys/"\npassphrase_file = "secret"'))
    done = command("check", plan, "--site", site)
    assert done.code == 2 and "berlin.key: does not open with this passphrase" in done.err
    assert "cattery" not in done.err


def test_plans_beside_each_other_as_a_table_as_csv_and_as_json(command: Command, plan: Path) -> None:
    plan.write_text(plan.read_text().replace("sample_rate = 1.0", "sample_rate = 0.5"))
    axes = ["--sweep", "rounds=5,10", "--sweep", "sites=2,6"]
    done = command("budget", plan, *axes)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("4 plans by budget alone: no data was read\n")
    rows = [line.split() for line in done.out.splitlines() if line.startswith("│")]
    assert [row[1:4:2] for row in rows] == [["5", "2"], ["5", "6"], ["10", "2"], ["10", "6"]]
    assert [row[-2] for row in rows] == ["refused", "bound", "refused", "bound"]
    refused = "refused: rounds 5, sites 2 and 1 more: cohort.minimum = 2: of a sum of two, each site knows"
    assert refused in done.out
    found = command("budget", plan, *axes, "--json").json
    assert found["sweep"] == {"rounds": [5, 10], "sites": [2, 6]}
    figures = [point["figures"] for point in found["points"]]
    assert rows[1][5] == f"{figures[1]['noise_multiplier']:g}" and figures[0] is None
    table = list(csv.DictReader(command("budget", plan, *axes, "--csv").out.splitlines()))
    assert [line["noise_multiplier"] for line in table] == [
        str(each["noise_multiplier"]) if each else "" for each in figures
    ]
    assert table[0]["refused"].startswith("cohort.minimum = 2: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sweep", "round=5"], 'error: --sweep round: unknown key; did you mean "rounds"?\n'),
        (["--sweep", "rounds=5", "--csv", "--json"], "error: --csv and --json are two forms; ask for one"),
        (
            ["--exact"],
            "error: --exact: means nothing without --sweep; add for example: --sweep rounds=50,100",
        ),
        (["--csv"], "error: --csv: means nothing without --sweep; "),
    ],
    ids=["key", "forms", "exact", "csv"],
)
def test_a_sweep_that_is_asked_wrongly_is_told_in_one_line(
    command: Command, plan: Path, words: list[str], told: str
) -> None:
    done = command("budget", plan, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(told) and done.err.count("\n") == 1


@pytest.mark.parametrize("form", ["", "--csv", "--json"])
def test_a_sweep_of_no_plan_at_all_is_shown_and_is_a_wrong_call(
    command: Command, plan: Path, form: str
) -> None:
    """1e-300 ended in a division by zero: an accountant never sees less than a rate that float64 bears."""
    words = [form] if form else []
    done = command("budget", plan, "--sweep", "sample_rate=2,1e-300", *words)
    assert done.code == 2 and "every point is refused, the first: training.sample_rate = 2.0" in done.err
    assert "must be at least 1e-06" in done.out
    assert command("budget", plan, "--sweep", "sample_rate=2,0.5", *words).code == 0


def test_where_delta_covers_all_there_is_no_budget_and_no_bug(command: Command, plan: Path) -> None:
    text = re.sub(r"sample_rate = .*", "sample_rate = 1e-6", plan.read_text())
    plan.write_text(re.sub(r"rounds = .*", "rounds = 1", re.sub(r"delta = .*", "delta = 1e-4", text)))
    done = command("budget", plan)
    assert (done.code, "delta alone covers it" in done.err) == (3, True), done.err


def test_a_plan_that_is_wrong_by_itself_is_told_with_its_line(command: Command, plan: Path) -> None:
    plan.write_text(plan.read_text().replace("rounds = ", "rouns = "))
    done = command("budget", plan, "--sweep", "rounds=5,10")
    assert done.code == 2
    assert done.err.startswith(f"error: {plan}:") and "unknown key" in done.err
