"""Every decoder of the five packages: found by looking at the modules themselves, and what each may answer with.

A decoder is a public function or method whose name says so (`NAME`, `ALSO`). Who adds one adds it to `samples.py`,
or says in `EXEMPT` where else it is tried.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from privacy.errors import MalformedMessage

PACKAGES = ("privacy", "federation", "clients", "server", "simulations")
NAME = re.compile(
    r"^(\w+_)?from_(bytes|text|json|canonical|record)$|^parsed?$|^(load|read)(_\w+)?$|^kind_of$"
)
ALSO = {"heads_from", "closing_digest", "abort_reason"}


@dataclass(frozen=True)
class Decoder:
    """`decode` takes bytes; `encode`, where there is one form only, gives back those that were decoded."""

    decode: Callable[[bytes], object]
    samples: Sequence[bytes]
    errors: type[Exception] | tuple[type[Exception], ...] = MalformedMessage
    encode: Callable[[Any], bytes] | None = None


def found() -> set[str]:
    """The names of all decoders there are, as "module.Class.name" or "module.name"."""
    names = set()
    for package in PACKAGES:
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                names |= {f"{module.name}.{name}" for name in _decoders(import_module(module.name))}
    return names


def _decoders(module: object) -> Iterator[str]:
    here = {
        name: each
        for name, each in vars(module).items()
        if getattr(each, "__module__", None) == getattr(module, "__name__", "") and not name.startswith("_")
    }
    for name, each in here.items():
        if inspect.isfunction(each) and _is_decoder(name):
            yield name
        elif inspect.isclass(each):
            inherited = {"from_bytes"} if inspect.ismethod(getattr(each, "from_bytes", None)) else set()
            own = {member for member in vars(each) if _is_decoder(member)}
            yield from (f"{name}.{member}" for member in inherited | own)


def _is_decoder(name: str) -> bool:
    return bool(NAME.match(name)) or name in ALSO


OWN_DATA = "a site's own data, which nobody else writes: tests/clients/data"
SAME = "opens a file that is read here under another name"
NO_BYTES = "takes values, no bytes"
EXEMPT = {
    "clients.rules.form.load_reading": OWN_DATA,
    "clients.data.sources.numerals.parsed": OWN_DATA,
    "federation.plan.columns.dates.Form.read": OWN_DATA,
    "clients.data.sources.columnar.read_columnar": OWN_DATA,
    "clients.data.sources.delimited.csv_table.read_csv": OWN_DATA,
    "clients.data.sources.delimited.swallowed.kind_of": NO_BYTES,
    "clients.data.sources.excel.read_excel": OWN_DATA,
    "clients.data.sources.opened.read_bytes": OWN_DATA,
    "clients.data.sources.postgresql.read_postgresql": OWN_DATA,
    "clients.data.sources.reading.parsed": OWN_DATA,
    "clients.data.sources.reading.read": OWN_DATA,
    "clients.data.sources.sqlite.read_ndjson": OWN_DATA,
    "clients.data.sources.sqlite.read_sqlite": OWN_DATA,
    "clients.data.load.read_csv": OWN_DATA,
    "clients.data.load.read_data": OWN_DATA,
    "clients.data.load.read_file": OWN_DATA,
    "clients.data.load.read_table": OWN_DATA,
    "clients.data.images.dicom.read_dicom": "needs an extra: tests/clients/data/images/test_dicom.py",
    "clients.door.wire.read": "a socket: tests/clients/door/test_service.py",
    "clients.join.load_trainer": OWN_DATA,
    "federation.identity.keys.load_password": "a file of the site's own: tests/clients/rules/test_data.py",
    "federation.identity.keys.read_secret": SAME,
    "federation.identity.roles.load_coordinator": SAME,
    "federation.ledger.store.read": "rows of a database: through load_entries",
    "federation.model.params.Layout.load": NO_BYTES,
    "federation.plan.plan.kind_of": NO_BYTES,
    "federation.plan.plan.load": SAME,
    "federation.report.parts.Part.from_json": "through read_report",
    "federation.round.flower.from_record": "tests/federation/round/test_flower.py: Flower has decoded it",
    "privacy.accounting.filters.Filter.load": NO_BYTES,
    "privacy.ledger.limits.Term.load": NO_BYTES,
    "privacy.roster.SignedRoster.read": NO_BYTES,
    "privacy.wire.Stored.read": "bytes of a file as they are: tests/privacy/secagg/test_stored.py",
    "simulations.ray.worker.load_app": "takes nothing: hands Flower the app of a worker",
    "simulations.sweeping.axes.Key.read": "a number of the command line: tests/simulations/sweeping",
    "simulations.tradeoff.trials.Once.read": OWN_DATA,
    "simulations.virtual.population.Population.load": "makes records, decodes none: a user's own code",
    "simulations.world.read_world": SAME,
}


def binary(message: type[Any], samples: Sequence[bytes]) -> Decoder:
    """Of a class with from_bytes and to_bytes."""
    return Decoder(message.from_bytes, samples, encode=lambda value: value.to_bytes())


class Files:
    """Decoders of files, at one path that each input is written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(
        self, name: str, read: Callable[[Path], object], samples: Sequence[bytes], *errors: type[Exception]
    ) -> Decoder:
        path = self.folder / name
        path.touch(mode=0o600)

        def decode(data: bytes) -> object:
            path.write_bytes(data)
            return read(path)

        return Decoder(decode, samples, errors)
