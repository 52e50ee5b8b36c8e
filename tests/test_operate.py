"""docs/operate.md says what is so: its commands, events, exit codes and files, units and image."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import typer

from clients.door.place import lock
from clients.join import open_site
from clients.journal.lock import alone
from clients.journal.restored import RestoreMemory
from federation.cli.main import app
from federation.errors import FederationError
from federation.log import Event, to_stderr
from federation.plan.plan import parse
from federation.remembering import calibrations_remembered
from federation.report.deleting import RECORD, examine, forget
from federation.round.transport import Outgoing
from privacy.accounting.remembered import keep
from privacy.errors import PrivacyError
from server.link.certificates import own
from server.link.child import Place
from server.serve import serve
from server.showing.now import FILE as NOW
from simulations.folds.crossing import cross_validate
from simulations.simulate import simulate
from simulations.tried import registry_path
from simulations.world import InProcess
from tests import ROOT
from tests.operating import PAGE, by_event, commands, named, table
from tests.server.test_serve import hospitals
from tests.worlds import NAMES, plan_of, text_of, write_sites

UNITS = sorted((ROOT / "docs" / "units").glob("*.service"))
KNOWN = typer.main.get_command(app)
assert isinstance(KNOWN, click.Group)


def calls() -> list[str]:
    """Each call of our program on the page and in the units, without what stands before it."""
    lines = commands()
    for unit in UNITS:
        text = unit.read_text("utf-8").replace("\\\n", " ")
        lines += re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    found = set[str]()
    for line in lines:
        words = shlex.split(line)
        for place, word in enumerate(words[:-1]):
            if Path(word).name == "federation" and words[place + 1] in [*KNOWN.commands, "--version"]:
                found.add(shlex.join(words[place + 1 :]))
    return sorted(found)


@pytest.mark.parametrize("call", calls())
def test_every_command_of_ours_is_understood(call: str) -> None:
    command: click.Command = KNOWN
    words = shlex.split(call)
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context(call, [*words])
    except click.exceptions.Exit:
        assert words == ["--version"]


def test_the_commands_are_those_that_operating_needs() -> None:
    first = {call.split()[0] for call in calls()}
    assert {
        "join",
        "serve",
        "doctor",
        "status",
        "ledger",
        "keys",
        "roster",
        "audit",
        "forget",
        "leave",
    } <= first


def test_every_event_has_its_name_its_level_and_its_fields_on_the_page() -> None:
    told = {
        named(event)[0]: (frozenset(level.split(", ")), frozenset(named(site)), frozenset(named(coordinator)))
        for event, level, site, coordinator, _ in table("events")
    }
    assert told == by_event()
    assert set(told) == set(get_args(Event))


def test_exit_codes_are_those_of_the_program_and_the_units_leave_what_a_person_has_to_mend() -> None:
    text = PAGE.read_text("utf-8").split("### Exit codes")[1].split("\n## ")[0]
    rows = [re.findall(r"\d+", line.split("|")[1]) for line in text.splitlines() if re.match(r"\| \d", line)]
    kinds = {kind.exit_code for kind in _below(FederationError) | _below(PrivacyError)}
    assert {int(code) for row in rows for code in row} == kinds | {0, 1, 129, 130, 141, 143}
    left = [re.findall(r"\d+", line) for line in text.splitlines() if "leaves it: a person" in line]
    assert [row[0] for row in left] == ["2", "3"]
    for unit in UNITS:
        told = unit.read_text("utf-8")
        assert "\nRestartPreventExitStatus=2 3\nSuccessExitStatus=129 130 143\n" in told, unit


def _below(kind: type) -> set[Any]:
    return {kind}.union(*(_below(each) for each in kind.__subclasses__()))


class Watched(InProcess):
    """Calls `look` before and after every batch of messages."""

    def __init__(self, handlers: dict[str, Any], look: Any) -> None:
        super().__init__(handlers)
        self.look = look

    def send(self, messages: Iterable[Outgoing]) -> None:
        self.look()
        super().send(messages)
        self.look()


def patterns() -> dict[str, re.Pattern[str]]:
    """The names of the table as patterns: ID, N, R and HASH stand for any."""
    found = {}
    for row in table("files"):
        for name in named(row[0]):
            parts = re.split(r"(ID|HASH|\bN\b|\bR\b)", name)
            found[name] = re.compile(
                "".join(r"[^/]+" if part in ("ID", "HASH", "N", "R") else re.escape(part) for part in parts)
            )
    return found


def test_every_file_that_a_run_leaves_is_on_the_page_and_every_one_on_the_page_is_made(
    tmp_path: Path,
) -> None:
    seen: set[str] = set()
    site, run = tmp_path / "site", tmp_path / "run"

    def look() -> None:
        for path in tmp_path.rglob("*"):
            if path.is_file():
                seen.add(path.relative_to(tmp_path).as_posix())

    plan = tmp_path / "plan.toml"
    plan.write_text(text_of())
    with hospitals(site) as sites:
        serve(
            plan,
            site / "roster.toml",
            run,
            Watched({name: each.receive for name, each in sites.items()}, look),
        )
        with alone(site / "ash.sqlite"):
            look()
    RestoreMemory(site / "keys" / "ash.restores").remember(bytes(32), 1)
    own(site / "tls", "fed.example.org")
    (site / "socket").mkdir(mode=0o700)
    os.close(lock(site / "socket" / "site"))
    place = Place(run / "link")
    place.make()
    place.log.touch()
    (place.folder / NOW).touch()
    look()
    forget(examine(run, with_model=False))
    look()
    known, missed = patterns(), set[str]()
    for path in seen:
        name = _as_on_the_page(path)
        if name is not None and not any(pattern.fullmatch(name) for pattern in known.values()):
            missed.add(path)
    assert not missed
    names = {_as_on_the_page(path) for path in seen}
    elsewhere = {
        "site.toml",
        "train.csv",
        "keys/ID.node.key",
        "socket/site",
        "rosters/N-R.toml",
        "rehearsals/R.json",
        "tried.sqlite",
        "finished/HASH.json",
        "HASH.json",
        "fold-N/",  # tests/server/folds
        "journal.sqlite.layers/RUN.safetensors",  # tests/clients/test_kept_layers.py
        *("model.onnx", "model.pt2", "model.safetensors", "model.pmml"),  # tests/clients/exporting
        "auditor.key",  # tests/federation/audit/bundle
        *(
            "mlflow.db",
            "artifacts/R/artifacts/",
            "events.out.tfevents.N.federation",
        ),  # tests/federation/tracking
    }
    simulated = (
        *("checkpoint/inputs", "checkpoint/faults", "checkpoint/key", "checkpoint/folds", "folds.json"),
        *("journals/", ".baselines/", "checkpoint/accounts", "checkpoint/layers"),
    )
    unmade = {
        name for name, pattern in known.items() if not any(each and pattern.fullmatch(each) for each in names)
    }
    assert {name for name in unmade - elsewhere if not name.startswith(simulated)} == set()


def _as_on_the_page(path: str) -> str | None:
    """A file of the test's world under the name that the page gives it; None for what a person put there."""
    name = path.removesuffix(".new").split("/", 1)[-1]
    if path in ("plan.toml",) or re.fullmatch(r"site/(\w+\.(toml|csv)|consortium/.*)", path):
        return "roster.toml" if name == "roster.toml" else None
    return re.sub(rf"^({'|'.join(NAMES)})\.sqlite", "journal.sqlite", name)


def test_every_file_of_a_cross_validation_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sites, run, seen = write_sites(tmp_path / "sites"), tmp_path / "run", set[str]()

    def look(*_: object) -> None:
        seen.update(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())

    cross_validate(plan_of(rounds=1), sites, run, folds=2, baseline=False, progress=look)
    look()
    own = {name for name in seen if not name.startswith("fold-")}
    assert own == {"folds.json", "checkpoint/folds.json", "checkpoint/key"} <= patterns().keys()
    assert not (run / "checkpoint").exists()


def test_every_file_that_a_simulation_leaves_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sites = write_sites(tmp_path / "sites")
    (tmp_path / "plan.toml").write_text(text_of())
    run, seen = tmp_path / "runs" / "first", set[str]()

    def look(*_: object) -> None:
        seen.update(
            path.relative_to(run.parent).as_posix() for path in run.parent.rglob("*") if path.is_file()
        )

    how = {"engine": "protocol", "faults": "seed=1"}
    simulate(tmp_path / "plan.toml", sites, run, **how, progress=look, stage=look)  # type: ignore[arg-type]
    look()
    simulate(tmp_path / "plan.toml", sites, run.with_name("second"), progress=look, stage=look)
    known = patterns()
    names = {re.sub("^(first|second)/", "", name).removesuffix(".new") for name in seen}
    names |= {registry_path().name}
    assert registry_path().exists()
    assert not {name for name in names if not any(pattern.fullmatch(name) for pattern in known.values())}
    assert {
        "checkpoint/keys/inputs",
        "checkpoint/faults.json",
        "journals/ash.sqlite",
        "checkpoint/keys/sites",
        "checkpoint/accounts.sqlite",
    } <= names


@pytest.mark.parametrize(("engine", "files"), [("vectorized", 1), ("protocol", 3)])
def test_layers_that_simulated_sites_keep_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, files: int
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    own = '\n[personal]\nsteps = 1\nlearning_rate = 0.1\nlayers = ["2"]\nkept = 130\n'
    plan = parse(text_of({"unit": "client", "task.model": "mlp"}, rounds=1) + own)
    run, seen = tmp_path / "run", set[str]()

    def look(*_: object) -> None:
        seen.update(path.relative_to(run).as_posix() for path in run.glob("checkpoint/layers/**/*.*"))

    simulate(plan, write_sites(tmp_path / "sites"), run, engine=engine, progress=look)
    known = patterns().values()
    assert len(seen) == files and all(any(each.fullmatch(name) for each in known) for name in seen)
    assert not (run / "checkpoint").exists()


def test_what_is_remembered_is_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with calibrations_remembered():
        keep(2179, "noise", 3.0)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.parent == tmp_path / "cache" / "private-federation"
    assert patterns()["HASH.json"].fullmatch(file.name)
    assert "`~/.cache/private-federation/`" in PAGE.read_text("utf-8")


@pytest.mark.parametrize(
    "name", ["ash.sqlite", "keys/ash.pools.sqlite", "keys/ash.key"], ids=["journal", "registry", "key"]
)
def test_a_site_without_what_remembers_its_budget_refuses(name: str, tmp_path: Path) -> None:
    """As the last column says: refused, or as lost."""
    (tmp_path / "plan.toml").write_text(text_of())
    with hospitals(tmp_path / "site") as sites:
        handlers = {each: site.receive for each, site in sites.items()}
        serve(
            tmp_path / "plan.toml", tmp_path / "site" / "roster.toml", tmp_path / "run", InProcess(handlers)
        )
    (tmp_path / "site" / name).unlink()
    with pytest.raises((PrivacyError, FederationError)) as refused:
        open_site(tmp_path / "site" / "ash.toml")
    assert "\n" not in str(refused.value)


def test_a_field_has_one_type_in_every_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr(as_json=True)
    (tmp_path / "plan.toml").write_text(text_of())
    with hospitals(tmp_path / "site") as sites:
        handlers = {each: site.receive for each, site in sites.items()}
        serve(
            tmp_path / "plan.toml", tmp_path / "site" / "roster.toml", tmp_path / "run", InProcess(handlers)
        )
    types: dict[str, set[str]] = {}
    events = set()
    for line in capsys.readouterr().err.splitlines():
        told = json.loads(line)
        assert list(told)[:3] == ["time", "event", "level"]
        events.add(told["event"])
        for field, value in told.items():
            types.setdefault(field, set()).add(
                "number" if isinstance(value, int | float) else type(value).__name__
            )
    assert {"run_begins", "invited", "round_begins", "round_ends", "run_ends"} <= events
    assert {field: kinds for field, kinds in types.items() if len(kinds - {"NoneType"}) > 1} == {}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text("utf-8"))
        copy = tmp_path / unit.name
        copy.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
        )
        assert unit.name not in done.stderr, done.stderr
        scored = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(copy)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert scored.returncode == 0, scored.stdout[-200:] + scored.stderr


def test_the_image_holds_each_package_and_nothing_else() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()
    }
    packages = {"privacy", "federation", "clients", "server", "simulations"}
    assert copied == packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied and "*" in ignored
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert re.search(r"^ARG BASE=python:3\.11\.\d+-slim", text, re.MULTILINE)


def test_no_part_of_the_program_connects_to_anything_by_itself(tmp_path: Path) -> None:
    """Each part is imported, then a run by Flower's messages is played: what dials or asks for a name is told."""
    write_sites(tmp_path / "sites")
    (tmp_path / "plan.toml").write_text(text_of(rounds=1))
    program = (
        "import sys\n"
        "def tell(event, args):\n"
        "    if event in ('socket.getaddrinfo', 'urllib.Request') or (\n"
        "        event in ('socket.connect', 'socket.sendto') and args[0].family != 1):  # not of this machine\n"
        "        print(event, args, file=sys.__stdout__, flush=True)\n"
        "sys.addaudithook(tell)\n"
        "from federation.quiet import quiet_flower\n"
        "quiet_flower()\n"
        "import clients.app, clients.node.fleet, server.app, server.link.superlink, server.link.flower\n"
        "import flwr.supercore.telemetry as telemetry\n"
        "assert telemetry.FLWR_TELEMETRY_ENABLED == '0'\n"
        "words = 'simulate plan.toml --sites sites --out run --engine flower --no-baseline --json'\n"
        "sys.argv = ['federation', *words.split()]\n"
        "sys.stdout = open('out.json', 'w')\n"
        "from federation.cli.start import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert json.loads((tmp_path / "out.json").read_text())["engine"] == "flower"
    assert RECORD not in {path.name for path in (tmp_path / "run").iterdir()}
