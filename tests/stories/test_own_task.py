"""A user's own package trains without a line of ours being touched: the example of docs/own-task.md, as it is."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from federation.identity.keys import load_public
from federation.ledger.export import load_entries
from simulations.virtual.population import Population
from tests import ROOT
from tests.federation.command import Command
from tests.patience import patience
from tests.plans import text_of
from tests.ports import free_port

PAGE = (ROOT / "docs" / "own-task.md").read_text("utf-8")
EXAMPLE, ITS_TEST, SCANS, VAE, GENERATE, CLINICS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NAMES = ("ash", "birch", "cedar")
PROJECT = '[project]\nname = "my-study"\nversion = "1.0.0"\n'


def write_package(folder: Path, more: str = "") -> Path:
    """The example as a package; the folder to put on the path."""
    (folder / "my_study").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "my_study" / "__init__.py").write_text("")
    (folder / "my_study" / "task.py").write_text(EXAMPLE + more)
    return folder


def write_plan(path: Path, code: str = "", **changes: object) -> Path:
    changed: dict[str, object] = {
        "name": "readmission",
        "rounds": 3,
        "task": None,
        "sample_rate": 1.0,
        "noise": "none",
        "server.optimizer": "average",
        "server.learning_rate": 1.0,
        "metrics": ["accuracy"],
        **({"federation.code": code} if code else {}),
    }
    path.write_text('task = "my_study.task:task"\n' + text_of(changed, changes))
    return path


def write_data(path: Path, site: int, count: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [
            [20 + (7 * n + site) % 70, 1 + n % 30, (11 * n) % 50, n * (n + site) % 2] for n in range(count)
        ]
        csv.writer(file).writerows([["age", "stay", "dose", "readmitted"], *rows])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package on the path of this process."""
    monkeypatch.syspath_prepend(str(write_package(tmp_path / "study")))
    yield tmp_path
    for name in [*sys.modules]:
        if name.partition(".")[0] == "my_study":
            del sys.modules[name]


def test_the_example_of_a_population_is_one_and_makes_the_same_data_again() -> None:
    made: dict[str, Any] = {}
    exec(CLINICS, made)  # noqa: S102 - the page's own example
    clinics = made["Clinics"]()
    assert isinstance(clinics, Population)
    assert clinics.name(7) < clinics.name(10) < clinics.name(len(clinics) - 1)
    first, again = (clinics.load(clinics.name(7)) for _ in range(2))
    assert torch.equal(first.features, again.features)
    assert (len(first), len(clinics.held_out())) == (20, 500)


def test_the_example_is_as_short_as_the_page_says_and_its_own_test_passes(study: Path) -> None:
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 25
    names: dict[str, Any] = {}
    exec(ITS_TEST, names)  # noqa: S102 - the page's own test
    names["test_the_task_conforms"]()


@pytest.fixture
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's two other tasks, as modules of their own."""
    for name, text in (("page_scans", SCANS), ("page_vae", VAE)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("page_scans", "page_vae"):
        sys.modules.pop(name, None)


def write_scans(place: Path, site: int) -> None:
    """Bright and dark images, in a folder for each finding."""
    for finding, level in (("none", 60), ("nodule", 180)):
        (place / finding).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((16, 16), level + number + site, np.uint8)
            Image.fromarray(pixels).save(place / finding / f"{number}.png")


def write_vectors(place: Path, site: int) -> None:
    """Images that differ along one line."""
    along = np.linspace(-1, 1, 24)[:, None] * np.cos(np.arange(64) + site)[None]
    np.savez(place.with_suffix(".npz"), images=along.astype(np.float32))


@pytest.mark.parametrize(("name", "write"), [("scans", write_scans), ("vae", write_vectors)])
def test_the_other_tasks_of_the_page_are_short_conform_and_train_privately(
    own_modules: Path,
    name: str,
    write: Callable[[Path, int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = {"scans": SCANS, "vae": VAE}[name]
    assert len([line for line in text.splitlines() if line.strip()]) <= 25
    federation, sites = Command(monkeypatch, capsys), own_modules / "sites"
    sites.mkdir()
    for number, site in enumerate(NAMES):
        write(sites / site, number)
    changes: dict[str, object] = {"name": name, "rounds": 2, "task": None, "sample_rate": 0.5}
    metric = "accuracy" if name == "scans" else "bound"
    changes["metrics"] = [metric]
    plan = own_modules / "plan.toml"
    plan.write_text(f'task = "page_{name}:task"\n' + text_of(changes))
    done = federation("check", plan, "--json")
    assert done.code == 0, done.err
    assert {one["outcome"] for one in done.json["conformance"]} == {"pass", "note"}
    made = federation("simulate", plan, "--sites", sites, "--out", own_modules / "runs" / name, "--json")
    assert made.code == 0, made.err
    assert made.json["privacy"]["private"] is True
    assert made.json["evaluation"]["pooled"][metric] is not None
    assert made.json["evaluation"]["baselines"]["without_privacy"][metric] is not None
    if name == "vae":
        monkeypatch.chdir(own_modules)
        names: dict[str, Any] = {}
        exec(GENERATE, names)  # noqa: S102 - the page's own example
        assert names["made_up"].shape == (100, 64)
        assert bool(torch.isfinite(names["made_up"]).all())


def test_check_says_that_the_example_conforms_and_what_pins_it(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Command(monkeypatch, capsys)
    plan = write_plan(study / "plan.toml")
    done = federation("check", plan, "--json")
    assert done.code == 0
    assert {one["outcome"] for one in done.json["conformance"]} == {"pass", "note"}
    pinned = write_plan(study / "pinned.toml", done.json["code"]["digest"])
    assert federation("check", pinned, "--json").json["code"]["pinned"] is True
    other = federation("check", write_plan(study / "other.toml", "sha256:" + 64 * "0"))
    assert (other.code, other.out) == (2, "")
    assert "my_study: the code here is sha256:" in other.err
    assert "every record by itself" in federation("check", plan).out


def test_flower_and_the_protocol_train_it_to_the_same_params(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Command(monkeypatch, capsys)
    plan = write_plan(study / "plan.toml")
    for number, name in enumerate(NAMES):
        write_data(study / "sites" / f"{name}.csv", number)
    params = {}
    for engine in ("flower", "protocol"):
        words = ("--sites", study / "sites", "--out", study / engine, "--engine", engine, "--no-baseline")
        assert federation("simulate", plan, *words).code == 0
        params[engine] = load_file(study / engine / "params.safetensors")
    assert params["flower"].keys() == {"weight", "bias"}
    assert all(torch.equal(params["flower"][name], params["protocol"][name]) for name in params["flower"])


@pytest.mark.parametrize(
    ("habit", "check"),
    [
        ("print(outputs)", "silent"),
        ("outputs = outputs - outputs.mean(0)", "gradients, alone"),
        ("__import__('socket').create_connection(('127.0.0.1', 9), 0.1)", "loss, network"),
        ("raise ValueError('no')", "loss"),
    ],
)
def test_check_refuses_an_example_with_a_habit_and_names_it(
    habit: str,
    check: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"habit_{check.replace(', ', '_')}"
    package = write_package(tmp_path / "study")
    text = EXAMPLE.replace("    return functional", f"    {habit}\n    return functional")
    assert text != EXAMPLE
    (package / "my_study").rename(package / name)
    (package / name / "task.py").write_text(text)
    monkeypatch.syspath_prepend(str(package))
    plan = write_plan(tmp_path / "plan.toml")
    plan.write_text(plan.read_text().replace("my_study", name))
    done = Command(monkeypatch, capsys)("check", plan)
    assert done.code == 2
    assert f"the task is not fit to be trained: {check};" in done.err


def environment(package: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{package}", "OMP_NUM_THREADS": "1"}


@contextmanager
def started(
    words: Sequence[object], package: Path, folder: Path, log: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the command, what it writes in files; ended with the context."""
    line = [sys.executable, "-c", "from federation.cli.start import main; main()", *map(str, words)]
    with (folder / f"{log}.out").open("wb") as out, (folder / f"{log}.err").open("wb") as err:
        process = subprocess.Popen(line, cwd=folder, env=environment(package), stdout=out, stderr=err)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(patience(60))


def write_site(folder: Path, name: str, number: int, digest: str, consortium: str, port: int) -> None:
    write_data(folder / name / "data.csv", number)
    (folder / name / "site.toml").write_text(
        f"""
        [site]
        id = "{name}"
        keys = "keys"
        journal = "journal.sqlite"
        [data]
        source = "data.csv"
        pool = "{name}"
        size = 40
        [policy]
        epsilon_max = inf
        delta_max = 1e-5
        cohort_minimum = 3
        noise = ["none"]
        plans = ["{digest}"]
        [consortium]
        keys = ["{consortium}"]
        quorum = 1
        [server]
        address = "localhost:{port}"
        certificate = "../hub/tls/ca.crt"
        """
    )


def enroll(folder: Path, federation: Command) -> str:
    """Keys of everybody, and a signed roster; the consortium's public key."""
    assert federation("keys", "new", folder / "hub", "--id", "hub", "--coordinator").code == 0
    assert federation("keys", "new", folder, "--id", "consortium").code == 0
    publics = [folder / "hub" / "hub.pub"]
    for name in NAMES:
        words = ("--id", name, "--organization", f"Hospital {name}", "--size", 40)
        assert federation("keys", "new", folder / name / "keys", *words).code == 0
        publics += [path for path in (folder / name / "keys").iterdir() if path.suffix == ".pub"]
    for public in publics:
        assert federation("roster", "add", folder / "roster.toml", public).code == 0
    words = ("--key", folder / "consortium.key")
    assert federation("roster", "sign", folder / "roster.toml", *words).code == 0
    return load_public(folder / "consortium.pub").key


@pytest.mark.minutes
@pytest.mark.waits
def test_a_rehearsal_over_real_flower_finds_the_site_with_another_version(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real processes, TLS, node keys. Of three sites one has a package of another version; nobody is charged."""
    federation, port, package = Command(monkeypatch, capsys), free_port(), study / "study"
    other = write_package(study / "other", "# another version\n")
    digest = federation("check", write_plan(study / "bare.toml"), "--json").json["code"]["digest"]
    plan = write_plan(study / "plan.toml", digest)
    approved, consortium = federation("check", plan, "--json").json["plan_digest"], enroll(study, federation)
    words = ("serve", plan, "--roster", "roster.toml", "--state", "state", "--identity", "hub")
    with ExitStack() as stack:
        enter = stack.enter_context
        line = ("--address", f"localhost:{port}", "--rehearse", "--json")
        hub = enter(started((*words, *line), package, study, "serve"))
        ends = time.monotonic() + patience(60)
        while "ready" not in (study / "serve.err").read_text() and time.monotonic() < ends:
            time.sleep(0.1)
        for number, name in enumerate(NAMES):
            write_site(study, name, number, approved, consortium, port)
            its = other if name == "cedar" else package
            enter(started(("join", f"{name}/site.toml", "--yes", "--plain"), its, study, name))
        assert hub.wait(patience(180)) == 4, (study / "serve.err").read_text()
    (found,) = json.loads((study / "serve.out").read_text())["rehearsals"]
    states = {site["id"]: (site["state"], site["reason"]) for site in found["sites"]}
    assert states == {"ash": ("joined", None), "birch": ("joined", None), "cedar": ("refused", "code")}
    assert "cedar (code)" in (study / "serve.err").read_text()
    told = (study / "cedar.err").read_text()
    assert f"the plan pins {digest}" in told
    for name in NAMES:
        entries = load_entries(study / name / "journal.sqlite", may_be_backup=False)
        assert [entry.kind for entry in entries] == ["genesis"]
    assert sorted(path.name for path in (study / "state").iterdir()) == ["link", "rehearsals"]
