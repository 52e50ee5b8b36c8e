"""Packages with plain names: a file of the user's that hides one of them is named, never run."""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

import pytest

from federation import origins
from federation.errors import ShadowedPackage
from federation.origins import PACKAGES, check_origins
from tests import ROOT
from tests.patience import patience

ENTRY = "from federation.cli.start import main; main()"


def started(folder: Path) -> subprocess.CompletedProcess[str]:
    """`federation --help` as Python starts it in a folder: what lies there comes first on the path."""
    return subprocess.run(
        [sys.executable, "-c", ENTRY, "--help"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=patience(20),
        check=False,
    )


@pytest.mark.parametrize("name", ["server.py", "clients/__init__.py"])
def test_a_user_s_own_file_that_hides_a_package_is_named_and_not_run(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise SystemExit('somebody else ran')")
    done = started(tmp_path)
    package = name.split("/", maxsplit=1)[0].removesuffix(".py")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: {path.resolve()} hides our package {package}; rename that file or start from another folder"
    ]


def test_other_files_are_nobody_s_business(tmp_path: Path) -> None:
    (tmp_path / "serverless.py").write_text("")
    done = started(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "simulate" in done.stdout


def test_our_packages_lie_side_by_side() -> None:
    check_origins()


def test_a_folder_without_an_init_is_no_package_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    with pytest.raises(ShadowedPackage, match=f"package {PACKAGES[0]} is missing") as caught:
        check_origins()
    assert caught.value.exit_code == 2
