"""`[simulation]`: read from a file or as written out, and every mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import CheckpointError, FederationError, InputError, PlanError
from federation.plan.plan import parse
from simulations.faults.kept import keep_faults, require_same, written
from simulations.faults.rules import Faults, load_faults
from tests.worlds import text_of


def test_a_file_and_the_same_written_out_are_the_same_faults(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text("[simulation]\nseed = 7\ndropouts = 0.05  # of a site in a round\nrestarts = 0.01\n")
    found = load_faults(str(path))
    assert found == Faults(seed=7, dropouts=0.05, restarts=0.01)
    assert found == load_faults("seed=7, dropouts = 0.05,restarts=.01".replace("=.", "=0."))
    assert load_faults(written(found.to_json())) == found == Faults(**found.to_json())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("dropouts=2", "simulation.dropouts = 2: must be at most 1"),
        ("dropouts=-0.1", "must be at least 0"),
        ("dropouts=0.5, dropouts=0.1", "--faults says dropouts twice; keep one of the two"),
        ("dropout=0.1", 'did you mean "dropouts"?'),
        ("seed=1.5", "must be a whole number"),
        ("away_rounds=0", "must be at least 1"),
        ("dropouts=0.6, stragglers=0.6", "add up to more than 1"),
        ("dropouts=", '"dropouts=" of --faults is no key with a number'),
        ("seed=3, dropouts", '"dropouts" of --faults is no key with a number'),
        ("nothere.toml", "there is no such file"),
    ],
)
def test_a_mistake_is_one_line(
    given: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_faults(given)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "dropouts = 0.1\n", "[simulation]\ndropouts = 0.1\n[cohort]\nsize = 3\n", "[simulation]\nx\n"],
)
def test_a_file_that_is_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(text)
    with pytest.raises(FederationError, match=r"faults\.toml"):
        load_faults(str(tmp_path / "faults.toml"))


def test_a_plan_has_no_faults_so_none_that_sites_approve_does() -> None:
    with pytest.raises(PlanError, match="federation simulate --faults"):
        parse(text_of() + "\n[simulation]\ndropouts = 0.1\n")


def test_a_run_goes_on_with_the_faults_it_began_with(tmp_path: Path) -> None:
    faults, folder = Faults(seed=7, dropouts=0.05), tmp_path / "run" / "checkpoint"
    keep_faults(faults, folder)
    keep_faults(None, folder)  # nothing was charged yet: it may begin otherwise
    keep_faults(faults, folder)
    (folder / "state.safetensors").write_bytes(b"")
    keep_faults(faults, folder)
    for other in (None, Faults(seed=8, dropouts=0.05), Faults(seed=7, dropouts=0.06)):
        with pytest.raises(CheckpointError, match=r'give --faults "seed=7, dropouts=0\.05"'):
            keep_faults(other, folder)
    with pytest.raises(CheckpointError, match="leave out --faults"):
        require_same(tmp_path, faults, None)
