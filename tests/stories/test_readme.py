"""Every command and every line of Python that the README shows is run here, or is what runs the tests (`make`)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.populations.hospitals import hospitals
from simulations.populations.registry import scenario_for
from tests import ROOT

README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    command.split("#")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for command in re.findall(r"^\$ (.*)$", block, re.MULTILINE)
]


def test_the_commands_are_those_that_make_knows_or_ours() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    makes = [command.removeprefix("make ") for command in COMMANDS if command.startswith("make ")]
    assert makes == ["demo", "test"]
    assert set(makes) <= set(targets)
    assert all(command.startswith(("make ", "federation ")) for command in COMMANDS)


@pytest.mark.waits
def test_our_commands_do_what_the_readme_says(tmp_path: Path) -> None:
    hospitals(tmp_path / "hospitals")
    (tmp_path / "plan.toml").write_text(scenario_for("hospitals").read_text("utf-8"), "utf-8")
    ours = [command for command in COMMANDS if command.startswith("federation ")]
    assert len(ours) >= 3
    for command in ours:
        python = [sys.executable, "-c", "from federation.cli.start import main; main()"]
        done = subprocess.run(
            [*python, *command.split()[1:]],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    for run in ("first", "second"):
        assert (tmp_path / "runs" / run / "report.html").stat().st_size > 10_000


def test_the_lines_of_python_do_what_the_readme_says(tmp_path: Path) -> None:
    hospitals(tmp_path / "hospitals")
    (tmp_path / "plan.toml").write_text(scenario_for("hospitals").read_text("utf-8"), "utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert 8 <= len(program.splitlines()) <= 16
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    noise, accuracy, epsilon, audit = done.stdout.splitlines()
    assert float(noise.removeprefix("noise multiplier ")) > 1
    assert 0.7 < float(accuracy.removeprefix("accuracy ")) < 1
    assert re.fullmatch(r"epsilon (2\.9\d*|3\.0) at delta 1e-05", epsilon), epsilon
    assert audit == "audit pass []"


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
