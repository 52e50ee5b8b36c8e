"""A state on disk: it comes back to the bit, is never half written, and belongs to one plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from federation.errors import CheckpointError
from federation.files import replace_file
from federation.plan.plan import Plan, parse
from federation.sums.state import ServerState, begin, optimizer
from server import checkpoint
from tests.worlds import plan_of, start, text_of

ADAM = parse(text_of().replace('optimizer = "average"', 'optimizer = "adam"'))


def state_of(plan: Plan) -> ServerState:
    """A state in the middle of a run."""
    state = begin(plan, bytes(range(16)), start(plan))
    delta = torch.linspace(-1, 1, state.params.numel()).double()
    moments, params = optimizer(plan).step(state.optimizer, state.params, delta)
    return replace(state, round=5, attempt=6, params=params, optimizer=moments)


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    state = state_of(ADAM)
    checkpoint.write(tmp_path, ADAM, state)
    found = checkpoint.read(tmp_path, ADAM)
    assert found is not None
    assert (found.run, found.round, found.attempt) == (state.run, 5, 6)
    assert found.params.dtype == torch.float32
    assert torch.equal(found.params, state.params)
    assert found.optimizer.steps == 1
    assert found.optimizer.moments.keys() == state.optimizer.moments.keys() == {"m", "v"}
    for name, moment in state.optimizer.moments.items():
        assert torch.equal(found.optimizer.moments[name], moment)
        assert found.optimizer.moments[name].dtype == torch.float64


def test_the_average_of_a_plan_that_has_one_comes_back_to_the_bit_or_the_state_is_damaged(
    tmp_path: Path,
) -> None:
    plan = parse(text_of({"server.iterate_average": 0.9}))
    state = state_of(plan)
    state = replace(state, average=torch.rand(state.params.numel(), dtype=torch.float64))
    checkpoint.write(tmp_path, plan, state)
    found = checkpoint.read(tmp_path, plan)
    assert found is not None and found.average is not None and state.average is not None
    assert torch.equal(found.average, state.average) and found.average.dtype == torch.float64
    checkpoint.write(tmp_path, plan, replace(state, average=None))
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.read(tmp_path, plan)


def test_the_norm_of_a_plan_that_has_it_move_comes_back_to_the_bit_or_the_state_is_damaged(
    tmp_path: Path,
) -> None:
    moving = {"quantile": 0.5, "bounds": [0.01, 10.0], "rate": 0.2, "noise": 0.5}
    claim = {"unit": "client", "noise": "distributed", "epsilon": 20.0, "delta": 1e-5, "clipping_norm": 1.0}
    plan = parse(text_of({f"privacy.clipping_{name}": value for name, value in moving.items()} | claim))
    state = replace(state_of(plan), clipping_norm=0.8207901120185852)
    checkpoint.write(tmp_path, plan, state)
    found = checkpoint.read(tmp_path, plan)
    assert found is not None and found.clipping_norm == state.clipping_norm
    assert torch.equal(found.sent, state.sent) and len(found.sent) == len(found.params) + 1
    checkpoint.write(tmp_path, plan, replace(state, clipping_norm=None))
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.read(tmp_path, plan)


def test_there_is_nothing_before_the_first_write(tmp_path: Path) -> None:
    assert checkpoint.read(tmp_path / "nowhere", ADAM) is None
    assert not checkpoint.exists(tmp_path / "nowhere")
    checkpoint.write(tmp_path, ADAM, state_of(ADAM))
    assert checkpoint.exists(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"cut"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    checkpoint.write(tmp_path, ADAM, state_of(ADAM))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:60] if damage == b"cut" else damage)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.read(tmp_path, ADAM)


@pytest.mark.parametrize(
    "change", [{"run": "zz" * 16}, {"run": "ab"}, {"round": "five"}, {"attempt": "-1"}, {"round": None}]
)
def test_a_state_whose_numbers_are_none_is_damaged(tmp_path: Path, change: dict[str, str | None]) -> None:
    checkpoint.write(tmp_path, ADAM, state_of(ADAM))
    (path,) = tmp_path.iterdir()
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    told = {name: value for name, value in {**metadata, **change}.items() if value is not None}
    path.write_bytes(save(tensors, told))
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.read(tmp_path, ADAM)


def test_a_state_from_before_the_default_of_tau_changed_is_refused_by_name(tmp_path: Path) -> None:
    then = parse(text_of({"server.tau": 1e-3, "server.optimizer": "adam"}))
    now = parse(text_of({"server.optimizer": "adam"}))
    checkpoint.write(tmp_path, then, state_of(then))
    with pytest.raises(CheckpointError, match=r"of an older version, in which server\.tau was 0\.001"):
        checkpoint.read(tmp_path, now)


def test_another_plan_s_state_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, ADAM, state_of(ADAM))
    with pytest.raises(CheckpointError, match="belongs to another plan"):
        checkpoint.read(tmp_path, plan_of(seed=8))


def test_a_write_that_fails_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(ADAM)
    checkpoint.write(tmp_path, ADAM, state)

    def broken(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(tmp_path, ADAM, replace(state, round=6))
    monkeypatch.undo()
    found = checkpoint.read(tmp_path, ADAM)
    assert found is not None
    assert found.round == 5


def test_a_file_is_flushed_before_it_takes_the_old_one_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr("os.fsync", lambda _: order.append("flush"))
    rename = Path.replace

    def replace_(path: Path, to: Path) -> Path:
        order.append("rename")
        return rename(path, to)

    monkeypatch.setattr(Path, "replace", replace_)
    replace_file(tmp_path / "new" / "file", b"content")
    assert order == ["flush", "rename", "flush"]  # the file, its name, the folder that holds the name
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["file"]


def test_the_state_goes_before_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, keys without a state begin nothing; a state without its keys could not be resumed."""
    checkpoint.write(tmp_path / "checkpoint", ADAM, state_of(ADAM))
    (tmp_path / "checkpoint" / "keys").mkdir()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", killed)
        checkpoint.remove(tmp_path / "checkpoint")
    assert not checkpoint.exists(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "keys").exists()
    checkpoint.remove(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    checkpoint.remove(tmp_path / "checkpoint")  # nothing to remove is fine
