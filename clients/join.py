"""Joining: opens the site of a site file and answers the server, in the hospital's own process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from clients.approvals import open_journal
from clients.data.load import site_data
from clients.data.notes import tell_of
from clients.data.populations import check_pool, claim_pool, fingerprints
from clients.policy import SiteFile, data_files, load_site, require_complete
from clients.service import serve_until_signal
from clients.site import Site
from clients.timing import padded
from clients.training.work import Trainer, site_stream
from clients.trust import Trust
from federation.errors import FederationError
from federation.identity.keys import exposure_of
from federation.model.task import build_task
from federation.plan.plan import Plan
from federation.round.messages import Member
from privacy.errors import PrivacyError


def _untold(_: str) -> None:
    """Where nobody listens."""


def open_site(path: Path, tell: Callable[[str], None] = _untold) -> Site:
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
        load=partial(load_trainer, rules, path.parent, tell=tell),
        is_timed=True,
    )


def attend(path: Path, socket: Path | None, tell: Callable[[str], None]) -> None:
    """Be the site of a site file until SIGTERM or SIGINT: answer what Flower's ClientApp forwards.

    `tell` gets lines for the people at the site, among them why something was refused: that is not sent.
    """
    place = (socket or path.parent / "socket" / "site").absolute()
    if exposed := exposure_of(load_site(path).key_file):
        tell(f"warning: {exposed}")
    with closing(open_site(path, tell)) as site:
        answer = padded(site.receive, lambda: site.pace)

        def receive(data: bytes) -> bytes:
            before = site.last_error
            reply = answer(data)
            if site.last_error is not None and site.last_error is not before:
                tell(_said(site.last_error))
            return reply

        def ready() -> None:
            tell(f"site {site.member.site} answers at {place}")
            tell(f"now start: {_supernode(load_site(path), path.parent, place)}")

        serve_until_signal(receive, place, ready)


def _said(error: Exception) -> str:
    """Our own errors show no data; of others only the kind is told."""
    ours = isinstance(error, FederationError | PrivacyError)
    return f"refused: {error}" if ours else f"refused: unexpected {type(error).__name__}"


def _supernode(rules: SiteFile, folder: Path, socket: Path) -> str:
    """The command that connects Flower to this site."""
    config = f"--node-config 'socket=\"{socket}\"'"
    if rules.server is None:
        return f"flower-supernode --superlink ADDRESS --root-certificates FILE {config}"
    certificate = (folder / rules.server.certificate).absolute()
    return f"flower-supernode --superlink {rules.server.address} --root-certificates {certificate} {config}"


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
