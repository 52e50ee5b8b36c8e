"""Finished runs to audit, and the means to falsify them: with the keys of their sites, or without."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.join import open_site
from federation.audit.examine import audit
from federation.audit.outcome import Audit
from federation.identity.keys import create, load_private, load_public
from federation.identity.roster_file import add_to_roster, sign_roster
from federation.ledger import store as chain
from federation.ledger.export import load_entries
from federation.plan.plan import parse
from federation.round.messages import Frame, Kind
from federation.round.transport import Outgoing
from privacy.ledger import chain as ledger
from privacy.ledger.chain import Entry
from server.run_folder import RunFolder
from server.serve import serve
from simulations.simulate import Engine, simulate
from simulations.world import SEED, InProcess, identity
from tests.worlds import name_coordinator, rows_of, text_of, write_csv, write_sites

ROUNDS = 4
SITES = ("ash", "birch", "cedar")
TEXT = text_of(noise="distributed", rounds=ROUNDS, sample_rate=0.5) + '\n[purpose]\nuse = "find the ill"\n'
EVALUATED = text_of(noise="distributed", rounds=2).replace("[evaluation]", "[evaluation]\nepsilon = 1.0")
Steps = list[tuple[str, dict[str, Any]]]  # kind and body of the entries of a ledger, in order


def finished(folder: Path, engine: Engine, text: str = TEXT, sites: int = 3) -> Path:
    """A run folder that still holds the private keys of its sites."""
    data = write_sites(folder / "sites", sites)
    with patch.object(RunFolder, "close"):
        simulate(parse(text), data, folder / "run", engine=engine, progress=lambda *_: None)
    return folder / "run"


def with_rules(folder: Path, name: str, number: int, text: str, consortium: str = "") -> Path:
    """`folder`/NAME with data, keys and a site.toml whose journal lies beside it; the site file."""
    home = folder / name
    write_csv(home / "train.csv", rows_of(number, 40 + 8 * number))
    create(home / "keys", name, f"Hospital {name}", 30 + 6 * number)
    trusted = f'\n[consortium]\nkeys = ["{consortium}"]\nquorum = 1\n' if consortium else ""
    (home / "site.toml").write_text(
        f"""
        [site]
        id = "{name}"
        keys = "keys"
        journal = "own.sqlite"
        [data]
        source = "train.csv"
        pool = "patients of {name}"
        size = {30 + 6 * number}
        [policy]
        epsilon_max = 9.0
        delta_max = 1e-5
        cohort_minimum = 3
        noise = ["distributed"]
        plans = [{{ digest = "{parse(text).digest}", runs = 2 }}]
        """
        + trusted,
        "utf-8",
    )
    return home / "site.toml"


def served(
    folder: Path, text: str, transport: type[InProcess] = InProcess, names: Sequence[str] = SITES
) -> Path:
    """The folder of a run as `federation serve` leaves it; FOLDER/NAME holds each site and its journal."""
    files = consortium(folder, text, names)
    with ExitStack() as stack:
        sites = {path.parent.name: stack.enter_context(closing(open_site(path))) for path in files}
        carrier = transport({name: site.receive for name, site in sites.items()})
        serve(folder / "plan.toml", folder / "roster.toml", folder / "run", carrier)
    return folder / "run"


def consortium(folder: Path, text: str, names: Sequence[str] = SITES) -> list[Path]:
    """`folder` with plan, signed roster and a folder for each site; the site files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.toml").write_text(text, "utf-8")
    key, _ = create(folder / "consortium", "consortium", "The consortium", 1)
    pinned = load_public(folder / "consortium" / "consortium.pub").key
    files = [with_rules(folder, name, number, text, pinned) for number, name in enumerate(names)]
    for path in files:
        add_to_roster(folder / "roster.toml", load_public(path.parent / "keys" / f"{path.parent.name}.pub"))
    name_coordinator(folder / "roster.toml")
    sign_roster(folder / "roster.toml", load_private(key))
    return files


def lossy() -> Callable[[InProcess, Iterable[Outgoing]], None]:
    """A way to send that loses the broadcast of round 2 to birch after birch has answered it."""
    send = InProcess.send

    def sending(transport: InProcess, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            frame = Frame.from_bytes(message.data)
            send(transport, [message])
            if (frame.kind, frame.round, message.to) == (Kind.BROADCAST, 2, "birch"):
                transport._arrivals.pop()

    return sending


def ids(found: Audit, severity: str | None = None) -> set[str]:
    """The ids of what was found."""
    return {finding.id for finding in found.findings if severity in (None, finding.severity)}


def ids_at(found: Audit, site: str) -> set[str]:
    """What was found at one site."""
    return {finding.id for finding in found.findings if finding.site == site}


def edited_report(run: Path, change: Callable[[dict[str, Any]], object]) -> Audit:
    """The audit after report.json was edited."""
    path = run / "report.json"
    report = json.loads(path.read_text("utf-8"))
    change(report)
    path.write_text(json.dumps(report), "utf-8")
    return audit(run)


@contextmanager
def receipts(run: Path) -> Iterator[list[dict[str, Any]]]:
    """The lines of receipts.jsonl, written back at the end."""
    path = run / "receipts.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    yield lines
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def line_of(run: Path) -> dict[str, Any]:
    """The receipt of the evaluation."""
    lines = (run / "receipts.jsonl").read_text("utf-8").splitlines()
    found: dict[str, Any] = next(line for line in map(json.loads, lines) if "evaluation" in line)
    return found


def journal(run: Path, site: str) -> Path:
    """Where a site's ledger is."""
    return run / "journals" / f"{site}.sqlite"


def key_of(run: Path, site: str) -> Ed25519PrivateKey:
    """A site's own key: a site that cheats has it."""
    return identity((run / "checkpoint" / "keys" / SEED).read_bytes(), site)


def steps_of(run: Path, site: str) -> Steps:
    """What a site's ledger says, without chain and signatures."""
    return [(entry.kind, dict(entry.body)) for entry in load_entries(journal(run, site))]


def rewritten(run: Path, site: str, steps: Steps, key: Ed25519PrivateKey | None = None) -> None:
    """Another history in the place of a site's ledger, chained and signed anew."""
    entries: list[Entry] = []
    for kind, body in steps:
        signer = key or key_of(run, site)
        entries.append(ledger.append(entries[-1] if entries else None, kind, body, signer))
    stored(journal(run, site), entries)


def stored(path: Path, entries: Sequence[Entry]) -> None:
    """A journal that holds these entries."""
    for old in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        old.unlink(missing_ok=True)
    chain.create(path, entries)


def meddled(path: Path, statement: str, values: Sequence[object] = ()) -> None:
    """A journal after one SQL statement."""
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


def changed(steps: Steps, kind: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Steps:
    """The same with the first entry of a kind changed."""
    at = next(index for index, step in enumerate(steps) if step[0] == kind)
    return [*steps[:at], (kind, {**steps[at][1], **change(steps[at][1])}), *steps[at + 1 :]]
