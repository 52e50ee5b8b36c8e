"""`federation serve`: a SuperLink of our own, the sites of a roster, and one run after the other over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from federation.errors import InputError, RosterError
from federation.files import alone_in
from federation.identity.roles import load_coordinator
from federation.identity.roster_file import load_roster
from federation.live.page import serve_page
from federation.log import heard_by, note, said, warn
from federation.model.code import require_here
from federation.plan.plan import Plan, load
from federation.round.transport import Transport
from server.link.certificates import Certificate, given, own
from server.link.child import Place, SuperLink, listen
from server.link.presence import Presence
from server.link.sizes import largest_reply
from server.link.unbegun import taken_back
from server.showing.now import Now
from server.showing.page import page
from server.showing.snapshot import LINK, Glance
from server.voice import Voice, coordinator_key

if TYPE_CHECKING:
    from server.rehearsal import Rehearsal

PATIENCE: Final = 300.0
"""Seconds for all sites to connect."""
_SHORTEST, _LONGEST = 0.02, 0.25
"""Seconds between two looks for replies: a look costs 10 ms of this machine."""
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True)
class Call:
    """What was asked for. `sites`: for how many it waits; None for every site that has a node's key.

    `rehearse`: nothing is run; each plan is rehearsed on made-up records.
    """

    plans: tuple[Path, ...]
    roster: Path
    state: Path
    address: str
    identity: Path = Path()
    certificate: Path | None = None
    key: Path | None = None
    sites: int | None = None
    patience: float = PATIENCE
    status: str | None = None
    rehearse: bool = False

    @property
    def host_and_port(self) -> tuple[str, int]:
        """What sites dial. InputError if it is none."""
        host, _, port = self.address.rpartition(":")
        if not _HOST.fullmatch(host) or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            hint = "write HOST:PORT, such as fed.example.org:8443: the host is what sites dial"
            raise InputError(f"--address {self.address}: is no address", hint=hint)
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Part:
    """One run of several: its plan, and its folder."""

    plan: Plan
    path: Path
    folder: Path


def deploy(call: Call, told: Callable[[Rehearsal], None] = lambda _: None) -> None:
    """Run each plan with the sites that connect, one after the other, resuming what the folders hold.

    Of plans that are rehearsed `told` gets what came of it.
    """
    parts = parts_of(call)
    nodes = nodes_of(call, parts)
    place = Place(call.state / LINK)
    with taken_back(call.state, place, [part.folder for part in parts]):
        _deploy(call, parts, nodes, place, told)


def _deploy(
    call: Call,
    parts: Sequence[Part],
    nodes: dict[str, bytes],
    place: Place,
    told: Callable[[Rehearsal], None],
) -> None:
    left = [part for part in parts if call.rehearse or not _is_done(part)]
    for part in parts:
        if part not in left:
            note("complete_already", state=str(part.folder))
    if not left:
        return
    certificate, sites = certificate_of(call), len(load_roster(call.roster).read().entries)
    largest = max(largest_reply(part.plan, sites) for part in left)
    with _alone(call, place):
        host, port = call.host_and_port
        with (
            _noted(place, tuple(nodes)),
            listen(host, port) as public,
            _shown(call),
            SuperLink(place, public, certificate, tuple(nodes.values()), largest) as superlink,
        ):
            _tell(call, certificate, public.getsockname()[1])
            _serve_all(call, left, nodes, superlink, told)


def parts_of(call: Call) -> tuple[Part, ...]:
    """The runs: one plan has the state folder itself, several have a folder in it each.

    InputError for a plan that cannot be used, whose code is not here, or that is named twice.
    """
    plans = [load(path) for path in call.plans]
    for plan in plans:
        require_here(plan)
    if len({plan.digest for plan in plans}) < len(plans):
        raise InputError("the same plan is named twice", hint="each run has a state folder of its own")
    if len(plans) == 1:
        return (Part(plans[0], call.plans[0], call.state),)
    if (call.state / "plan.toml").exists():
        reason = f"{call.state} holds a run already"
        raise InputError(reason, hint="give its plan alone, or name another folder for several")
    return tuple(
        Part(plan, path, call.state / _name(plan)) for plan, path in zip(plans, call.plans, strict=True)
    )


def nodes_of(call: Call, parts: Sequence[Part]) -> dict[str, bytes]:
    """The key of each site's node, by site, as the roster names them. RosterError if there are too few."""
    signed = load_roster(call.roster)
    roster = signed.read()
    _, key = coordinator_key(signed, call.roster, call.identity)
    Voice(parts[0].plan, b"", signed, key)  # it is the one that the roster names
    nodes = {entry.site: entry.node for entry in roster.entries if entry.node}
    missing = [entry.site for entry in roster.entries if not entry.node]
    minimum = max(part.plan.cohort.minimum for part in parts)
    hint = (
        "add the ID.pub that federation keys new makes, which names it (or ID.node.pub of --node); sign anew"
    )
    if len(nodes) < minimum:
        told = f"{call.roster} names the node's key of {len(nodes)} sites, and cohort.minimum is {minimum}"
        raise RosterError(f"{told} (without: {', '.join(missing) or 'none'})", hint=hint)
    if missing:
        warn("warning", detail=f"the roster names no node's key of {', '.join(missing)}: they cannot connect")
    if call.sites is not None and not minimum <= call.sites <= len(nodes):
        told = f"--sites {call.sites}: cohort.minimum is {minimum}, and {len(nodes)} sites have a node's key"
        raise InputError(told, hint="name a number between these")
    return nodes


def certificate_of(call: Call) -> Certificate:
    """The certificate that was named, or one of our own beside the coordinator's key."""
    host, _ = call.host_and_port
    if (call.certificate is None) is not (call.key is None):
        raise InputError("--tls-certificate and --tls-key go together", hint="name both, or neither")
    if call.certificate is not None and call.key is not None:
        return given(call.certificate, call.key, host)
    path, _ = load_coordinator(call.identity, call.roster)
    return own(path.parent / "tls", host)


def _serve_all(
    call: Call,
    parts: Sequence[Part],
    nodes: dict[str, bytes],
    superlink: SuperLink,
    told: Callable[[Rehearsal], None],
) -> None:
    from federation.round.flower import GridTransport  # these take seconds, while the SuperLink starts
    from server.link.flower import Link
    from server.link.steady import Named, SteadyTransport
    from server.rehearsal import rehearse
    from server.serve import serve

    link = Link(superlink.address, superlink.token, superlink.secret)
    presence = Presence(tuple(nodes), lambda: link.connected(nodes))

    @contextmanager
    def line() -> Iterator[Transport]:
        with link.run() as grid:
            yield Named(GridTransport(grid, shortest=_SHORTEST, longest=_LONGEST), link.numbers(nodes))

    for part in parts:
        with SteadyTransport(line, superlink.require, superlink.renew) as transport:
            transport.addresses()  # the SuperLink is there
            wanted = call.sites or len(nodes)
            note("waiting", name=part.plan.federation.name, needed=wanted)
            presence.wait(wanted, 0 if call.rehearse else part.plan.cohort.minimum, call.patience)
            with presence.watched():
                if call.rehearse:
                    given = part.path, call.roster, part.folder, transport, call.identity
                    told(rehearse(*given, str))  # an address is a site's name here
                    continue
                serve(part.path, call.roster, part.folder, transport, call.identity)


def _is_done(part: Part) -> bool:
    from server.run_folder import RunFolder

    text = part.path.read_text("utf-8-sig")
    return RunFolder.open(part.folder, part.plan, text).finished("flower", simulated=False) is not None


def _tell(call: Call, certificate: Certificate, port: int) -> None:
    host, _ = call.host_and_port
    pinned = certificate.pinned or "the certificate of the authority that signed the given one"
    note("ready", address=f"{host}:{port}", pin=str(pinned))


@contextmanager
def _noted(place: Place, sites: tuple[str, ...]) -> Iterator[None]:
    """Keep what happens in a file, for whoever looks."""
    now = Now(place.folder, sites)
    try:
        with heard_by(now.hear):
            yield
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        now.tell(phase="interrupted" if is_stopped else "failed", error=None if is_stopped else said(error))
        raise


@contextmanager
def _shown(call: Call) -> Iterator[None]:
    """Show what happens on a page, if that was asked for."""
    if call.status is None:
        yield
        return
    with serve_page(call.status, page(), Glance(call.state)) as url:
        note("status_page", url=url)
        yield


def _name(plan: Plan) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", plan.federation.name.lower()).strip("-") or "run"
    return f"{words[:40]}-{plan.digest.removeprefix('sha256:')[:8]}"


def _alone(call: Call, place: Place) -> AbstractContextManager[None]:
    """Be the only coordinator of this state folder."""
    place.make()
    other = f"another federation serve is at work in {call.state}"
    return alone_in(place.folder, other, "stop it first, or name another folder")
