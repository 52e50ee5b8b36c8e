"""What is written is what MLflow's own client and TensorBoard's own reader find, and nothing leaves the machine."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from federation.errors import UnusableFile
from federation.tracking.registry import address_of, write_run
from federation.tracking.told import Tracked, told
from federation.tracking.track import Registries
from tests import ROOT
from tests.federation.tracking.runs import simulated

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
for needed in ("mlflow", "tensorboardX", "tensorboard"):
    pytest.importorskip(needed, reason="needs the extra: make test-extras")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def store(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the run already: MLflow makes a database in seconds."""
    folder = tmp_path_factory.mktemp("mlflow") / "st ore"
    write_run(told(run), folder)
    return folder


def client(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address_of(folder), registry_uri=address_of(folder))


def runs_in(folder: Path, tracked: Tracked) -> list[Any]:
    reader = client(folder)
    return list(reader.search_runs([reader.get_experiment_by_name(tracked.name).experiment_id]))


def test_no_line_is_written_about_the_tables_of_a_new_store(store: Path) -> None:
    """Importing MLflow sets the levels of these, so they are set after it."""
    assert (store / "mlflow.db").exists()
    for name in ("mlflow.store.db.utils", "alembic.runtime.migration"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING


def test_mlflow_reads_figures_settings_digests_and_the_same_bytes(run: Path, store: Path) -> None:
    tracked, reader = told(run), client(store)
    (found,) = runs_in(store, tracked)
    assert found.info.status == "FINISHED"
    assert tracked.tags.items() <= found.data.tags.items()
    assert not found.data.tags.keys() & {"mlflow.user", "mlflow.source.name", "mlflow.source.git.commit"}
    assert found.data.params == dict(tracked.settings)
    for name in {one.name for one in tracked.scalars}:
        history = {one.step: one.value for one in reader.get_metric_history(found.info.run_id, name)}
        assert history == {one.round: one.value for one in tracked.scalars if one.name == name}
    for name, data in tracked.files.items():
        assert Path(reader.download_artifacts(found.info.run_id, name)).read_bytes() == data


def test_the_model_leads_back_to_the_run_by_the_digest_of_its_params(run: Path, store: Path) -> None:
    tracked, reader = told(run), client(store)
    (version,) = reader.search_model_versions(f"name = '{tracked.name}'")
    assert version.run_id == runs_in(store, tracked)[0].info.run_id
    path = Path(version.source.removeprefix("file://").replace("%20", " ")) / "params.safetensors"
    assert version.tags["federation.params_sha256"] == sha256(path.read_bytes()).hexdigest()
    assert version.tags["federation.params_digest"] == tracked.tags["federation.params_digest"]


def test_a_run_is_there_once_and_what_an_interrupted_call_left_is_replaced(run: Path, store: Path) -> None:
    tracked = told(run)
    first = write_run(tracked, store)
    assert [found.info.run_id for found in runs_in(store, tracked)] == [first]
    client(store).update_run(first, status="RUNNING")
    second = write_run(tracked, store)
    assert second != first
    assert [found.info.run_id for found in runs_in(store, tracked)] == [second]


def test_a_store_whose_artifacts_lie_elsewhere_is_refused(run: Path, store: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(store, tmp_path / "moved")
    with pytest.raises(UnusableFile, match="somewhere else"):
        write_run(told(run), moved)


def test_a_database_that_is_none_is_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 99)
    with pytest.raises(UnusableFile, match="MLflow cannot use this store"):
        write_run(told(run), tmp_path)


def test_tensorboard_reads_the_figures_and_the_digests(run: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracked, path = told(run), Path(Registries(tensorboard=tmp_path).track(run)["tensorboard"])
    reader = EventAccumulator(str(path.parent), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    for name in {one.name for one in tracked.scalars}:
        own = {one.round: one.value for one in tracked.scalars if one.name == name}
        events = reader.Scalars(name)
        assert {event.step: event.value for event in events} == pytest.approx(own, rel=1e-6)
        assert [event.wall_time for event in events] == [tracked.times[event.step] for event in events]
    (text,) = reader.Tensors("digests/text_summary")[0].tensor_proto.string_val
    assert tracked.tags["federation.params_digest"].encode() in text
    assert socket.gethostname() not in path.name
    before = path.read_bytes()
    assert Registries(tensorboard=tmp_path).track(run)["tensorboard"] == str(path)
    assert [each.read_bytes() for each in path.parent.iterdir()] == [before]


WATCHED = """
import os, socket, sys
OUT = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
def watch(event, args):
    if event in OUT:
        os.write(2, f"left the machine: {event}".encode())
        os._exit(9)
sys.addaudithook(watch)
if sys.argv[1] == "control":
    socket.create_connection(("127.0.0.1", 9))
from federation.cli.start import main
sys.argv[0] = "federation"
main()
"""


def test_no_connection_is_opened_whatever_the_environment_names(
    run: Path, store: Path, tmp_path: Path
) -> None:
    """With its control: the same watch ends a process that opens one."""
    words = ["track", run, "--mlflow", store, "--tensorboard", tmp_path / "events", "--json"]
    addressed = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_REGISTRY_URI": "http://127.0.0.1:9"}

    def done(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **addressed, "PYTHONPATH": str(ROOT)}
        environment.pop("MLFLOW_DISABLE_TELEMETRY", None)
        return subprocess.run(
            [sys.executable, "-c", WATCHED, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )

    told_ = done(*words)
    assert (told_.returncode, told_.stderr) == (0, "")
    assert json.loads(told_.stdout).keys() == {"run", "mlflow", "mlflow_store", "tensorboard"}
    assert [path.name for path in tmp_path.iterdir()] == ["events"]
    assert done("control").returncode == 9
