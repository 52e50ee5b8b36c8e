"""A run over real lines, from a plan file to a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from federation.audit.page import write_verdict
from federation.errors import RosterError, TooFewSurvivors
from federation.identity.roster_file import load_roster
from federation.log import note, warn
from federation.model.params import initial_params, params_bytes, params_digest
from federation.model.task import Task, build_task
from federation.plan.plan import Plan, load
from federation.report.files import PAGE, write_page, write_report
from federation.report.report import Made, whole
from federation.report.summary import charged_rounds, summary_of
from federation.report.tabled import with_tables
from federation.round.plays import MODEL, fold_of, has_evaluation, rounds_before
from federation.round.transport import Transport
from server.attendance.newcomers import Newcomers
from server.coordinator import SILENT
from server.events import note_joined, note_round
from server.folds.parts import evaluated_in, left_of, receipts_of, with_folds
from server.memory.ledgers import LedgerMemory
from server.playing import Setting
from server.run import evaluate, run, server_stream
from server.run_folder import RunFolder
from server.sessions import open_lines
from server.voice import Voice, coordinator_key

RESUMED = 3
"""Times in a row that a round without a sum is played again by the same process."""
LEAST = 30.0
"""Seconds for which sites are waited for at least."""
_PAUSE = 1.0  # seconds between two looks for them


def serve(
    plan_path: Path, roster_path: Path, state_dir: Path, transport: Transport, identity: Path = Path()
) -> None:
    """Run the plan with the sites of the roster in reach, resuming what `state_dir` holds; params end up there.

    `identity` is the coordinator's key, or the folder that holds it; `coordinator.key` beside the roster by
    default.

    Reports no metrics but what the plan pays for with evaluation.epsilon: held-out records are private, too.
    """
    started = time.perf_counter()
    plan = load(plan_path)
    task = build_task(plan)
    text = plan_path.read_text("utf-8-sig")
    folder = RunFolder.open(state_dir, plan, text)
    if (done := folder.finished("flower", simulated=False)) is not None:
        note("complete_already", state=str(state_dir))
        if not (state_dir / PAGE).exists():
            write_page(state_dir, done)
        return
    with folder.alone():
        signed = load_roster(roster_path)
        path, key = coordinator_key(signed, roster_path, identity)
        speak, memory = partial(Voice, plan, roster=signed, key=key), LedgerMemory.beside(path)
        wait = partial(_await_sites, plan, transport)
        params = initial_params(task.model, plan.federation.seed)
        for part, run_id in left_of(folder, text, params):
            given = part, task, params, speak, transport, memory, Newcomers(), started, run_id
            _insist(partial(_served, *given), partial(_rounds_in, part), wait)


def _rounds_in(folder: RunFolder) -> int:
    return len(folder.receipts())


def _insist(play: Callable[[], bool], rounds: Callable[[], int], wait: Callable[[], None]) -> None:
    """Play until the run is over. Each time all are asked for consent, as after a restart of this process.

    Where sites fell silent and nobody can have charged the round, it is played again when they are back, a few
    times: many that are lost at once end a round and not the run. TooFewSurvivors after that, and where another try
    would cost the sites something, or change nothing since they refuse.
    """
    done, left, is_again = rounds(), RESUMED, False
    while True:
        try:
            if play():
                return
        except (TooFewSurvivors, RosterError) as error:
            done, left = rounds(), RESUMED if rounds() > done else left - 1
            if not left or not (is_worth_it(error) if isinstance(error, TooFewSurvivors) else is_again):
                raise
            warn("warning", detail=f"{error.args[0]}; it is played again when the sites are back")
            wait()
            is_again = True


def is_worth_it(error: TooFewSurvivors) -> bool:
    """Whether a round that failed so may be played again when the sites are back."""
    return error.is_free and SILENT in error.left.values()


def _await_sites(plan: Plan, transport: Transport) -> None:
    """Wait until enough sites can be reached, for as long as a round may wait for them."""
    ends = time.monotonic() + max(LEAST, plan.cohort.deadline_seconds)
    while True:
        time.sleep(_PAUSE)
        if len(transport.addresses()) >= plan.cohort.minimum or time.monotonic() >= ends:
            return


def _served(
    folder: RunFolder,
    task: Task,
    params: Tensor,
    speak: Callable[[bytes], Voice],
    transport: Transport,
    memory: LedgerMemory,
    newcomers: Newcomers,
    started: float,
    run_id: bytes,
) -> bool:
    """Play what is left of the run, and write what it was for; whether it is over.

    It is not where somebody comes into reach after the greeting: between two rounds the run is then resumed with
    whoever consents, as it is after the server was stopped.
    """
    plan = folder.plan
    folder.require_whole()
    folder.require_accepted()
    state = folder.state(params, run_id)
    voice = speak(state.run)
    folder.write_roster(voice.roster)
    known = [*memory.heads(), *folder.heads()]
    lines, members = open_lines(voice, transport, known, (state.round, state.attempt), state.params.numel())
    newcomers.asked(lines.greeted, lines.joined, state.round)
    setting = Setting(state, members, lines, folder.transcripts(voice.roster, state.params.numel()))
    lines.attendance.faults = folder.faults()
    memory.remember(lines.heads.all())
    folder.store_consents(state.run, lines.consents)
    note_joined(plan, state, [member.site for member in members], voice.sites)
    after = _played(folder, setting, newcomers)
    if after is None:
        return False
    _end(folder, task, after, memory)
    _report(folder, after, started)
    return True


def _played(folder: RunFolder, setting: Setting, newcomers: Newcomers) -> Setting | None:
    """Where the run stands after its rounds and its evaluation; None if somebody is to be asked before that."""
    plan = folder.plan
    with folder.keeping_refusal(setting.state):
        for state, receipt in run(setting, server_stream):
            folder.store(state, receipt, {})
            note_round(plan, state.run, receipt)
            if state.round < plan.federation.rounds and newcomers.are_due(setting.lines.others, state.round):
                return None
            setting = replace(setting, state=state)
        if has_evaluation(plan, setting.state.run) and folder.evaluation() is None:
            folder.store_evaluation(setting.state.run, evaluate(setting, server_stream))
    return setting


def _end(folder: RunFolder, task: Task, setting: Setting, memory: LedgerMemory) -> None:
    """Tell the sites that the run is over, and write where their ledgers stand after it, and its model."""
    state, lines = setting.state, setting.lines
    names = [member.site for member in setting.members]
    digest = params_digest(params_bytes(state.model))
    folder.store_closing(state, lines.close(state.run, digest, names, folder.plan.cohort.deadline_seconds))
    memory.remember(lines.heads.all())
    folder.write_params(task.model(), state.model)


def _report(folder: RunFolder, setting: Setting, started: float) -> None:
    """Write what the run came to, and what an audit says of it. From then on it is finished."""
    plan, state, signed = folder.plan, setting.state, setting.lines.voice.roster
    seconds, told = time.perf_counter() - started, folder.evaluation()
    report = summary_of(
        plan,
        folder.receipts(),
        charged_rounds(receipts_of(folder, state.run)),
        engine="flower",
        simulated=False,
        published=told,
        seconds=seconds,
        evaluated=evaluated_in(folder, state.run),
        unlikely=folder.unlikely_evaluation(),
    )
    report = report.model_copy(
        update={
            "made": Made.now(state.run, signed.signatures),
            "transcripts": folder.kept(signed, state.params.numel()),
        }
    )
    report = with_tables(with_folds(report, folder, state.run), plan, state.model, folder.receipts())
    write_report(folder.path, report)
    write_page(folder.path, report)
    folder.close()
    write_verdict(folder.path, report)
    cost, page = whole(report.privacy), str(folder.path / PAGE)
    if fold_of(plan, state.run) == MODEL:
        rounds = rounds_before(plan, state.run) + state.round
        note("run_ends", run=state.run.hex(), rounds=rounds, seconds=seconds, epsilon=cost, report=page)
