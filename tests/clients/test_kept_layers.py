"""Layers that sites keep from round to round (DP-85), in a real run: they are nowhere but at their site."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from clients.measuring.measure import measured
from clients.personal import read_personal
from clients.site import Site
from federation import audit_run
from federation.model.own import begun_own
from federation.model.task import build_task, whole
from federation.plan.plan import parse
from federation.report.said.finished import open_model
from federation.round.transport import Outgoing
from server.serve import serve
from simulations.world import InProcess
from tests.clients.people.houses import NOISED, SITE, THREE, build, gone, staffed
from tests.federation.command import Command
from tests.worlds import text_of

KEPT = 130
TABLE = f'\n[personal]\nsteps = 5\nlearning_rate = 0.1\nlayers = ["2"]\nkept = {KEPT}\n'
CLIENT = {
    **NOISED,
    "unit": "client",
    "task.model": "mlp",
    "training.local_steps": 3,
    "training.learning_rate": 0.5,
}
RECORD = {**CLIENT, "unit": "record", "noise": "site"}
OURS = THREE[0]


class Wire(InProcess):
    """A network that keeps all that goes over it, and is cut after so many batches."""

    def __init__(self, sites: dict[str, Site], until: int = 10**9) -> None:
        self.bytes, self._left = bytearray(), until

        def heard(site: Site, data: bytes) -> bytes:
            reply = site.receive(data)
            self.bytes += data + reply
            return reply

        super().__init__({name: lambda data, site=site: heard(site, data) for name, site in sites.items()})

    def send(self, messages: Iterable[Outgoing]) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        super().send(messages)


def files_of(folder: Path) -> dict[str, Path]:
    """What each hospital keeps."""
    found = {name: [*folder.glob(f"{name}.sqlite.layers/*")] for name in THREE}
    return {name: files[0] for name, files in found.items() if len(files) == 1}


def own_in(path: Path) -> Tensor:
    return load_file(path)["own"]


@pytest.mark.parametrize("changes", [CLIENT, RECORD], ids=["client", "record"])
def test_what_a_site_keeps_is_nowhere_else(
    changes: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = parse(text_of(changes, rounds=2) + TABLE)
    (tmp_path / "plan.toml").write_text(text_of(changes, rounds=2) + TABLE, "utf-8")
    given = tmp_path / "plan.toml", build(tmp_path / "sites", plan, SITE), tmp_path / "run"
    with staffed(tmp_path / "sites") as sites:
        wire = Wire(sites, until=5)
        with pytest.raises(KeyboardInterrupt):
            serve(*given, wire)
        said, first = bytes(wire.bytes), files_of(tmp_path / "sites")
    assert set(first) == set(THREE), "all are in round 1, whose sum is not opened yet or just was"
    between = {name: own_in(path) for name, path in first.items()}
    with staffed(tmp_path / "sites") as sites:  # started again, as after a crash
        wire = Wire(sites)
        serve(*given, wire)
        said += bytes(wire.bytes)
    after, begun = files_of(tmp_path / "sites"), begun_own(build_task(plan).model)
    assert audit_run(tmp_path / "run").verdict == "pass"
    everywhere = said + b"".join(
        path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()
    )
    assert load_file(tmp_path / "run" / "params.safetensors").keys() == {"0.weight", "0.bias"}
    for name in THREE:
        own = own_in(after[name])
        assert own.shape == (KEPT,) and not torch.equal(own, begun) and not torch.equal(own, between[name])
        assert stat.S_IMODE(after[name].stat().st_mode) == 0o600
        for kept in (own, between[name]):
            assert all(kept[at : at + 3].numpy().tobytes() not in everywhere for at in range(0, KEPT - 3, 3))
    assert _spread(after) > 0.01, "each has its own"
    if plan.privacy.unit == "client":
        used(tmp_path, after[OURS], begun, Command(monkeypatch, capsys))
    gone(tmp_path / "sites", "P0001")
    assert after[OURS].exists() == (plan.privacy.unit == "record"), "without noise it is forgotten at once"


def used(folder: Path, ours: Path, begun: Tensor, command: Command) -> None:
    """Without what a site kept there is no model to score by; with it there is."""
    released = command(
        "predict", folder / "run", folder / "sites" / f"{OURS}.csv", "--out", folder / "no.csv"
    )
    assert released.code == 2 and "each site keeps layer 2 for itself" in released.err
    report = folder / "run" / "report.html"
    assert "Each site keeps layer 2 (130 numbers) for itself" in report.read_text("utf-8")
    explained = command("explain", folder / "run")
    assert explained.code == 2 and "each site keeps layer 2 for itself" in explained.err
    exported = folder / "shared.safetensors"
    assert command("export", folder / "run", "--to", "safetensors", "--out", exported).code == 0
    assert b"as the plan's seed began them" in exported.read_bytes()
    out, site = folder / "ours.safetensors", folder / "sites" / f"{OURS}.toml"
    told = command("personal", folder / "run", site, "--out", out)
    assert told.code == 0 and "accuracy: personal" in told.out and "released 0" not in told.out, told.err
    run = open_model(folder / "run")
    assert read_personal(run, out).shape == (
        sum(each.numel() for each in whole(run.task).model().parameters()),
    )
    with safe_open(out, framework="pt") as file:
        near = float((file.get_tensor("2.weight").reshape(-1) - own_in(ours)[: KEPT - 2]).norm())
        far = float((file.get_tensor("2.weight").reshape(-1) - begun[: KEPT - 2]).norm())
    assert near < far, "it begins with what the site kept"
    rows = folder / "sites" / f"{OURS}.csv"
    scored = command("predict", folder / "run", rows, "--out", folder / "own.csv", "--personal", out)
    assert scored.code == 0, scored.err


def _spread(files: dict[str, Path]) -> float:
    owns = [own_in(path) for path in files.values()]
    return min(float((one - other).norm()) for one in owns for other in owns if one is not other)


def test_check_says_what_stays_and_how_many_numbers_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, plan = Command(monkeypatch, capsys), tmp_path / "plan.toml"
    plan.write_text(text_of(CLIENT) + TABLE, "utf-8")
    told = command("check", plan)
    assert told.code == 0 and "2 (130 numbers), trained in every round" in told.out, told.err
    assert command("check", plan, "--json").json["model_parameters"] == 6 * 64  # five inputs and a bias
    for wrong, why in (
        (TABLE.replace("130", "64"), "there are 130 numbers in layer 2; write kept = 130"),
        (TABLE.replace('["2"]', '["0", "2"]').replace("130", "514"), "all layers are kept"),
        (TABLE.replace('["2"]', '["7"]'), 'the model trains no layer "7"'),
        (TABLE.replace('layers = ["2"]\n', ""), "layers"),
    ):
        plan.write_text(text_of(CLIENT) + wrong, "utf-8")
        told = command("check", plan)
        assert told.code == 2 and why in told.err
    plan.write_text(text_of({**CLIENT, "unit": "record", "training.local_steps": 1}) + TABLE, "utf-8")
    told = command("check", plan)
    assert told.code == 3 and "personal.kept = 130: is not covered by record-level" in told.err


def test_what_an_installation_does_under_such_a_plan_can_be_measured() -> None:
    found = measured(parse(text_of(RECORD) + TABLE), "ash", seconds=0.2)
    assert found.follows and found.reach is not None
    assert 0 < found.reach <= 0.5 * 1.001 + found.reach_rounding
