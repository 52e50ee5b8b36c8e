"""A run is resumed on what it began with: the same sites, data, task and engine, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copy, copytree, move, rmtree
from typing import Any

import pytest
import torch

from clients.data.folders import SiteFiles, find_sites
from clients.people.asking import listed, withdraw
from federation.audit.examine import audit
from federation.errors import CheckpointError
from federation.identity.keys import create
from federation.ledger.export import load_entries
from federation.model.task import Dataset, hashed
from federation.plan.plan import Plan, parse
from federation.report.receipt import Receipt
from federation.report.report import Metrics, Report
from federation.sums.state import ServerState, begin
from privacy.errors import PolicyViolation
from server import checkpoint
from server.run_folder import RunFolder
from simulations import simulate as simulation
from simulations.inputs import keep_inputs
from simulations.simulate import Engine, simulate
from simulations.world import World, read_world
from tests.clients.people.houses import people_of_rows, write_table
from tests.federation.audit.audited import with_rules
from tests.worlds import HERE, load_params, rows_of, start, text_of, write_csv, write_sites

TEXT = text_of(noise="distributed", rounds=4, sample_rate=0.5)
PLAN = parse(TEXT)
Change = Callable[[Path], object]


class Killed(BaseException):
    pass


def stop(receipt: Receipt, _: Metrics) -> None:
    if receipt.round == 2:
        raise Killed


def began(sites: Path, out: Path, engine: Engine = "vectorized", text: str = TEXT) -> None:
    with pytest.raises(Killed):
        simulate(parse(text), sites, out, engine=engine, progress=stop)


def resumed(sites: Path, out: Path, engine: Engine = "vectorized", text: str = TEXT) -> Report:
    return simulate(parse(text), sites, out, engine=engine, notice=lambda _: None)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file but SQLite's own, which a reader may make beside a ledger."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if not path.name.endswith(("-wal", "-shm"))}


def edit(name: str, old: str, new: str) -> Change:
    def change(sites: Path) -> None:
        text = (sites / name).read_text()
        assert old in text
        (sites / name).write_text(text.replace(old, new, 1))

    return change


def reverse(sites: Path) -> None:
    header, *rows = (sites / "ash.csv").read_text().splitlines()
    (sites / "ash.csv").write_text("\n".join([header, *reversed(rows), ""]))


def swap(sites: Path) -> None:
    for old, new in (("ash", "other"), ("birch", "ash"), ("other", "birch")):
        move(sites / f"{old}.csv", sites / f"{new}.csv")


def bring_own_rules(sites: Path) -> None:
    (sites / "ash.csv").unlink()
    with_rules(sites, "ash", 0, TEXT)


CHANGES: dict[str, tuple[Change, str]] = {
    "a cell": (edit("ash.csv", ",b,", ",c,"), "data of site ash changed"),
    "a label": (edit("birch.csv", "yes", "no"), "data of site birch changed"),
    "a row more": (lambda sites: write_csv(sites / "cedar.csv", rows_of(2, 57)), "data of site cedar changed"),
    "the order": (reverse, "data of site ash changed"),
    "a site added": (lambda sites: copy(sites / "ash.csv", sites / "elm.csv"), "began without site elm"),
    "a site removed": (lambda sites: (sites / "dogwood.csv").unlink(), "began with site dogwood, which is not"),
    "a site renamed": (lambda sites: move(sites / "ash.csv", sites / "oak.csv"), "began with site ash, which"),
    "two sites swapped": (swap, "data of site ash changed"),
    "a test file of its own": (
        lambda sites: [
            move(sites / "ash.csv", sites / "train.csv"),
            (sites / "ash").mkdir(),
            move(sites / "train.csv", sites / "ash" / "train.csv"),
            write_csv(sites / "ash" / "test.csv", rows_of(3, 9)),
        ],
        "data of site ash changed",
    ),
    "a site.toml": (bring_own_rules, r"site\.toml of site ash changed"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_is_not_resumed_on_other_data_or_sites(tmp_path: Path, change: str) -> None:
    """One line that names the site, exit code 4, and nothing is charged, written or left behind."""
    sites, out = write_sites(tmp_path / "sites", 4), tmp_path / "run"
    began(sites, out)
    copytree(sites, tmp_path / "kept")
    before, (apply, words) = contents(out), CHANGES[change]
    apply(sites)
    with pytest.raises(CheckpointError, match=words) as caught:
        resumed(sites, out)
    assert (caught.value.exit_code, "another folder" in str(caught.value)) == (2, True)
    assert contents(out) == before
    rmtree(sites)
    move(tmp_path / "kept", sites)
    assert len(resumed(sites, out).rounds) == 4, "what it began with is welcome again"


@pytest.mark.parametrize("key", ["pool", "journal", "size"])
def test_a_site_s_own_rules_may_become_stricter_on_the_way_and_nothing_else(tmp_path: Path, key: str) -> None:
    sites, out = write_sites(tmp_path / "sites", 3), tmp_path / "run"
    rules = with_rules(sites, "elm", 4, TEXT)
    began(sites, out)
    text = rules.read_text()
    changed = {
        "pool": ("patients of elm", "patients"),
        "journal": ("own.sqlite", "new.sqlite"),
        "size": ("54", "55"),
    }
    rules.write_text(text.replace(*changed[key]))
    words = r"site\.toml of site elm changed|a second budget|used under pool"
    with pytest.raises((CheckpointError, PolicyViolation), match=words):
        resumed(sites, out)
    assert not (rules.parent / "new.sqlite").exists()
    rules.write_text(text.replace("epsilon_max = 9.0", "epsilon_max = 8.0"))
    move(tmp_path / "sites", tmp_path / "elsewhere")
    assert len(resumed(tmp_path / "elsewhere", out).rounds) == 4
    begun = [entry.kind for entry in load_entries(tmp_path / "elsewhere" / "elm" / "own.sqlite")]
    assert (begun.count("reserve"), begun.count("begin")) == (1, 4)


def test_people_who_withdraw_are_no_other_data(tmp_path: Path) -> None:
    """At a site with rules of its own: it declares what it did, and is neither trained nor judged on them."""
    sites, out = write_sites(tmp_path / "sites", 3), tmp_path / "run"
    rules = with_rules(sites, "elm", 4, TEXT)
    rules.write_text(rules.read_text().replace("size = 54", 'person = "mrn"'))
    people = people_of_rows(72)
    write_table(rules.parent / "train.csv", rows_of(4, 72), people)
    before = read_world(PLAN, find_sites(sites).sites)
    began(sites, out)
    withdraw(rules, ["P0001", "P0010", "P0022", "P0034"], "2026-11-29")
    after = read_world(PLAN, find_sites(sites).sites)
    assert len(resumed(sites, out).rounds) == 4
    told = listed(rules)
    assert told is not None and [each.lines for each in told.releases] == [0, 0, 4, 4]
    assert after.members == before.members
    gone = set(hashed(["P0001", "P0010", "P0022", "P0034"]).tolist())
    for whole, rest in ((before.training, after.training), (before.held_out, after.held_out)):
        assert whole["elm"].persons is not None
        stays = torch.tensor([person not in gone for person in whole["elm"].persons.tolist()])
        assert int((~stays).sum()) > 0
        assert rest["elm"].features.equal(whole["elm"].features[stays])


def test_another_identity_of_a_site_is_refused(tmp_path: Path) -> None:
    sites, out = write_sites(tmp_path / "sites", 3), tmp_path / "run"
    rules = with_rules(sites, "elm", 4, TEXT)
    began(sites, out)
    rmtree(rules.parent / "keys")
    create(rules.parent / "keys", "elm", "Hospital elm", 54)
    with pytest.raises(CheckpointError, match="the key of site elm changed"):
        resumed(sites, out)


@pytest.mark.parametrize(
    ("first", "second"), [("vectorized", "protocol"), ("protocol", "flower"), ("flower", "vectorized")]
)
def test_a_run_is_finished_and_read_by_the_engine_that_began_it(
    tmp_path: Path, first: Engine, second: Engine
) -> None:
    """A report names one engine, so no round of it may be another's."""
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    began(sites, out, first)
    with pytest.raises(CheckpointError, match=f"begun with engine {first}; give --engine {first}"):
        resumed(sites, out, second)
    assert resumed(sites, out, first).engine == first
    before = contents(out)
    with pytest.raises(CheckpointError, match=f"finished by engine {first}, not {second}") as caught:
        resumed(sites, out, second)
    assert caught.value.exit_code == 2
    assert contents(out) == before


def test_a_finished_run_says_that_nothing_was_run_and_that_it_is_of_these_data(tmp_path: Path) -> None:
    sites, out, heard = write_sites(tmp_path / "sites"), tmp_path / "run", list[str]()
    report = simulate(PLAN, sites, out, notice=heard.append)
    assert not [line for line in heard if "nothing was run" in line]
    heard.clear()
    assert simulate(PLAN, sites, out, notice=heard.append) == report
    (line,) = heard
    assert "\n" not in line
    for words in ("nothing was run", str(out), "engine vectorized", "seed 7", "on these data"):
        assert words in line


def test_a_finished_run_is_not_shown_for_other_data(tmp_path: Path) -> None:
    out = tmp_path / "run"
    report = simulate(PLAN, write_sites(tmp_path / "sites", 4), out, baseline=False)
    assert not (out / "checkpoint").exists(), "nothing in the folder tells its data from others"
    out = out.rename(tmp_path / "moved")
    before = contents(out)
    for name, (change, words) in CHANGES.items():
        sites = write_sites(tmp_path / name, 4)
        change(sites)
        with pytest.raises(CheckpointError, match=words) as caught:
            simulate(PLAN, sites, out, baseline=False)
        assert (caught.value.exit_code, contents(out)) == (2, before), name
    assert simulate(PLAN, write_sites(tmp_path / "again", 4), out, baseline=False) == report


def test_where_the_machine_knows_no_fingerprints_names_and_numbers_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, out, heard = write_sites(tmp_path / "sites", 4), tmp_path / "run", list[str]()
    simulate(PLAN, sites, out, baseline=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    edit("ash.csv", ",b,", ",c,")(sites)
    simulate(PLAN, sites, out, baseline=False, notice=heard.append)
    assert "only names of sites and their numbers of records were compared" in heard[-1]
    lines = (sites / "ash.csv").read_text().splitlines(keepends=True)
    (sites / "ash.csv").write_text("".join(lines[:-20]))
    with pytest.raises(CheckpointError, match="number of training records of site ash changed"):
        simulate(PLAN, sites, out, baseline=False)
    (sites / "ash.csv").unlink()
    with pytest.raises(CheckpointError, match="with site ash, which is not there now"):
        simulate(PLAN, sites, out, baseline=False)


def test_a_finished_run_that_told_less_than_it_cost_is_not_shown(tmp_path: Path) -> None:
    """An earlier version told epsilon of the training alone, also where an evaluation was charged."""
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    plan = parse(TEXT.replace("[evaluation]", "[evaluation]\nepsilon = 1.0"))
    simulate(plan, sites, out, baseline=False)
    report = json.loads((out / "report.json").read_text("utf-8"))
    for part in (report["privacy"], *report["privacy"]["units"], *report["sites"]):
        del part["together"], part["evaluation"]
    (out / "report.json").write_text(json.dumps(report), "utf-8")
    before = contents(out)
    with pytest.raises(
        CheckpointError, match=r"run was finished by an earlier version.*federation audit RUN"
    ):
        simulate(plan, sites, out, baseline=False)
    assert contents(out) == before


@pytest.mark.parametrize("engine", HERE)
def test_a_run_that_did_nothing_yet_may_begin_with_anything(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its state is there, it has charged nobody."""
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("simulations.accounts.run.keep_identities", killed)
        simulate(PLAN, sites, out)
    edit("ash.csv", ",b,", ",c,")(sites)
    assert resumed(sites, out, engine).engine == engine


@pytest.mark.parametrize("rounds", [0, 1], ids=["in its first round", "in its second round"])
def test_a_run_that_lost_its_state_is_told_so_and_not_that_its_budget_is_spent(
    tmp_path: Path, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    store = RunFolder.store

    def killed(folder: RunFolder, state: ServerState, *rest: Any, **how: Any) -> None:
        if state.round > rounds:
            raise Killed
        store(folder, state, *rest, **how)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "store", killed)
        simulate(PLAN, sites, out)
    (out / "checkpoint" / "state.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"state\.safetensors is gone, and .* was begun here"):
        resumed(sites, out)


def world_of(sites: Path, plan: Plan = PLAN) -> World:
    return read_world(plan, find_sites(sites).sites)


def kept(world: World, folder: Path) -> str:
    keep_inputs(world, "vectorized", folder)
    return (folder / "inputs.json").read_text()


def test_fingerprints_are_under_a_key_of_the_run_and_go_with_it(tmp_path: Path) -> None:
    """Two runs on the same data share none, so a finder of one without its key has nothing to try guesses on."""
    world = world_of(write_sites(tmp_path / "sites"))
    first, second = (json.loads(kept(world, tmp_path / name)) for name in ("a", "b"))
    assert {name: set(site) for name, site in first["sites"].items()} == {
        name: {"training data", "held-out data", "site.toml", "key"} for name in world.training
    }
    prints = [
        {run["task"], *(print_ for site in run["sites"].values() for print_ in site.values())}
        for run in (first, second)
    ]
    assert not prints[0] & prints[1]
    assert len((tmp_path / "a" / "keys" / "inputs").read_bytes()) == 32
    began(tmp_path / "sites", tmp_path / "run")
    known = json.loads((tmp_path / "run" / "checkpoint" / "inputs.json").read_text())
    resumed(tmp_path / "sites", tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
    everything = b"".join(contents(tmp_path / "run").values())
    for site in known["sites"].values():
        for value in site.values():
            assert value.encode() not in everything


@pytest.mark.parametrize(
    "damage", ["gone", "{", "[]", '{"engine": "vectorized"}', '{"engine": "vectorized", "sites": 1}']
)
def test_a_checkpoint_that_does_not_say_what_it_began_with_is_refused(tmp_path: Path, damage: str) -> None:
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    began(sites, out)
    path = out / "checkpoint" / "inputs.json"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(damage)
    with pytest.raises(CheckpointError, match="does not say what data its run began with"):
        resumed(sites, out)


def test_another_model_of_the_task_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    began(sites, out)
    with monkeypatch.context() as patch:
        patch.setattr("simulations.inputs.initial_params", lambda *_: torch.ones(12))
        with pytest.raises(CheckpointError, match="the task's model or code changed"):
            resumed(sites, out)
    resumed(sites, out)


OWN = """
import torch

def linear(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(inputs, outputs)
"""


def test_other_code_of_the_task_is_refused_although_it_begins_with_the_same_params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = tmp_path / "own_model.py", text_of(rounds=4, model="own_model:linear")
    code.write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    began(sites, out, text=text)
    code.write_text(OWN + "torch.nn.Linear.forward = lambda self, x: x @ self.weight.T\n")
    with pytest.raises(CheckpointError, match="the task's model or code changed"):
        resumed(sites, out, text=text)
    code.write_text(OWN)
    assert len(resumed(sites, out, text=text).rounds) == 4


def test_what_another_process_finished_meanwhile_is_shown_and_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, out, heard = write_sites(tmp_path / "sites"), tmp_path / "run", list[str]()
    read, reports = simulation.read_world, list[Report]()

    def slow(plan: Plan, files: Sequence[SiteFiles], *rest: Any) -> World:
        world = read(plan, files, *rest)
        monkeypatch.undo()
        reports.append(simulate(PLAN, sites, out))
        return world

    monkeypatch.setattr(simulation, "read_world", slow)
    assert simulate(PLAN, sites, out, notice=heard.append) == reports[0]
    assert [line for line in heard if line.startswith("nothing was run")]
    assert audit(out).verdict == "pass"


def test_a_run_in_the_hands_of_another_process_is_left_alone(tmp_path: Path) -> None:
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    began(sites, out)
    before = contents(out)
    with RunFolder(out, PLAN).alone(), pytest.raises(CheckpointError, match="another process is at work"):
        resumed(sites, out)
    assert contents(out) == before


def half_told(out: Path) -> None:
    path = out / "receipts.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])


LEFT: dict[str, tuple[Engine, Change]] = {
    "a journal": (
        "protocol",
        lambda out: [path.unlink() for path in (out / "journals").glob("birch.sqlite*")],
    ),
    "all journals": ("protocol", lambda out: rmtree(out / "journals")),
    "receipts": ("protocol", lambda out: (out / "receipts.jsonl").unlink()),
    "the last receipt": ("protocol", half_told),
    "the account": (
        "vectorized",
        lambda out: [path.unlink() for path in (out / "checkpoint").glob("accounts.sqlite*")],
    ),
}


@pytest.mark.parametrize("what", LEFT)
def test_a_run_whose_finished_rounds_left_no_trace_charges_nothing_more(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "simulations.accounts.book._MOST", 1
    )  # on a slow disk all four would be done together
    sites, out, (engine, lose) = write_sites(tmp_path / "sites"), tmp_path / "run", LEFT[what]
    began(sites, out, engine)
    copytree(out, tmp_path / "kept")
    lose(out)
    before = contents(out)
    with pytest.raises(CheckpointError, match=r"is gone, or lacks some of the [23] rounds") as caught:
        resumed(sites, out, engine)
    assert caught.value.exit_code == 4
    assert contents(out) == before
    rmtree(out)
    move(tmp_path / "kept", out)
    assert len(resumed(sites, out, engine).rounds) == 4


@pytest.mark.parametrize("lose", [half_told, lambda out: (out / "receipts.jsonl").unlink()])
def test_what_was_told_of_accounted_rounds_is_told_again_if_it_is_lost(tmp_path: Path, lose: Change) -> None:
    sites, out = write_sites(tmp_path / "sites"), tmp_path / "run"
    began(sites, out)
    before = [line.to_json() for line in RunFolder(out, PLAN).receipts()]
    assert len(before) >= 2  # rounds are written several at once
    lose(out)
    report = resumed(sites, out)
    assert [line.to_json() for line in RunFolder(out, PLAN).receipts()][: len(before)] == before
    assert [line.metrics for line in report.history] == [
        line.metrics for line in RunFolder(out, PLAN).receipts()
    ]
    assert audit(out).verdict == "pass"


def test_a_resumed_run_on_the_same_data_ends_with_the_same_params(tmp_path: Path) -> None:
    """The check itself changes nothing: it reads no noise and no sample."""
    text, sites = text_of(rounds=4, sample_rate=0.5), write_sites(tmp_path / "sites")
    began(sites, tmp_path / "run", text=text)
    resumed(sites, tmp_path / "run", text=text)
    resumed(sites, tmp_path / "whole", text=text)
    assert load_params(tmp_path / "run").equal(load_params(tmp_path / "whole"))


def test_the_same_rows_of_other_people_are_other_data(tmp_path: Path) -> None:
    """Patients are drawn and clipped as a whole, so who is whose is part of the data."""
    world = world_of(write_sites(tmp_path / "sites"))
    data = world.training["ash"]
    grouped = [Dataset(data.features, data.labels, torch.arange(len(data)) // size) for size in (1, 2)]
    worlds = [replace(world, training={**world.training, "ash": one}) for one in (data, *grouped)]
    kept(worlds[0], tmp_path / "run")
    checkpoint.write(tmp_path / "run", PLAN, begin(PLAN, bytes(16), start(PLAN)))
    kept(worlds[0], tmp_path / "run")
    for other in worlds[1:]:
        with pytest.raises(CheckpointError, match="the training data of site ash changed"):
            kept(other, tmp_path / "run")
