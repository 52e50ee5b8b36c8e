"""A run over real lines, from a plan file to a run folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from federation.layout import initial_params
from federation.plan import load
from federation.roster import load_roster
from federation.task import build_task
from federation.transport import Transport
from privacy.noise import Stream
from privacy.secagg.roster import Roster
from server.folder import RunFolder
from server.lines import open_lines
from server.run import run

_log = logging.getLogger(__name__)


def serve(plan_path: Path, roster_path: Path, state_dir: Path, transport: Transport) -> None:
    """Run the plan with the sites of the roster in reach, resuming what `state_dir` holds; params end up there.

    No metrics: what a site measures on its records would need a budget of its own to be published.
    """
    plan = load(plan_path)
    task = build_task(plan)
    folder = RunFolder.open(state_dir, plan, plan_path.read_text("utf-8-sig"))
    if folder.is_finished:
        _log.info("%s is complete already", state_dir)
        return
    state = folder.state(initial_params(task, plan.federation.seed))
    signed = load_roster(roster_path)
    roster = Roster.from_bytes(signed.roster)
    lines, members = open_lines(plan, state.run, transport, signed)
    _log.info("%d sites joined %s", len(members), plan.digest)
    for after, report in run(plan, state, lines, members, roster, lambda _: Stream(os.urandom(32))):
        state = after
        folder.store(state, report, {})
        _log.info(
            "round %d of %d: %d sites in the sum", report.round, plan.federation.rounds, len(report.survivors)
        )
    folder.write_params(task.model(), state.params)
    folder.close()
