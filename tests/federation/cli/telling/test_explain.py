"""What the command says of a model, and what of a real run it writes nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.report.said.section import section_of
from tests.federation.command import Command
from tests.federation.plan.tallies.test_tasks import STATISTICS
from tests.federation.report.said.runs import ROWS, folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize("model", ["logistic", "additive", "mlp"])
def test_every_input_has_its_name(command: Command, tmp_path: Path, model: str) -> None:
    run = folder(tmp_path / "run", model=model)
    told, shown = command("explain", run, "--json").json, command("explain", run)
    names = told.get("slopes_in_the_middle") or [one["name"] for one in told["coefficients"]]
    assert "ward = a" in names and "dose is missing" in names
    assert shown.code == 0 and "dose" in shown.out


@pytest.mark.parametrize(
    ("kind", "model", "words"),
    [
        (
            'kind = "tabular-regression"\ntarget = "days"\ntarget_range = { low = 0, high = 9 }',
            "linear",
            "days, in its own unit",
        ),
        ('kind = "tabular-counts"\ntarget = "visits"\nmost = 9', "additive", "logarithm of the expected"),
        ('kind = "survival"\ntarget = "days"\nevent = "died"\nbins = [9]', "logistic", "of the hazard"),
    ],
    ids=["range", "counts", "survival"],
)
def test_numbers_times_and_counts_have_curves_and_no_points(
    command: Command, tmp_path: Path, kind: str, model: str, words: str
) -> None:
    run = folder(tmp_path / "run", model=model, kind=kind)
    shown, told = command("explain", run), command("explain", run, "--json").json
    assert shown.code == 0 and words in " ".join(shown.out.split()) and "intercept of" in shown.out
    assert words in told["adds_to"] and told["curves"]
    found = section_of(run)
    assert found is not None and words in found.words[0] and len(found.drawings) == 3
    refused = command("explain", run, "--scorecard", tmp_path / "points.csv")
    assert (refused.code, (tmp_path / "points.csv").exists()) == (2, False)


def test_where_no_input_has_a_meaning_that_is_said_and_no_empty_table(
    command: Command, tmp_path: Path
) -> None:
    text = 'note = { text = "words", width = 8 }\n'
    shown = command("explain", folder(tmp_path / "alone", model="logistic", features=text, alone=True))
    beside = command("explain", folder(tmp_path / "beside", model="logistic", features=text))
    assert (shown.code, beside.code) == (0, 0)
    assert "texts or images" in shown.out and "--data DIR" in shown.out and "slope" not in shown.out
    assert "slope" in beside.out and "texts or images" not in beside.out


def test_importance_on_records_of_a_real_run_stays_on_the_terminal(command: Command, tmp_path: Path) -> None:
    run, rows = folder(tmp_path / "run", cross=True), ROWS.splitlines()
    (tmp_path / "d.csv").write_text("\n".join([rows[0] + ",y", *[row + ",n" for row in rows[1:]]]))
    before = sorted(path.name for path in run.iterdir())
    (tmp_path / "sites" / "a").mkdir(parents=True)
    semicolons = (tmp_path / "d.csv").read_text().replace(",", ";")
    (tmp_path / "sites" / "a" / "train.csv").write_text(semicolons)
    for place in (tmp_path / "sites", tmp_path / "sites" / "a" / "train.csv"):
        wrong = command("explain", run, "--data", place)
        assert wrong.code == 2 and 'set separator = ";" in reading.toml' in wrong.err
    for folder_of in (tmp_path / "sites", tmp_path / "sites" / "a"):
        (folder_of / "reading.toml").write_text('separator = ";"\n')
    for place in (tmp_path / "sites", tmp_path / "sites" / "a" / "train.csv"):
        assert "5 records" in command("explain", run, "--data", place).out
    refused = command("explain", run, "--data", tmp_path / "d.csv", "--json")
    assert refused.code == 2 and refused.out == ""
    shown = command("explain", run, "--data", tmp_path / "d.csv")
    assert shown.code == 0 and "loss grows by" in shown.out
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_run_that_trained_nothing_has_no_model_to_explain_or_to_score_with(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "plan.toml").write_text(STATISTICS)
    for name in ("params.safetensors", "report.json"):
        (tmp_path / name).touch()
    for words in (("explain", tmp_path), ("predict", tmp_path, "x.csv", "--out", tmp_path / "s.csv")):
        refused = command(*words)
        assert (refused.code, refused.out) == (2, "")
        assert "nothing was trained, so there is no model" in refused.err


def test_a_folder_that_is_no_run_is_exit_2(command: Command, tmp_path: Path) -> None:
    assert command("explain", tmp_path).code == 2
    assert command("predict", tmp_path, "x.csv", "--out", tmp_path / "s.csv").code == 2
