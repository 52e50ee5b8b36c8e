"""Three hospitals that know whose each record is, by a column of their own, and runs over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from clients.join import open_site
from clients.people.asking import Told, withdraw
from clients.site import Site
from federation.identity.keys import create, load_private, load_public
from federation.identity.roster_file import add_to_roster, sign_roster
from federation.ledger.export import load_entries
from federation.plan.plan import Plan
from federation.round.messages import Frame
from federation.round.transport import Outgoing
from privacy.ledger.chain import Entry
from simulations.world import InProcess
from tests.worlds import NAMES, name_coordinator, rows_of

THREE = NAMES[:3]
SIZES = {name: 30 + 6 * number for number, name in enumerate(THREE)}
BARE: Mapping[str, object] = {"holdout": None, "metrics": None}
NOISED: Mapping[str, object] = {
    **BARE,
    "noise": "distributed",
    "epsilon": 8.0,
    "delta": 1e-3,
    "clipping_norm": 0.5,
    "sample_rate": 1.0,  # closed form: calibrated in no time
    "colluders": 0,
    "dropouts": 0,
}
SITE = """\
[site]
id = "{name}"
keys = "keys"
journal = "{name}.sqlite"
[data]
source = "{name}.csv"
pool = "{name}"
size = {size}
person = "mrn"
[policy]
epsilon_max = {most}
delta_max = 1e-3
cohort_minimum = 3
colluders_minimum = 0
noise = ["{noise}"]
plans = [{{ digest = "{digest}", runs = 3 }}]
[consortium]
keys = ["{pinned}"]
quorum = 1
"""


def people_of_rows(count: int) -> list[str]:
    """The id of each row: every other person has two."""
    return [f"P{number - number % 3 // 2:04d}" for number in range(count)]


def write_table(path: Path, rows: Sequence[Sequence[str]], people: Sequence[str]) -> None:
    """Rows under the plan's header, and whose each is."""
    lines = [",".join((*row, who)) for row, who in zip(rows, people, strict=True)]
    path.write_text("\n".join(["age,dose,ward,sick,mrn", *lines, ""]), "utf-8")


def build(folder: Path, plan: Plan, text: str = SITE) -> Path:
    """The hospitals' files, and their roster, signed; the path of the roster."""
    folder.mkdir(parents=True, exist_ok=True)
    consortium, _ = create(folder / "consortium", "consortium", "The consortium", 1)
    pinned = load_public(folder / "consortium" / "consortium.pub").key
    roster, noise = folder / "roster.toml", plan.privacy.noise
    for number, (name, size) in enumerate(SIZES.items()):
        create(folder / "keys", name, f"Hospital {name}", size)
        add_to_roster(roster, load_public(folder / "keys" / f"{name}.pub"))
        count = 40 + 8 * number
        write_table(folder / f"{name}.csv", rows_of(number, count), people_of_rows(count))
        most = "inf" if noise == "none" else "40.0"
        filled = text.format(name=name, size=size, most=most, noise=noise, digest=plan.digest, pinned=pinned)
        (folder / f"{name}.toml").write_text(filled)
    name_coordinator(roster)
    sign_roster(roster, load_private(consortium))
    return roster


@contextmanager
def staffed(folder: Path) -> Iterator[dict[str, Site]]:
    """The hospitals' sites, open."""
    sites = {name: open_site(folder / f"{name}.toml") for name in THREE}
    try:
        yield sites
    finally:
        for site in sites.values():
            site.close()


class Heard(InProcess):
    """A network that notes how long each reply of the first site is, and is cut after so many batches of requests.

    `between` is done once, when `after` batches are through.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        after: int = -1,
        between: Callable[[], object] = lambda: None,
        until: int = 10**9,
    ) -> None:
        self.sizes: list[tuple[str, int]] = []
        self._sent, self._after, self._between, self._until = 0, after, between, until
        first, *_ = sites

        def receive(data: bytes) -> bytes:
            reply = sites[first].receive(data)
            self.sizes.append((Frame.from_bytes(reply).kind.name, len(reply)))
            return reply

        super().__init__({name: site.receive for name, site in sites.items()} | {first: receive})

    def send(self, messages: Iterable[Outgoing]) -> None:
        if self._sent == self._until:
            raise KeyboardInterrupt
        if self._sent == self._after:
            self._between()
        self._sent += 1
        super().send(messages)


def gone(folder: Path, *ids: str, name: str = THREE[0], **how: bool) -> Told:
    """These people withdraw from a hospital."""
    return withdraw(folder / f"{name}.toml", ids, "2026-11-29", **how)


def entries_of(folder: Path, name: str = THREE[0]) -> tuple[Entry, ...]:
    """What a hospital's ledger holds."""
    return load_entries(folder / f"{name}.sqlite")


def said_in(entries: Iterable[Entry]) -> list[str]:
    """What the releases say of those who withdrew."""
    return [str(entry.body["withdrawn"]) for entry in entries if entry.kind == "release"]
