"""From a site file to a Site that can answer: what a hospital's own process does when it starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from clients.data import read_data, split
from clients.policy import SiteFile, load_site
from clients.release import Trainer, site_stream
from clients.service import serve_until_signal
from clients.site import Site
from clients.trust import Trust
from federation.errors import FederationError, PlanError
from federation.identities import load_private
from federation.journal import Journal
from federation.messages import Member
from federation.plan import Plan, check_delta
from federation.task import build_task
from privacy.errors import PrivacyError


def open_site(path: Path) -> Site:
    """The site of a site file, its journal open. Data is read when a plan has been consented to, not before."""
    rules = load_site(path)
    if rules.data.size is None:
        hint = (
            "declare in public about how many records you bring, such as size = 300; do not count them here"
        )
        raise PlanError("is missing", hint=hint, path=path, key="data.size")
    if rules.consortium is None:
        hint = "add the table: keys of the consortium that may sign a roster, and the quorum of them"
        raise PlanError("is missing", hint=hint, path=path, key="consortium")
    trust = Trust(
        pinned=frozenset(bytes.fromhex(key) for key in rules.consortium.keys),
        quorum=rules.consortium.quorum,
        serial=rules.consortium.serial,
        identity=load_private(rules.keys / f"{rules.id}.key"),
    )
    journal = Journal.open(rules.journal, site=rules.id, pool=rules.data.pool)
    member = Member(rules.id, rules.data.size)
    return Site(member, trust, rules.policy, journal, load=partial(load_trainer, rules, path.parent))


def attend(path: Path, socket: Path | None, tell: Callable[[str], None]) -> None:
    """Be the site of a site file until SIGTERM or SIGINT: answer what Flower's ClientApp forwards.

    `tell` gets lines for the people at the site, among them why something was refused: that is not sent.
    """
    place = (socket or path.parent / "socket" / "site").absolute()
    with closing(open_site(path)) as site:

        def receive(data: bytes) -> bytes:
            before = site.last_error
            reply = site.receive(data)
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


def load_trainer(rules: SiteFile, folder: Path, plan: Plan) -> Trainer:
    """The site's data as the plan's task reads them. DataError names row and column."""
    task = build_task(plan)
    data, _ = split(
        read_data(folder / rules.data.source, plan, task), plan.evaluation.holdout, plan.federation.seed
    )
    if plan.privacy.unit == "record":  # how many clients there are is not a site's to know
        check_delta(plan, len(data))
    return Trainer(task, data, partial(site_stream, plan, rules.id))
