"""Joining: opens the site of a site file, connects to the coordinator and answers it, in one process."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from clients.approvals import open_journal
from clients.board.board import Board
from clients.data.load import site_data
from clients.data.notes import tell_of
from clients.data.populations import begin_registry, check_pool, claim_pool, fingerprints, known_ledgers
from clients.data.readable import require_readable
from clients.door.callers import Callers
from clients.door.service import serve_until_signal
from clients.greeting.greetings import Greetings
from clients.journal.layers import layers_folder
from clients.journal.lock import alone
from clients.journal.restored import RestoreMemory
from clients.node.fleet import Fleet
from clients.node.line import Line, Place
from clients.node.node import Node
from clients.node.proxy import proxy_for
from clients.node.stopping import until_signal
from clients.people.leaving_out import people_of
from clients.policy import SiteFile, data_files, data_paths, load_site, require_complete
from clients.rehearsing.understudy import Understudy
from clients.site import Site
from clients.timing import padded
from clients.training.places import Place as ComputingPlace
from clients.training.places import place_of as computing_at
from clients.training.work import Trainer, site_stream
from clients.trust import RosterMemory, Trust
from federation.errors import DataError, InputError, SiteFileError
from federation.identity.roles import load_node
from federation.log import note, warn
from federation.model.task import build_task
from federation.plan.plan import Plan
from federation.plan.tabular import CODE
from federation.round.messages import Member


def untold(_: str) -> None:
    """Where nobody listens."""


def open_site(path: Path, tell: Callable[[str], None] = untold) -> Site:
    """The site of a site file, its journal open. Data is read when a plan has been consented to, not before."""
    rules = load_site(path)
    consortium = require_complete(rules, path)
    pinned = frozenset(map(bytes.fromhex, consortium.keys))
    memory = RosterMemory(rules.rosters_file)
    coordinator = bytes.fromhex((rules.server.coordinator_key if rules.server else None) or "")
    trust = Trust(pinned, consortium.quorum, consortium.serial, rules.identity(), memory, coordinator)
    check_pool(rules, trust.identity)  # before a journal is made that would be a second budget
    begin_registry(rules)  # so that one that is missing later was taken away
    journal, member = open_journal(rules), Member(rules.id, rules.data.size or 0)
    RestoreMemory(rules.restores_file).settle(*journal.reach())
    people = people_of(rules, journal)

    def load(plan: Plan) -> Trainer:
        return people.taken(load_trainer(rules, path.parent, plan, tell))

    return Site(
        member=member,
        trust=trust,
        policy=lambda: load_site(path).policy,
        journal=journal,
        load=load,
        greetings=Greetings(rules.greetings_file),
        ledgers=partial(known_ledgers, rules, trust.identity),
        understudy=Understudy(
            member, trust, lambda: load_site(path).policy, Site, encoders=rules.data.folders(path.parent)
        ),
        is_timed=True,
        people=people,
        layers=layers_folder(rules.journal),
    )


def attend(
    path: Path,
    socket: Path | None,
    tell: Callable[[str], None] = untold,
    *,
    same_user: bool = False,
    board: Board | None = None,
) -> None:
    """Be the site of a site file until SIGTERM or SIGINT: a node of the coordinator's SuperLink.

    With a `socket` another program is that node, flower-supernode, whose ClientApp forwards messages to the socket.
    `same_user`: it may run as this very user, whose data and keys the code that it runs could then read.
    `tell` gets what a file holds, for a terminal and nothing else. The log has lines for the people at the
    site, among them why something was refused: that is not sent. SiteRunning while another process is this
    site; DataError for files that no plan of tables could use, before anything else happens.
    """
    rules = load_site(path)
    require_usable(rules, path.parent)
    place_for(rules, path)
    board = board or Board(rules.id)
    if socket is None:
        if same_user:
            hint = "leave it out: no code of others runs here; or name the socket: --socket PATH"
            raise InputError("--same-user is about flower-supernode, which --socket serves", hint=hint)
        _as_node(rules, path, tell, board)
    else:
        _behind_socket(rules, path, socket.absolute(), tell, board, same_user=same_user)


def require_usable(rules: SiteFile, folder: Path) -> None:
    """DataError for files of a site that no plan which it may consent to could use."""
    has_own_code = any(CODE.fullmatch(task) for task in rules.policy.tasks)
    require_readable(data_files(rules, folder), is_for_own_code=has_own_code)


def _as_node(rules: SiteFile, path: Path, tell: Callable[[str], None], board: Board) -> None:
    """Connect to the coordinator, and answer it."""
    place = place_of(rules, path)
    key = load_node(rules.node_file)
    with alone(rules.journal), closing(open_site(path, tell)) as site, closing(Line(place)) as line:
        name = site.member.site
        receive = padded(site.receive, lambda: site.pace)
        node = Node(name, Fleet(line, key), place, receive, lambda: site.largest, board)
        until_signal(node, lambda: note("ready", site=name))
        note("stopped", site=name)


def place_of(rules: SiteFile, path: Path) -> Place:
    """Where the coordinator is, by the site file at `path`, and the proxy before it, by the environment.

    SiteFileError without a `[server]`; InputError for a proxy that cannot be used.
    """
    server = rules.server
    if server is None:
        hint = "add the table: address and certificate of the coordinator; or use flower-supernode: --socket PATH"
        raise SiteFileError("is missing", hint=hint, path=path, key="server")
    authority = None if server.proxy_ca is None else path.parent / server.proxy_ca
    return Place(server.address, path.parent / server.certificate, proxy_for(server.address), authority)


def _behind_socket(
    rules: SiteFile,
    path: Path,
    place: Path,
    tell: Callable[[str], None],
    board: Board,
    *,
    same_user: bool,
) -> None:
    """Answer what Flower's ClientApp forwards to the socket."""
    callers = callers_of(rules, path, same_user=same_user)
    with alone(rules.journal), closing(open_site(path, tell)) as site:
        name = site.member.site

        def ready() -> None:
            note("ready", site=name, socket=str(place))
            if same_user:
                warn("warning", site=name, detail="--same-user: code that Flower runs can read data and keys")
            note("waiting", site=name, command=_supernode(rules, path.parent, place))

        receive = board.counted(padded(site.receive, lambda: site.pace))
        serve_until_signal(receive, place, callers, ready, lambda: site.largest)
        note("stopped", site=name)


def callers_of(rules: SiteFile, path: Path, *, same_user: bool) -> Callers:
    """Who may call at the socket of the site file at `path`.

    SiteFileError if that is nobody but the site's own user; DataError if whoever it is can read the records.
    """
    server = rules.server
    user, group = (server.flower_user, server.socket_group) if server is not None else (None, None)
    callers = Callers.named(user, group, same_user=same_user)
    if same_user:
        return callers
    if not callers.are_others:
        raise SiteFileError(
            "is missing: Flower runs code of others as the user that started it, and as this site's user that "
            "code could read its data and keys",
            hint='name the user that runs flower-supernode, flower_user = "flwr", or accept that with --same-user',
            path=path,
            key="server.flower_user",
        )
    for file in data_paths(rules, path.parent):
        if callers.can_read(file):
            raise DataError(
                f"{file}: can be read by the user that runs Flower, and so by code of others",
                hint=f"chmod 600 {shlex.quote(str(file))}",
            )
    return callers


def _supernode(rules: SiteFile, folder: Path, socket: Path) -> str:
    """The command that connects Flower to this site."""
    address, certificate, sudo = "ADDRESS", "FILE", ""
    if rules.server is not None:
        sudo = f"sudo -u {rules.server.flower_user} " if rules.server.flower_user is not None else ""
        address = shlex.quote(rules.server.address)
        certificate = shlex.quote(str((folder / rules.server.certificate).absolute()))
    config = shlex.quote(f'socket="{socket}"')
    options = f"--superlink {address} --root-certificates {certificate} --node-config {config}"
    return f"{sudo}flower-supernode {options}"


def load_trainer(rules: SiteFile, folder: Path, plan: Plan, tell: Callable[[str], None] = untold) -> Trainer:
    """The site's data as the plan's task reads them, claimed for its pool. DataError names row and column.

    `tell` gets how much was read of each file, and what looks odd. Records of people who withdrew are claimed, too:
    what was charged for them stays charged.
    """
    task, source, test = build_task(plan), *data_files(rules, folder)
    records = site_data(source, test, plan, task, rules.policy, rules.data.person)
    for read in records.files:
        tell_of(read, tell)
    key = rules.identity()
    for table in records.tables:
        claim_pool(rules, key, fingerprints(table, plan.patient_column, key))
    place = place_for(rules, repeatable=not plan.is_private)
    streams = partial(site_stream, plan, rules.id)
    return Trainer(task, records.training, streams, records.held_out, place=place)


def place_for(rules: SiteFile, path: Path | None = None, *, repeatable: bool = False) -> ComputingPlace:
    """Where the site computes gradients. SiteFileError for a device that is not there."""
    try:
        return computing_at(rules.device, repeatable=repeatable)
    except InputError as error:
        reason, hint = str(error.args[0]), error.hint
        raise SiteFileError(
            reason, hint=hint, path=path, key="site.device", value=f'"{rules.device}"'
        ) from None
