"""Sites that rehearse, and a coordinator that rehearses with them, every frame of it kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clients.policy import Policy
from clients.rehearsing.understudy import Understudy
from clients.site import Site
from federation.model.params import params_bytes, params_digest
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.round.messages import Member
from federation.sums.state import begin
from server.playing import Setting
from server.run import run, server_stream
from server.sessions import open_lines
from server.voice import Voice
from simulations.world import InProcess
from tests.clients.sites import COORDINATOR, SIGNED, SIZES, make_params, make_site, make_terms, make_trust

REHEARSAL = b"\x77" * 16


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def stage(
    folder: Path,
    plan: Plan,
    *,
    policy: Policy | None = None,
    names: Iterable[str] = SIZES,
    clock: Clock | None = None,
) -> dict[str, Site]:
    """Sites with an understudy each, that allow the plan."""
    sites = {}
    for name in names:
        site = make_site(folder, plan, name, SIZES[name], policy=policy)
        allowed = policy or Policy.for_plan(plan)
        site.understudy = Understudy(
            Member(name, SIZES[name]), make_trust(name), lambda p=allowed: p, Site, wait=lambda _: None
        )  # fmt: skip
        if clock is not None:
            site.clock = site.understudy.clock = clock
        sites[name] = site
    return sites


@dataclass
class Taped:
    """What went over the line, by site: each request with its reply."""

    frames: list[tuple[str, bytes, bytes]] = field(default_factory=list)

    def line(self, sites: Mapping[str, Site]) -> InProcess:
        """The sites in reach, each behind a recorder."""
        return InProcess({name: partial(self._taped, name, site) for name, site in sites.items()})

    def _taped(self, name: str, site: Site, data: bytes) -> bytes:
        reply = site.receive(data)
        self.frames.append((name, data, reply))
        return reply


def play(
    plan: Plan, sites: Mapping[str, Site], tape: Taped, run_id: bytes = REHEARSAL, *, close: bool = True
) -> list[Receipt]:
    """Carry a plan, or the rehearsal of one, to its last round."""
    voice = Voice(plan, run_id, SIGNED, COORDINATOR, clock=next(iter(sites.values())).clock)
    params = make_params(make_terms(plan).dimension)
    lines, members = open_lines(voice, tape.line(sites), dimension=params.numel())
    receipts, state = [], begin(plan, run_id, params)
    for after, receipt in run(Setting(state, members, lines), server_stream):
        state = after
        receipts.append(receipt)
    if close:
        lines.close(run_id, params_digest(params_bytes(state.params)), sites, 5)
    return receipts
