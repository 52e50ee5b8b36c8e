"""Joining: opens the site of a site file and answers the server, in the hospital's own process."""

from __future__ import annotations

import shlex
from contextlib import closing
from functools import partial
from pathlib import Path

from clients.approvals import open_journal
from clients.data.load import site_data
from clients.data.populations import check_pool, claim_pool, fingerprints
from clients.journal.lock import alone
from clients.policy import SiteFile, data_files, load_site, require_complete
from clients.service import serve_until_signal
from clients.site import Site
from clients.timing import padded
from clients.training.work import Trainer, site_stream
from clients.trust import Trust
from federation.log import note
from federation.model.task import build_task
from federation.plan.plan import Plan
from federation.round.messages import Member


def open_site(path: Path) -> Site:
    """The site of a site file, its journal open. Data is read when a plan has been consented to, not before."""
    rules = load_site(path)
    consortium = require_complete(rules, path)
    pinned = frozenset(map(bytes.fromhex, consortium.keys))
    trust = Trust(pinned, consortium.quorum, consortium.serial, rules.identity())
    check_pool(rules, trust.identity)  # before a journal is made that would be a second budget
    return Site(
        member=Member(rules.id, rules.data.size or 0),
        trust=trust,
        policy=lambda: load_site(path).policy,
        journal=open_journal(rules),
        load=partial(load_trainer, rules, path.parent),
        is_timed=True,
    )


def attend(path: Path, socket: Path | None) -> None:
    """Be the site of a site file until SIGTERM or SIGINT: answer what Flower's ClientApp forwards.

    The log has lines for the people at the site, among them why something was refused: that is not sent.
    SiteRunning while another process is this site.
    """
    place = (socket or path.parent / "socket" / "site").absolute()
    rules = load_site(path)
    with alone(rules.journal), closing(open_site(path)) as site:
        name = site.member.site

        def ready() -> None:
            note("ready", site=name, socket=str(place))
            note("waiting", site=name, command=_supernode(rules, path.parent, place))

        serve_until_signal(padded(site.receive, lambda: site.pace), place, ready)
        note("stopped", site=name)


def _supernode(rules: SiteFile, folder: Path, socket: Path) -> str:
    """The command that connects Flower to this site."""
    address, certificate = "ADDRESS", "FILE"
    if rules.server is not None:
        address = shlex.quote(rules.server.address)
        certificate = shlex.quote(str((folder / rules.server.certificate).absolute()))
    config = shlex.quote(f'socket="{socket}"')
    return f"flower-supernode --superlink {address} --root-certificates {certificate} --node-config {config}"


def load_trainer(rules: SiteFile, folder: Path, plan: Plan) -> Trainer:
    """The site's data as the plan's task reads them, claimed for its pool. DataError names row and column."""
    task, source, test = build_task(plan), *data_files(rules, folder)
    training, held_out = site_data(source, test, plan, task, rules.policy)
    key = rules.identity()
    for path in (source, test):
        if path is not None:
            claim_pool(rules, key, fingerprints(path, plan.patient_column, key))
    return Trainer(task, training, partial(site_stream, plan, rules.id), held_out)
