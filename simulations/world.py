"""A server and N sites in one process: the same Site, Coordinator and machines, joined by function calls.

Only the network between them is simulated. A simulated site allows exactly the plan it is shown, unless its folder
holds a `site.toml`: then it obeys that policy and keeps that journal, as in a real run. Its pool is put on record,
too: a journal that is gone is not begun anew, and no second one spends the same budget again.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from torch import Tensor

from clients.approvals import open_journal
from clients.data.folders import SiteFiles, named_for
from clients.data.load import Reading, protected, read_file, with_persons
from clients.data.notes import FileRead
from clients.data.populations import check_pool, claim_pool, fingerprints
from clients.data.split import simulated
from clients.journal.journal import Journal
from clients.journal.layers import layers_folder
from clients.people.leaving_out import people_of, without
from clients.people.listed import list_path, load_list
from clients.policy import Policy, SiteFile, consent, load_site
from clients.rules.origin import Place
from clients.site import Site
from clients.training.isolation import Tally
from clients.training.screening.screen import said_of, try_out, usable
from clients.training.work import Trainer, site_stream
from clients.trust import Trust
from federation.errors import DataError, SiteFileError, TaskError
from federation.files import kept, replace_file
from federation.model.task import Dataset, Task, build_task
from federation.plan.outcomes import Classes, Outcome
from federation.plan.plan import Plan, check_delta
from federation.report.report import Fold
from federation.round.cohort import sample
from federation.round.messages import Member
from federation.round.transport import Arrival, Deadline, Outgoing
from privacy.roster import Entry, Roster, SignedRoster
from privacy.signing import public_identity

Reader = Callable[[Place, Plan, Task], Reading]
Parts = tuple[Dataset, Dataset | None]  # to train on, and to evaluate on

SEED = "sites"  # in the folder of keys
_SEED_BYTES = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parted:
    """One fold of a cross-validation, and what parts a site's records into those to train on and the fold's."""

    fold: Fold
    part: Callable[[str, Dataset], tuple[Dataset, Dataset | None]]


@dataclass(frozen=True)
class World:
    """What the sites of a simulation bring, by site id: all checked, nothing charged yet."""

    plan: Plan
    task: Task
    training: Mapping[str, Dataset]
    held_out: Mapping[str, Dataset]
    rules: Mapping[str, SiteFile]  # of the sites that brought a site.toml
    identities: Mapping[str, Ed25519PrivateKey] = field(repr=False)  # synthetic, or a site.toml's own
    consortium: Ed25519PrivateKey = field(repr=False)
    coordinator: Ed25519PrivateKey = field(repr=False)
    seed: bytes = field(repr=False)  # of all synthetic keys
    files: Mapping[str, tuple[FileRead, ...]] = field(default_factory=dict)  # that were read, by site
    whole: Mapping[str, Parts] = field(default_factory=dict)  # of sites whose people may withdraw: with them

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The sites as they introduce themselves. A simulated one declares the number of records it brings."""
        return tuple(Member(name, self._declared(name)) for name in sorted(self.training))

    @cached_property
    def roster(self) -> SignedRoster:
        """All sites, each an organization of its own, signed by a consortium that is made for the occasion.

        So is the coordinator that it names.
        """
        keys = {name: public_identity(key) for name, key in self.identities.items()}
        entries = tuple(Entry(name, name, keys[name], self._declared(name)) for name in sorted(keys))
        serial = time.time_ns() // 1000  # a journal that outlives this world takes the next one for newer
        named = public_identity(self.coordinator)
        return SignedRoster.by(Roster(serial, entries, coordinator=named), [self.consortium])

    @property
    def simulated(self) -> Sequence[str]:
        """The sites without rules of their own, in order."""
        return tuple(member.site for member in self.members if member.site not in self.rules)

    @property
    def listed(self) -> Sequence[str]:
        """The sites of which files and reports tell one by one."""
        return tuple(self.training)

    @property
    def size(self) -> int:
        """How many sites there are."""
        return len(self.training)

    def labels(self) -> Tensor:
        """The labels of all training records."""
        return torch.cat([data.labels for data in self.training.values()])

    @property
    def outcome(self) -> Outcome:
        """What is predicted: where nobody says so, as many classes as the labels tell apart."""
        return self.task.outcome or Classes(
            1 + max(int(data.labels.max()) for data in self.training.values())
        )

    def _declared(self, name: str) -> int:
        rules = self.rules.get(name)
        return (rules.data.size if rules else None) or protected(self.plan, self.began_with(name)[0])

    def began_with(self, name: str) -> Parts:
        """A site's records, those of people who withdrew among them: what a resumed run has to bring again."""
        return self.whole.get(name) or (self.training[name], self.held_out.get(name))


def read_world(
    plan: Plan,
    files: Sequence[SiteFiles],
    keys: Path | None = None,
    parted: Parted | None = None,
    reader: Reader = read_file,
) -> World:
    """Read every site's data and rules, and refuse all that can be refused before a journal is touched.

    `keys` may hold identities that an earlier process made for the same simulation. Where the records are `parted`,
    test files are left alone, and so is the plan's `holdout`.
    """
    task, seed = build_task(plan), seed_in(keys)
    read = {entry.name: _read(plan, task, entry, parted, reader) for entry in files}
    data = {name: records for name, (records, _) in read.items()}
    rules = {entry.name: own for entry in files if (own := own_rules(entry)) is not None}
    for name, (train, _) in data.items():
        try_out(task, train, plan, (rules[name].data.size if name in rules else None) or len(train))
    data = {name: _usable(plan, task, name, *parts) for name, parts in data.items()}
    for train, _ in data.values():
        check_delta(plan, len(data) if plan.privacy.unit == "client" else protected(plan, train))
    if not (plan.task_is_tally or plan.evaluation.folds is not None):
        require_held_out(test is not None for _, test in data.values())
    whole = {name: data[name] for name, own in rules.items() if own.data.person is not None}
    data |= {name: _without(rules[name], *parts) for name, parts in whole.items()}
    for name, own in rules.items():
        consent(plan, own.policy)
        for file in read[name][1]:  # before a journal is made that would be a second budget
            key = own.identity()
            check_pool(own, key, fingerprints(file.path, plan.patient_column, key))
    world = World(
        plan,
        task,
        training={name: train for name, (train, _) in data.items()},
        held_out={name: test for name, (_, test) in data.items() if test is not None},
        rules=rules,
        identities={name: rules[name].identity() if name in rules else identity(seed, name) for name in data},
        consortium=Ed25519PrivateKey.generate(),
        coordinator=identity(seed, ""),
        seed=seed,
        files={name: found for name, (_, found) in read.items()},
        whole=whole,
    )
    sample(plan, world.members, round_number=1)
    return world


def own_rules(entry: SiteFiles) -> SiteFile | None:
    """The rules that a site brought, if it did. SiteFileError if they are another site's."""
    if entry.site_file is None:
        return None
    own = load_site(entry.site_file)
    if own.id != entry.name:
        message = f"the site file in {entry.name}/ is that of {own.id}"
        raise SiteFileError(message, hint="name the folder as the site")
    return own


def require_held_out(sites: Iterable[bool]) -> None:
    """DataError unless at least one of the sites holds records out."""
    if not any(sites):
        raise DataError("no site holds records out", hint="set evaluation.holdout or add NAME/test.csv")


def keep_identities(world: World, keys: Path) -> None:
    """Store what the keys of simulated sites are derived from, so that a resumed run continues the same ledgers."""
    with kept(keys):
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (keys / SEED).exists():
            replace_file(keys / SEED, world.seed, is_secret=True)


def seed_in(keys: Path | None) -> bytes:
    """What an earlier process left in the folder `keys`, or else a new one."""
    with suppress(FileNotFoundError):
        if keys is not None and len(found := (keys / SEED).read_bytes()) == _SEED_BYTES:
            return found
    return os.urandom(_SEED_BYTES)


def identity(seed: bytes, name: str) -> Ed25519PrivateKey:
    """The key of a simulated site, or of the coordinator (""): one secret for all, whom one process plays."""
    info = b"federation/simulated/identity/1/" + name.encode()
    return Ed25519PrivateKey.from_private_bytes(HKDFExpand(SHA256(), 32, info).derive(seed))


def journal_of(world: World, name: str, journals: Path) -> Path:
    """Where a site's journal is: in its site.toml, or else in the folder `journals`."""
    rules = world.rules.get(name)
    return rules.journal if rules else journals / f"{name}.sqlite"


def open_sites(
    world: World, journals: Path, names: Collection[str] | None = None, layers: Path | None = None
) -> dict[str, Site]:
    """The sites, each with its journal open: its own if it brought a site.toml, else one in `journals`.

    Those of these `names`; by default all. `layers`: where simulated sites keep layers for themselves.
    """
    asked = world.members if names is None else [one for one in world.members if one.site in names]
    return {
        member.site: _site(world, member, journals, None if layers is None else layers / member.site)
        for member in asked
    }


def records_of(plan: Plan, task: Task, entry: SiteFiles) -> tuple[Dataset, Dataset | None]:
    """What a site of a world trains on, and what it holds out."""
    return _usable(plan, task, entry.name, *_read(plan, task, entry, None, read_file)[0])


def _read(
    plan: Plan, task: Task, entry: SiteFiles, parted: Parted | None, read: Reader
) -> tuple[tuple[Dataset, Dataset | None], tuple[FileRead, ...]]:
    """A site's records to train on and to evaluate on, and the files that they are from."""
    (source, held_out), person = entry.places(), entry.person

    def owned(place: Place) -> Reading:
        with named_for(entry):
            reading = read(place, plan, task)
        return reading if person is None else replace(reading, data=with_persons(reading, person, plan))

    everything = owned(source)
    if parted is not None:
        return parted.part(entry.name, everything.data), (everything.file,)
    if held_out is not None:
        test = owned(held_out)
        return (everything.data, test.data), (everything.file, test.file)
    return simulated(everything.data, plan, task.outcome), (everything.file,)


def _usable(
    plan: Plan, task: Task, name: str, train: Dataset, test: Dataset | None
) -> tuple[Dataset, Dataset | None]:
    """Without the records on which the task's code raises, which is said: in a simulation this is no secret."""
    tally = Tally()
    train = usable(task, train, plan, tally, each_alone=False)
    if len(train) == 0:
        hint = "try it on one of them"
        raise TaskError(f"{task.name}: the task's code raises on every record of {name}", hint=hint)
    if test is not None:
        test = usable(task, test, plan, tally, each_alone=False)
    if tally.raised:
        _log.warning("%s", said_of(name, tally.raised))
    return train.renumbered(), None if test is None or len(test) == 0 else test.renumbered()


def _without(rules: SiteFile, train: Dataset, test: Dataset | None) -> Parts:
    """Without the records of those who withdrew before this run began, or goes on."""
    path = list_path(rules)
    if not path.exists():
        return train, test  # made, or missed, when the site is opened
    known = load_list(path)
    held_out = None if test is None else without(test, known)
    return without(train, known), held_out if held_out is None or len(held_out) else None


def _site(world: World, member: Member, journals: Path, layers: Path | None) -> Site:
    plan, name, rules = world.plan, member.site, world.rules.get(member.site)
    path = journal_of(world, name, journals)
    path.parent.mkdir(parents=True, exist_ok=True)
    key = world.identities[name]
    policy = rules.policy if rules else Policy.for_plan(plan)
    # The server dies with this site, and asks for the last round again when both are back.
    if rules:
        check_pool(rules, key)  # as it was read, the journal may have been there
        journal = open_journal(rules, keeps_last=True)
        for file in world.files[name]:
            claim_pool(rules, key, fingerprints(file.path, plan.patient_column, key))
    else:
        journal = Journal.open(path, site=name, pool=name, key=key, simulated=True)
    stream, held_out = partial(site_stream, plan, name), world.held_out.get(name)
    trainer = Trainer(world.task, world.training[name], stream, held_out)
    people = people_of(rules, journal) if rules else None
    pinned = frozenset({public_identity(world.consortium)})
    trust = Trust(pinned, quorum=1, serial=0, identity=key)
    if people is None:
        return Site(member, trust, lambda: policy, journal, load=lambda _: trainer, layers=layers)
    taken, own = people.taken, layers_folder(path)
    return Site(member, trust, lambda: policy, journal, lambda _: taken(trainer), people=people, layers=own)


class InProcess:
    """A transport that calls each site at once. Nothing is lost and nothing is late."""

    def __init__(self, sites: Mapping[str, Callable[[bytes], bytes]]) -> None:
        self._sites = dict(sites)
        self._arrivals: deque[Arrival] = deque()

    def addresses(self) -> tuple[str, ...]:
        """The site ids."""
        return tuple(self._sites)

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Have each site answer."""
        for message in messages:
            self._arrivals.append(Arrival(message.to, self._sites[message.to](message.data)))

    def next(self, timeout: float) -> Arrival | Deadline:  # noqa: ARG002 - no site here is ever late
        """The oldest answer not yet read."""
        return self._arrivals.popleft() if self._arrivals else Deadline()


class InTurn(InProcess):
    """The same, but that a site is called when its answer is read, or before anything more is sent.

    So the answers of a large model are there one at a time. Whoever was sent anything answers it: at the latest
    before the end of the run is sent.
    """

    def __init__(self, sites: Mapping[str, Callable[[bytes], bytes]]) -> None:
        super().__init__(sites)
        self._waiting = deque[Outgoing]()

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Have each site answer, a little later."""
        while self._waiting:
            super().send([self._waiting.popleft()])
        self._waiting.extend(messages)

    def next(self, timeout: float) -> Arrival | Deadline:
        """The oldest answer not yet read."""
        while not self._arrivals and self._waiting:  # one that is lost has no answer: the next is read
            super().send([self._waiting.popleft()])
        return super().next(timeout)
