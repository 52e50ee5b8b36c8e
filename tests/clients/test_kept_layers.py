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
    command, plan = Command(monkeypatch, capsys), parse(text_of(changes, rounds=2) + TABLE)
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

    released = command(
        "predict", tmp_path / "run", tmp_path / "sites" / f"{OURS}.csv", "--out", tmp_path / "no.csv"
    )
    assert released.code == 2 and "layers 2 are each site's own" in released.err
    out, site = tmp_path / "ours.safetensors", tmp_path / "sites" / f"{OURS}.toml"
    told = command("personal", tmp_path / "run", site, "--out", out)
    assert told.code == 0 and "accuracy: released" in told.out, told.err
    run = open_model(tmp_path / "run")
    assert read_personal(run, out).shape == (
        sum(each.numel() for each in whole(run.task).model().parameters()),
    )
    with safe_open(out, framework="pt") as file:
        near = float((file.get_tensor("2.weight").reshape(-1) - own_in(after[OURS])[: KEPT - 2]).norm())
        far = float((file.get_tensor("2.weight").reshape(-1) - begun[: KEPT - 2]).norm())
    assert near < far, "it begins with what the site kept"
    rows = tmp_path / "sites" / f"{OURS}.csv"
    scored = command("predict", tmp_path / "run", rows, "--out", tmp_path / "own.csv", "--personal", out)
    assert scored.code == 0, scored.err

    gone(tmp_path / "sites", "P0001")
    assert after[OURS].exists() == (plan.privacy.unit == "record"), "without noise it is forgotten at once"


def _spread(files: dict[str, Path]) -> float:
    owns = [own_in(path) for path in files.values()]
    return min(float((one - other).norm()) for one in owns for other in owns if one is not other)
