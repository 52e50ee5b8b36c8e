"""A run that ends with an average of its params: the average everywhere, and an audit that finds any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import copytree
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from federation.audit.examine import audit
from federation.model.params import params_bytes, params_digest
from federation.plan.plan import Plan, parse
from federation.report.receipt import Receipt
from federation.sums.state import ServerState
from server import checkpoint
from server.run_folder import RunFolder
from simulations.simulate import Engine, simulate
from tests.federation.audit.audited import finished, ids, journal, receipts, served
from tests.federation.audit.test_lost_rounds import liars
from tests.federation.sums.kept import with_a_loss
from tests.worlds import load_params, plan_of, text_of, write_sites

DECAY = 0.7
TEXT = text_of({"server.iterate_average": DECAY}, noise="distributed", rounds=3, dropouts=1).replace(
    "[evaluation]", "[evaluation]\nepsilon = 20.0"
)
BARE = {"server.iterate_average": DECAY, "noise": "none", "rounds": 3}


@contextmanager
def watched() -> Iterator[list[ServerState]]:
    """The state after every round that is written within the context."""
    states, store = [], RunFolder.store

    def keep(folder: RunFolder, state: ServerState, *rest: object, **more: object) -> None:
        states.append(state)
        store(folder, state, *rest, **more)  # type: ignore[arg-type]

    with patch.object(RunFolder, "store", keep):
        yield states


def by_hand(states: list[ServerState]) -> Tensor:
    """The average of the params after each round, by its formula."""
    weights = [DECAY ** (len(states) - number) for number in range(1, len(states) + 1)]
    summed = sum(w * state.params.double().numpy() for w, state in zip(weights, states, strict=True))
    return torch.from_numpy(np.asarray(summed / sum(weights))).float()


def digest_of(params: Tensor) -> str:
    return params_digest(params_bytes(params)).hex()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ServerState]]:
    """Four sites over messages, of which one is lost in round 2, then an evaluation; and the states."""
    with watched() as states:
        return with_a_loss(tmp_path_factory.mktemp("made"), TEXT), states


@pytest.fixture
def run(made: tuple[Path, list[ServerState]], tmp_path: Path) -> Path:
    """The same, to be falsified."""
    return copytree(made[0], tmp_path / "run")


def critical(run: Path) -> set[str]:
    return ids(audit(run), "critical")


def test_the_average_is_evaluated_closed_stored_and_recomputed(made: tuple[Path, list[ServerState]]) -> None:
    run, states = made
    average, last = load_params(run), states[-1].params
    assert torch.allclose(average, by_hand(states), rtol=1e-6)
    assert not torch.allclose(average, last)
    with receipts(run) as lines:
        *rounds, evaluated, closing = lines
        assert [line["average"] for line in rounds] == [digest_of(state.model) for state in states]
        assert rounds[1]["params_before"] == digest_of(states[0].params), "the sites train on the last params"
        assert closing["params"] == rounds[-1]["average"] == digest_of(average)
        assert "evaluation" in evaluated
    found = audit(run)
    assert (found.verdict, found.sums.verified, found.sums.followed) == ("pass", 4, 3)
    assert ids(found) == {"release-not-summed"}
    assert json.loads((run / "report.json").read_text("utf-8"))["iterate_average"] == DECAY
    assert "it costs no privacy" in (run / "report.html").read_text("utf-8")


def rewritten(run: Path, params: Tensor) -> None:
    """The server releases other params, and says so wherever only it speaks."""
    tensors = load_file(run / "params.safetensors")
    names = sorted(tensors, key=lambda name: "bias" in name)
    pieces = torch.split(params, [tensors[name].numel() for name in names])
    changed = {
        name: piece.reshape(tensors[name].shape).clone() for name, piece in zip(names, pieces, strict=True)
    }
    said = {"plan": json.loads((run / "report.json").read_text("utf-8"))["plan_digest"], "private": "true"}
    save_file(changed, run / "params.safetensors", said)
    with receipts(run) as lines:
        for line in lines:
            if line.get("round") == 3:
                line["average"] = digest_of(params)
            if "closed" in line:
                line["params"] = digest_of(params)


@pytest.mark.parametrize("what", ["the last params", "a hair beside the average"])
def test_another_model_than_the_average_is_found_though_the_servers_files_agree(
    run: Path, made: tuple[Path, list[ServerState]], what: str
) -> None:
    last = made[1][-1]
    other = last.params if what == "the last params" else torch.nextafter(last.model, torch.tensor(10.0))
    rewritten(run, other)
    found = audit(run)
    assert "average-not-followed" in ids(found, "critical")
    assert {"closing-mismatch", "round-question"} <= ids(found, "critical"), (
        "ledgers hold what sites were sent"
    )
    assert found.sums.followed == 3, "what the sites trained on follows all the same"


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.pop("average"),
        lambda line: line.update(average="00" * 32),
        lambda line: line.update(average=line["params_after"]),
    ],
    ids=["none", "another", "the round's own params"],
)
def test_a_receipt_that_names_no_average_or_another_is_found(run: Path, change) -> None:  # type: ignore[no-untyped-def]
    with receipts(run) as lines:
        change(lines[1])
    assert critical(run) == {"average-not-followed"}


def test_an_average_that_the_plan_does_not_ask_for_is_found(tmp_path: Path) -> None:
    run = finished(tmp_path, "vectorized", text_of(noise="distributed", rounds=2))
    with receipts(run) as lines:
        lines[0]["average"] = lines[0]["params_after"]
    assert critical(run) == {"average-not-followed"}
    report = json.loads((run / "report.json").read_text("utf-8"))
    (run / "report.json").write_text(json.dumps(report | {"iterate_average": 0.9}))
    assert "report-mismatch" in critical(run)


def test_a_server_that_has_other_params_evaluated_is_found_by_sums_and_ledgers(tmp_path: Path) -> None:
    """The sites are shown the last params, and everything else is of the average."""
    with patch.object(ServerState, "concluded", lambda state: state):
        run = with_a_loss(tmp_path, TEXT)
    assert {"sum-unproven", "round-question"} <= critical(run)


@pytest.mark.parametrize("engine", ["vectorized", "protocol", "flower"])
def test_every_engine_ends_with_the_average(tmp_path: Path, engine: Engine) -> None:
    with watched() as states:
        run = finished(tmp_path, engine, text_of(BARE))
    assert torch.allclose(load_params(run), by_hand(states), rtol=1e-6)
    assert not torch.allclose(load_params(run), states[-1].params)
    assert ids(audit(run)) <= {"not-private", "sums-in-the-clear"}
    last = json.loads((run / "report.json").read_text("utf-8"))
    assert {name: last["evaluation"]["pooled"][name] for name in ("accuracy", "auc")} == last["history"][-1][
        "metrics"
    ]


def test_where_sites_are_lost_by_a_seed_the_average_is_evaluated_too(tmp_path: Path) -> None:
    sites, run = write_sites(tmp_path / "sites", 5), tmp_path / "run"
    simulate(parse(TEXT), sites, run, faults="dropouts=0.1, seed=7", baseline=False)
    assert audit(run).verdict == "pass"


def test_a_real_run_ends_with_the_average_in_params_ledgers_and_closing(tmp_path: Path) -> None:
    with watched() as states:
        run = served(tmp_path, TEXT.replace("epsilon = 20.0", "epsilon = 1.0"))
    ledgers = [tmp_path / name / "own.sqlite" for name in ("ash", "birch", "cedar")]
    found = audit(run, ledgers)
    assert not ids(found, "critical") and found.sums.followed == 3
    assert torch.allclose(load_params(run), by_hand(states), rtol=1e-6)


class Killed(BaseException):
    """The process is over."""


@pytest.mark.parametrize("when", ["after a round", "between its receipt and its state"])
def test_a_run_that_was_killed_goes_on_to_the_same_average(tmp_path: Path, when: str) -> None:
    """From its checkpoint, or from the transcript of the round that the checkpoint lacks."""
    sites, write = write_sites(tmp_path / "sites"), checkpoint.write

    def stop(receipt: Receipt, _: object) -> None:
        if receipt.round == 2 and when == "after a round":
            raise Killed

    def killed(folder: Path, plan: Plan, state: ServerState) -> None:
        if state.round == 2 and when != "after a round":
            raise Killed
        write(folder, plan, state)

    run = partial(simulate, plan_of(BARE), sites, engine="protocol")
    with patch.object(checkpoint, "write", killed), pytest.raises(Killed):
        run(tmp_path / "run", progress=stop)
    report = run(tmp_path / "run")
    assert len(report.rounds) == 3
    run(tmp_path / "whole")
    assert torch.equal(load_params(tmp_path / "run"), load_params(tmp_path / "whole"))
    assert not ids(audit(tmp_path / "run"), "critical")


def test_a_lost_round_leaves_the_average_where_it_is(tmp_path: Path) -> None:
    text = text_of({"server.iterate_average": DECAY}, noise="distributed", sample_rate=0.5, rounds=3)
    with liars():
        run = finished(tmp_path, "protocol", text, sites=5)
    found = audit(run)
    assert (found.verdict, found.sums.followed) == ("pass", 2)
    with receipts(run) as lines:
        assert not lines[0]["survivors"]
        assert lines[0]["average"] == lines[0]["params_after"], "there is none but the first params"
        assert lines[1]["average"] == lines[1]["params_after"], "the first sum's params are their own average"
        lines[0]["average"] = "00" * 32
    assert "average-not-followed" in critical(run)
    assert journal(run, "ash").exists()
