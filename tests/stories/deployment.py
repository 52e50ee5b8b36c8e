"""A real Flower deployment on loopback: one flower-superlink, a flower-supernode for each site, `flwr run`.

Or without supernodes: `Deployment.of_nodes` has TLS and node authentication, for sites that are nodes themselves.

Everything lives in one short temporary folder and carries its path in `FLWR_HOME`; whatever still carries it
at the end is killed, so nothing is left behind even where Flower starts processes in sessions of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federation.identity.keys import node_from_point
from federation.quiet import QUIET
from tests import ROOT
from tests.certificates import Authority
from tests.patience import patience
from tests.ports import free_port

START_SECONDS = 60.0  # on a quiet machine a few
POLL_SECONDS = 0.2
END_SECONDS = 5.0
_APP = """
[project]
name = "{name}"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "tests"
fab-include = ["{name}_server.py"]
[tool.flwr.app.components]
serverapp = "{name}_server:app"
clientapp = "clients.app:app"
[tool.flwr.app.config]
{config}
"""


def write_app(folder: Path, name: str, server: str, config: Mapping[str, str | int]) -> Path:
    """A Flower app with this coordinator, and our ClientApp from where it is installed; its folder."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(_APP.format(name=name, config=_toml(config, "\n")))
    (folder / f"{name}_server.py").write_text(server)
    return folder


class Deployment:
    """A SuperLink and a SuperNode for each socket in `sites`, as a context manager; `run` submits an app."""

    def __init__(
        self, sites: Mapping[str, Path], nodes: Sequence[bytes] = (), *, is_secure: bool = False
    ) -> None:
        self._sites = dict(sites)
        self._nodes, self._is_secure = nodes, is_secure or bool(nodes)
        self._started: list[subprocess.Popen[bytes]] = []

    @classmethod
    def of_nodes(cls, nodes: Sequence[bytes]) -> Self:
        """One whose SuperLink knows these keys of nodes, compressed points, and no others."""
        return cls({}, nodes)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="fed-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGTERM)
        ends = time.monotonic() + patience(END_SECONDS)
        while any(self._alive()) and time.monotonic() < ends:
            time.sleep(POLL_SECONDS)
        self._signal(signal.SIGKILL)
        for process in self._started:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, run_config: Mapping[str, str | int], seconds: float, app: Path = ROOT) -> str:
        """Submit the Flower app in `app`, wait until the run has finished, and return its log.

        Raises AssertionError with every log when it does not complete in `patience(seconds)`.
        """
        timeout = patience(seconds)
        config = _toml(run_config, " ")
        try:
            done = self._call(
                "run", str(app), "loopback", "--stream", "--run-config", config, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run took more than {timeout:.0f} s\n{self.logs()}") from None
        started = re.search(r"started run (\d+)", done.stdout)
        status = self._status(started[1]) if started else "never started"
        if status != "finished:completed":
            raise AssertionError(f"the run is {status}\n{done.stdout}\n{self.logs()}")
        return done.stdout

    def logs(self) -> str:
        """What every process has said so far."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {file.stem}\n{file.read_text(errors='replace')}" for file in files)

    def leftovers(self) -> list[int]:
        """Process ids of everything of this deployment that still runs."""
        return list(self._alive())

    def _start(self) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.certificate = Authority().write(self.folder / "tls", "localhost", "127.0.0.1")
        self.start_superlink()
        for name, path in self._sites.items():
            self._spawn(
                name, "flower-supernode", "--insecure", "--superlink", self.address, "--port", str(free_port()),
                "--node-config", f"socket={json.dumps(str(path))}",
            )  # fmt: skip
        home = self.folder / "cli"
        home.mkdir()
        trust = (
            f"root-certificates = {json.dumps(str(self.certificate))}"
            if self._is_secure
            else "insecure = true"
        )
        connection = f'[superlink.loopback]\naddress = "{self.address}"\n{trust}\n'
        (home / "config.toml").write_text(f'[superlink]\ndefault = "loopback"\n{connection}')
        for number, point in enumerate(self._nodes):
            line = node_from_point(point).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
            (home / f"{number}.pub").write_bytes(line)
            done = self._call(
                "supernode", "register", str(home / f"{number}.pub"), "loopback", timeout=patience(60)
            )
            if done.returncode:
                raise AssertionError(f"a node was not registered\n{done.stdout}\n{self.logs()}")

    def start_supernodes(self, sites: Mapping[str, Path], keys: Mapping[str, Path]) -> None:
        """A flower-supernode for each socket, with its node's key, over TLS."""
        for name, path in sites.items():
            self._spawn(
                name, "flower-supernode", "--root-certificates", str(self.certificate), "--superlink", self.address,
                "--port", str(free_port()), "--auth-supernode-private-key", str(keys[name]),
                "--node-config", f"socket={json.dumps(str(path))}",
            )  # fmt: skip

    def start_superlink(self) -> subprocess.Popen[bytes]:
        """A SuperLink on this deployment's port, which goes on with what the last one kept; the process."""
        tls = self.certificate.parent
        secure = [
            "--ssl-ca-certfile", str(self.certificate), "--ssl-certfile", str(tls / "server.crt"),
            "--ssl-keyfile", str(tls / "server.key"), "--enable-supernode-auth",
            "--database", str(self.folder / "state.db"),
        ]  # fmt: skip
        process = self._spawn(
            "superlink", "flower-superlink", *(secure if self._is_secure else ["--insecure"]),
            "--host", "127.0.0.1", "--port", str(self.port), "--disable-runtime-dependency-installation",
        )  # fmt: skip
        self._await_port(self.port, process)
        return process

    def _spawn(self, name: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [_program(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(name),
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def _call(self, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_program("flwr"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.folder,
            env=self._environment("cli"),
        )

    def _status(self, run: str) -> str:
        """How the run ended, once Flower knows (the log may end a little earlier)."""
        ends = time.monotonic() + patience(START_SECONDS)
        while True:
            listed = self._call(
                "list", "loopback", "--run-id", run, "--format", "json", timeout=patience(START_SECONDS)
            )
            status = str(json.loads(listed.stdout)["runs"][0]["status"])
            if status.startswith("finished") or time.monotonic() > ends:
                return status
            time.sleep(POLL_SECONDS)

    def _environment(self, name: str) -> dict[str, str]:
        """One home for each process; ours and Python's programs first, Flower starts its own by name."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "COV_"))}
        return {
            **inherited,
            **QUIET,
            "FLWR_HOME": str(self.folder / name),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
        }

    def _await_port(self, port: int, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + patience(START_SECONDS)
        while time.monotonic() < ends and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"flower-superlink did not start\n{self.logs()}")

    def _signal(self, number: signal.Signals) -> None:
        for process in self._alive():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _alive(self) -> Iterator[int]:
        mark = f"FLWR_HOME={self.folder}{os.sep}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = any(
                    value.startswith(mark) for value in (entry / "environ").read_bytes().split(b"\0")
                )
            except OSError:
                continue  # another user's, or gone meanwhile
            if is_ours:
                yield int(entry.name)


def _toml(values: Mapping[str, str | int], between: str) -> str:
    """JSON's strings and integers are also TOML's."""
    return between.join(f"{key}={json.dumps(value)}" for key, value in values.items())


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)
