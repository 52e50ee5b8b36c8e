"""Joining: opens the site of a site file and answers the server, in the hospital's own process."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from clients.approvals import open_journal
from clients.data.load import site_data
from clients.data.notes import tell_of
from clients.data.populations import begin_registry, check_pool, claim_pool, fingerprints
from clients.journal.lock import alone
from clients.journal.restored import RestoreMemory
from clients.policy import SiteFile, data_files, load_site, require_complete
from clients.service import serve_until_signal
from clients.site import Site
from clients.timing import padded
from clients.training.work import Trainer, site_stream
from clients.trust import RosterMemory, Trust
from federation.log import note
from federation.model.task import build_task
from federation.plan.plan import Plan
from federation.round.messages import Member


def _untold(_: str) -> None:
    """Where nobody listens."""


def open_site(path: Path, tell: Callable[[str], None] = _untold) -> Site:
    """The site of a site file, its journal open. Data is read when a plan has been consented to, not before."""
    rules = load_site(path)
    consortium = require_complete(rules, path)
    pinned = frozenset(map(bytes.fromhex, consortium.keys))
    memory = RosterMemory(rules.rosters_file)
    trust = Trust(pinned, consortium.quorum, consortium.serial, rules.identity(), memory)
    check_pool(rules, trust.identity)  # before a journal is made that would be a second budget
    begin_registry(rules)  # so that one that is missing later was taken away
    journal = open_journal(rules)
    RestoreMemory(rules.restores_file).settle(*journal.reach())
    return Site(
        member=Member(rules.id, rules.data.size or 0),
        trust=trust,
        policy=lambda: load_site(path).policy,
        journal=journal,
        load=partial(load_trainer, rules, path.parent, tell=tell),
        is_timed=True,
    )


def attend(path: Path, socket: Path | None, tell: Callable[[str], None] = _untold) -> None:
    """Be the site of a site file until SIGTERM or SIGINT: answer what Flower's ClientApp forwards.

    `tell` gets what a file holds, for a terminal and nothing else. The log has lines for the people at the
    site, among them why something was refused: that is not sent. SiteRunning while another process is this
    site.
    """
    place = (socket or path.parent / "socket" / "site").absolute()
    rules = load_site(path)
    with alone(rules.journal), closing(open_site(path, tell)) as site:
        name = site.member.site

        def ready() -> None:
            note("ready", site=name, socket=str(place))
            note("waiting", site=name, command=_supernode(rules, path.parent, place))

        serve_until_signal(padded(site.receive, lambda: site.pace), place, ready, lambda: site.largest)
        note("stopped", site=name)


def _supernode(rules: SiteFile, folder: Path, socket: Path) -> str:
    """The command that connects Flower to this site."""
    address, certificate = "ADDRESS", "FILE"
    if rules.server is not None:
        address = shlex.quote(rules.server.address)
        certificate = shlex.quote(str((folder / rules.server.certificate).absolute()))
    config = shlex.quote(f'socket="{socket}"')
    return f"flower-supernode --superlink {address} --root-certificates {certificate} --node-config {config}"


def load_trainer(rules: SiteFile, folder: Path, plan: Plan, tell: Callable[[str], None] = _untold) -> Trainer:
    """The site's data as the plan's task reads them, claimed for its pool. DataError names row and column.

    `tell` gets how much was read of each file, and what looks odd.
    """
    task, source, test = build_task(plan), *data_files(rules, folder)
    records = site_data(source, test, plan, task, rules.policy)
    for read in records.files:
        tell_of(read, tell)
    key = rules.identity()
    for path in (source, test):
        if path is not None:
            claim_pool(rules, key, fingerprints(path, plan.patient_column, key))
    return Trainer(task, records.training, partial(site_stream, plan, rules.id), records.held_out)
