"""Four hospitals and a coordinator, from their keys to their processes; made by the commands that people use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Self

from flwr.proto.control_pb2 import ListNodesRequest
from torch import Tensor

from federation.audit.examine import audit
from federation.audit.outcome import Audit
from federation.cli import start
from federation.identity.keys import load_public
from federation.ledger.export import load_entries
from federation.plan.plan import Plan, parse
from federation.report.receipt import Receipt
from privacy.ledger.chain import Entry
from server.link.flower import Link
from server.run_folder import RunFolder
from tests.certificates import Authority
from tests.ports import free_port
from tests.stories.real.family import descendants
from tests.stories.real.intruder import node_key, pem_of
from tests.stories.real.party import Halt, Nursery, Party
from tests.stories.real.relay import Relay
from tests.worlds import NAMES, load_params, rows_of, text_of, write_csv

SITES = NAMES[:4]
RECORDS = dict(
    zip((*SITES, "elm", "stranger"), (1201, 1213, 1217, 1223, 1229, 1231), strict=True)
)  # what nobody else may learn
QUIETLY = ("--yes", "--plain", "--json-log")  # asks nothing
DECLARED = 1000  # what everybody knows
RECEIPTS = "receipts.jsonl"
AUTHORITY = "authority of a test"
SITE = """
[site]
id = "{name}"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "train.csv"
test = "test.csv"
pool = "patients-2026"
size = {size}
[policy]
epsilon_max = {epsilon}
delta_max = 1e-5
cohort_minimum = 3
noise = ["{noise}"]
plans = [{{ digest = "{digest}", runs = 3 }}]
[consortium]
keys = ["{consortium}"]
quorum = 1
[server]
address = "{address}"
certificate = "ca.crt"
"""


def federation(*words: object) -> str:
    """The `federation` command in this process; what it says. AssertionError unless it ends well."""
    said, before = StringIO(), sys.argv
    sys.argv = ["federation", *map(str, words)]
    code: object = 0
    try:
        with redirect_stdout(said), redirect_stderr(said):
            start.main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before
    assert code in (0, None), said.getvalue()
    return said.getvalue()


class Consortium:
    """Keys, roster, plan, data and site files in a folder, and the processes that use them: a context manager.

    Each site reaches the server by a relay of its own.
    """

    def __init__(
        self, folder: Path, nursery: Nursery, listed: tuple[str, ...] = SITES, **changes: object
    ) -> None:
        self.folder, self.nursery, self.listed = folder, nursery, listed
        self.logs, self.state, self.roster = folder / "logs", folder / "state", folder / "roster.toml"
        self.port = free_port()
        self.relays = {name: Relay(self.port) for name in RECORDS}
        self.text = text_of({"evaluation": None, "rounds": 4, "deadline_seconds": 120}, **changes)
        self.plan: Plan = parse(self.text)
        self.parties: list[Party] = []
        self.logs.mkdir(parents=True)
        (folder / "plan.toml").write_text(self.text)
        self.certificate = Authority(AUTHORITY).write(folder / "authority", "localhost", "127.0.0.1")

    def __enter__(self) -> Self:
        for relay in self.relays.values():
            relay.__enter__()
        try:
            self._found()
        except BaseException as error:
            self.__exit__(type(error), error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        try:
            if error is None:
                self.stop()
            else:
                error.add_note(self.told())
        finally:
            for party in self.parties:
                for process in (*descendants(party.pid), party.pid):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            for relay in self.relays.values():
                relay.__exit__()

    def stop(self) -> dict[str, int | None]:
        """SIGTERM to whoever runs, and wait for the ends; the exit status of each."""
        running = [party for party in self.parties if party.exit is None]
        for party in running:
            party.signal(signal.SIGTERM)
        return {party.name: party.ends() for party in running}

    def site(self, name: str) -> Path:
        """The folder of a site."""
        return self.folder / "sites" / name

    def settle(self, name: str, certificate: Path | None = None) -> None:
        """Write a site's file, with the certificate that it pins."""
        shutil.copy(certificate or self.certificate, self.site(name) / "ca.crt")
        text = SITE.format(
            name=name,
            size=DECLARED,
            epsilon="8.0" if self.plan.is_private else "inf",
            noise=self.plan.privacy.noise,
            digest=self.plan.digest,
            consortium=load_public(self.folder / "consortium.pub").key,
            address=self.relays[name].address,
        )
        (self.site(name) / "site.toml").write_text(text)

    def serve(self, halt: Halt | None = None, **options: object) -> Party:
        """The coordinator. `options` of the command replace the usual ones."""
        usual: dict[str, object] = {
            "roster": self.roster,
            "state": self.state,
            "identity": self.folder / "coordinator",
            "address": f"127.0.0.1:{self.port}",
            "tls-certificate": self.certificate.with_name("server.crt"),
            "tls-key": self.certificate.with_name("server.key"),
        }
        words = [f"--{name.replace('_', '-')}={value}" for name, value in (usual | options).items()]
        plan = str(self.folder / "plan.toml")
        return self._start("serve", ["serve", plan, *words, "--json-log"], halt)

    def join(self, name: str, halt: Halt | None = None) -> Party:
        """A site."""
        words = ["join", str(self.site(name) / "site.toml"), *QUIETLY]
        return self._start(name, words, halt)

    def join_all(self, halts: Mapping[str, Halt] = MappingProxyType({})) -> dict[str, Party]:
        """All sites, some halted."""
        return {name: self.join(name, halts.get(name)) for name in SITES}

    def _start(self, name: str, words: list[str], halt: Halt | None) -> Party:
        home = {"XDG_STATE_HOME": str(self.folder / "home" / name)}  # a machine of its own
        party = self.nursery.start(name, words, self.logs, halt, home)
        self.parties.append(party)
        return party

    def told(self) -> str:
        """All logs, for a test that failed."""
        return "\n".join(party.told() for party in {party.name: party for party in self.parties}.values())

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.state

    @property
    def frames(self) -> bytes:
        """All that the SuperLink was given to carry, in both ways."""
        return (self.logs / "serve.frames").read_bytes()

    def nodes(self) -> dict[str, int]:
        """The node's number of each site, as the SuperLink knows it; under "", how many others it knows."""
        address, token, _ = self._told
        with Link(address, token, "")._control() as control:
            found = control.ListNodes(ListNodesRequest()).nodes_info
        numbers = {node.public_key: node.node_id for node in found}
        keys = {name: node_key(self.site(name) / "keys" / f"{name}.node.key") for name in self.listed}
        return {name: numbers.pop(pem_of(key)) for name, key in keys.items()} | {"": len(numbers)}

    def run_number(self) -> int:
        """The number of the run, as the SuperLink knows it."""
        _, _, number = self._told
        return int(number)

    @property
    def _told(self) -> tuple[str, str, int]:
        address, token, number = json.loads((self.logs / "serve.link").read_text())
        return address, token, number

    def run_id(self) -> str:
        """The run, as the ledgers know it."""
        return next(str(entry.body["run"]) for entry in self.entries(SITES[0]) if entry.kind == "begin")

    def receipts(self) -> tuple[Receipt, ...]:
        """The rounds that are over."""
        return tuple(RunFolder(self.run, self.plan).receipts()) if (self.run / RECEIPTS).exists() else ()

    def params(self) -> Tensor:
        """What the run ended with, as one vector."""
        return load_params(self.run)

    def survivors(self, number: int) -> tuple[str, ...]:
        """Whose sum a round has; AssertionError unless the round is over."""
        (found,) = (receipt.survivors for receipt in self.receipts() if receipt.round == number)
        return found

    def journal(self, name: str) -> Path:
        """A site's ledger."""
        return self.site(name) / "journal.sqlite"

    def export(self, name: str) -> Path:
        """A site's ledger, as its people hand it to the auditor."""
        out = self.folder / f"{name}.jsonl"
        out.unlink(missing_ok=True)
        federation("ledger", "export", self.site(name) / "site.toml", "--out", out)
        return out

    def audited(self) -> Audit:
        """The audit of the run with the ledgers of all sites."""
        return audit(self.run, [self.export(name) for name in SITES])

    def entries(self, name: str) -> tuple[Entry, ...]:
        """What a site's ledger holds."""
        return load_entries(self.journal(name))

    def charged(self, name: str) -> Counter[object]:
        """How often each round was begun in a site's ledger."""
        return Counter(entry.body["round"] for entry in self.entries(name) if entry.kind == "begin")

    def _found(self) -> None:
        """Keys, data and the roster."""
        federation("keys", "new", self.folder, "--id", "consortium")
        federation("keys", "new", self.folder / "coordinator", "--id", "coordinator", "--coordinator")
        self.add(self.folder / "coordinator" / "coordinator.pub")
        for name in self.listed:
            self.found(name)
            self.add(self.site(name) / "keys" / f"{name}.pub")
        self.sign()

    def found(self, name: str) -> None:
        """Make a site's keys, data and file; it is on no roster yet."""
        keys, number = self.site(name) / "keys", [*RECORDS].index(name)
        federation(
            "keys", "new", keys, "--id", name, "--organization", f"hospital {name}", "--size", DECLARED
        )
        rows = rows_of(number, RECORDS[name])
        write_csv(self.site(name) / "train.csv", rows)
        write_csv(self.site(name) / "test.csv", rows[:5])
        self.settle(name)

    def disown(self, name: str) -> None:
        """Give a site another key than the roster has, and leave it its node's."""
        keys = self.site(name) / "keys"
        node = (keys / f"{name}.node.key").read_bytes()
        shutil.rmtree(keys)
        federation(
            "keys", "new", keys, "--id", name, "--organization", f"hospital {name}", "--size", DECLARED
        )
        (keys / f"{name}.node.key").write_bytes(node)

    def add(self, public: Path) -> None:
        """Put a public file on the roster."""
        federation("roster", "add", self.roster, public)

    def sign(self) -> None:
        """Sign the roster."""
        federation("roster", "sign", self.roster, "--key", self.folder / "consortium.key")
