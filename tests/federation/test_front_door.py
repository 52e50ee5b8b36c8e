"""The front door: what it offers works, is what it says, and costs nothing before it is used."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

import federation
import privacy
from clients.data.sources import extra
from federation import Plan, audit_run, budget_of, load_plan, preflight, simulate
from federation.config.toml import parse as parse_toml
from federation.config.toml import write
from federation.errors import CheckpointError, FederationError, ShadowedPackage, UnusableFile
from federation.origins import PACKAGES
from federation.plan.plan import parse
from tests import ROOT
from tests.plans import TEXT as HEART
from tests.plans import changed, for_patients
from tests.worlds import text_of, write_sites

HEAVY = ("dp_accounting", "flwr", "matplotlib", "numpy", "opacus", "scipy", "sklearn", "torch")
PRIVATE = text_of(noise="distributed", rounds=2, sample_rate=0.5)


def loaded_by(program: str) -> set[str]:
    """The top-level modules in a new process after a program."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return {name.split(".")[0] for name in done.stderr.split()}


def homes(package: ModuleType) -> Mapping[str, str]:
    """Where the names of a package live."""
    return dict(vars(package)["_HOMES"])


def stub(package: ModuleType) -> tuple[list[str], dict[str, str]]:
    """What the stub beside a package says: its `__all__`, and where each name comes from."""
    tree = ast.parse(Path(str(package.__file__)).with_suffix(".pyi").read_text("utf-8"))
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    listed = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
    return listed, imported


# What it offers.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny sites, a plan, and every submodule imported: none may hide a name of the front door."""
    for module in pkgutil.walk_packages(federation.__path__, "federation."):
        importlib.import_module(module.name)
    made = tmp_path_factory.mktemp("door")
    write_sites(made / "sites")
    (made / "plan.toml").write_text(PRIVATE, "utf-8")
    return made


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    simulate(folder / "plan.toml", folder / "sites", folder / "run")
    return folder / "run"


def test_a_plan_is_loaded_from_a_path_or_its_text(folder: Path) -> None:
    plan = load_plan(folder / "plan.toml")
    assert isinstance(plan, Plan)
    assert plan == load_plan(str(folder / "plan.toml"))
    assert preflight(plan)["plan_digest"] == plan.digest
    assert budget_of(plan)["epsilon"] <= 3.0


def test_a_plan_is_simulated_and_the_run_audited(folder: Path, run: Path) -> None:
    report = simulate(
        str(folder / "plan.toml"), str(folder / "sites"), str(run)
    )  # complete: its report is read
    assert 0 <= report.evaluation.pooled["accuracy"] <= 1
    assert report.privacy.epsilon <= 3.0
    audit = audit_run(str(run))
    assert audit.verdict == "pass"
    assert audit == audit_run(run, [str(run / "journals" / "ash.sqlite")])


def test_a_plan_in_memory_is_the_same_plan(folder: Path, run: Path) -> None:
    with pytest.raises(CheckpointError, match="another plan or seed"):
        simulate(folder / "plan.toml", folder / "sites", run, seed=8)
    heard: list[int] = []
    plan = load_plan(folder / "plan.toml")
    report = simulate(
        plan, folder / "sites", folder / "eight", seed=8, progress=lambda done, _: heard.append(done.round)
    )
    assert heard == [1, 2]
    assert report.seed == load_plan(folder / "eight" / "plan.toml").federation.seed == 8
    assert audit_run(folder / "eight").verdict == "pass"


def test_a_copy_of_a_plan_with_other_values_is_checked_like_a_file(folder: Path) -> None:
    plan = load_plan(folder / "plan.toml")
    wrong = plan.model_copy(update={"training": plan.training.model_copy(update={"local_steps": 2})})
    with pytest.raises(privacy.PrivacyError, match="local_steps"):
        simulate(wrong, folder / "sites", folder / "wrong")
    assert not (folder / "wrong").exists()
    with pytest.raises(ValueError, match="vectorized, protocol, flower"):
        simulate(plan, folder / "sites", folder / "wrong", engine="flwr")  # type: ignore[arg-type]
    with pytest.raises(UnusableFile, match="no such file"):
        simulate(folder / "other.toml", folder / "sites", folder / "wrong", seed=8)


def test_a_task_of_one_s_own_is_made_of_names_of_the_front_door() -> None:
    from torch import nn

    from federation import Dataset, Source, Task, adapted
    from federation.model.task import cross_entropy

    found = adapted(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)))
    task = Task("mine", lambda: found.module, cross_entropy, lambda source: Dataset(*[found] * 2))  # type: ignore[arg-type,list-item]
    assert [str(change)[:14] for change in found.changes] == ["1: BatchNorm1d"]
    assert task.data is not None
    assert Source(Path("x")).path == Path("x")


# Names.


@pytest.mark.parametrize("package", [federation, privacy], ids=lambda package: package.__name__)
def test_names_and_types_say_the_same(package: ModuleType) -> None:
    listed, imported = stub(package)
    places = {name: home if ":" in home else f"{home}:{name}" for name, home in homes(package).items()}
    assert package.__all__ == listed == sorted(listed)
    assert len(listed) <= 16
    assert places == imported
    for name, home in places.items():
        module, attribute = home.split(":")
        assert getattr(package, name) is getattr(importlib.import_module(module), attribute)
    assert set(listed) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'plans'"):
        package.plans  # noqa: B018
    with pytest.raises(ImportError):
        exec("from " + package.__name__ + " import nothing_of_the_kind")  # noqa: S102


@pytest.mark.parametrize("package", [federation, privacy], ids=lambda package: package.__name__)
def test_no_name_is_also_a_module_s(package: ModuleType) -> None:
    assert not set(package.__all__) & {module.name for module in pkgutil.iter_modules(package.__path__)}


@pytest.mark.parametrize("name", ["clients", "server", "simulations"])
def test_the_other_packages_offer_nothing(name: str) -> None:
    assert importlib.import_module(name).__all__ == []


def test_a_hidden_package_is_named_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("raise SystemExit('somebody else ran')")
    done = subprocess.run(
        [sys.executable, "-c", "from federation import Plan"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert f"{ShadowedPackage.__name__}: {(tmp_path / 'server.py').resolve()} hides" in done.stderr


# What it costs, and whom it lets in.


def test_the_door_loads_nothing_heavy() -> None:
    for program in (
        "import privacy; from federation import FederationError, PrivacyError",
        "import sys; sys.argv[1:] = ['--help']\n"
        "from federation.cli.start import main\n"
        "try: main()\nexcept SystemExit: pass",
    ):
        assert not loaded_by(program) & set(HEAVY), program
    assert "torch" in loaded_by("from federation import Task"), "the test can fail"


def test_the_door_and_nothing_else_of_federation_reaches_other_packages_by_name() -> None:
    """Import-linter cannot see an import by name: two doors, the plan's own task, and libraries of an extra."""
    by_name = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "import_module" in (text := path.read_text("utf-8")) or "__import__" in text
    }
    libraries = "federation/extras.py"
    assert by_name == {
        "federation/__init__.py",
        "federation/model/builtin.py",
        "privacy/__init__.py",
        libraries,
    }
    assert not set(extra._LIBRARIES.values()) & set(PACKAGES)
    rooms = {home.split(":")[0].split(".")[0] for home in homes(federation).values()}
    assert rooms == {"privacy", "federation", "clients", "simulations"}
    assert {home.split(".")[0] for home in homes(privacy).values()} == {"privacy"}
    assert issubclass(federation.FederationError, FederationError)


# A plan as text.


@pytest.mark.parametrize(
    "text",
    [
        HEART,
        PRIVATE,
        text_of(),
        for_patients(),
        for_patients("site"),
        changed('"4"]', '"\\u007f", "\\"", "\\\\", "a\\u2028b", "\\U0001F600", "a\\tb"]'),
        changed("age =", '"mean \\"age\\" [x.y] = é" ='),
        changed("delta = 1e-5", "delta = 1e-9"),
        changed('size = "all"', "sample_rate = 0.5"),
        HEART.replace(
            HEART[HEART.index("[task]") : HEART.index("[cohort]")], ""
        ).replace("[federation]", 'task = "my_package.mine:task"\n[federation]', 1),
    ],
)  # fmt: skip
def test_a_plan_written_as_toml_is_the_same_plan(text: str) -> None:
    plan = parse(text)
    again = parse(plan.to_toml())
    assert (again.digest, again) == (plan.digest, plan)
    assert parse_toml(write({"a": {"b": {"c": {"d": 1}}}})).data == {"a": {"b": {"c": {"d": 1}}}}
